"""What a hospital answers: to the roll call, and where it is to train or to test."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flwr.app import Context, Message, RecordDict

from client.evaluation.inference import evaluate
from client.governance.hash_chain import Facts
from client.governance.policy import report_scores
from client.hospital.center import Hospital, open_hospital
from client.hospital.config import Site
from client.hospital.node import centers_here, is_simulated, prepared_folder, site_of
from client.hospital.trust import Custody, Place, open_custody
from client.sharing.inbound import receive_test, receive_training
from client.sharing.kept_replies import forget_visit, keeping_visit
from client.sharing.outbound import leaving, reply_of
from client.sharing.recipients import look_ahead
from client.sharing.test_scores import scores_leaving
from client.training.stage import train_stage
from shared.clock import Clock, utc_now
from shared.config.settings import Settings
from shared.errors import DataError, MessageError, SettingsError, WardroundError
from shared.log import say
from shared.model.device import choose_device
from shared.text import tallied
from shared.wire.code_fingerprint import code_fingerprint
from shared.wire.headers import CaseScore, EvaluateTask, RollCall, TestFigures, TrainTask
from shared.wire.messages import EvaluateRequest, pack_train_reply, unpack_evaluate_request, unpack_train_request
from shared.wire.records import pack_header, pack_refusal, unpack_question
from shared.wire.request_digest import Asked

FindSite = Callable[[str, Context, Settings], Site]
"""Which hospital a center is at a node."""


@dataclass(frozen=True)
class Desk:
    """Where messages are answered: by which clock, and as which hospital."""

    clock: Clock = utc_now
    find: FindSite = site_of


Handler = Callable[[RecordDict, Context, Desk], RecordDict]


def answer(handler: Handler, message: Message, context: Context, desk: Desk) -> Message:
    """Reply with what the handler returns, or with its reason where it found something wrong.

    A simulation's files are the researcher's own. What a deployed hospital tells names none of
    its files, whatever went wrong; its own log has the whole.
    """
    try:
        content = handler(message.content, context, desk)
    except WardroundError as error:
        say(str(error))
        content = pack_refusal(str(error) if is_simulated(context) else _outside(error))
    except Exception as error:
        if is_simulated(context):
            raise
        # Flower would send the whole traceback.
        traceback.print_exc()
        content = pack_refusal(f"{type(error).__name__} at the hospital; its client's log says more")
    return Message(content, reply_to=message)


def _outside(error: WardroundError) -> str:
    if isinstance(error, DataError):
        return f"the hospital's data: {error.public}; its client's log says more"
    return error.public


def roll_call(content: RecordDict, context: Context, desk: Desk) -> RecordDict:
    """Say which centers are here, what they have, and what they allow."""
    question = unpack_question(content)
    settings = _settings(context)
    cards = []
    for center in centers_here(context, settings):
        place = _place(center, context, settings, desk)
        hospital = open_hospital(place.site, place.prepared, settings, question.runs, look_over=True)
        cards.append(place.custody.shown(hospital, settings))
        place.custody.note("sent", Facts(message="roll call"))
    return pack_header(RollCall(cards=tuple(cards), simulated=is_simulated(context), code=code_fingerprint()))


def train_here(content: RecordDict, context: Context, desk: Desk) -> RecordDict:
    """Train the visiting model on this center's data, unless an earlier message like this one had it done."""
    settings = _settings(context)
    request = unpack_train_request(content)
    task = request.task
    places = [_place(center, context, settings, desk) for center in _asked(task, context, settings)]
    custody = places[0].custody
    with custody.asked("train", task):
        memory = receive_training(custody, request, settings)
        outlook = look_ahead(custody, task)
        hospitals = [open_hospital(place.site, place.prepared, settings, (task.run,)) for place in places]
        first = hospitals[0]
        for place, hospital in zip(places, hospitals, strict=True):
            place.custody.check_training(hospital, settings, task.rounds)
        custody.hear_dropped(task, first)
        every = settings.training.checkpoint_seconds
        with keeping_visit(first.state, request, every, custody.tasks, first.untrained) as visit:
            forget_visit(first.state, task, first.center)
            reply = visit.finished()
            if reply is None:
                trained = train_stage(request, memory, hospitals, settings, visit.checkpoints)
                reply = reply_of(trained, places[0], first, task, settings, outlook)
                visit.finish(reply, settings.network)
            else:
                say(f"{task.center}: stage {task.stage + 1} was trained before: answered from disk")
            if custody.tasks is not None:
                custody.tasks.finish(task)
        reply = leaving(reply, custody, places[0].site, first, task)
    return pack_train_reply(reply)


def evaluate_here(content: RecordDict, context: Context, desk: Desk) -> RecordDict:
    """Test the visiting model on this center's test subjects, unless an earlier message like this one had it done."""
    settings = _settings(context)
    request = unpack_evaluate_request(content)
    task = request.task
    (center,) = _asked(task, context, settings)
    place = _place(center, context, settings, desk)
    custody = place.custody
    with custody.asked("evaluate", task):
        receive_test(request, settings)
        hospital = open_hospital(place.site, place.prepared, settings, (task.run,))
        custody.hear_dropped(task, hospital)
        figures = custody.tasks.begin(task, Asked.of(request)).scores if custody.tasks is not None else None
        forget_visit(hospital.state, task, hospital.center)
        if figures is not None:
            say(f"{center}: stage {task.stage + 1} was tested before: answered from disk")
        else:
            figures = _tested(request, hospital, custody, settings)
            if custody.tasks is not None:
                figures = custody.tasks.finish(task, figures).scores or figures
        figures = scores_leaving(custody, hospital, task, figures)
    return pack_header(figures)


def _tested(request: EvaluateRequest, hospital: Hospital, custody: Custody, settings: Settings) -> TestFigures:
    """The scores of the hospital's test subjects, as its policy lets them leave."""
    started = time.perf_counter()
    good, problems = hospital.open(hospital.test)
    device = choose_device(settings.training.device)
    scores = evaluate(request.weights, [volume for _, volume in good], settings, device)
    scored = [
        CaseScore(subject=hospital.pseudonym(case.subject), contrast=case.contrast, **score.rounded().model_dump())
        for (case, _), score in zip(good, scores, strict=True)
    ]
    report = report_scores(custody.policy, scored)
    return TestFigures(
        center=hospital.center,
        cases=report.cases,
        mean=None if report.cases else report.mean,
        seconds=time.perf_counter() - started,
        set_aside=tallied(problems.values()),
    )


def _place(center: str, context: Context, settings: Settings, desk: Desk) -> Place:
    site = desk.find(center, context, settings)
    prepared = prepared_folder(site, context, settings)
    return Place(site, open_custody(site, settings, is_simulated(context), desk.clock), prepared)


def _settings(context: Context) -> Settings:
    run_config: dict[str, Any] = dict(context.run_config)
    try:
        return Settings.from_run_config(run_config)
    except SettingsError as error:
        if is_simulated(context):
            raise
        raise SettingsError(f"{error}; does the coordinator run another version of Wardround?") from None


def _asked(task: TrainTask | EvaluateTask, context: Context, settings: Settings) -> tuple[str, ...]:
    """The centers that are asked: one of this node's, or in simulation all that are pooled."""
    if isinstance(task, TrainTask) and task.pool and is_simulated(context):
        return task.pool
    here = centers_here(context, settings)
    if task.center not in here:
        raise MessageError(f"center {task.center} was asked for at the node of {', '.join(here) or 'no center'}")
    return (task.center,)
