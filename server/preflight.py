"""On which terms a run may begin: what the hospitals' policies and keys allow of what it needs."""

from collections.abc import Mapping

from shared.config.settings import Settings
from shared.course import Stage
from shared.errors import CenterError, SettingsError
from shared.log import say
from shared.result_notes import passed_over_lines
from shared.results import passed_over
from shared.wire.headers import CenterCard


def check_terms(
    settings: Settings,
    cards: dict[str, CenterCard],
    course: tuple[Stage, ...],
    simulated: bool,
    identities: Mapping[str, str],
) -> None:
    """Say what the hospitals allow, and see that the course asks for no more.

    `identities` are those that a protocol names. Raises `CenterError` where a center is to train that does not, or
    shows other keys, and `SettingsError` where
    exemplars would travel unsealed and a policy forbids that.
    """
    for center in dict.fromkeys(center for stage in course for center in stage.centers):
        if center in cards and cards[center].role == "evaluate":
            raise CenterError(
                f"center {center} is to train, but its policy lets it test only: name it in evaluators instead of "
                'centers, or its hospital sets role = "both"'
            )
        if center in cards and (why := cards[center].untrained):
            raise CenterError(
                f"center {center} is to train, but its policy lets no model train so: {why}; raise steps, epochs or "
                "batch-size, or leave it out of centers, or its hospital lowers them"
            )
    for center in settings.run.evaluators:
        if center in cards and cards[center].role == "train":
            say(f"evaluator {center}: its policy lets it train only, so that it will refuse to test")
    if simulated:
        return
    for center, card in cards.items():
        named = identities.get(center, "")
        if named and card.identity != named:
            raise CenterError(
                f"center {center} shows other keys than the protocol names: restore its key folder, or propose a "
                "protocol with its new keys"
            )
    for center, card in cards.items():
        say(f"{center}: {card.policy or 'says nothing of its policy'}")
    averaged = {center for stage in course if stage.apart for center in (*stage.centers, *stage.tests)}
    if strict := [center for center, card in cards.items() if center in averaged and not card.allows_averaged]:
        raise SettingsError(
            f"method = {settings.run.method!r} sends averaged models, which no hospital signs, and the policies of "
            f"{', '.join(strict)} do not allow them: choose another method, or each of them sets "
            "allow-averaged-models = true"
        )
    if not any(stage.replay for stage in course):
        return
    # Evaluators neither give exemplars nor get them.
    sharing = {center: card for center, card in cards.items() if center not in settings.run.evaluators}
    if not settings.memory.seals(simulated):
        if strict := [center for center, card in sharing.items() if not card.allows_unsealed]:
            raise SettingsError(
                f"sealing = 'off' is not what the policies of {', '.join(strict)} allow: set sealing = 'auto', or "
                "each of them sets allow-unsealed = true"
            )
    elif keyless := [center for center, card in sharing.items() if not card.identity]:
        say(f"no keys were made at {', '.join(keyless)}: exemplars neither come from there nor go there")


def check_tests(settings: Settings, cards: Mapping[str, CenterCard], course: tuple[Stage, ...]) -> None:
    """Say what each center passes over and which contrast it cannot test, and see that each that trains is tested.

    Raises `CenterError` where one that is to train has no subject to test on, unless the run and its policy want that,
    and where nobody could tell a score after one of the stages.
    """
    trains = {center for stage in course for center in stage.centers}
    for line in passed_over_lines(passed_over(cards)):
        say(line)
    for center, card in cards.items():
        if card.test_subjects:
            if lacking := sorted(set(card.contrasts) - set(card.test_contrasts)):
                say(f"{center}: no {' or '.join(lacking)} image is left to test on")
            if card.withholds:
                say(f"{center} {card.withholds}: {'it trains, and ' * (center in trains)}its cells of R stay open")
            continue
        untested = f"center {center} has no subject to test on ({card.untested or 'it gives no reason'})"
        if center not in trains:
            say(f"{untested}: its cells of R stay open")
        elif settings.run.untested_centers == "refuse":
            raise CenterError(
                f"{untested}: its hospital mends or adds images (wardround hospital check), or leave it out of "
                "centers, or set untested-centers = 'train' to train there all the same"
            )
        elif not card.trains_untested:
            raise CenterError(
                f"{untested}, and its policy lets no model train there untested: leave it out of centers, or its "
                "hospital sets train-untested = true"
            )
        else:
            say(f"{untested}: it trains, and its cells of R stay open")
    _check_rows(settings, cards, course)


def _check_rows(settings: Settings, cards: Mapping[str, CenterCard], course: tuple[Stage, ...]) -> None:
    """Raise `CenterError` where all who are to test a stage's model are known to tell no score."""
    silent = {center for center, card in cards.items() if not card.test_subjects or card.withholds}
    for stage in course:
        asked = [center for center in stage.tests if center not in settings.run.evaluators]
        if asked and silent.issuperset(asked):
            raise CenterError(
                f"nobody tells a score after {stage.kind} {stage.index + 1}, which {', '.join(asked)} would test: "
                "raise tested-others, or one of these hospitals tests on more subjects, lowers least-test-subjects, or "
                "sets report-subject-scores = true"
            )
