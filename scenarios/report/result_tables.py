"""The tables of the page: transfer per center, final scores, comparisons, scores beyond Dice, costs."""

from collections.abc import Callable, Sequence
from statistics import fmean

from scenarios.report.case_scores import SCORES, Details
from scenarios.report.comparisons import (
    ACC,
    BWT,
    Comparison,
    backward_per_center,
    final_scores,
    methods_of,
    runs_of,
    sequential_methods,
)
from scenarios.report.evaluators import evaluators_of
from scenarios.report.statistics import CONFIDENCE, Summary, summarize
from scenarios.report.style import in_order, look_of
from scenarios.report.table import MISSING, Number, Sheet, Table, p_value, score, signed
from scenarios.results.study import RunEntry, Study, evaluator_scores

Format = Callable[[float | None], str]

COMPARED = (
    *("first", "second", "measure", "pair_is", "pairs", "difference", "sd", "low", "high"),
    *("wins", "losses", "d_z", "p", "p_holm"),
)


def transfer_table(study: Study) -> Table:
    """Table 1: BWT per center and method; BWT, ACC, learning accuracy and, beside pooled runs, intransigence below."""
    methods, sequential = methods_of(study), sequential_methods(study)
    rows: list[tuple[str, ...]] = []
    numbers: list[tuple[Number, ...]] = []

    def add(name: str, form: Format, of: Callable[[RunEntry], float | None], among: Sequence[str]) -> None:
        found = {m: _summary_over(runs_of(study, m), of) if m in among else None for m in methods}
        rows.append((name, *(cell(one, form) for one in found.values())))
        numbers.extend((name, m, *_numbers(one)) for m, one in found.items() if one is not None)

    if sequential:
        for center in study.centers:
            add(f"BWT {center}", signed, lambda run, c=center: backward_per_center(run).get(c), sequential)  # type: ignore[misc]
        add("BWT", signed, lambda run: run.bwt, sequential)
    add("ACC", score, lambda run: run.acc, methods)
    add("Learning accuracy", score, lambda run: run.learning_accuracy, methods)
    pooled = any(study.intransigence(run) is not None for run in study.runs)
    if pooled:
        add("Intransigence", signed, study.intransigence, methods)
    if evaluated := ", ".join(evaluators_of(study)):
        add("Evaluators", score, lambda run: run.acc_evaluators, methods)
    rows.append(("Runs", *(str(len(runs_of(study, method))) for method in methods)))
    return Table(
        name="transfer",
        title="Backward transfer per center, and accuracy, per method",
        caption="Mean ± standard deviation over runs (orders and seeds). BWT: change of a center's test Dice from its "
        "own visit to the end; below zero, the model forgot. A center that is visited last in a run has none there. "
        "ACC: mean test Dice over all centers in the end. Learning accuracy: mean test Dice right after each center's "
        "own visit. "
        + ("Intransigence: how far that is below pooled training of the same seed. " if pooled else "")
        + "Single-domain has one model a center, each tested at its own."
        + (f" Evaluators: mean test Dice in the end at {evaluated}, where no model was trained." if evaluated else ""),
        columns=("", *(look_of(method).name for method in methods)),
        rows=tuple(rows),
        strong=frozenset(i for i, row in enumerate(rows) if row[0] in (BWT, ACC)),
        sheet=Sheet(("row", "method", "runs", "mean", "sd", "least", "most"), tuple(numbers)),
    )


def final_table(study: Study) -> Table:
    """Table 2: test Dice at each center in the end."""
    methods = methods_of(study)
    found = {
        (center, method): summarize(
            [value for run in runs_of(study, method) if (value := final_scores(run).get(center)) is not None]
        )
        for center in study.centers
        for method in methods
    }
    elsewhere = {
        (f"{name} (never trained at)", method): summarize(
            [value for run in runs_of(study, method) if (value := evaluator_scores(run).get(name)) is not None]
        )
        for name in evaluators_of(study)
        for method in methods
    }
    found |= elsewhere
    return Table(
        name="final",
        title="Test Dice at each center in the end",
        caption="Mean ± standard deviation over runs."
        + (" The last rows: evaluators (of single-domain models, their mean)." if elsewhere else ""),
        columns=("", *(look_of(method).name for method in methods)),
        rows=tuple(
            (center, *(cell(found[center, m], score) for m in methods))
            for center in dict.fromkeys(center for center, _ in found)
        ),
        sheet=Sheet(
            ("center", "method", "runs", "mean", "sd", "least", "most"),
            tuple((c, m, *_numbers(one)) for (c, m), one in found.items() if one is not None),
        ),
    )


