"""What comes in with a message: checked, and the memory opened, before anything is done with it."""

from client.governance.hash_chain import Facts
from client.hospital.assignment import Assignment
from client.hospital.trust import EXEMPLARS, Custody
from shared.config.settings import Settings
from shared.errors import MessageError, PolicyError, SealError
from shared.log import say
from shared.model.network import initial_weights
from shared.model.weights import Weights
from shared.protocol.lineage import check_tested_model, check_training_model
from shared.replay.contribution import PlainContribution
from shared.replay.manifest import SealedContribution, Visit
from shared.replay.memory import ReplayMemory
from shared.replay.sealing import unseal_memory
from shared.wire.headers import TrainTask
from shared.wire.messages import EvaluateRequest, TrainRequest
from shared.wire.validation import exemplars_problem, model_problem, state_problem


def receive_training(custody: Custody, request: TrainRequest, work: Assignment) -> ReplayMemory:
    """The memory that a train request brings, once all that came was checked and noted in the audit log.

    Raises `MessageError`, `PolicyError` or `TrustError` where the model is not the one that the protocol says, and as
    `open_memory` does.
    """
    settings = work.settings
    memory = open_memory(custody, request)
    problem = _model_problem(request.weights, settings)
    # An exemplar is decoded when it is drawn: to decode all of them here would cost with every center before.
    problem = problem or exemplars_problem(memory.exemplars, settings, decoding=False)
    if not problem and memory.nbytes > settings.memory.memory_megabytes * 1e6:
        problem = f"a replay memory of {memory.nbytes} bytes, above memory-megabytes"
    expected = settings.run.spec.state if request.task.stage else ()
    _refuse(problem or state_problem(request.state, expected, request.weights))
    if work.plan is not None:
        stage = work.plan.stage(request.task.stage)
        _refuse("a replay memory, which this run does not have," if request.memory and not stage.replay else "")
        visits = [work.plan.order.index(c.center) for c in request.memory if c.center in work.plan.order]
        _refuse("a replay memory in another order than that of the visits" if visits != sorted(visits) else "")
        custody.check_averaged(bool(stage.index and stage.apart))
        check_training_model(request, work.plan, custody.pin)
    _note_received(custody, request)
    return memory


def receive_test(custody: Custody, request: EvaluateRequest, work: Assignment) -> None:
    """See that the model is the one that the run says. Raises `MessageError`, `PolicyError` or `TrustError`."""
    _refuse(_model_problem(request.weights, work.settings))
    if work.plan is not None:
        custody.check_averaged(bool(work.plan.stage(request.task.stage).apart))
        check_tested_model(request, work.plan, custody.pin)


def _model_problem(weights: Weights, settings: Settings) -> str:
    return model_problem(weights, initial_weights(settings.network, 0))


def _refuse(problem: str) -> None:
    if problem:
        raise MessageError(f"the coordinator sent {problem}: refused; run the same version and settings on both sides")


def open_memory(custody: Custody, request: TrainRequest) -> ReplayMemory:
    """The exemplars that a train request brings and this hospital may open; they stay in memory.

    What was sealed for others is passed over, aloud. Raises `SealError`, `TrustError`,
    `PolicyError` or `MessageError` where something was changed, replayed, is out of date, is not
    by whom it says, or should have been sealed.
    """
    task = request.task
    plain = [c for c in request.memory if isinstance(c, PlainContribution)]
    sealed = [c for c in request.memory if isinstance(c, SealedContribution)]
    if sealed and not custody.sealed:
        raise MessageError("the coordinator sent sealed exemplars in a run that does not seal: refused")
    if plain and custody.sealed:
        raise SealError(
            f"the exemplars of {plain[0].center} came unsealed in a run that seals: anybody could have made them, and "
            "they are refused"
        )
    if plain and not custody.policy.allow_unsealed:
        raise PolicyError("the coordinator sent unsealed exemplars, and this hospital's policy has no allow-unsealed")
    mine = [c for c in sealed if custody.center in c.recipients]
    for other in sealed:
        if other not in mine:
            _pass_over(custody, task, other)
    if not mine:
        return ReplayMemory(tuple(exemplar for c in plain for exemplar in c.exemplars))
    visits = [Visit(run=task.run, stage=stage, center=center) for stage, center in enumerate(task.earlier)]
    return unseal_memory(mine, custody.own_keys(), custody.peers.check, visits, custody.clock())


def _note_received(custody: Custody, request: TrainRequest) -> None:
    """Write into the audit log what came and was accepted. Raises `RecordError`."""
    facts = Facts(
        message="train request",
        run=request.task.run,
        stage=request.task.stage,
        centers=tuple(dict.fromkeys(c.center for c in request.memory)),
        size=sum(c.nbytes for c in request.memory),
        checksums=tuple(name for c in request.memory for name in c.payloads),
    )
    custody.note("received", facts)


def _pass_over(custody: Custody, task: TrainTask, other: SealedContribution) -> None:
    reason = f"the contribution of {other.center} is for {', '.join(other.recipients)}, not for {custody.center}"
    say(f"{custody.center}: {reason}: passed over, unopened")
    facts = Facts(message=EXEMPLARS, run=task.run, stage=task.stage, centers=(other.center,), reason=reason)
    custody.note("refused", facts)
