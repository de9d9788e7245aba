"""Choosing among the labels of an image by what the hospital says: a pipeline, a rater, an ending.

Labels of several makers must not be mixed unseen, so that an image with several is set aside until one kind is chosen,
by `labels` in `hospital.toml` or `--labels`.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import TypeVar

from client.data.filenames import stem
from shared.errors import DataError

Key = TypeVar("Key", bound=Hashable)
Label = TypeVar("Label")

HOW = "choose by --labels NAME, or labels = NAME in hospital.toml"

LISTED = 6
"""At most so many labels are named in a line."""


def chosen(
    found: Mapping[Key, Sequence[Label]], kind: Callable[[Label], PurePath], choice: str, folder: Path
) -> dict[Key, list[Label]]:
    """The labels of each image that the choice means; all where nothing is chosen.

    `kind` tells of a label the folders that it can be chosen by, and its name without what tells whose it is. Raises
    `DataError`, with what there is, where the choice means no label at all.
    """
    if not choice:
        return {image: list(labels) for image, labels in found.items()}
    ranks = {image: [rank(kind(label), choice) for label in labels] for image, labels in found.items()}
    best = max((one for of_image in ranks.values() for one in of_image), default=0)
    if not best:
        kinds = sorted({str(kind(label)) for labels in found.values() for label in labels})
        problem = f"labels = {choice} means no label in {folder}"
        raise DataError(
            f"{problem}: choose from {listed(kinds)}" if kinds else f"{problem}, which has none: add labels",
            "has no label of the kind that its hospital.toml chooses",
        )
    return {
        image: [label for label, own in zip(labels, ranks[image], strict=True) if own == best]
        for image, labels in found.items()
    }


def rank(kind: PurePath, choice: str) -> int:
    """How a choice means a kind of labels; 0 where it does not.

    3: it is a folder that they lie in (a pipeline); 2: their names end in it (`label-lesion_mask`); 1: it is a part of
    their names (`rater-1`, `manual`). Of `pipeline/ending` the lesser counts.
    """
    folders, name = [part.lower() for part in kind.parts[:-1]], kind.name.lower()
    ranks = []
    for word in stem(choice).lower().strip("/").split("/"):
        if word in folders:
            ranks.append(3)
        elif name == word or name.endswith(f"_{word}"):
            ranks.append(2)
        else:
            ranks.append(int(re.search(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])", name) is not None))
    return min(ranks)


def listed(names: Sequence[object]) -> str:
    """Names in a line, which ends where there are many."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(map(str, names[:LISTED])) + more
