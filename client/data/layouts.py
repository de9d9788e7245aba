"""One door to a hospital's data, however its files are laid out."""

from enum import StrEnum
from pathlib import Path

from client.data import bids, decathlon, nnunet
from client.data.inventory import ANY_LABEL, Case, Inventory, LabelChoice
from shared.errors import DataError


class Layout(StrEnum):
    """The layouts that hospitals keep their data in."""

    bids = "bids"
    decathlon = "decathlon"
    nnunet = "nnunet"


_READERS = {
    Layout.bids: bids.take_inventory,
    Layout.decathlon: decathlon.take_inventory,
    Layout.nnunet: nnunet.take_inventory,
}


def find_cases(
    folder: Path, contrasts: tuple[str, ...], layout: Layout | None = None, choice: LabelChoice = ANY_LABEL
) -> list[Case]:
    """Every image of the given contrasts that has a label, in order of subject.

    Raises `DataError` where the folder is missing, is not laid out so, or has no such image.
    """
    return take_inventory(folder, contrasts, layout, choice).usable()


def take_inventory(
    folder: Path, contrasts: tuple[str, ...], layout: Layout | None = None, choice: LabelChoice = ANY_LABEL
) -> Inventory:
    """What a data folder holds, in the given layout or in the one that it shows.

    Raises `DataError` where the folder is missing or not laid out so.
    """
    if not folder.exists():
        raise DataError(f"data folder {folder} does not exist: give the folder of a data set")
    return _READERS[layout or detect(folder)](folder, contrasts, choice)


def detect(folder: Path) -> Layout:
    """The layout that a folder shows; BIDS before the others, since a list may point into it.

    Raises `DataError` where it shows none.
    """
    if folder.is_file():
        return Layout.decathlon
    if any(path.is_dir() for path in folder.glob("sub-*")):
        return Layout.bids
    if nnunet.looks_like(folder):
        return Layout.nnunet
    if decathlon.find_list(folder) is not None:
        return Layout.decathlon
    raise DataError(
        f"data folder {folder} is laid out in no known way: give a folder with sub-* folders (BIDS), with "
        f"{' or '.join(decathlon.FILES)} (Decathlon), or with {nnunet.IMAGES} and {nnunet.LABELS} (nnU-Net); or "
        "have 'wardround hospital prepare' make a BIDS data set of it"
    )
