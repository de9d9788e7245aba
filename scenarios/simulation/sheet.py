"""A picture of a simulated center: slices of its first subjects, with the lesions' outline."""

from pathlib import Path

from client.data.filenames import CONTRASTS
from client.data.layouts import find_cases
from client.data.lesions import lesion_count, lesion_ml
from client.data.reading import read_case
from client.qc.montage import draw_views
from client.qc.slices import slices_of
from shared.text import counted

SHOWN = 12
"""Subjects on a sheet at most."""


def draw_sheet(center: Path, picture: Path) -> None:
    """Write the contact sheet of a center's folder. Raises `DataError` or `ResultsError`."""
    views = []
    for case in find_cases(center, CONTRASTS)[:SHOWN]:
        image, label = read_case(case, allow_empty=True).usable_pair()
        lesions = counted(lesion_count(label.array), "lesion")
        title = f"{case.subject}  ·  {case.contrast}  ·  {lesion_ml(label.array, image.affine):.1f} ml in {lesions}"
        views.append((slices_of(image.array, image.affine, label.array), title, True))
    draw_views(views, picture)
