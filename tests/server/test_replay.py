"""The courier: it checks, thins out and passes on, and holds no key."""

from dataclasses import replace
from datetime import timedelta

import pytest

from server.replay import hand_on, inspect
from shared.errors import SealError
from tests.support.sealed import EXEMPLARS, KARO, NOW, PSEUDONYMS, TERMS, UCSF, VISIT, contribution, resigned

SEALED = contribution()
BYTES = sum(e.payload.nbytes for e in EXEMPLARS)


def test_a_contribution_within_its_limits_is_taken() -> None:
    inspect(SEALED, VISIT, NOW, subjects=3, budget=BYTES)


def test_more_subjects_or_bytes_than_allowed_are_refused() -> None:
    with pytest.raises(SealError, match="milan sent exemplars of 3 subjects where 2 are allowed"):
        inspect(SEALED, VISIT, NOW, subjects=2, budget=BYTES)
    with pytest.raises(SealError, match=f"milan sent {BYTES} bytes"):
        inspect(SEALED, VISIT, NOW, subjects=3, budget=BYTES - 1)


@pytest.mark.parametrize(("field", "value"), [("run", "run-2"), ("stage", 3), ("center", "karo")])
def test_another_visit_s_contribution_is_refused(field: str, value: object) -> None:
    with pytest.raises(SealError, match="replayed or mixed up"):
        inspect(SEALED, VISIT.model_copy(update={field: value}), NOW, subjects=3, budget=BYTES)


def test_a_changed_contribution_is_refused() -> None:
    with pytest.raises(SealError, match="signature does not hold"):
        inspect(resigned(SEALED, KARO), VISIT, NOW, subjects=3, budget=BYTES)
    payloads = {c: p[::-1].copy() for c, p in SEALED.payloads.items()}
    with pytest.raises(SealError, match="was changed"):
        inspect(replace(SEALED, payloads=payloads), VISIT, NOW, subjects=3, budget=BYTES)


def test_a_center_gets_what_it_can_open_and_did_not_send() -> None:
    assert len(hand_on([SEALED], "karo", {}, NOW)) == 1
    assert hand_on([SEALED], "ucsf", {}, NOW) == ()
    assert hand_on([SEALED], "milan", {}, NOW) == ()
    both = contribution(replace(TERMS, recipients=(KARO.identity, UCSF.identity)))
    assert len(hand_on([SEALED, both], "ucsf", {}, NOW)) == 1


def test_what_has_expired_is_not_handed_on() -> None:
    assert hand_on([SEALED], "karo", {}, NOW + timedelta(days=30)) == ()


def test_a_withdrawn_subject_is_dropped_by_its_own_center_alone() -> None:
    (thinned,) = hand_on([SEALED], "karo", {"milan": {PSEUDONYMS[2]}}, NOW)
    assert thinned.dropped == (PSEUDONYMS[2],)
    (whole,) = hand_on([SEALED], "karo", {"karo": set(PSEUDONYMS)}, NOW)
    assert whole.dropped == ()
