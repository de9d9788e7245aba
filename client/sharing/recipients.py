"""Who is to open what a hospital contributes, known before it trains, since a stage takes long."""

from dataclasses import dataclass

from client.hospital.trust import Custody
from shared.errors import MessageError, TrustError
from shared.log import say
from shared.trust.identity import Identity
from shared.wire.headers import TrainTask


@dataclass(frozen=True)
class Outlook:
    """Who is to open what this hospital contributes, as far as its policy and pins allow."""

    recipients: tuple[str, ...]
    """All that are to train on it."""
    identities: tuple[Identity, ...]
    """Of those that the policy names and that have keys; each is the pinned one."""


def look_ahead(custody: Custody, task: TrainTask) -> Outlook:
    """Who is to open what this hospital will contribute.

    Raises `TrustError` where a key that the coordinator gives is not the pinned one, and where
    this hospital would seal but has no keys.
    """
    if not custody.sealed:
        # In simulation for everybody, so that a run that ended can be extended.
        return Outlook(custody.policy.centers if custody.simulated else task.later, ())
    if not task.contribute or not custody.policy.share_exemplars:
        return Outlook(task.later, ())
    shown = {identity.center: identity for identity in _parsed(task.identities)}
    wanted = [center for center in task.later if center in custody.policy.centers]
    if without := [center for center in wanted if center not in shown]:
        say(f"{custody.center}: nothing goes to {', '.join(without)}, which made no keys")
    identities = tuple(shown[center] for center in wanted if center in shown)
    for identity in identities:
        custody.peers.check(identity)
    if identities:
        custody.own_keys()
    recipients = tuple(c for c in task.later if c in shown or c not in custody.policy.centers)
    return Outlook(recipients, identities)


def _parsed(lines: tuple[str, ...]) -> list[Identity]:
    try:
        return [Identity.parse(line) for line in lines]
    except TrustError as error:
        raise MessageError(f"the coordinator sent a public key that is none ({error}): refused") from None
