"""Transfer metrics of random matrices as Avalanche computes them; writes avalanche_transfer.json beside this file.

Avalanche's pins pull numpy back, so that its values are kept instead of the library:

    python -m venv /tmp/oracle && /tmp/oracle/bin/pip install avalanche-lib==0.6.0
    /tmp/oracle/bin/python tests/oracles/avalanche_transfer.py

Its forgetting sets the last score against the one at a center's own visit, and so is minus its backward
transfer; Chaudhry et al. 2018 set it against the best earlier one. Both are the same where the own visit is
the best, which the matrices of the kind `peaked` are made to be.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from avalanche.evaluation.metrics.forgetting_bwt import BWT, Forgetting
from avalanche.evaluation.metrics.mean import Mean

TARGET = Path(__file__).with_suffix(".json")

CENTERS = (2, 3, 5, 8, 8)


def matrices() -> list[tuple[str, np.ndarray]]:
    """Kind, and R of shape (K, K) to four digits."""
    rng = np.random.default_rng(2210)
    made = []
    for k in CENTERS:
        made.append(("random", rng.uniform(size=(k, k)).round(4)))
        rng.uniform(size=k)  # not used: without it, the next matrices would not be those of the kept file
        peaked = rng.uniform(0, 0.6, size=(k, k))
        peaked[np.diag_indices(k)] = rng.uniform(0.6, 1, size=k)
        made.append(("peaked", peaked.round(4)))
        rng.uniform(size=k)
    return made


def scores(r: np.ndarray) -> dict[str, Any]:
    """What Avalanche's metrics say when they are told R stage by stage, as its evaluation does."""
    last, forgetting, backward = Mean(), Forgetting(), BWT()
    k = len(r)
    for center in range(k):
        last.update(float(r[-1, center]))
    for stage in range(k):
        for center in range(k):
            for metric in (forgetting, backward):
                if center <= stage:
                    metric.update(center, float(r[stage, center]), initial=center == stage)
    return {
        "acc": last.result(),
        "bwt": float(np.mean(list(backward.result().values()))),
        "bwt_per_center": [backward.result()[center] for center in range(k - 1)],
        "forgetting": float(np.mean(list(forgetting.result().values()))),
    }


def main() -> None:
    """Write the matrices, their values, and the versions that gave them."""
    content = {
        "versions": {name: version(name) for name in ("avalanche-lib", "torch", "numpy")},
        "matrices": [{"kind": kind, "R": r.tolist(), **scores(r)} for kind, r in matrices()],
    }
    TARGET.write_text(json.dumps(content) + "\n")


if __name__ == "__main__":
    main()
