"""Images that are there more than once, told by their voxels and not by their files."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from client.data.reading import Reading
from client.data.rules import Finding, problem

NOTHING = ("not-finite", "air", "constant")
"""Problems of images of nothing, which are like many others and so no duplicates."""


def fingerprint(reading: Reading) -> str:
    """A digest of an image's voxels, however they are compressed; empty where it shows nothing."""
    if reading.image is None or any(one.part == "image" and one.code in NOTHING for one in reading.findings):
        return ""
    array = reading.image.array
    digest = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def twins(fingerprints: Sequence[str]) -> list[tuple[int, ...]]:
    """For each image the places of all others with its fingerprint; an empty fingerprint is like none."""
    places: dict[str, list[int]] = {}
    for place, found in enumerate(fingerprints):
        places.setdefault(found, []).append(place)
    return [
        tuple(other for other in places[found] if other != place) if found else ()
        for place, found in enumerate(fingerprints)
    ]


def duplicate(strangers: Iterable[str]) -> Finding:
    """The problem of an image that other subjects have, too.

    One of them is wrong, and the patient might be trained on and tested on at once; which one is wrong, the files
    cannot tell.
    """
    text = f"is the same as that of {', '.join(sorted(strangers))}"
    return problem("duplicate", "image", text, "find out whose it is, and remove the other")
