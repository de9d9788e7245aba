"""What leaves after a test: its scores as the policy lets them, once they are kept and in the audit log."""

from client.governance.hash_chain import Facts
from client.governance.policy import report_scores
from client.governance.tasks import IMAGE_SCORES, MEAN_SCORES
from client.hospital.center import Hospital
from client.hospital.trust import Custody
from shared.wire.headers import EvaluateTask, TestFigures


def scores_leaving(custody: Custody, hospital: Hospital, task: EvaluateTask, kept: TestFigures) -> TestFigures:
    """The scores of a test that was done, now or before, as they may leave today.

    A deployed hospital's stand in the order of their subjects' names in the run: its own order would be the same in
    each. Once means have left, each image's scores no longer do. Raises `PolicyError` where the policy forbids them,
    and `RecordError` where the audit log cannot be written: then nothing may leave.
    """
    if kept.cases:
        report = report_scores(custody.policy, kept.cases)
        cases = [case.model_copy(update={"subject": hospital.outside[case.subject]}) for case in report.cases]
        if not custody.simulated:
            cases.sort(key=lambda case: (case.subject, case.contrast))
        kept = kept.model_copy(update={"cases": tuple(cases), "mean": None if cases else report.mean})
    message = IMAGE_SCORES if kept.cases else MEAN_SCORES
    head = custody.note("sent", Facts(message=message, run=task.run, stage=task.stage))
    return kept.model_copy(update={"withdrawn": custody.to_drop(hospital), "log": head})
