"""What deepbet, which learnt from T1-weighted heads, is worth on FLAIR and T2w.

    python -m tests.oracles.skull_stripping [FOLDER]

prints a line for each head: simulated brains, and the real brains of stripped BIDS data sets below FOLDER, inside a
simulated skull and scalp, whose brain is known; and real heads below FOLDER, of which only volume and cut lesions are.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy import ndimage

from client.data.bids import find_cases
from client.data.filenames import CONTRASTS
from client.data.head import find_head
from client.data.reading import read_case
from client.data.skull_stripping import is_whole_head
from client.preparation.stripping import brain_ml, find_brain, share_cut
from client.preparation.volume import ScanVolume
from tests.support.heads import Head, in_slices, simulated_brains, with_skull


def simulated() -> Iterator[tuple[str, Head, bool]]:
    """Simulated brains in simulated skulls."""
    for contrast in CONTRASTS:
        for subject in (1, 2, 3):
            fine = with_skull(simulated_brains((1.0, 1.0, 1.0), subject)[contrast], contrast)
            yield f"simulated {subject} {contrast} 1 mm", fine, True
            yield f"simulated {subject} {contrast} 5 mm slices", in_slices(fine, 5), True


def real(folder: Path) -> Iterator[tuple[str, Head, bool]]:
    """Real brains in simulated skulls, and real heads."""
    for hospital in sorted(path for path in folder.iterdir() if path.is_dir()):
        for case in find_cases(hospital, CONTRASTS):
            image, label = read_case(case).usable_pair()
            volume = ScanVolume(image.array, image.affine)
            name = f"{hospital.name} {case.subject} {case.contrast}"
            if is_whole_head(find_head(volume.array), volume.affine):
                yield f"{name} real head", Head(volume, label.array, np.zeros(image.array.shape, dtype=bool)), False
                continue
            brain = np.asarray(ndimage.binary_fill_holes(image.array != 0))
            head = with_skull(Head(volume, label.array, brain), case.contrast)
            yield f"{name} 1 mm", head, True
            yield f"{name} 6 mm slices", in_slices(head, 6), True


def main(folders: list[str]) -> None:
    """Print the table."""
    print("head | brain ml | mask ml | Dice | lesion voxels cut off | seconds")
    for name, head, known in (*simulated(), *(one for folder in folders for one in real(Path(folder)))):
        started = time.perf_counter()
        mask = find_brain(head.image)
        seconds = time.perf_counter() - started
        dice = 2 * np.count_nonzero(mask & head.brain) / (np.count_nonzero(mask) + np.count_nonzero(head.brain))
        cut = share_cut(mask, head.image.like(head.label))
        truth = f"{brain_ml(head.brain, head.image):.0f} | " if known else "unknown | "
        score = f"{dice:.3f}" if known else "unknown"
        print(f"{name} | {truth}{brain_ml(mask, head.image):.0f} | {score} | {cut:.2%} | {seconds:.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
