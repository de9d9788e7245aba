"""On which terms a run may begin: what the hospitals' policies and keys allow of what it needs."""

from server.course import Stage
from shared.config.settings import Settings
from shared.errors import CenterError, SettingsError
from shared.log import say
from shared.wire.headers import CenterCard


def check_terms(settings: Settings, cards: dict[str, CenterCard], course: tuple[Stage, ...], simulated: bool) -> None:
    """Say what the hospitals allow, and see that the course asks for no more.

    Raises `CenterError` where a center is to train that does not, and `SettingsError` where
    exemplars would travel unsealed and a policy forbids that.
    """
    for center in dict.fromkeys(center for stage in course for center in stage.centers):
        if center in cards and cards[center].role == "evaluate":
            raise CenterError(
                f"center {center} is to train, but its policy lets it test only: leave it out of centers, or "
                'its hospital sets role = "both"'
            )
    if simulated:
        return
    for center, card in cards.items():
        say(f"{center}: {card.policy or 'says nothing of its policy'}")
    if not any(stage.replay for stage in course):
        return
    if not settings.memory.seals(simulated):
        if strict := [center for center, card in cards.items() if not card.allows_unsealed]:
            raise SettingsError(
                f"sealing = 'off' is not what the policies of {', '.join(strict)} allow: set sealing = 'auto', or "
                "each of them sets allow-unsealed = true"
            )
    elif keyless := [center for center, card in cards.items() if not card.identity]:
        say(f"no keys were made at {', '.join(keyless)}: exemplars neither come from there nor go there")
