"""What a person must know of a run beside its means, in lines: for the terminal, the report and the model card."""

from collections.abc import Iterable

from shared.metrics.transfer import NOT_LEARNT, collapsed_stages, own_scores
from shared.results import PassedOver, RunResults
from shared.text import counted


def not_learnt_lines(results: RunResults) -> list[str]:
    """Which centers were not learnt, and what that does to the means, in at most one line."""
    if not results.not_learnt:
        return []
    own = dict(zip(results.order, own_scores(results.R), strict=True))
    names = ", ".join(f"{center} ({own[center]:.2f})" for center in results.not_learnt)
    after = "right after its own visit" if len(results.R) == len(results.order) else "in the end"
    line = f"NOT LEARNT {names}: test Dice below {NOT_LEARNT:g} {after}; train longer, or by another recipe"
    if results.bwt is not None:
        without = "none is left" if results.bwt_of_learnt is None else f"without {results.bwt_of_learnt:+.3f}"
        line += f". BWT says nothing of what was never learnt ({without})"
    return [line]


def collapsed_lines(results: RunResults) -> list[str]:
    """The stages whose model finds next to nothing at any tested center, and what to change, in a line each."""
    return [_collapsed(results, row) for row in collapsed_stages(results.R)]


def _collapsed(results: RunResults, row: int) -> str:
    stage, settings = results.stages[row], results.settings
    best = max(score for score in results.R[row] if score is not None)
    mend = "lower learning-rate, or train longer"
    if settings.get("activation") == "normalised-relu":
        mend = "set activation = 'sigmoid', which cannot die out as a normalised ReLU can"
        if settings.get("carry") == "encoder":
            restarts = max(3, 2 * int(settings.get("restarts", 0)))
            mend = (
                f"set restarts = {restarts}, which draws a decoder that collapsed again, or carry = 'model', or {mend}"
            )
    return (
        f"COLLAPSED stage {row + 1} ({stage.center}): its model finds next to nothing at any tested center "
        f"(test Dice at most {best:.2f}); {mend}"
    )


def restarted_lines(results: RunResults) -> list[str]:
    """The stages that were begun again, in a line each."""
    return [
        f"stage {row + 1} ({stage.center}) began again {counted(stage.restarts, 'time')} with another draw, because it "
        "had collapsed (restarts)"
        for row, stage in enumerate(results.stages)
        if stage.restarts
    ]


def evaluator_lines(results: RunResults) -> list[str]:
    """How well the model does where it never was, in at most one line."""
    if not results.evaluators:
        return []
    mean = "no score" if results.acc_evaluators is None else f"{results.acc_evaluators:.3f}"
    names = ", ".join(results.evaluators)
    return [f"NEVER TRAINED AT {names}: mean Dice after the last stage {mean}, counted in no other mean"]


def passed_over_lines(found: Iterable[PassedOver]) -> list[str]:
    """What centers could not use, in a line a center, contrast and reason."""
    return [
        f"{one.center} passes over {counted(one.count, f'{one.contrast} image' if one.contrast else 'subject')}: "
        f"{'it' if one.count == 1 else 'each'} {one.reason}"
        for one in sorted(found, key=lambda one: (one.center, one.contrast, one.reason))
    ]
