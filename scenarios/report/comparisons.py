"""What the runs of a study tell about its methods: final scores, transfer per center, and paired comparisons.

Two methods are compared over what both were run with: the same seed and order. Where one of them knows
no order (a pooled model learns all centers at once), the other's runs are first averaged over orders, and
a pair is a seed: one pooled run set against three orders would be counted three times.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from scenarios.report.statistics import ALPHA, Paired, compare_pairs, holm, smallest_p
from scenarios.report.style import in_order
from scenarios.results.study import RunEntry, Study
from shared.methods import spec_of

Measure = Callable[[RunEntry], float | None]

ACC, BWT = "ACC", "BWT"


def methods_of(study: Study) -> tuple[str, ...]:
    """The methods that have a run, in the order of all figures and tables."""
    return in_order(run.method for run in study.runs)


def runs_of(study: Study, method: str) -> list[RunEntry]:
    """A method's runs, by order and seed."""
    return sorted((run for run in study.runs if run.method == method), key=lambda run: (run.order_name, run.seed))


def is_sequential(run: RunEntry) -> bool:
    """Whether one model went from center to center, so that it could forget."""
    return not spec_of(run.method).order_free and len(run.R) == len(run.order) > 1


def sequential_methods(study: Study) -> tuple[str, ...]:
    """The methods of which one model goes from center to center."""
    return in_order(run.method for run in study.runs if is_sequential(run))


def final_scores(run: RunEntry) -> dict[str, float | None]:
    """Test Dice at each center in the end: of the last model, or (single-domain) of the center's own."""
    if spec_of(run.method).fresh:
        return {center: run.R[i][i] if i < len(run.R) else None for i, center in enumerate(run.order)}
    return dict(zip(run.order, run.R[-1], strict=True))


def backward_per_center(run: RunEntry) -> dict[str, float | None]:
    """R[K, i] - R[i, i] for every center but the last; nothing of other methods."""
    if not is_sequential(run):
        return {}
    return {
        center: None if (last := run.R[-1][i]) is None or (own := run.R[i][i]) is None else last - own
        for i, center in enumerate(run.order[:-1])
    }


MEASURES: dict[str, Measure] = {ACC: lambda run: run.acc, BWT: lambda run: run.bwt}


@dataclass(frozen=True)
class Comparison:
    """Two methods compared in one measure: the first minus the second."""

    first: str
    second: str
    measure: str
    unit: str
    """What a pair is."""
    paired: Paired
    main: bool
    """Whether it belongs to the question itself, and so to the main family."""
    corrected: float | None = None
    """p after Holm's correction over its family."""

    @property
    def too_few(self) -> bool:
        """Whether p < alpha is impossible with so few pairs."""
        return smallest_p(self.paired.n) >= ALPHA

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below alpha."""
        return self.corrected is not None and self.corrected < ALPHA


def contrasts(study: Study) -> tuple[tuple[str, str, str], ...]:
    """Which methods are compared in which measure, fixed before any value is seen; those of the question first.

    Replay with every other method; fine-tuning with every other sequential one. Without replay, the
    first method with every other.
    """
    methods, sequential = methods_of(study), sequential_methods(study)
    if not methods:
        return ()
    lead = methods[0]  # replay wherever it was run
    pairs = [(lead, other) for other in methods if other != lead]
    if lead == "replay" and "finetune" in methods:
        pairs += [(other, "finetune") for other in sequential if other not in ("replay", "finetune")]
    planned = [
        (first, second, measure)
        for measure in MEASURES
        for first, second in pairs
        if measure == ACC or {first, second} <= set(sequential)
    ]
    return tuple(sorted(planned, key=lambda contrast: not is_main(*contrast)))


def is_main(first: str, second: str, measure: str) -> bool:
    """Whether a comparison is part of the question: the leading method against fine-tuning and pooled training."""
    return (second == "pooled" and measure == ACC) or (second == "finetune" and first == "replay")


def comparisons(study: Study) -> tuple[Comparison, ...]:
    """All planned comparisons for which there are pairs, with p corrected over each of the two families."""
    made = [one for contrast in contrasts(study) if (one := compare(study, *contrast)) is not None]
    for main in (True, False):
        tested = [i for i, one in enumerate(made) if one.main == main and one.paired.p is not None]
        corrected = holm([made[i].paired.p or 0.0 for i in tested])
        for i, p in zip(tested, corrected, strict=True):
            made[i] = replace(made[i], corrected=p)
    return tuple(made)


def compare(study: Study, first: str, second: str, measure: str) -> Comparison | None:
    """Two methods over the pairs that there are; None where there is none. p is not corrected yet."""
    sides = [_values(runs_of(study, method), MEASURES[measure]) for method in (first, second)]
    orders = [{order for order, _ in side} for side in sides]
    unit = "order and seed" if len(orders[0]) > 1 else "seed"
    if orders[0] != orders[1] and (min(map(len, orders)) == 1 or not orders[0] & orders[1]):
        sides, unit = [_by_seed(side) for side in sides], "seed"
    keys = sorted(sides[0].keys() & sides[1].keys())
    if not keys:
        return None
    paired = compare_pairs([sides[0][key] for key in keys], [sides[1][key] for key in keys])
    return Comparison(first, second, measure, unit, paired, is_main(first, second, measure))


def _values(runs: Sequence[RunEntry], measure: Measure) -> dict[tuple[str, int], float]:
    found = {(run.order_name, run.seed): measure(run) for run in runs}
    return {key: value for key, value in found.items() if value is not None}


def _by_seed(values: dict[tuple[str, int], float]) -> dict[tuple[str, int], float]:
    seeds: dict[int, list[float]] = {}
    for (_, seed), value in values.items():
        seeds.setdefault(seed, []).append(value)
    return {("", seed): fmean(found) for seed, found in seeds.items()}
