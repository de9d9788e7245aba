"""The roll call: which node is which center, and whether it may be.

Flower says under which name a node was enrolled, the node says which center it is and which
code it runs. Where these do not fit, the node is refused. (In simulation nobody is enrolled,
and both sides are one process's code.)
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from flwr.app import Message
from flwr.serverapp import Grid

from server.exchange import Clock, Failure, exchange
from server.journal.journal import Journal
from shared.config.groups import RunSettings
from shared.errors import CenterError, MessageError, TrustError
from shared.log import say
from shared.trust.identity import Identity
from shared.wire.code_fingerprint import code_fingerprint
from shared.wire.headers import CenterCard, LogHead, Question, RollCall
from shared.wire.records import pack_question, unpack_header

POLL_SECONDS = 0.5


@dataclass
class Roster:
    """The centers that came, and where they are now."""

    nodes: dict[str, int]
    """Flower's node id of each center; another one after a center came back as a new node."""
    cards: dict[str, CenterCard]
    simulated: bool
    question: Question = field(default_factory=Question)
    """What everybody is asked."""

    @property
    def training_subjects(self) -> dict[str, int]:
        """How many each center has to train on."""
        return {center: card.training_subjects for center, card in self.cards.items()}

    @property
    def identities(self) -> dict[str, str]:
        """Name and public keys of each center, as it showed them."""
        return {center: card.identity for center, card in self.cards.items()}

    @property
    def logs(self) -> dict[str, LogHead | None]:
        """Where each center's audit log ended at the roll call."""
        return {center: card.log for center, card in self.cards.items()}

    def find(self, grid: Grid, run: RunSettings, center: str, seconds: float | None = None) -> int | None:
        """Where a center that was lost, or did not come to the roll call, is now; nothing while it is away.

        `seconds` is how long nodes that nobody knows have to say who they are; none: as long as any message.
        """
        listed = set(grid.get_node_ids())
        if self.nodes.get(center) in listed:
            return self.nodes[center]
        enrolled = _enrolled(grid)
        strangers = _expected(listed - set(self.nodes.values()), enrolled, (center,))
        for node, call in _ask(grid, strangers, run, self.question, on_failure=lambda failure: None, seconds=seconds):
            card = next((card for card in call.cards if card.center == center), None)
            if card is None:
                continue
            problem = stranger_problem(call, enrolled.get(node, ""))
            if not problem and card.identity != self.cards.get(center, card).identity:
                problem = f"center {center} came back with other keys"
            if problem:
                say(f"not taken back: {problem}")
                continue
            self.nodes[center] = node
            self.cards.setdefault(center, card)
            return node
        return None

    def check(self, journal: Journal, run: RunSettings) -> None:
        """See that all have the subjects and keys that they began the run with, and note who is new to it.

        Raises `CenterError`, but where it is an evaluator, which is then left out.
        """
        for center, card in list(self.cards.items()):
            try:
                journal.check_cards({center: card})
            except CenterError as error:
                if center not in run.evaluators:
                    raise
                self.leave_out(center, str(error))

    def leave_out(self, center: str, reason: str) -> None:
        """Go on without an evaluator, aloud."""
        say(f"{reason}; going on without its tests")
        self.nodes.pop(center, None)
        self.cards.pop(center, None)


def stranger_problem(call: RollCall, enrolled: str) -> str:
    """Why a node is not who or what it must be, or nothing; `enrolled` is its name at Flower's SuperLink."""
    names = " and ".join(card.center for card in call.cards)
    if enrolled and {card.center for card in call.cards} != {enrolled}:
        return (
            f"the node that was enrolled as {enrolled} says that it is center {names or 'nobody'}: "
            "start it with the key of that center, or enroll its key under the right name"
        )
    if problems := [problem for card in call.cards if (problem := _identity_problem(card))]:
        return problems[0]
    if not call.simulated and call.code != (ours := code_fingerprint()):
        return (
            f"center {names} runs other code (fingerprint {call.code[:16] or 'none'}) than the coordinator "
            f"({ours[:16]}): install the same version of Wardround on both sides"
        )
    return ""


def _identity_problem(card: CenterCard) -> str:
    """Why a center's public keys are none, or nothing: told now, and not by another hospital at its visit."""
    if not card.identity:
        return ""
    try:
        identity = Identity.parse(card.identity)
    except TrustError as error:
        return f"center {card.center} shows a public key that is none ({error})"
    if identity.center == card.center and str(identity) == card.identity:
        return ""
    return f"center {card.center} shows the public key of {identity.center}: it must show its own, on one line"


