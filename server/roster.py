"""The roll call: which node is which center."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from flwr.app import Message
from flwr.serverapp import Grid

from server.dispatch import exchange
from shared.errors import CenterError, MessageError
from shared.messages import CenterCard, RollCall, pack_question, unpack_header
from shared.settings import RunSettings

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Roster:
    """The expected centers, all of them present."""

    nodes: dict[str, int]
    """Flower's node id of each center."""
    cards: dict[str, CenterCard]
    simulated: bool


def call_roll(
    grid: Grid,
    run: RunSettings,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Roster:
    """Ask every node who it is until all expected centers have answered.

    Raises `CenterError`: a node refused, two nodes claim one center, or centers were still
    missing `run.wait_seconds` after the last node came in.
    """
    asked: set[int] = set()
    nodes: dict[str, int] = {}
    cards: dict[str, CenterCard] = {}
    simulated = False
    last = clock()
    while missing := [center for center in run.centers if center not in nodes]:
        new = sorted(set(grid.get_node_ids()) - asked)
        if not new:
            if clock() - last > run.wait_seconds:
                raise CenterError(
                    f"{len(missing)} of {len(run.centers)} centers did not come within {run.wait_seconds:g} s: "
                    f"{', '.join(missing)}; start their SuperNodes, or leave them out of centers"
                )
            sleep(POLL_SECONDS)
            continue
        asked |= set(new)
        for node, call in _ask(grid, new, run):
            simulated |= call.simulated
            for card in call.cards:
                if card.center in nodes:
                    raise CenterError(f"two nodes claim to be center {card.center}: stop one of them")
                if card.center in run.centers:
                    nodes[card.center], cards[card.center] = node, card
        last = clock()
    return Roster(nodes, cards, simulated)


def _ask(grid: Grid, nodes: list[int], run: RunSettings) -> list[tuple[int, RollCall]]:
    ttl = run.message_hours * 3600
    messages = [Message(pack_question(), node, "query.roll_call", ttl=ttl) for node in nodes]
    heard = []
    for reply in exchange(grid, messages, [f"node {node}" for node in nodes], ttl):
        try:
            heard.append((reply.metadata.src_node_id, unpack_header(reply.content, RollCall)))
        except MessageError as error:
            raise CenterError(f"node {reply.metadata.src_node_id} failed at the roll call: {error}") from None
    return sorted(heard, key=lambda pair: pair[0])
