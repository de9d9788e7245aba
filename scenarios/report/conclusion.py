"""The question of the paper, and what a study answers.

A method is called better only where the corrected p is below alpha. Continual learning also stands in for pooled
training where the whole interval of the difference lies above minus `MARGIN`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scenarios.report.comparisons import ACC, BWT, Comparison, methods_of, sequential_methods
from scenarios.report.statistics import ALPHA, CONFIDENCE, least_pairs, smallest_p
from scenarios.report.style import look_of
from scenarios.report.table import p_value, signed
from scenarios.results.study import Study

QUESTION = "Learn continually, or train from scratch?"

MARGIN = 0.02
"""Of Dice: how far below pooled training replay may end and still stand in for it."""

GAIN = 0.08
"""Of Dice: how far above fine-tuning replay should end."""


@dataclass(frozen=True)
class Yardstick:
    """A result of the paper that replay should reproduce, the same for every study."""

    expectation: str
    observed: str
    met: bool


@dataclass(frozen=True)
class Answer:
    """What the study answers."""

    headline: str
    details: str
    """Scores, differences and backward transfer, in sentences."""
    warnings: tuple[str, ...]
    yardsticks: tuple[Yardstick, ...]


def answer(study: Study, compared: Sequence[Comparison]) -> Answer:
    """The answer that the study's runs give."""
    if not (sequential := sequential_methods(study)):
        return Answer("No method here learns continually.", _scores(study, methods_of(study)), _warnings(compared), ())
    lead = sequential[0]
    by_key = {(one.first, one.second, one.measure): one for one in compared}
    pooled, tuned = by_key.get((lead, "pooled", ACC)), by_key.get((lead, "finetune", ACC))
    if pooled is not None:
        headline = "{}: {}.".format(*_finding(pooled))
    elif tuned is not None:
        headline = f"Training on pooled data was not run: {_finding(tuned)[1]}."
    else:
        headline = f"Not decided: there is no training on pooled data to compare {look_of(lead).noun} with."
    details = [_scores(study, [lead] if pooled or tuned else methods_of(study))]
    details += [_difference(one) for one in (pooled, tuned) if one is not None]
    if (lead, "finetune", BWT) in by_key:
        details.append(_transfer(study, [lead, "finetune"]))
    elif study.summary[lead].bwt is not None:
        details.append(_transfer(study, [lead]))
    return Answer(headline, " ".join(details), _warnings(compared), _yardsticks(lead, tuned, pooled))


def _finding(one: Comparison) -> tuple[str, str]:
    """The answer, were the second method pooled training; and what was found, in words."""
    first, second, paired = look_of(one.first).noun, look_of(one.second).noun, one.paired
    if one.too_few:
        higher = f"{first} scores higher than {second} in {paired.wins} of {paired.n} pairs"
        return "Not decided", f"too few runs ({higher}, lower in {paired.losses})"
    if one.significant and paired.mean > 0:
        return "Learn continually", f"{first} scores significantly higher than {second}"
    if one.second == "pooled" and paired.interval is not None and paired.interval[0] > -MARGIN:
        return "Learn continually", f"{first} scores at most {MARGIN} lower than {second}"
    if one.significant:
        return "Train from scratch, where data may be pooled", f"{first} scores significantly lower than {second}"
    return "Not decided", f"no significant difference between {first} and {second} in {paired.n} pairs of runs"


def _scores(study: Study, methods: Sequence[str]) -> str:
    said = []
    for method in methods:
        acc = study.summary[method].acc
        deviation = "" if acc.sd is None else f" ± {acc.sd:.3f}"
        runs = f"{len(acc.values)} run{'s' if len(acc.values) != 1 else ''}"
        said.append(f"{look_of(method).name}: mean test Dice {acc.mean:.3f}{deviation} over all centers ({runs}).")
    return " ".join(said) or "There is no run."


def _difference(one: Comparison) -> str:
    """`Difference to fine-tuning: +0.095 (95% interval ...; higher in 3 of 3 pairs; p = 0.250 after correction).`"""
    paired, found = one.paired, []
    if paired.interval is not None:
        found.append(f"{CONFIDENCE:.0%} interval {signed(paired.interval[0])} to {signed(paired.interval[1])}")
    found.append(f"higher in {paired.wins} of {paired.n} pairs")
    if one.corrected is not None:
        p = p_value(one.corrected)
        found.append(f"p {p if p.startswith('<') else f'= {p}'} after correction")
    return f"Difference to {look_of(one.second).noun}: {signed(paired.mean)} ({'; '.join(found)})."


def _transfer(study: Study, methods: Sequence[str]) -> str:
    found = ((method, study.summary[method].bwt) for method in methods)
    return f"Backward transfer: {', '.join(f'{look_of(m).noun} {signed(bwt.mean)}' for m, bwt in found if bwt)}."


def _warnings(compared: Sequence[Comparison]) -> tuple[str, ...]:
    counts = sorted({one.paired.n for one in compared if one.too_few})
    if not counts:
        return ()
    if counts[-1] == 1:
        return ("There is only one pair of runs, so the spread between runs is unknown.",)
    least = ", ".join(f"{smallest_p(n):.3g} with n = {n}" for n in counts)
    some = "" if all(one.too_few for one in compared) else "in some comparisons "
    return (
        f"Too few runs {some}for statistical significance: the smallest two-sided p of a sign-flip test is {least}. "
        f"A p below {ALPHA} needs at least {least_pairs()} pairs, and more after correction.",
    )


def _yardsticks(lead: str, tuned: Comparison | None, pooled: Comparison | None) -> tuple[Yardstick, ...]:
    if lead != "replay":
        return ()
    expected = (
        (tuned, GAIN, f"Replay's ACC is at least {GAIN} above fine-tuning's"),
        (pooled, -MARGIN, f"Replay's ACC is not more than {MARGIN} below that of pooled training"),
    )
    return tuple(Yardstick(said, _observed(one), one.paired.mean >= bar) for one, bar, said in expected if one)


def _observed(one: Comparison) -> str:
    least, most = min(one.paired.differences), max(one.paired.differences)
    return f"{signed(one.paired.mean)} on average, from {signed(least)} to {signed(most)}"