def comparison_table(compared: Sequence[Comparison]) -> Table | None:
    """Table 3: paired differences, their interval, effect and p; None where nothing could be compared."""
    if not compared:
        return None
    rows, numbers = [], []
    for one in compared:
        paired, interval = one.paired, one.paired.interval
        rows.append(
            (
                f"{look_of(one.first).name} − {look_of(one.second).name}",
                one.measure,
                signed(paired.mean),
                f"{signed(interval[0])} to {signed(interval[1])}" if interval else MISSING,
                f"{paired.wins} of {paired.n}",
                one.unit,
                MISSING if paired.effect is None else f"{paired.effect:+.2f}".replace("-", "−"),
                p_value(paired.p),
                p_value(one.corrected),
            )
        )
        numbers.append(
            (one.first, one.second, one.measure, one.unit, paired.n, paired.mean, paired.deviation)
            + (interval or (None, None))
            + (paired.wins, paired.losses, paired.effect, paired.p, one.corrected)
        )
    exact = all(one.paired.exact for one in compared)
    return Table(
        name="comparisons",
        title="Paired comparisons",
        caption=f"Interval: {CONFIDENCE:.0%}, Student's t. Better in: pairs in which the first is above. d_z: mean "
        "difference over the standard deviation of the differences (Cohen 1988; Lakens 2013), large by nature where "
        "runs differ by their seed alone. p: two-sided sign-flip permutation test, "
        f"{'exact' if exact else 'signs drawn at random'}. p (Holm): corrected within the question's own comparisons "
        "(bold), and within all others.",
        columns=(
            "First − second",
            "Measure",
            "Difference",
            f"{CONFIDENCE:.0%} interval",
            "Better in",
            "A pair is",
            "d_z",
            "p",
            "p (Holm)",
        ),
        rows=tuple(rows),
        sheet=Sheet(
            COMPARED,
            tuple(numbers),
        ),
        wordy=frozenset({0, 1, 5}),
        strong=frozenset(i for i, one in enumerate(compared) if one.main),
    )


def scores_table(details: Details) -> Table | None:
    """Table 4: every score of the final models, over test cases; None where no case has scores."""
    names = [name for name in SCORES if any(name in case.scores for case in details.cases)]
    names += sorted({name for case in details.cases for name in case.scores} - set(names))
    if not names:
        return None
    methods = in_order(case.method for case in details.cases)
    rows, numbers = [], []
    for name in names:
        row = [SCORES.get(name, name.replace("_", " "))]
        for method in methods:
            runs: dict[tuple[str, int], list[float]] = {}
            for case in details.cases:
                if case.method == method and name in case.scores:
                    runs.setdefault((case.order_name, case.seed), []).append(case.scores[name])
            one = summarize([fmean(values) for values in runs.values()])
            row.append(cell(one, score if not name.endswith(("_ml", "_mm")) else _coarse))
            if one is not None:
                numbers.append((method, name, *_numbers(one)))
        rows.append(tuple(row))
    return Table(
        name="scores",
        title="Scores of the final models over test cases",
        caption="Mean over all test cases of a run, then mean ± standard deviation over runs. Every patient counts the "
        "same here, so that large centers weigh more than in ACC.",
        columns=("", *(look_of(method).name for method in methods)),
        rows=tuple(rows),
        sheet=Sheet(("method", "score", "runs", "mean", "sd", "least", "most"), tuple(numbers)),
    )


def cost_table(study: Study) -> Table | None:
    """What a run of each method costs; None where no run says."""
    kinds: tuple[tuple[str, str, Callable[[RunEntry], float | None], Format], ...] = (
        ("Whole command, s", "seconds", lambda run: run.seconds, _whole),
        ("Training, s", "training_seconds", lambda run: run.training_seconds, _whole),
        ("Moved, MB", "megabytes_moved", lambda run: _mega(run.bytes_moved), _coarse),
        ("Peak memory, MB", "peak_mb", lambda run: run.peak_mb, _whole),
    )
    rows, numbers = [], []
    for method in methods_of(study):
        found = [(name, _summary_over(runs_of(study, method), of), form) for _, name, of, form in kinds]
        rows.append((look_of(method).name, *(cell(one, form) for _, one, form in found)))
        numbers += [(method, name, *_numbers(one)) for name, one, _ in found if one is not None]
    if not numbers:
        return None
    return Table(
        name="costs",
        title="Cost of a run",
        caption="Mean ± standard deviation over runs, on the machine of the study, which may have done other work. "
        "Moved: contents of all messages between server and hospitals, as the server counted them; "
        "pooled training would move the images themselves, and has no such figure.",
        columns=("", *(heading for heading, *_ in kinds)),
        rows=tuple(rows),
        sheet=Sheet(("method", "cost", "runs", "mean", "sd", "least", "most"), tuple(numbers)),
    )


def cell(one: Summary | None, form: Format) -> str:
    """A mean with its standard deviation, where there is one."""
    if one is None:
        return MISSING
    return form(one.mean) + ("" if one.deviation is None else f" ± {form(one.deviation).lstrip('+')}")


def _summary_over(runs: Sequence[RunEntry], of: Callable[[RunEntry], float | None]) -> Summary | None:
    return summarize([value for run in runs if (value := of(run)) is not None])


def _numbers(one: Summary) -> tuple[Number, ...]:
    return one.n, one.mean, one.deviation, one.least, one.most


def _mega(number: int | None) -> float | None:
    return None if number is None else number / 1e6


def _coarse(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.1f}"


def _whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"
