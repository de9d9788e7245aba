"""What a hospital answers: to the roll call, and where it is to train or to test."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from flwr.app import Context, Message, RecordDict

from client.evaluation.inference import evaluate
from client.governance.hash_chain import Facts
from client.governance.policy import Policy, check_reported, report_scores
from client.hospital.assignment import Assignment, assigned
from client.hospital.center import Hospital, open_hospital
from client.hospital.config import Site
from client.hospital.node import is_simulated, no_simulation, prepared_folder, simulated_centers, site_here
from client.hospital.trust import Place, open_custody
from client.sharing.inbound import receive_test, receive_training
from client.sharing.kept_replies import forget_visit, keeping_visit
from client.sharing.outbound import leaving, reply_of
from client.sharing.recipients import look_ahead
from client.sharing.score_report import scores_leaving
from client.training.stage import Opened, train_stage
from shared.clock import Clock, utc_now
from shared.config.settings import Settings
from shared.errors import DataError, MessageError, PolicyError, WardroundError
from shared.files import work_privately
from shared.log import say
from shared.model.device import choose_device
from shared.text import printable, tallied
from shared.wire.code_fingerprint import code_fingerprint
from shared.wire.headers import CaseScore, EvaluateTask, RollCall, TestFigures, TrainTask
from shared.wire.messages import EvaluateRequest, pack_train_reply, unpack_evaluate_request, unpack_train_request
from shared.wire.records import pack_header, pack_refusal, unpack_question
from shared.wire.request_digest import Asked

SimulatedSite = Callable[[str, Settings], Site]
"""Which hospital a simulated center is."""


@dataclass(frozen=True)
class Desk:
    """Where messages are answered: by which clock, and as which hospital."""

    clock: Clock = utc_now
    simulated: SimulatedSite = no_simulation
    deployed: Callable[[Context], Site] = site_here


Handler = Callable[[RecordDict, Context, Desk], RecordDict]


def answer(handler: Handler, message: Message, context: Context, desk: Desk) -> Message:
    """Reply with what the handler returns, or with its reason where it found something wrong.

    A simulation's files are the researcher's own. What a deployed hospital tells names none of
    its files, whatever went wrong; its own log has the whole.
    """
    try:
        content = handler(message.content, context, desk)
    except WardroundError as error:
        say(printable(str(error)))
        content = pack_refusal(printable(str(error) if is_simulated(context) else _outside(error)))
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
    work = _assigned(question.protocol, question.runs, context, desk)
    cards = []
    for center in _centers_here(context, work):
        place = _place(center, work, desk)
        place.custody.check_log(question.heads.get(center), "roll call")
        hospital = _open(place, work, look_over=True)
        place.custody.note("sent", Facts(message="roll call"))
        cards.append(place.custody.shown(hospital, work.settings))
    return pack_header(RollCall(cards=tuple(cards), simulated=is_simulated(context), code=code_fingerprint()))


def train_here(content: RecordDict, context: Context, desk: Desk) -> RecordDict:
    """Train the visiting model on this center's data, unless an earlier message like this one had it done."""
    request = unpack_train_request(content)
    task = request.task
    work = _assigned(task.protocol, (task.run,), context, desk)
    settings = work.settings
    asked = _asked(task, context, work)
    places = [_place(center, work, desk) for center in asked]
    custody = places[0].custody
    custody.check_log(task.head, "train request")
    with custody.asked("train", task):
        work.check_train(task)
        memory = receive_training(custody, request, work)
        outlook = look_ahead(custody, task)
        hospitals = [_open(place, work) for place in places]
        for place, hospital in zip(places, hospitals, strict=True):
            place.custody.check_training(hospital, settings, task.rounds)
        first = hospitals[0]
        custody.hear_dropped(task, first)
        every = settings.training.checkpoint_seconds
        with keeping_visit(first.state, request, every, custody.tasks) as visit:
            forget_visit(first.state, task, first.center)
            while True:
                reply = visit.finished()
                if reply is not None:
                    trained_on = visit.trained_on() or _training(hospitals)
                    say(f"{task.center}: stage {task.stage + 1} was trained before: answered from disk")
                else:
                    voided = partial(custody.note_voided, task)
                    admit = partial(_admit, places, hospitals, settings, task)
                    trained = train_stage(request, memory, hospitals, settings, visit.checkpoints, voided, admit)
                    reply = reply_of(trained, places[0], hospitals[0], request, settings, outlook)
                    visit.finish(reply, settings.network)
                    trained_on = _training(hospitals)
                if custody.tasks is not None:
                    custody.tasks.finish(task)
                # What was decided in the hours of training, and until now, holds for what leaves.
                work = _assigned(task.protocol, (task.run,), context, desk)
                places = [_place(center, work, desk) for center in asked]
                hospitals = [_open(place, work) for place in places]
                gone = trained_on & frozenset().union(*(hospital.withdrawn for hospital in hospitals))
                if not gone or custody.has_left(task):
                    break
                custody.note_voided(task, gone)
                visit.void(custody.tasks)
            reply = leaving(reply, places[0], hospitals[0], task, settings)
    return pack_train_reply(reply)


