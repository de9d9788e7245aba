"""What can be wrong with a lesion label: with its values, and with how it lies on its image.

A label says where lesions are, by 1 or by a soft value in [0, 1]. One that numbers several structures (the WMH
challenge's 2 is another pathology) becomes one by naming the value that means lesion, and by nothing else: to divide
it by its maximum would make lesions of all that it marks.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from client.data.grids import Affine, corner_distance, is_same_grid
from client.data.head import FoundHead
from client.data.lesions import LESION, voxel_ml
from client.data.rules import Finding, by, problem, warning

Array = NDArray[np.float32]

RANGE_TOLERANCE = 1e-3
"""By how much interpolation may take a label out of [0, 1], and a value miss the whole number that is meant."""

MUCH_IN_AIR = 0.1
MUCH_OF_HEAD = 0.2
"""Shares of lesion in air, and of the head in lesion, from which a label is more likely misplaced or inverted."""

LISTED = 8
"""Values of a label that are told one by one; more are a scale, or many structures."""

OF_PICTURES = (255.0, 65535.0)
"""What programs for pictures write for "yes"."""

LOOKED_AT = 20_000
"""Voxels of lesion by which two ways to lay a label over its image are compared."""

CLEARLY = 0.1
"""Of the lesions: by how much one way must have more in the head to look right."""

BRIGHTER = 0.3
"""Standard deviations of the head: where both ways lie in the head, the way to look right is brighter by so much."""

COPY_HEADER = "copy the image's header to it (wardround hospital prepare --copy-header)"
WRITE_AGAIN = "if its axes were swapped when it was written, write it again in the order of the image's"
RESAMPLE = "resample the label to the image (nearest neighbour)"


def label_findings(label: Array, allow_empty: bool = False, affine: Affine | None = None) -> Iterator[Finding]:
    """Whether a label is one of lesions in [0, 1], with lesions in it unless `allow_empty`.

    `affine` tells the volume of what other values mark; without it voxels are counted.
    """
    if not_finite := _not_finite(label):
        yield not_finite
        return
    low, high = float(label.min()), float(label.max())
    if low < -RANGE_TOLERANCE or high > 1 + RANGE_TOLERANCE:
        yield _out_of_range(label, affine)
    elif high < LESION and not allow_empty:
        yield _without_lesion(_reaches(high))


def choose_value(label: Array, value: float, affine: Affine | None = None) -> tuple[Array, list[Finding]]:
    """The label of the lesions alone, of a label in which `value` means lesion, and what is wrong with that."""
    if not_finite := _not_finite(label):
        return label, [not_finite]
    chosen = (np.abs(label - np.float32(value)) <= RANGE_TOLERANCE * max(1.0, abs(value))).astype(np.float32)
    findings = []
    if not chosen.any():
        findings.append(_without_lesion(f"no voxel is {value:g}; {_values(label, affine)}"))
    marked = label[np.abs(label) > RANGE_TOLERANCE]
    between = np.count_nonzero(np.abs(marked - np.rint(marked)) > RANGE_TOLERANCE)
    if value == round(value) and between:
        text = f"has values between whole numbers in {between / marked.size:.0%} of what it marks, which count as none"
        findings.append(warning("fractions", "label", text, "leave out the lesion value where labels are soft"))
    return chosen, findings


def _not_finite(label: Array) -> Finding | None:
    bad = int(np.count_nonzero(~np.isfinite(label)))
    return (
        problem("not-finite", "label", f"holds NaN or infinity in {bad} voxels", "replace them by 0") if bad else None
    )


def _without_lesion(why: str) -> Finding:
    mend = "label it, or allow patients without lesions (--allow-empty; in a run empty-labels = 'keep')"
    return problem("empty", "label", f"marks no lesion ({why})", mend)


def _reaches(high: float) -> str:
    if high <= RANGE_TOLERANCE:
        return "it is empty"
    shown = f"{high:.2g}"
    return f"it reaches only {shown if float(shown) < LESION else f'just below {LESION:g}'}, and {LESION:g} is lesion"


def _out_of_range(label: Array, affine: Affine | None) -> Finding:
    """The problem of a label with values that are none of a lesion label, and the mend that harms nothing."""
    low, high = float(label.min()) + 0.0, float(label.max()) + 0.0  # not -0
    where = f"runs from {low:g} to {high:g}, but a lesion label lies in [0, 1]"
    whole = bool((np.abs(label - np.rint(label)) <= RANGE_TOLERANCE).all())
    values = np.unique(np.rint(label)) if whole else np.unique(label)
    scale = {100: "percent, divide it by 100", 255: "fractions of 255, divide it by 255"}
    fractions = next((mend for top, mend in scale.items() if top / 2 <= high <= top and low >= -RANGE_TOLERANCE), None)
    others = values[values != 0]
    if whole and (len(values) <= LISTED if fractions is None else len(others) <= 2):
        text = f"{where}; {_values(label, affine)}"
        if len(others) == 1 and float(others[0]) in OF_PICTURES:
            name = f"--lesion-value {others[0]:g}"
            mend = f"name the value that means lesion, most likely `{name}` (in hospital.toml lesion-value)"
        else:
            name = "--lesion-value 1" if 1 in others else "--lesion-value VALUE"
            mend = f"name the value that means lesion, such as `{name}` (in hospital.toml lesion-value)"
        return problem("out-of-range", "label", text, mend)
    if whole:
        text = f"{where}; {_values(label, affine)}"
        if fractions:
            mend = f"if these are {fractions}; if they number structures, name the one that means lesion"
        else:
            mend = "name the value that means lesion"
        return problem("out-of-range", "label", text, f"{mend} (--lesion-value, in hospital.toml lesion-value)")
    again = "export it again from where it was drawn, 1 for lesion and 0 for all else"
    mend = f"if these are {fractions}; else {again}" if fractions else again
    return problem("out-of-range", "label", where, mend)


def _values(label: Array, affine: Affine | None) -> str:
    """Which values a label has, each with the volume that it marks."""
    values, counts = np.unique(np.rint(label / RANGE_TOLERANCE) * RANGE_TOLERANCE, return_counts=True)
    ml = voxel_ml(affine) if affine is not None and np.isfinite(affine).all() else 0.0
    named = [(value, count) for value, count in zip(values, counts, strict=True) if value != 0]
    shown = sorted(sorted(named, key=lambda one: -one[1])[:LISTED])
    told = [f"{value:g} ({count * ml:.3g} ml)" if ml else f"{value:g} ({count} voxels)" for value, count in shown]
    zero = ["0"] if len(named) < len(values) else []
    more = f" and {len(named) - LISTED} more" if len(named) > LISTED else ""
    return f"its values are {', '.join(zero + told)}{more}"


def pair_findings(head: FoundHead, affine: Affine, label: Array, label_affine: Affine) -> Iterator[Finding]:
    """Whether image and label, both of finite values, lie on one grid and show one head."""
    shape = head.image.shape
    if label.shape != shape:
        text = f"does not lie on its image's grid (shape {by(label.shape)}, the image's {by(shape)})"
        swapped = sorted(label.shape) == sorted(shape)
        yield problem("off-grid", "label", text, f"{WRITE_AGAIN}, else {RESAMPLE}" if swapped else RESAMPLE)
        return
    lesion = label >= LESION
    if not is_same_grid(shape, affine, label_affine):
        away = corner_distance(shape, affine, label_affine)
        text = f"does not lie on its image's grid (off by up to {away:.3g} mm, though the shapes agree)"
        yield problem("off-grid", "label", text, copy_or(RESAMPLE, head, affine, lesion, label_affine))
        return
    if not lesion.any():
        return
    inside = head.mask
    outside = np.count_nonzero(lesion & ~inside) / np.count_nonzero(lesion)
    if outside > MUCH_IN_AIR:
        text = f"has {outside:.0%} of its lesions in air"
        yield warning("lesion-in-air", "label", text, "look at the picture: it may be flipped or another patient's")
    elif inside.any() and (share := np.count_nonzero(lesion & inside) / np.count_nonzero(inside)) > MUCH_OF_HEAD:
        text = f"covers {share:.0%} of the head"
        yield warning("much-lesion", "label", text, "look at the picture: it may be inverted, or not of lesions")


def copy_or(
    otherwise: str, head: FoundHead, affine: Affine, lesion: NDArray[np.bool_], label_affine: Affine | None = None
) -> str:
    """The mend of a label of its image's shape with another header, or with none that can be used.

    Whether it was drawn on this very image is for a person to know; which way its lesions lie in the head is told.
    """
    mend = f"if it was drawn on this very image, {COPY_HEADER}, else {otherwise}"
    where = np.argwhere(lesion)
    if not len(where):
        return mend
    where = where[:: -(-len(where) // LOOKED_AT)]
    laid, bright = _in_head(head, where)
    if label_affine is None:
        return f"{mend}; laid over the image voxel by voxel, {laid:.0%} of its lesions lie in the head"
    placed = where @ label_affine[:3, :3].T + label_affine[:3, 3]
    back = np.linalg.inv(affine)
    by_header, bright_by_header = _in_head(head, placed @ back[:3, :3].T + back[:3, 3])
    looks = "which does not tell"
    if abs(laid - by_header) >= CLEARLY:
        looks = "so it looks drawn on this image" if laid > by_header else "so its own header looks right"
    elif abs(bright - bright_by_header) >= BRIGHTER * float(head.image[head.mask].std()):
        looks = (
            "but the former are brighter, as lesions are, so it looks drawn on this image"
            if bright > bright_by_header
            else "but the latter are brighter, as lesions are, so its own header looks right"
        )
    return (
        f"{mend}; {laid:.0%} of its lesions lie in the head where it is laid over the image voxel by voxel, "
        f"and {by_header:.0%} by its header, {looks}"
    )


def _in_head(head: FoundHead, places: NDArray[np.float64] | NDArray[np.intp]) -> tuple[float, float]:
    """The share of places, in voxels of the image, that lie in the head, and how bright these are."""
    nearest = np.rint(places).astype(np.int64)
    within = ((nearest >= 0) & (nearest < np.array(head.image.shape))).all(axis=1)
    values = head.image[tuple(nearest[within].T)]
    inside = values[values > head.air]
    return inside.size / len(nearest), float(inside.mean()) if inside.size else head.floor
