"""What a coordinator proposes to its hospitals: a scenario, made whole by their cards, as one protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scenarios.deployment.coordinator import Coordinator
from scenarios.runner.resume import extended_settings
from shared.clock import Clock, stamp
from shared.config.settings import Settings
from shared.course import check_pool, order_of_visits
from shared.errors import SettingsError
from shared.files import private_folder, write_whole
from shared.protocol.card import HospitalCard, read_card
from shared.protocol.document import Ancestor, StudyProtocol, spell
from shared.text import quoted
from shared.wire.code_fingerprint import code_fingerprint

CARDS = "cards"
"""In the coordinator's folder: one card a hospital."""


@dataclass(frozen=True)
class Wanted:
    """What is to be proposed."""

    settings: Settings
    title: str = ""
    methods: tuple[str, ...] = ()
    """One run for each; none: the settings' own."""
    seeds: tuple[int, ...] = ()
    """One run for each; none: the settings' own."""


def keep_card(coordinator: Coordinator, name: str, path: Path) -> HospitalCard:
    """Keep a hospital's card, in place of an older one. Raises `SettingsError` where it is another hospital's."""
    card = read_card(path)
    if card.center != name:
        raise SettingsError(f"{path} is the card of {card.center}, not of {name}")
    folder = private_folder(coordinator.folder / CARDS, "folder of cards")
    try:
        write_whole(folder / f"{name}.json", card.document.encode(), private=True)
    except OSError as error:
        raise SettingsError(f"the card cannot be kept in {folder} ({error.strerror}): let this user write it") from None
    return card


def propose(coordinator: Coordinator, wanted: Wanted, clock: Clock) -> StudyProtocol:
    """The protocol of a new study.

    Raises `SettingsError` where a hospital's card is lacking, does not let it train, or the settings cannot be run.
    """
    cards = _cards(coordinator, wanted.settings.run.participants)
    _check_roles(cards, wanted.settings)
    runs = []
    for method in wanted.methods or (wanted.settings.run.method,):
        for seed in wanted.seeds or (wanted.settings.run.seed,):
            settings = wanted.settings.with_changes({"method": method, "seed": seed})
            check_pool(settings.run, simulated=False)
            subjects = {center: card.count(settings.data.contrasts) for center, card in cards.items()}
            order = order_of_visits(subjects, settings.run)
            runs.append(settings.with_changes({"centers": ",".join(order), "order": "given"}).science)
    common = {key: value for key, value in runs[0].items() if all(run[key] == value for run in runs)}
    return _checked(
        StudyProtocol(
            title=wanted.title,
            created=stamp(clock()),
            code=code_fingerprint(),
            settings=spell(common),
            runs=tuple(spell({key: value for key, value in run.items() if key not in common}) for run in runs),
            identities={center: cards[center].identity for center in wanted.settings.run.centers},
        ),
        wanted.settings,
    )


def propose_extension(coordinator: Coordinator, folder: Path, center: str, title: str, clock: Clock) -> StudyProtocol:
    """The protocol of a finished run with one more center. Raises `SettingsError`, `ResultsError`."""
    settings, journal = extended_settings(folder, center)
    if (parent := journal.protocol) is None:
        raise SettingsError(f"the run in {folder} is a simulation, which needs no protocol: wardround extend alone")
    cards = _cards(coordinator, (center,))
    _check_roles(cards, settings)
    ancestor = Ancestor(protocol=parent.digest, run=journal.facts.run, stages=journal.trained)
    return _checked(
        StudyProtocol.of_run(
            settings,
            {**parent.identities, center: cards[center].identity},
            clock(),
            title or parent.title,
            (*parent.lineage, ancestor),
        ),
        settings,
    )


def _checked(protocol: StudyProtocol, settings: Settings) -> StudyProtocol:
    protocol.check(settings.to_run_config())
    return protocol


def _cards(coordinator: Coordinator, centers: Sequence[str]) -> dict[str, HospitalCard]:
    folder = coordinator.folder / CARDS
    if missing := [center for center in centers if not (folder / f"{center}.json").is_file()]:
        raise SettingsError(
            f"no card of {', '.join(missing)} is in {folder}: each sends what `wardround hospital card` writes, "
            f"and it is taken by: wardround coordinator enroll {quoted(coordinator.folder)} NAME PUBKEYFILE --card FILE"
        )
    return {center: read_card(folder / f"{center}.json") for center in centers}


def _check_roles(cards: Mapping[str, HospitalCard], settings: Settings) -> None:
    if unwilling := [c for c, card in cards.items() if card.role == "evaluate" and c in settings.run.centers]:
        raise SettingsError(
            f"{', '.join(unwilling)} lets a model only be tested: name it in evaluators instead of centers"
        )