def evaluate_here(content: RecordDict, context: Context, desk: Desk) -> RecordDict:
    """Test the visiting model on this center's test subjects, unless an earlier message like this one had it done."""
    started = time.perf_counter()
    request = unpack_evaluate_request(content)
    task = request.task
    work = _assigned(task.protocol, (task.run,), context, desk)
    settings = work.settings
    (center,) = _asked(task, context, work)
    place = _place(center, work, desk)
    custody = place.custody
    custody.check_log(task.head, "evaluate request")
    with custody.asked("evaluate", task):
        work.check_evaluate(task)
        receive_test(custody, request, work)
        hospital = _open(place, work)
        custody.hear_dropped(task, hospital)
        figures = custody.tasks.begin(task, Asked.of(request)).scores if custody.tasks is not None else None
        forget_visit(hospital.state, task, hospital.center)
        if figures is not None:
            say(f"{center}: stage {task.stage + 1} was tested before: answered from disk")
        else:
            scored, aside = _scored(request, hospital, settings, custody.policy)
            # What was decided meanwhile holds for what leaves.
            work = _assigned(task.protocol, (task.run,), context, desk)
            place = _place(center, work, desk)
            custody, hospital = place.custody, _open(place, work)
            custody.check_role("evaluate")
            scored = [one for one in scored if one.subject not in hospital.withdrawn]
            if not scored:
                raise PolicyError("every subject that was tested here has been withdrawn meanwhile: no score is left")
            report = report_scores(custody.policy, scored)
            figures = TestFigures(
                center=hospital.center,
                cases=report.cases,
                mean=None if report.cases else report.mean,
                seconds=time.perf_counter() - started,
                set_aside=tallied(aside.values()),
            )
            if custody.tasks is not None:
                figures = custody.tasks.finish(task, figures).scores or figures
        figures = scores_leaving(custody, hospital, task, figures)
    return pack_header(figures)


def _admit(
    places: Sequence[Place],
    hospitals: Sequence[Hospital],
    settings: Settings,
    task: TrainTask,
    opened: Sequence[Opened],
) -> None:
    """Raise `PolicyError` where what could be opened is below what a hospital's policy lets a model train on."""
    for place, hospital, (good, problems) in zip(places, hospitals, opened, strict=True):
        if problems:  # else they are those that were counted before
            left = hospital.counting([case for case, _ in good])
            place.custody.check_training(left, settings, task.rounds, len(problems))


def _scored(
    request: EvaluateRequest, hospital: Hospital, settings: Settings, policy: Policy
) -> tuple[list[CaseScore], Mapping[str, str]]:
    """The rounded scores of the hospital's test images, and the reason for each subject that could not be opened.

    Raises `PolicyError`, before anything is computed, where so few could be that no score would leave.
    """
    good, problems = hospital.open(hospital.test)
    check_reported(policy, len({case.subject for case, _ in good}))
    device = choose_device(settings.training.device)
    scores = evaluate(request.weights, [volume for _, volume in good], settings, device)
    scored = [
        CaseScore(subject=hospital.pseudonym(case.subject), contrast=case.contrast, **score.rounded().model_dump())
        for (case, _), score in zip(good, scores, strict=True)
    ]
    return scored, problems


def _assigned(protocol: str, runs: tuple[str, ...], context: Context, desk: Desk) -> Assignment:
    if not is_simulated(context):
        work_privately()
        return assigned(desk.deployed(context), protocol, runs, context, desk.clock)
    run_config: dict[str, Any] = dict(context.run_config)
    return Assignment(Settings.from_run_config(run_config), runs)


def _place(center: str, work: Assignment, desk: Desk) -> Place:
    simulated = work.site is None
    site = desk.simulated(center, work.settings) if work.site is None else work.site
    prepared = prepared_folder(site, simulated, work.settings)
    return Place(site, open_custody(site, work.settings, simulated, desk.clock), prepared)


def _open(place: Place, work: Assignment, look_over: bool = False) -> Hospital:
    """The hospital's data, without the subjects that are withdrawn by now."""
    return open_hospital(place.site, place.prepared, work.settings, work.runs, look_over, work.root)


def _training(hospitals: Sequence[Hospital]) -> frozenset[str]:
    """Pseudonyms of the subjects that a stage at these hospitals trains on."""
    return frozenset(
        known
        for hospital in hospitals
        for known in {hospital.pseudonym(case.subject) for case in hospital.training} - hospital.withdrawn
    )


def _centers_here(context: Context, work: Assignment) -> tuple[str, ...]:
    return simulated_centers(context, work.settings) if work.site is None else (work.site.center,)


def _asked(task: TrainTask | EvaluateTask, context: Context, work: Assignment) -> tuple[str, ...]:
    """The centers that are asked: one of this node's, or in simulation all that are pooled."""
    if isinstance(task, TrainTask) and task.pool and work.site is None:
        return task.pool
    here = _centers_here(context, work)
    if task.center not in here:
        raise MessageError(f"center {task.center} was asked for at the node of {', '.join(here) or 'no center'}")
    return (task.center,)
