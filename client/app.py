"""The hospital's Flower ClientApp: roll call, training and testing."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client.evaluation import evaluate
from client.exemplars import choose_exemplars
from client.hospital import Hospital, centers_here, is_simulated, open_hospital
from client.sampler import Source
from client.state import forget_visit, visit_state
from client.trainer import Checkpoints, Progress, choose_device, plan_stage, train
from shared.checks import exemplars_problem, model_problem
from shared.errors import DataError, MessageError, ResultsError, WardroundError
from shared.memory import Exemplar, ReplayMemory
from shared.messages import (
    CaseScore,
    RollCall,
    TestFigures,
    TrainFigures,
    TrainReply,
    TrainRequest,
    check_question,
    pack_header,
    pack_refusal,
    pack_train_reply,
    unpack_evaluate_request,
    unpack_train_request,
)
from shared.network import Weights, initial_weights
from shared.progress import say
from shared.seeds import derive_seed, generator
from shared.settings import Settings

app = ClientApp()


def answering(handler: Callable[[Message, Context], RecordDict]) -> Callable[[Message, Context], Message]:
    """Reply with what the handler returns, or with its reason where it found something wrong."""

    def reply(message: Message, context: Context) -> Message:
        try:
            content = handler(message, context)
        except DataError as error:
            # It names files. A simulation's are the researcher's own; a hospital's stay there.
            say(str(error))
            away = f"the hospital's data: {error.public}; its client's log says more"
            content = pack_refusal(str(error) if is_simulated(context) else away)
        except ResultsError as error:
            say(str(error))
            away = "a folder of the hospital cannot be written; its client's log says which"
            content = pack_refusal(str(error) if is_simulated(context) else away)
        except WardroundError as error:
            content = pack_refusal(str(error))
        return Message(content, reply_to=message)

    return reply


@app.query("roll_call")
@answering
def roll_call(message: Message, context: Context) -> RecordDict:
    """Say which centers are here and what they have."""
    check_question(message.content)
    settings = _settings(context)
    cards = tuple(open_hospital(c, context, settings).card for c in centers_here(context, settings.run))
    return pack_header(RollCall(cards=cards, simulated=is_simulated(context)))


@app.train()
@answering
def train_here(message: Message, context: Context) -> RecordDict:
    """Train the visiting model on this center's data, unless an earlier message like this one had it done."""
    settings = _settings(context)
    request = unpack_train_request(message.content)
    task = request.task
    centers = task.pool if task.pool and is_simulated(context) else (_own(task.center, context, settings),)
    _inspect(request.weights, request.memory, settings)
    hospitals = [open_hospital(center, context, settings) for center in centers]
    with visit_state(hospitals[0].state, request, settings.training.checkpoint_seconds) as state:
        reply = state.finished()
        if reply is None:
            reply = _visit(request, hospitals, settings, state)
            state.finish(reply, settings.network)
        else:
            say(f"{task.center}: stage {task.stage + 1} was trained before: answered from disk")
    return pack_train_reply(reply)


def _visit(
    request: TrainRequest, hospitals: Sequence[Hospital], settings: Settings, checkpoints: Checkpoints
) -> TrainReply:
    """Train on the hospitals' data, and choose what the first one contributes."""
    started = time.perf_counter()
    task = request.task
    opened = [(hospital, *hospital.open(hospital.training)) for hospital in hospitals]
    device = choose_device(settings.training.device)
    patch = settings.training.patch_size
    own = [Source.of_volume(volume, patch, device) for _, good, _ in opened for _, volume in good]
    memory = [
        [Source.of_exemplar(exemplar, patch, device) for exemplar in request.memory.of(center)]
        for center in request.memory.centers
    ]
    plan = plan_stage(own, memory, settings, task.steps_factor)

    def report(progress: Progress) -> None:
        say(
            f"{task.center}: step {progress.step}/{progress.steps}, loss {progress.loss:.3f}, "
            f"{progress.seconds_left:.0f} s left"
        )

    seed = derive_seed(settings.run.seed, "train", task.stage, task.center)
    prepared = time.perf_counter() - started
    trained = train(request.weights, plan, settings, seed, device, report, checkpoints)
    started = time.perf_counter()
    contribution: tuple[Exemplar, ...] = ()
    if task.contribute:
        (hospital, good, _), *_ = opened
        contribution = choose_exemplars(
            hospital.center,
            good,
            hospital.pseudonym,
            size=settings.exemplar_voxels,
            spacing=settings.data.spacing,
            subjects=settings.memory.memory_subjects,
            budget=task.budget,
            random=generator(settings.run.seed, "exemplars", hospital.center),
        )
    figures = TrainFigures(
        steps=trained.steps,
        subjects=sum(len({case.subject for case, _ in good}) for _, good, _ in opened),
        final_loss=trained.final_loss,
        seconds=prepared + trained.seconds + time.perf_counter() - started,
        compute_seconds=trained.compute_seconds,
        set_aside={subject: reason for _, _, problems in opened for subject, reason in problems.items()},
    )
    return TrainReply(trained.weights, contribution, figures)


@app.evaluate()
@answering
def evaluate_here(message: Message, context: Context) -> RecordDict:
    """Test the visiting model on this center's test subjects."""
    started = time.perf_counter()
    settings = _settings(context)
    request = unpack_evaluate_request(message.content)
    center = _own(request.task.center, context, settings)
    _inspect(request.weights, ReplayMemory(), settings)
    hospital = open_hospital(center, context, settings)
    forget_visit(hospital.state, request.task, center)
    good, problems = hospital.open(hospital.test)
    device = choose_device(settings.training.device)
    overlaps = evaluate(request.weights, [volume for _, volume in good], settings, device)
    cases = tuple(
        CaseScore(subject=hospital.pseudonym(case.subject), contrast=case.contrast, **vars(score))
        for (case, _), score in zip(good, overlaps, strict=True)
    )
    figures = TestFigures(
        center=hospital.center,
        cases=cases,
        seconds=time.perf_counter() - started,
        set_aside=problems,
    )
    return pack_header(figures)


def _inspect(weights: Weights, memory: ReplayMemory, settings: Settings) -> None:
    """Raise `MessageError` where the coordinator sent what this run cannot have."""
    problem = model_problem(weights, initial_weights(settings.network, 0))
    problem = problem or exemplars_problem(memory.exemplars, settings)
    if not problem and memory.nbytes > settings.memory.memory_megabytes * 1e6:
        problem = f"a replay memory of {memory.nbytes} bytes, above memory-megabytes"
    if problem:
        raise MessageError(f"the coordinator sent {problem}: refused; run the same version and settings on both sides")


def _settings(context: Context) -> Settings:
    run_config: dict[str, Any] = dict(context.run_config)
    return Settings.from_run_config(run_config)


def _own(center: str, context: Context, settings: Settings) -> str:
    """`center`, where it is one of this node's."""
    here = centers_here(context, settings.run)
    if center not in here:
        raise MessageError(f"center {center} was asked for at the node of {', '.join(here) or 'no center'}")
    return center
