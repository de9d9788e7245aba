"""How far from its place a T2w lies after it was moved in a known way and registered to its FLAIR.

    python -m tests.oracles.registration

prints for each simulated head the greatest distance at the corners of the brain, in mm, and seconds of one core.
"""

import time

import numpy as np

from client.preparation.registration import register
from tests.client.preparation.test_registration import MOTIONS, ends_of_brain, moved
from tests.support.heads import simulated_brains, with_skull

GRIDS = (("2 mm", (2.0, 2.0, 2.0)), ("5 mm slices", (1.0, 1.0, 5.0)))


def main() -> None:
    """Print the table."""
    print("head | moved by mm | off by mm | mutual information before | after | seconds")
    for name, voxel in GRIDS:
        for skull in (False, True):
            flair, t2w = simulated_brains(voxel).values()
            if skull:
                flair, t2w = with_skull(flair, "FLAIR"), with_skull(t2w, "T2w")
            for motion in MOTIONS:
                moving, way = moved(t2w.image, *motion)
                started = time.process_time()
                found = register(flair.image, moving, flair.brain)
                seconds = time.process_time() - started
                ends = ends_of_brain(flair.image, flair.brain)
                back = [way.TransformPoint(found.transform.TransformPoint(point.tolist())) for point in ends]
                off = float(np.linalg.norm(np.array(back) - ends, axis=1).max())
                words = f"{found.moved_mm:.1f} | {off:.2f} | {found.before:.3f} | {found.after:.3f} | {seconds:.1f}"
                print(f"{'head' if skull else 'stripped'}, {name} | {words}", flush=True)


if __name__ == "__main__":
    main()
