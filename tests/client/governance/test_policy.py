"""The policy: denied unless said otherwise, and each rule by itself."""

import tomllib

import pytest

from client.governance.policy import Policy, Subject, report_scores, unknown_never, why_barred
from shared.errors import PolicyError, SettingsError
from shared.wire.headers import CaseScore
from tests.support.scored import case_score

SHARING = {"share-exemplars": True, "centers": ["karo"], "subjects": 5, "megabytes": 1.0, "expiry-days": 30}


def cases(*subjects: str) -> list[CaseScore]:
    return [case_score(s, dice=0.25 * i) for i, s in enumerate(subjects)]


def test_without_a_word_nothing_but_mean_scores_leaves() -> None:
    policy = Policy.of({}, "hospital.toml")
    assert policy == Policy()
    assert not policy.share_exemplars
    assert not policy.report_subject_scores
    assert not policy.allow_unsealed
    assert (policy.role, policy.centers, policy.subjects, policy.nbytes) == ("evaluate", (), 0, 0)
    assert str(policy) == "tests, mean scores, no exemplars"


def test_the_documented_example_is_a_policy() -> None:
    from client.governance import policy as module

    assert module.__doc__
    example = module.__doc__.split("file:")[1].split("Without")[0]
    policy = Policy.of(tomllib.loads("\n".join(line.strip() for line in example.splitlines()))["policy"], "x")
    assert policy.centers == ("karo", "ucsf")
    assert policy.nbytes == 50_000_000
    assert str(policy) == (
        "trains and tests, mean scores, exemplars of 10 subjects and 50 MB for karo, ucsf, 90 days, sealed"
    )


def test_the_coordinator_s_line_names_no_subject() -> None:
    policy = Policy.of(SHARING | {"never": ["sub-07"], "consent-column": "share", "allow-unsealed": True}, "x")
    assert "07" not in str(policy)
    assert str(policy).endswith("sealed or not")


@pytest.mark.parametrize("missing", ["centers", "subjects", "megabytes", "expiry-days"])
def test_sharing_without_a_limit_is_refused(missing: str) -> None:
    table = {key: value for key, value in SHARING.items() if key != missing}
    with pytest.raises(SettingsError, match=rf"policy in hospital\.toml is wrong: .*{missing}"):
        Policy.of(table, "hospital.toml")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("share-exemplar", True),
        ("share-exemplars", "yes"),
        ("subjects", -1),
        ("subjects", 2.5),
        ("megabytes", float("inf")),
        ("expiry-days", 4000),
        ("centers", ["*"]),
        ("role", "all"),
        ("never", "sub-07"),
    ],
)
def test_a_wrong_key_or_value_is_refused_with_its_place(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"wrong at {key}"):
        Policy.of({key: value}, "hospital.toml")


def test_a_withdrawn_subject_is_barred() -> None:
    assert why_barred(Policy(), Subject("sub-01")) is None
    assert why_barred(Policy(), Subject("sub-01", consent=True, withdrawn=True)) == "withdrawn"


@pytest.mark.parametrize("listed", ["sub-07", "07", " sub-07 "])
def test_a_subject_listed_under_never_is_barred_whatever_it_consented(listed: str) -> None:
    policy = Policy.of({"never": [listed], "consent-column": "share"}, "x")
    assert why_barred(policy, Subject("sub-07", consent=True)) == "listed under never"
    assert why_barred(policy, Subject("07", consent=True)) == "listed under never"
    assert why_barred(policy, Subject("sub-70", consent=True)) is None


@pytest.mark.parametrize("consent", [False, None])
def test_where_a_column_is_named_only_a_yes_lets_go(consent: bool | None) -> None:
    policy = Policy.of({"consent-column": "share"}, "x")
    assert why_barred(policy, Subject("sub-01", consent=consent)) == "no consent in column share"
    assert why_barred(policy, Subject("sub-01", consent=True)) is None
    assert why_barred(Policy(), Subject("sub-01", consent=consent)) is None


def test_a_reason_never_holds_the_name() -> None:
    policy = Policy.of({"never": ["sub-07"], "consent-column": "share"}, "x")
    for subject in (Subject("sub-07"), Subject("sub-08"), Subject("sub-09", withdrawn=True)):
        assert subject.name not in (why_barred(policy, subject) or "")


def test_a_mistyped_never_is_noticed() -> None:
    policy = Policy.of({"never": ["sub-7", "08"]}, "x")
    assert unknown_never(policy, ["sub-07", "sub-08"]) == ("sub-7",)


def test_scores_of_subjects_stay_and_the_mean_leaves() -> None:
    report = report_scores(Policy(), cases("a", "b", "c", "d", "e"))
    assert report.cases == ()
    assert report.mean.means["dice"] == pytest.approx(0.5)
    assert report.mean.subjects == 5
    three = Policy.of({"least-test-subjects": 3}, "x")
    assert report_scores(three, cases("a", "b", "c")).mean.means["dice"] == pytest.approx(0.25)


def test_where_the_policy_says_so_scores_of_subjects_leave() -> None:
    policy = Policy.of({"report-subject-scores": True}, "x")
    scored = cases("a")
    assert report_scores(policy, scored).cases == tuple(scored)
    assert report_scores(policy, scored).mean.means["dice"] == 0.0


@pytest.mark.parametrize("subjects", [(), ("a",), ("a", "a"), ("a", "b", "c", "d"), ("a", "b", "c", "d", "d")])
def test_a_mean_over_few_subjects_does_not_leave(subjects: tuple[str, ...]) -> None:
    with pytest.raises(PolicyError, match=r"reports means over 5 or more alone .* report-subject-scores = true"):
        report_scores(Policy(), cases(*subjects))


@pytest.mark.parametrize("subjects", [(), ("a",), ("a", "a")])
def test_a_mean_over_one_subject_leaves_by_no_policy(subjects: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError):
        Policy.of({"least-test-subjects": 1}, "x")
    with pytest.raises(PolicyError, match="report-subject-scores = true"):
        report_scores(Policy.of({"least-test-subjects": 2}, "x"), cases(*subjects))
