"""The Dice matrices that the paper's authors published with their code, as a study.

Their file, `dice_matrices.json`, holds by seed the random `order` of the centers, the matrices
of `replay` and `finetune`, and one value a center for `multi` (pooled training) and `single`.
Karthik et al. 2022; github.com/naga-karthik/continual-learning-ms.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from scenarios.results.study import ANY_ORDER, Dice, RunEntry, Study, run_entry
from shared.clock import Clock
from shared.errors import ResultsError

TITLE = "Segmentation of MS lesions across hospitals: the matrices published by Karthik et al. 2022"
PAPER = ("single", "finetune", "replay", "pooled")


class _Published(BaseModel):
    """What the file holds for one seed; values by center are in the order of `order`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: tuple[str, ...] = Field(min_length=2)
    replay: tuple[tuple[Dice, ...], ...]
    finetune: tuple[tuple[Dice, ...], ...]
    multi: tuple[Dice, ...]
    single: tuple[Dice, ...]


_FILE = TypeAdapter(Annotated[dict[int, _Published], Field(min_length=1)])


def read_published(path: Path, now: Clock) -> Study:
    """The authors' matrices as a study. Raises `ResultsError` where the file is not theirs.

    Of a center's own model (`single`) they give its score at that center alone, so that its R is
    a diagonal. Each of their seeds draws an order of its own.
    """
    try:
        seeds = _FILE.validate_python(json.loads(path.read_text(encoding="utf-8")))
        runs = tuple(run for seed, published in seeds.items() for run in _runs(seed, published))
    except OSError as error:
        raise ResultsError(f"{path} cannot be read ({error.strerror}): give the authors' dice_matrices.json") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ResultsError(f"{path} is not the authors' dice_matrices.json ({where}: {first['msg']})") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{path} is not the authors' dice_matrices.json ({error})") from None
    return Study(
        title=TITLE,
        created=now().isoformat(timespec="seconds"),
        methods=PAPER,
        seeds=tuple(seeds),
        orders=tuple(map(_order_name, seeds)),
        centers=tuple(sorted(runs[0].order)),
        settings={},
        versions={},
        runs=runs,
    )


def _runs(seed: int, published: _Published) -> list[RunEntry]:
    order, name = published.order, _order_name(seed)
    centers = range(len(order))
    diagonal = [[published.single[i] if i == j else None for j in centers] for i in range(len(published.single))]
    return [
        run_entry("single", seed, ANY_ORDER, order, diagonal),
        run_entry("finetune", seed, name, order, published.finetune),
        run_entry("replay", seed, name, order, published.replay),
        run_entry("pooled", seed, ANY_ORDER, order, [published.multi]),
    ]


def _order_name(seed: int) -> str:
    return f"random-{seed}"
