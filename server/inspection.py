"""What the coordinator refuses to accept from a center."""

from shared.checks import exemplars_problem, model_problem
from shared.errors import CenterError
from shared.messages import CenterCard, TestFigures, TrainReply, TrainTask
from shared.network import Weights
from shared.settings import Settings


def inspect_reply(reply: TrainReply, task: TrainTask, sent: Weights, settings: Settings) -> None:
    """Raise `CenterError`, naming the center, where a train reply is not what was asked for."""
    problem = (
        model_problem(reply.weights, sent)
        or _contribution_problem(reply, task, settings.memory.memory_subjects)
        or exemplars_problem(reply.contribution, settings)
    )
    if problem:
        raise CenterError(f"center {task.center} sent {problem}: refused; look at its client's log")


def tests_problem(figures: TestFigures, center: str, card: CenterCard) -> str:
    """What is wrong with the test scores of `center`, or nothing; `card` is what it said at the roll call."""
    if figures.center != center:
        return f"scores of center {figures.center}"
    subjects = {case.subject for case in figures.cases} | figures.set_aside.keys()
    if len(subjects) > card.test_subjects:
        return f"scores of {len(subjects)} subjects, but it has {card.test_subjects} to test on"
    if foreign := sorted({case.contrast for case in figures.cases} - set(card.contrasts)):
        return f"scores of contrast {foreign[0]}, which it does not have"
    return ""


def _contribution_problem(reply: TrainReply, task: TrainTask, most_subjects: int) -> str:
    given = reply.contribution
    if given and not task.contribute:
        return "exemplars that it was not asked for"
    if foreign := {e.provenance.center for e in given} - {task.center}:
        return f"exemplars of {', '.join(sorted(foreign))}"
    if len({e.provenance.subject for e in given}) != len(given) or len(given) > most_subjects:
        return f"{len(given)} exemplars, but one from each of at most {most_subjects} subjects was asked for"
    if (size := sum(e.payload.nbytes for e in given)) > task.budget:
        return f"exemplars of {size} bytes, but {task.budget} were allowed"
    return ""
