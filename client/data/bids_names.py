"""Names of BIDS read part by part, and which label goes with which image.

A name is `key-value` pairs and words divided by `_`; the last word is the suffix. `sub-01_label-lesion_mask` and
`sub-01_FLAIR_lesion-manual` are lesion labels of `sub-01_FLAIR`. Sites order and spell the parts differently, so that
what counts is what the parts say.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

from client.data.filenames import contrast_of

LABEL_NAMES = (
    *("label-lesion_seg", "label-lesion_mask", "label-lesion_dseg", "label-lesion_probseg", "label-L_mask"),
    *("lesion-manual", "desc-lesion_mask", "seg-lst"),
)
"""Endings of lesion labels, of which sites have others, too."""

WHICH = ("ses", "run", "acq", "rec", "echo", "ce", "trc", "dir", "part", "inv", "chunk")
"""Keys that tell one image of a subject from another; where image and label both name one, they must agree."""

_LESION = re.compile(r"\w*(lesion|wmh)\w*|wml|msl?|l|lst")
_SUFFIX = re.compile(
    r"(mask|seg|segmentation|dseg|probseg|lesions?|wmh|lesion(mask|seg)|rater|expert|manual|consensus|auto)\d*"
)
_HINT = re.compile(r"lesion|wmh|mask|seg|label|manual|consensus|annot|truth|rater|(^|_)gt(_|$)")
_OTHER_TISSUE = re.compile(
    r"(label|desc|seg)-(brain|(gm|wm|csf|bg)(?![a-z])|head|tissue|aseg|aparc|vent)|brain_?mask|fill|defac"
)
_OWN_SPACE = ("orig", "original", "native", "individual", "subject", "self", "scanner", "acq")


@dataclass(frozen=True)
class BidsName:
    """A name without its suffix, in parts."""

    stem: str

    @cached_property
    def entities(self) -> dict[str, str]:
        """Its values by key, all in lower case; numbers of runs without leading zeros."""
        pairs = [part.lower().partition("-") for part in self.stem.split("_") if "-" in part]
        return {key: value.lstrip("0") if key in ("run", "echo", "inv") else value for key, _, value in pairs}

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its parts without a key, in lower case."""
        return tuple(part.lower() for part in self.stem.split("_") if part and "-" not in part)

    @property
    def suffix(self) -> str:
        """The last part if that is a word; else empty."""
        last = self.stem.rpartition("_")[2]
        return "" if "-" in last else last.lower()

    @property
    def contrast(self) -> str | None:
        """Of an image, by its suffix (`FLAIR`, `T2FLAIR`, `t2w`); `acq-FLAIR_T2w` is a FLAIR."""
        told = contrast_of(self.suffix)
        if told == "T2w" and any("flair" in self.entities.get(key, "") for key in ("acq", "rec", "ce", "desc", "mod")):
            return "FLAIR"
        return told

    def is_lesion_label(self) -> bool:
        """Whether it is one by its parts."""
        if _OTHER_TISSUE.search(self.stem.lower()):
            return False
        said = [self.entities.get(key, "") for key in ("label", "seg")]
        by_desc = re.search("lesion|wmh", self.entities.get("desc", "")) is not None
        by_word = any(re.search("lesion|wmh", word) for word in self.words)
        if not (any(_LESION.fullmatch(one) for one in said) or by_desc or by_word or "lesion" in self.entities):
            return False
        return not self.suffix or _SUFFIX.fullmatch(self.suffix) is not None

    def seems_a_label(self) -> bool:
        """Whether a person may have meant it as one: it speaks of lesions, masks or raters, and of no other tissue."""
        return bool(_HINT.search(self.stem.lower())) and not _OTHER_TISSUE.search(self.stem.lower())

    def ending(self) -> str:
        """What is the same in the labels of all images that were made alike."""
        parts = [part for part in self.stem.split("_") if part.lower().partition("-")[0] not in ("sub", *WHICH)]
        return "_".join(part for part in parts if "-" in part or contrast_of(part) is None)


def misfit(label: BidsName, image: BidsName, contrast: str, others: Collection[BidsName]) -> str:
    """Why a label is not this image's, in words; empty where it is. `others` are all images of the subject."""
    if (named := label.entities.get("sub")) and named != image.entities.get("sub", named):
        return f"names sub-{named}"
    for key in WHICH:
        theirs, ours = label.entities.get(key), image.entities.get(key)
        if theirs is None or theirs == ours:
            continue
        # An image without that key is the only one, or the one that is not named so.
        if ours is not None or key == "ses" or any(other.entities.get(key) == theirs for other in others):
            return f"names {key}-{theirs}"
    for word in label.words:
        if contrast_of(word) not in (None, contrast):
            return f"is of another contrast ({word})"
    space = label.entities.get("space")
    if space and space not in _OWN_SPACE and space != image.entities.get("space") and contrast_of(space) != contrast:
        return f"lies in space-{space}"
    return ""


def agreement(label: BidsName, image: BidsName) -> int:
    """How much of an image's name a label repeats; the label that repeats most is meant for it alone."""
    named = any(contrast_of(word) for word in label.words)
    return named + sum(label.entities.get(key) == image.entities.get(key, "") for key in WHICH)