def call_roll(
    grid: Grid,
    run: RunSettings,
    question: Question,
    wanted: Collection[str] | None = None,
    required: Collection[str] | None = None,
    clock: Clock | None = None,
) -> Roster:
    """Ask every node who it is until all `wanted` centers (of the run: all, evaluators too) have answered.

    The `question` names the run and those that it goes on from, by which hospitals keep their division, and says where
    their audit logs ended when the run last heard of them.
    Raises `CenterError`: a node refused, is not who it says or runs other code, two nodes claim
    one center, or one of the `required` centers (all that are wanted, but for evaluators) was still missing
    `run.wait_seconds` after the last node came in. What is wrong with an evaluator's node is said, and ends nothing.
    """
    clock = clock or Clock()
    wanted = run.participants if wanted is None else wanted
    required = [center for center in wanted if center not in run.evaluators] if required is None else required
    asked: set[int] = set()
    refused: set[str] = set()
    roster = Roster({}, {}, simulated=False, question=question)

    def refuse(centers: Collection[str], problem: str) -> None:
        """Raise `CenterError`, but where it is evaluators' node: they are then waited for no longer."""
        if not centers or not set(centers) <= set(run.evaluators):
            raise CenterError(problem)
        for center in sorted(centers):
            roster.leave_out(center, f"evaluator {center}: {problem}")
        refused.update(centers)

    last = clock.now()
    while missing := [center for center in wanted if center not in roster.nodes and center not in refused]:
        if clock.now() - last > run.wait_seconds:
            _without(missing, required, run)
            break
        enrolled = _enrolled(grid)
        new = _expected(set(grid.get_node_ids()) - asked, enrolled, run.participants)
        if not new:
            clock.sleep(POLL_SECONDS)
            continue
        asked |= set(new)
        lost: set[int] = set()
        begun = clock.now()

        def failed(failure: Failure, lost: set[int] = lost, enrolled: Mapping[int, str] = enrolled) -> None:
            node = int(failure.name.removeprefix("node "))
            if not failure.lost:
                return refuse({enrolled.get(node, "")}, f"{failure.name} {failure.reason}")
            say(f"{failure.name} {failure.reason}")
            return lost.add(node)

        calls = _ask(grid, new, run, question, failed)
        # Waiting for an answer is not waiting for a center to come.
        last = clock.now() if calls else last + clock.now() - begun
        for node, call in calls:
            if problem := stranger_problem(call, enrolled.get(node, "")):
                names = {enrolled[node]} if enrolled.get(node) else {card.center for card in call.cards}
                refuse(names, f"{problem}: refused")
                continue
            roster.simulated |= call.simulated
            for card in call.cards:
                if card.center in roster.nodes:
                    raise CenterError(f"two nodes claim to be center {card.center}: stop one of them")
                if card.center in run.participants:
                    roster.nodes[card.center], roster.cards[card.center] = node, card
        # One that went away before it could answer is asked again, should it come back.
        asked -= lost
        clock.sleep(POLL_SECONDS if lost else 0)
    return roster


def _enrolled(grid: Grid) -> dict[int, str]:
    """The name under which each node was enrolled; empty in simulation."""
    return {node.node_id: node.name for node in grid.get_nodes()}


def _expected(nodes: Collection[int], enrolled: Mapping[int, str], centers: Collection[str]) -> list[int]:
    """The nodes that may be one of the centers; those of other names have approved nothing, and are left alone."""
    return sorted(node for node in nodes if not enrolled.get(node) or enrolled[node] in centers)


def _without(missing: list[str], required: Collection[str], run: RunSettings) -> None:
    """Go on without the missing centers, or raise `CenterError` where one is required."""
    if needed := [center for center in missing if center in required]:
        raise CenterError(
            f"{len(needed)} of {len(required)} centers did not come within {run.wait_seconds:g} s: "
            f"{', '.join(needed)}; start their SuperNodes, or leave them out of centers"
        )
    say(f"did not come within {run.wait_seconds:g} s: {', '.join(missing)}; going on without their tests")


def _ask(
    grid: Grid,
    nodes: Iterable[int],
    run: RunSettings,
    question: Question,
    on_failure: Callable[[Failure], None],
    seconds: float | None = None,
) -> list[tuple[int, RollCall]]:
    ttl = run.message_hours * 3600 if seconds is None else seconds
    nodes = list(nodes)
    messages = [Message(pack_question(question), node, "query.roll_call", ttl=ttl) for node in nodes]
    heard = []
    for reply in exchange(grid, messages, [f"node {node}" for node in nodes], ttl, on_failure=on_failure):
        try:
            heard.append((reply.metadata.src_node_id, unpack_header(reply.content, RollCall)))
        except MessageError as error:
            on_failure(Failure(f"node {reply.metadata.src_node_id}", f"failed at the roll call: {error}"))
    return sorted(heard, key=lambda pair: pair[0])
