"""What is handed on of the memory: thinned out, without any key."""

from dataclasses import replace
from datetime import timedelta

from server.replay import hand_on
from tests.support.sealed import KARO, NOW, PSEUDONYMS, TERMS, UCSF, contribution, dropped

SEALED = contribution()


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
    assert dropped(thinned) == (PSEUDONYMS[2],)
    (whole,) = hand_on([SEALED], "karo", {"karo": set(PSEUDONYMS)}, NOW)
    assert dropped(whole) == ()
