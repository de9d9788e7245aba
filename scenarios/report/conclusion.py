"""The question, and its answer in one sentence, true whichever way the numbers come out.

A direction is claimed only where the corrected p is below alpha. With fewer pairs than could ever give
that, the sentence says which way they lean, and that they are too few. "Not worse" is claimed only where
the whole interval of the difference lies above minus `MARGIN`.
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
"""Of Dice: how much below pooled training replay may end and still stand in for it."""

GAIN = 0.08
"""Of Dice: how far above fine-tuning replay should end."""


@dataclass(frozen=True)
class Yardstick:
    """An expectation that no study can move, and what came out."""

    expectation: str
    observed: str
    met: bool


@dataclass(frozen=True)
class Answer:
    """What the study says to the question."""

    headline: str
    sentence: str
    warnings: tuple[str, ...]
    yardsticks: tuple[Yardstick, ...]


def answer(study: Study, compared: Sequence[Comparison]) -> Answer:
    """The answer that the study's runs give."""
    sequential = sequential_methods(study)
    by_key = {(one.first, one.second, one.measure): one for one in compared}
    if not sequential:
        return Answer("No method here learns continually.", _all_methods(study), _warnings(compared), ())
    lead = sequential[0]
    pooled, tuned = by_key.get((lead, "pooled", ACC)), by_key.get((lead, "finetune", ACC))
    transfer = by_key.get((lead, "finetune", BWT))
    parts = [_ends(study, lead)]
    parts += [_against(one) for one in (pooled, tuned) if one is not None]
    sentence = f"{parts[0]}{', ' if parts[1:] else ''}{' and '.join(parts[1:])}"
    sentence += f"; {_forgets(study, lead, transfer)}." if _mean_bwt(study, lead) is not None else "."
    if pooled is not None:
        headline = _verdict(pooled)
    elif tuned is not None:
        headline = f"Training on pooled data was not run; {_standing(tuned)}."
    else:
        headline = (
            f"{_capital(look_of(lead).noun)} alone: the question needs training on pooled data to compare it with."
        )
    if pooled is None and tuned is None and len(methods_of(study)) > 1:
        sentence += f" {_all_methods(study)}"
    return Answer(headline, sentence, _warnings(compared), _yardsticks(lead, tuned, pooled))


def _verdict(one: Comparison) -> str:
    """The headline, from continual learning against pooled training."""
    name, low = look_of(one.first).noun, one.paired.interval[0] if one.paired.interval else None
    if one.too_few:
        return f"Not decided: {_count(one)} {'is' if one.paired.n == 1 else 'are'} too few, and {_lean(one)}."
    if one.significant and one.paired.mean > 0:
        return f"Learn continually: {name} ends above training on pooled data."
    if low is not None and low > -MARGIN:
        small = "measurably below, but " if one.significant else ""
        return f"Learn continually: {name} ends {small}not more than {MARGIN} below training on pooled data."
    if one.significant:
        return f"Train from scratch, where data may be pooled: {name} ends below training on pooled data."
    return f"Not decided: {name} and training on pooled data cannot be told apart by {_count(one)}."


def _standing(one: Comparison) -> str:
    first, second = look_of(one.first).noun, look_of(one.second).noun
    if one.too_few:
        return f"against {second}, {_count(one)} {'is' if one.paired.n == 1 else 'are'} too few, and {_lean(one)}"
    if one.significant:
        return f"{first} ends {'above' if one.paired.mean > 0 else 'below'} {second}"
    return f"{first} and {second} cannot be told apart by {_count(one)}"


def _lean(one: Comparison) -> str:
    paired = one.paired
    if not paired.wins and not paired.losses:
        return "it is even" if paired.n == 1 else "all of them are even"
    if paired.wins == paired.n:
        return f"{'it leans' if paired.n == 1 else 'all of them lean'} towards {look_of(one.first).noun}"
    if paired.losses == paired.n:
        return f"{'it leans' if paired.n == 1 else 'all of them lean'} towards {look_of(one.second).noun}"
    return f"they do not agree ({paired.wins} for {look_of(one.first).noun}, {paired.losses} against)"


def _count(one: Comparison) -> str:
    runs = "pair" if one.paired.n == 1 else "pairs"
    return f"{one.paired.n} {runs} of runs"


def _ends(study: Study, method: str) -> str:
    found = study.summary[method].acc
    deviation = "" if found.sd is None else f" ± {found.sd:.3f}"
    n = len(found.values)
    return (
        f"{_capital(look_of(method).noun)} ends with a mean test Dice of {found.mean:.3f}{deviation} over all centers "
        f"({n} run{'s' if n != 1 else ''})"
    )


def _against(one: Comparison) -> str:
    """`0.095 above fine-tuning (95 % interval ...; better in 3 of 3 pairs; p = 0.25)`."""
    paired = one.paired
    said = []
    if paired.interval is not None:
        said.append(f"{CONFIDENCE:.0%} interval {signed(paired.interval[0])} to {signed(paired.interval[1])}")
    said.append(f"better in {paired.wins} of {paired.n} pair{'s' if paired.n != 1 else ''}")
    if one.corrected is not None:
        p = p_value(one.corrected)
        said.append(f"p {p if p.startswith('<') else f'= {p}'} after correction")
    side = "from" if abs(paired.mean) < 0.0005 else "above" if paired.mean > 0 else "below"
    return f"{abs(paired.mean):.3f} {side} {look_of(one.second).noun} ({'; '.join(said)})"


def _forgets(study: Study, method: str, transfer: Comparison | None) -> str:
    bwt = _mean_bwt(study, method)
    text = f"its backward transfer is {signed(bwt)}"
    if transfer is not None:
        other = _mean_bwt(study, transfer.second)
        text += f", that of {look_of(transfer.second).noun} {signed(other)}"
    return text


def _mean_bwt(study: Study, method: str) -> float | None:
    found = study.summary[method].bwt
    return None if found is None else found.mean


def _all_methods(study: Study) -> str:
    return ". ".join(_ends(study, method) for method in methods_of(study)) + "." if study.runs else "There is no run."


def _warnings(compared: Sequence[Comparison]) -> tuple[str, ...]:
    counts = sorted({one.paired.n for one in compared if one.too_few})
    if not counts:
        return ()
    if counts[-1] == 1:
        return ("One pair of runs has no spread: nothing can be said on how much would come out anew.",)
    least = ", ".join(f"{smallest_p(n):.3g} with n = {n}" for n in counts)
    some = "" if all(one.too_few for one in compared) else "in some comparisons "
    return (
        f"Too few runs {some}to claim significance: the smallest two-sided p that a sign-flip test can give is "
        f"{least}. At least {least_pairs()} pairs are needed for any p below {ALPHA}, and more after correction.",
    )


def _yardsticks(lead: str, tuned: Comparison | None, pooled: Comparison | None) -> tuple[Yardstick, ...]:
    """The paper's expectations of replay."""
    if lead != "replay":
        return ()
    found = []
    if tuned is not None:
        expectation = f"Replay's ACC is at least {GAIN} above fine-tuning's"
        found.append(Yardstick(expectation, _observed(tuned), tuned.paired.mean >= GAIN))
    if pooled is not None:
        expectation = f"Replay's ACC is not more than {MARGIN} below that of pooled training"
        found.append(Yardstick(expectation, _observed(pooled), pooled.paired.mean >= -MARGIN))
    return tuple(found)


def _observed(one: Comparison) -> str:
    return f"{signed(one.paired.mean)} on average, from {signed(min(one.paired.differences))} to " + signed(
        max(one.paired.differences)
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
