"""Results of runs by the handful, where a test is not about what a run writes."""

from collections.abc import Sequence
from typing import Any

from shared.results import RunHistory, RunResults, StageResult, centers_not_learnt

COUNTED = ("sent_bytes", "received_bytes", "tests_sent_bytes", "tests_received_bytes")
"""What a stage says of the messages' contents."""


def make_stage(stage: int = 0, center: str = "here", **changes: Any) -> StageResult:
    """A stage that moved nothing and handed nothing on."""
    return StageResult(
        **{
            "stage": stage,
            "center": center,
            "steps": 3,
            "restarts": 0,
            "final_loss": 0.5,
            "training_subjects": 2,
            "training_seconds": 1.5,
            "compute_seconds": 1.0,
            "evaluating_seconds": 0.5,
            "transit_seconds": 0.1,
            "tests_asked": 2,
            "memory_exemplars": 0,
            "memory_bytes": 0,
            "state_bytes": 0,
            "set_aside": {},
            "test_set_aside": {},
            "rounds": (),
            **dict.fromkeys(COUNTED, 0),
        }
        | changes
    )


def make_results(order: Sequence[str], r: Sequence[Sequence[float | None]], **changes: Any) -> RunResults:
    """A run of replay with seed 0 and this R, to which nothing happened."""
    known = [cell for cell in r[-1] if cell is not None]
    centers = order if len(r) == len(order) else ["all"]
    return RunResults(
        **{
            "method": "replay",
            "order": tuple(order),
            "seed": 0,
            "R": r,
            "acc": sum(known) / len(known),
            "evaluators": (),
            "R_evaluators": tuple(() for _ in r),
            "acc_evaluators": None,
            "learning_accuracy": None,
            "bwt": None,
            "bwt_per_center": None,
            "bwt_over_k": None,
            "bwt_of_learnt": None,
            "forgetting": None,
            "not_learnt": centers_not_learnt(r, tuple(order)),
            "not_asked": 0,
            "missing": (),
            "settings": {},
            "versions": {"wardround": "0.1.0"},
            "stages": tuple(make_stage(i, center) for i, center in enumerate(centers)),
            "test_scores": (),
            "mean_scores": (),
            "notes": (),
            "history": make_history(),
            "passed_over": [],
            "withdrawn": {},
        }
        | changes
    )


def make_history(**changes: Any) -> RunHistory:
    """Of a run that was started once, nobody said when."""
    return RunHistory(**{"run": "0" * 32, "extends": None, "attempts": (), "interruptions": ()} | changes)
