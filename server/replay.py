"""What of the replay memory the coordinator hands on, sealed contributions without any key."""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from shared.replay.contribution import Contribution


def hand_on(
    contributions: Iterable[Contribution], center: str, withdrawn: Mapping[str, Collection[str]], now: datetime
) -> tuple[Contribution, ...]:
    """What `center` gets: what it can use and did not send, without expired and withdrawn exemplars.

    `withdrawn` are pseudonyms by the center that withdrew them; none withdraws another's. A
    contribution of which nothing is left is not handed on.
    """
    left = [c.without(withdrawn.get(c.center, ())) for c in contributions if c.may_reach(center, now)]
    return tuple(c for c in left if c.subjects)
