"""What leaves: every rule has a case that only it decides."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.governance.policy import Policy, Subject
from client.governance.release import AtMost, Release, Request, describe, release
from tests.support.sealed import EXEMPLARS, NOW, PSEUDONYMS, exemplar

A, B, C = PSEUDONYMS
SIZE = EXEMPLARS[0].payload.nbytes
POLICY = Policy(share_exemplars=True, centers=("karo", "ucsf"), subjects=3, megabytes=1.0, expiry_days=30)
SUBJECTS = {A: Subject("sub-01"), B: Subject("sub-02"), C: Subject("sub-03")}
REQUEST = Request(("karo", "ucsf"), sealed=True, now=NOW)


def changed(**changes: object) -> Policy:
    return POLICY.model_copy(update=changes)


def leaving(released: Release) -> list[str]:
    return [e.provenance.subject for e in released.exemplars]


def test_what_is_allowed_leaves_for_whom_and_until_when_it_may() -> None:
    released = release(POLICY, EXEMPLARS, SUBJECTS, REQUEST)
    assert released.exemplars == EXEMPLARS
    assert released.recipients == ("karo", "ucsf")
    assert released.expires == NOW + timedelta(days=30)
    assert released.withheld == released.refused == {}


def test_by_default_nothing_leaves() -> None:
    released = release(Policy(), EXEMPLARS, SUBJECTS, REQUEST)
    assert released.exemplars == released.recipients == ()
    assert set(released.withheld) == set(PSEUDONYMS)


def test_sharing_can_be_off_with_all_limits_given() -> None:
    released = release(changed(share_exemplars=False), EXEMPLARS, SUBJECTS, REQUEST)
    assert released.exemplars == ()
    assert released.withheld[A] == "share-exemplars is false"


def test_a_center_that_is_not_named_gets_nothing() -> None:
    released = release(POLICY, EXEMPLARS, SUBJECTS, replace(REQUEST, recipients=("karo", "nih")))
    assert released.recipients == ("karo",)
    assert released.refused == {"nih": "not among the policy's centers"}


def test_for_no_named_center_nothing_leaves() -> None:
    for recipients in (("nih",), ()):
        released = release(POLICY, EXEMPLARS, SUBJECTS, replace(REQUEST, recipients=recipients))
        assert released.exemplars == ()
        assert "no center" in released.withheld[A]


def test_unsealed_exemplars_stay_unless_allowed() -> None:
    unsealed = replace(REQUEST, sealed=False)
    released = release(POLICY, EXEMPLARS, SUBJECTS, unsealed)
    assert released.exemplars == ()
    assert "allow-unsealed is false" in released.withheld[A]
    assert release(changed(allow_unsealed=True), EXEMPLARS, SUBJECTS, unsealed).exemplars == EXEMPLARS


def test_unsealed_exemplars_stay_where_one_who_would_see_them_may_not() -> None:
    unsealed = Request(("karo", "nih"), sealed=False, now=NOW)
    released = release(changed(allow_unsealed=True), EXEMPLARS, SUBJECTS, unsealed)
    assert released.exemplars == ()
    assert "nih" in released.withheld[A]


@pytest.mark.parametrize(
    ("policy", "subject", "reason"),
    [
        (POLICY, Subject("sub-01", withdrawn=True), "withdrawn"),
        (changed(never=("sub-01",)), Subject("sub-01", consent=True), "listed under never"),
        (changed(consent_column="share"), Subject("sub-01", consent=False), "no consent in column share"),
        (changed(consent_column="share"), Subject("sub-01"), "no consent in column share"),
    ],
)
def test_a_barred_subject_stays_and_the_others_leave(policy: Policy, subject: Subject, reason: str) -> None:
    subjects = {A: subject, B: Subject("sub-02", consent=True), C: Subject("sub-03", consent=True)}
    released = release(policy, EXEMPLARS, subjects, REQUEST)
    assert leaving(released) == [B, C]
    assert released.withheld == {A: reason}


def test_an_exemplar_of_nobody_here_stays() -> None:
    released = release(POLICY, EXEMPLARS, {B: SUBJECTS[B]}, REQUEST)
    assert leaving(released) == [B]
    assert released.withheld[A] == "no subject of this hospital"


def test_no_more_subjects_than_allowed_leave() -> None:
    released = release(changed(subjects=2), EXEMPLARS, SUBJECTS, REQUEST)
    assert leaving(released) == [A, B]
    assert released.withheld == {C: "beyond the 2 subjects that may ever leave"}


def test_several_exemplars_of_a_subject_are_one_subject() -> None:
    again = exemplar(8, subject=A)
    assert leaving(release(changed(subjects=1), [EXEMPLARS[0], again], SUBJECTS, REQUEST)) == [A, A]


def test_subjects_of_earlier_runs_count_and_may_leave_again() -> None:
    before = SUBJECTS | {C: Subject("sub-03", sent=True)}
    released = release(changed(subjects=2), EXEMPLARS, before, REQUEST)
    assert leaving(released) == [A, C]
    all_before = {name: replace(subject, sent=True) for name, subject in SUBJECTS.items()}
    assert leaving(release(changed(subjects=2), EXEMPLARS, all_before, REQUEST)) == [A, B]


def test_no_more_bytes_than_allowed_leave() -> None:
    exactly = changed(megabytes=2 * SIZE / 1e6)
    released = release(exactly, [EXEMPLARS[0], exemplar(0, subject=B), exemplar(0, subject=C)], SUBJECTS, REQUEST)
    assert leaving(released) == [A, B]
    assert released.withheld[C].startswith("beyond 0.0")
    less = changed(megabytes=(2 * SIZE - 1) / 1e6)
    assert leaving(release(less, [EXEMPLARS[0], exemplar(0, subject=B)], SUBJECTS, REQUEST)) == [A]


@given(
    st.lists(st.sampled_from(PSEUDONYMS), max_size=8),
    st.integers(1, 3),
    st.integers(1, 2000),
    st.sets(st.sampled_from(PSEUDONYMS)),
)
def test_whatever_is_asked_the_limits_hold(asked: list[str], most: int, nbytes: int, sent: set[str]) -> None:
    policy = changed(subjects=most, megabytes=nbytes / 1e6)
    subjects = {name: replace(subject, sent=name in sent) for name, subject in SUBJECTS.items()}
    exemplars = [exemplar(i, subject=name) for i, name in enumerate(asked)]
    released = release(policy, exemplars, subjects, REQUEST)
    assert len(set(leaving(released))) <= most
    assert len(set(leaving(released)) - sent) <= max(0, most - len(sent))
    assert sum(e.payload.nbytes for e in released.exemplars) <= policy.nbytes
    assert set(leaving(released)) | set(released.withheld) == set(asked)


def test_a_hospital_reads_what_would_leave() -> None:
    policy = changed(never=("sub-02",), role="both")
    text = describe(policy, release(policy, EXEMPLARS, SUBJECTS, replace(REQUEST, recipients=("karo", "nih"))))
    assert text.splitlines() == [
        "What would leave this hospital:",
        "- the model, after training on this hospital's subjects",
        "- in a run by ewc or mas, how much each parameter of the model matters to them",
        "- the mean of the test scores",
        "- 2 exemplars of 2 subjects, 0.0 MB, sealed for karo, until 2030-05-31",
        "What stays:",
        "- exemplars of 1 subjects: listed under never",
        "- nothing goes to nih: not among the policy's centers",
    ]


def test_where_the_model_chooses_a_hospital_reads_among_what() -> None:
    text = describe(POLICY, release(POLICY, EXEMPLARS, SUBJECTS, REQUEST), AtMost(2, 1_500_000))
    assert text.splitlines()[-1] == (
        "- at most 2 exemplars, one a subject, and 1.5 MB, among these 3 of 3 subjects (the model that was trained "
        "here chooses), sealed for karo, ucsf, until 2030-05-31"
    )


def test_a_hospital_reads_that_crops_are_not_sealed_and_scores_leave() -> None:
    policy = changed(allow_unsealed=True, report_subject_scores=True)
    text = describe(policy, release(policy, EXEMPLARS, SUBJECTS, replace(REQUEST, sealed=False)))
    assert "NOT sealed: the coordinator sees them" in text
    assert "each test image's scores" in text
    assert "the model" not in text


def test_a_hospital_that_shares_nothing_reads_so() -> None:
    assert "- no exemplars" in describe(Policy(), release(Policy(), EXEMPLARS, SUBJECTS, REQUEST))


def test_a_crop_that_is_too_wide_stays() -> None:
    released = release(changed(largest_crop_mm=7.9), EXEMPLARS, SUBJECTS, REQUEST)
    assert released.exemplars == () and released.withheld[A] == "8 mm wide, above largest-crop-mm = 7.9"
    assert release(changed(largest_crop_mm=8), EXEMPLARS, SUBJECTS, REQUEST).exemplars == EXEMPLARS


def test_of_one_subject_so_many_crops_leave_over_all_runs() -> None:
    before = SUBJECTS | {A: Subject("sub-01", sent=True, crops=3, nbytes=30), B: Subject("sub-02", sent=True, crops=2)}
    released = release(changed(crops_per_subject=3), EXEMPLARS, before, REQUEST)
    assert leaving(released) == [B, C]
    assert released.withheld == {A: "beyond the 3 crops of one subject that may ever leave"}


def test_of_one_subject_so_many_bytes_leave_over_all_runs() -> None:
    before = SUBJECTS | {A: Subject("sub-01", sent=True, crops=1, nbytes=100)}
    most = (100 + SIZE) / 1e6
    assert leaving(release(changed(megabytes_per_subject=most), EXEMPLARS, before, REQUEST)) == [A, B, C]
    released = release(changed(megabytes_per_subject=most - 1e-6), EXEMPLARS, before, REQUEST)
    assert leaving(released) == [B, C] and "MB of one subject that may ever leave" in released.withheld[A]
