"""What a file's name tells of its format and contrast, and the words that names are made of.

Names are read as sites give them, word by word (`words_of`). What cannot be told is left to whoever asked, never
guessed. Whose an image is, is told by `client/data/subjects.py`.
"""

import re
from itertools import pairwise
from pathlib import Path

SUFFIXES = (".nii.gz", ".nii")
"""Of images that are read; in any case (`.NII.GZ`)."""

OTHER_FORMATS = (
    *(".img.gz", ".hdr", ".img", ".mha", ".mhd", ".mgz", ".mgh", ".nrrd", ".nhdr", ".dcm", ".ima", ".par", ".rec"),
    *(".mnc", ".nii.bz2", ".nii.xz", ".nii.zst", ".nii.zip"),
)
"""Of images that are not read, but named to be converted."""

CONTRASTS = ("FLAIR", "T2w")
"""The contrasts in which MS lesions are segmented here."""

_JOINED = re.compile(
    r"((?:(?<![a-z])t[12])?flair|dark-?fluid|mprage|(?<![a-z0-9])[23]d(?=[a-z]{2})|(?<=[a-z])[23]d$"
    r"|(?<![a-z])t2star|(?<![a-z])t2\*|(?<=[a-z0-9])t[12]w$|(?<=\d)t[12]$|(?<=\d)(?:v|m|w|tp|ses|visit|fu|bl)\d{0,2}$|^t[12]w?(?=se|tse|fse|space|brain))"
)
"""Words that names join to others: `3DFLAIR`, `P01T2w`."""

_CAMEL = re.compile(r"(?<=[a-z]{3})(?=[A-Z][a-z]{3})|(?<=^[A-Za-z]\d\d)(?=[A-Za-z]\d)|(?<=^[A-Za-z]\d)(?=[A-Za-z]\d)")
_T2W = re.compile(r"t2(w|wi|weighted|tse|fse|se|space|cube|vista)?")
_OTHER = re.compile(r"t1\w*|t2s|t2star|t2\*|pd|pdw|dwi|dti|adc|swi|swan|mprage|mp2rage|stir|psir|tof|asl")
_FAINT_OTHER = re.compile(r"dir|ct|dp|gado\w*|bold|mtr")
_NO_IMAGE_OF_T2 = frozenset({"star", "s", "*", "map", "mapping", "stir"})
_INTO = frozenset({"to", "in", "on", "onto", "into", "reg2", "regto"})


def stem(name: str) -> str:
    """A file's name without `.nii.gz` or `.nii`, in whichever case."""
    return re.sub(r"(\.nii)?(\.gz)?$", "", name, flags=re.IGNORECASE)


def is_nifti(name: str) -> bool:
    """Whether a name has the suffix of an image that is read."""
    return name.lower().endswith(SUFFIXES)


def other_format(name: str) -> str:
    """The suffix of a format that must be converted, or the empty text."""
    return next((suffix for suffix in OTHER_FORMATS if name.lower().endswith(suffix)), "")


def images_in(folder: Path) -> list[str]:
    """Names of the images in a folder, in order; of one that is there compressed and plain, the compressed one.

    A folder that is missing or cannot be listed has none. Links count wherever they lead, for reading one
    that leads nowhere says so.
    """
    names = [name for name in files_in(folder) if is_nifti(name)]
    compressed = {stem(name) for name in names if name.lower().endswith(".gz")}
    return [name for name in names if name.lower().endswith(".gz") or stem(name) not in compressed]


def others_in(folder: Path) -> list[str]:
    """Names of the images in a folder that must be converted to NIfTI; one of a pair such as `.hdr` and `.img`."""
    found: dict[str, str] = {}
    for name in files_in(folder):
        if suffix := other_format(name):
            found.setdefault(name[: -len(suffix)], name)
    return sorted(found.values())


def files_in(folder: Path) -> list[str]:
    """Names in a folder that are not hidden, in order; none where it cannot be listed."""
    try:
        return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def words_of(text: str) -> list[tuple[str, str]]:
    """The words of a name, each behind the separators before it.

    Words end at anything but letters, digits and `*`, and where a name joins known words (`P01T2w`, `3DFLAIR`).
    """
    words: list[tuple[str, str]] = []
    for match in re.finditer(r"([^\w*]|_)*((?:[^\W_]|\*)+)", text):
        before = match.group()[: -len(match.group(2))]
        for part in _CAMEL.sub("\0", match.group(2)).split("\0"):
            for piece in _unjoined(part):
                words.append((before, piece))
                before = ""
    return words


def _unjoined(token: str) -> list[str]:
    if (match := re.fullmatch(r"([a-z]*\d+)[a-f]", token.lower())) and token.lower() not in ("2d", "3d"):
        return [token[:-1], token[-1]]
    if re.fullmatch(r"\d{1,3}(mo?|w|y)", token.lower()):
        return [token]
    cuts = [0]
    for match in _JOINED.finditer(token.lower()):
        cuts += match.span()
    return [piece for start, end in zip(cuts, [*cuts[1:], len(token)], strict=True) if (piece := token[start:end])]


def contrast_of(text: str) -> str | None:
    """The contrast that a file name or a modality tells: `FLAIR`, `T2w`, `other`, or None where it tells none.

    A `T2_FLAIR` is a FLAIR, and so is Siemens's dark-fluid TIRM; a TIRM without more may be a STIR and tells none. A
    contrast to which an image was registered (`T1w_to_FLAIR`, `space-FLAIR`) is not its own. Of `P1_T2_T1`, as
    MSLesSeg names its files, `T2` is the second visit: the last word counts.
    """
    named = _OwnWords(stem(text)).words
    if "t1flair" in named or named[:2] == ["t1", "flair"]:
        return "other"
    if any("flair" in word or word in ("darkfluid", "fluid") for word in named):
        return "FLAIR"
    if "tirm" in named or "tir" in named:
        return None
    told = [contrast for word in named if (contrast := _told(word))]
    if any(word == "t2" and then in _NO_IMAGE_OF_T2 for word, then in pairwise(named)):
        return "other"
    if not told and any(_FAINT_OTHER.fullmatch(word) for word in named):
        return "other"
    return told[-1] if told else None


def _told(word: str) -> str | None:
    if _T2W.fullmatch(word):
        return "T2w"
    return "other" if _OTHER.fullmatch(word) else None


class _OwnWords:
    """The words of a name in lower case, but those that tell into which space an image was brought."""

    def __init__(self, text: str) -> None:
        found = [(before, word.lower()) for before, word in words_of(text)]
        self.words: list[str] = []
        for place, (before, word) in enumerate(found):
            previous = found[place - 1][1] if place else ""
            into = previous in _INTO or (previous == "space" and before == "-" and found[place - 1][0] in ("_", ""))
            # What is said of a space alone is said of the image, too.
            if not (into and any(_is_contrast(other) for _, other in found[: place - 1] + found[place + 1 :])):
                self.words.append(word)


def _is_contrast(word: str) -> bool:
    return "flair" in word or _told(word) is not None
