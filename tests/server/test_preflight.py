"""Before a run begins: what is passed over is said, and who trains without being tested is not overlooked."""

from typing import Any

import pytest

from server.preflight import check_terms, check_tests
from shared.config.settings import Settings
from shared.course import plan_course
from shared.errors import CenterError
from shared.result_notes import passed_over_lines
from shared.results import passed_over
from shared.wire.headers import CenterCard, PassedOverCard


@pytest.fixture
def settings(run_config: dict[str, Any]) -> Settings:
    return Settings.from_run_config(run_config)


def card(center: str = "milan", **changes: object) -> CenterCard:
    facts = {
        "center": center,
        "training_subjects": 2,
        "test_subjects": 1,
        "contrasts": ("FLAIR", "T2w"),
        "test_contrasts": ("FLAIR", "T2w"),
        "fingerprint": "f",
    }
    return CenterCard.model_validate(facts | changes)


def check(settings: Settings, changed: CenterCard, **run: object) -> None:
    """The course of a run over ucsf and the center of this card."""
    settings = settings.model_copy(update={"run": settings.run.model_copy(update=run)})
    cards = {"ucsf": card("ucsf"), changed.center: changed}
    check_tests(settings, cards, plan_course(tuple(cards), settings.run))


UNTESTED = {"test_subjects": 0, "test_contrasts": (), "untested": "it has 1 usable subject; 3 were passed over"}


def test_a_center_that_has_nobody_to_test_on_is_named_with_its_reason(settings: Settings) -> None:
    with pytest.raises(CenterError) as caught:
        check(settings, card(trains_untested=True, **UNTESTED))
    assert str(caught.value) == (
        "center milan has no subject to test on (it has 1 usable subject; 3 were passed over): its hospital mends or "
        "adds images (wardround hospital check), or leave it out of centers, or set untested-centers = 'train' to "
        "train there all the same"
    )


def test_a_center_whose_policy_lets_no_model_train_so_ends_the_run_before_it_begins(settings: Settings) -> None:
    cards = {"ucsf": card("ucsf"), "milan": card(untrained="8 steps where least-steps = 20")}
    course = plan_course(tuple(cards), settings.run)
    with pytest.raises(CenterError, match="milan is to train, but its policy lets no model train so: 8 steps where"):
        check_terms(settings, cards, course, simulated=False, identities={})
    check_terms(settings, cards, plan_course(("ucsf",), settings.run), simulated=True, identities={})


def test_a_center_that_shows_other_keys_than_the_protocol_names_ends_the_run_before_it_begins(
    settings: Settings,
) -> None:
    cards = {"milan": card(identity="milan's"), "ucsf": card("ucsf", identity="ucsf's")}
    course = plan_course(tuple(cards), settings.run)
    check_terms(settings, cards, course, simulated=False, identities={"milan": "milan's", "ucsf": "ucsf's"})
    for identity in ("another's", ""):
        changed = cards | {"milan": card(identity=identity)}
        with pytest.raises(CenterError, match="center milan shows other keys than the protocol names"):
            check_terms(settings, changed, course, simulated=False, identities={"milan": "milan's", "ucsf": "ucsf's"})


FEW = {"withholds": "has 1 subject to test on, and its policy reports means over 5 or more alone"}


def test_a_center_that_tells_no_score_trains_and_is_named(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    check(settings, card(**FEW))
    assert f"milan {FEW['withholds']}: it trains, and its cells of R stay open" in capsys.readouterr().out


def test_a_run_in_which_nobody_tells_a_score_after_a_stage_is_not_begun(settings: Settings) -> None:
    cards = {center: card(center, **FEW) for center in ("milan", "ucsf")}
    with pytest.raises(CenterError, match="nobody tells a score after stage 1, which milan, ucsf would test"):
        check_tests(settings, cards, plan_course(tuple(cards), settings.run))
    alone = settings.model_copy(update={"run": settings.run.model_copy(update={"tested_others": 0})})
    cards["ucsf"] = card("ucsf")
    with pytest.raises(CenterError, match="nobody tells a score after stage 1, which milan would test"):
        check_tests(alone, cards, plan_course(tuple(cards), alone.run))


def test_it_trains_where_the_run_and_its_policy_say_so(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CenterError, match=r"its policy lets no model train there untested: .* train-untested = true"):
        check(settings, card(**UNTESTED), untested_centers="train")
    capsys.readouterr()
    check(settings, card(trains_untested=True, **UNTESTED), untested_centers="train")
    assert "it trains, and its cells of R stay open" in capsys.readouterr().out


def test_one_that_does_not_train_ends_no_run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    cards = {"milan": card(**UNTESTED), "ucsf": card("ucsf")}
    course = plan_course(("ucsf",), settings.run)
    check_tests(settings, cards, course)
    assert (
        "milan has no subject to test on (it has 1 usable subject; 3 were passed over): its cells of R stay open"
        in (capsys.readouterr().out)
    )


def test_an_evaluator_may_have_any_policy_and_nobody_s_exemplars_hang_on_it(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run = settings.run.model_copy(update={"evaluators": ("milan",), "method": "replay"})
    settings = settings.model_copy(update={"run": run})
    cards = {"ucsf": card("ucsf", identity="key", allows_unsealed=True), "milan": card(role="evaluate")}
    for sealing in ("on", "off"):
        memory = settings.memory.model_copy(update={"sealing": sealing})
        sealed = settings.model_copy(update={"memory": memory})
        check_terms(sealed, cards, plan_course(("ucsf",), run), simulated=False, identities={})
    assert "no keys were made" not in capsys.readouterr().out
    with pytest.raises(CenterError, match=r"center milan is to train, .*: name it in evaluators instead of centers"):
        check_terms(settings, cards, plan_course(("ucsf", "milan"), run), simulated=False, identities={})
    check_terms(
        settings, cards | {"milan": card(role="train")}, plan_course(("ucsf",), run), simulated=True, identities={}
    )
    assert "evaluator milan: its policy lets it train only" in capsys.readouterr().out


def test_a_contrast_without_a_test_image_is_said(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    check(settings, card(test_contrasts=("FLAIR",)))
    assert capsys.readouterr().out == "[wardround] milan: no T2w image is left to test on\n"


def test_what_is_passed_over_is_a_line_a_reason() -> None:
    told = [("FLAIR", "cannot be read", 2), ("", "has no label", 1)]
    passed = tuple(PassedOverCard(contrast=c, reason=r, count=n) for c, r, n in told)
    assert passed_over_lines(passed_over({"milan": card(passed_over=passed)})) == [
        "milan passes over 1 subject: it has no label",
        "milan passes over 2 FLAIR images: each cannot be read",
    ]
