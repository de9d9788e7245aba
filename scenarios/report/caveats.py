"""What a reader should keep in mind, as far as a study's own data say it."""

from collections.abc import Collection, Iterator

from scenarios.report.case_scores import Details
from scenarios.results.study import Study
from shared.methods import spec_of

SMALL = 5
"""Test images below which a center's score depends on single patients."""


def caveats(study: Study, details: Details) -> tuple[str, ...]:
    """Sentences, the weightiest first."""
    return tuple(_caveats(study, details))


def _caveats(study: Study, details: Details) -> Iterator[str]:
    if details.simulated:
        yield (
            "All images are simulated: made from one atlas, with made-up lesions and scanners. That is good for "
            "comparing methods, but it says nothing about any real hospital."
        )
    sizes = _test_sizes(details)
    if sizes:
        small = [f"{center} ({n})" for center, n in sizes.items() if n < SMALL]
        yield (
            f"A seed's test sets hold {_range(sizes.values())} a center"
            + (f"; fewer than {SMALL} at {', '.join(small)}, where one patient moves the score a lot" if small else "")
            + ". In ACC and BWT every center counts the same."
        )
    if "steps" in study.settings:
        yield (
            "Training ends after a fixed number of steps: there is no early stopping, and no model was chosen by a "
            "test or validation score."
        )
    if study.settings and len({run.seed for run in study.runs}) > 1:
        yield (
            "A seed draws the first weights, the patches and which patients test, the same for every method. "
            "Test patients recur over seeds, so that runs are not independent samples of patients."
        )
    if any(run.gaps for run in study.runs if not spec_of(run.method).fresh):
        yield "Cells of R without a score are left out of every mean."
    if spared := sum(run.not_asked for run in study.runs):
        cells = sum(len(run.R) * len(run.order) for run in study.runs)
        yield (
            f"{spared} of {cells} cells of R were not asked for: but for the last, a model was tested at its own "
            "center and at a sample of the others (tested-others). ACC, BWT and learning accuracy are whole; a "
            "mean over all centers before the last visit is that of the sample."
        )
    if study.missing:
        yield f"{len(study.missing)} of {len(study.missing) + len(study.runs)} planned runs are missing (named below)."
    if len(study.runs) == 1:
        yield "This is one run. How much the results vary with another seed or order is unknown."


def _range(sizes: Collection[int]) -> str:
    least, most = min(sizes), max(sizes)
    return f"{least} to {most} images" if least < most else f"{most} image{'s' if most != 1 else ''}"


def _test_sizes(details: Details) -> dict[str, int]:
    """The fewest test images that a run had at each center."""
    counts: dict[str, dict[tuple[str, str, int], int]] = {}
    for case in details.cases:
        runs = counts.setdefault(case.center, {})
        run = (case.method, case.order_name, case.seed)
        runs[run] = runs.get(run, 0) + 1
    return {center: min(runs.values()) for center, runs in counts.items()}
