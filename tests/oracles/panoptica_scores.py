"""Scores of the pairs in blobs.py as panoptica computes them; writes panoptica_scores.json beside this file.

panoptica needs another numpy than Wardround, so that its values are kept instead of the library:

    python -m venv /tmp/oracle && /tmp/oracle/bin/pip install panoptica==2.1.7 numpy==2.2.6
    /tmp/oracle/bin/python tests/oracles/panoptica_scores.py

Components (cc3d, 26-connectivity), which of them overlap, Dice, volumes and surface distances are panoptica's.
Its own HD95 pools the distances of both directions, so that the greater of the two percentiles is taken here.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from blobs import SEEDS, Pair, make_pair
from panoptica._functionals import _calc_overlapping_labels, _connected_components
from panoptica.metrics import Metric
from panoptica.metrics._surface_distances import _surface_distance_pair
from panoptica.utils.constants import CCABackend

TARGET = Path(__file__).with_suffix(".json")


def scores(pair: Pair) -> dict[str, Any]:
    """What panoptica says of a pair of which neither side is empty."""
    found, n_found = _connected_components(pair.prediction.astype(np.uint8), CCABackend.cc3d)
    there, n_there = _connected_components(pair.truth.astype(np.uint8), CCABackend.cc3d)
    overlaps = _calc_overlapping_labels(found, there, tuple(range(1, n_there + 1)))
    distances = _surface_distance_pair(pair.truth, pair.prediction, voxelspacing=pair.spacing)
    voxel_ml = float(np.prod(pair.spacing)) / 1000
    relative = Metric.RVD(pair.truth.astype(np.uint8), pair.prediction.astype(np.uint8))
    return {
        "digest": pair.digest,
        "lesions_found": int(n_found),
        "lesions_there": int(n_there),
        "dice": float(Metric.DSC(pair.truth.astype(np.uint8), pair.prediction.astype(np.uint8))),
        "lesion_sensitivity": len({reference for reference, _ in overlaps}) / n_there,
        "lesion_precision": len({prediction for _, prediction in overlaps}) / n_found,
        "volume_difference_ml": abs(float(relative)) * int(pair.truth.sum()) * voxel_ml,
        "hd95_mm": max(float(np.percentile(one, 95)) for one in distances),
    }


def main() -> None:
    """Write the values, and the versions that gave them."""
    pairs = {seed: make_pair(seed) for seed in SEEDS}
    both = {seed: pair for seed, pair in pairs.items() if pair.truth.any() and pair.prediction.any()}
    content = {
        "versions": {name: version(name) for name in ("panoptica", "connected-components-3d", "scipy", "numpy")},
        "pairs": {str(seed): scores(pair) for seed, pair in both.items()},
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
