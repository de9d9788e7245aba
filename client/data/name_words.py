"""The words of a name that tell who was imaged, and those that tell when, how or what for.

`P01_V2_3DFLAIR_brain` is of `P01`: `V2` tells when, the others how. A name is read into units, a word with its number
(`P01`, `MS_012`) or either alone; which of them tell patients apart depends on all names of a data set, and is decided
in `client/data/path_names.py`.
"""

import re
from dataclasses import dataclass, field

from client.data.filenames import words_of

_MONTH = (
    "(jan(uary?)?|feb(ruary?)?|mar(ch)?|apr(il)?|may|mai|june?|juni|july?|juli|aug(ust)?|sept?(ember)?|o[ck]t(ober)?"
    "|nov(ember)?|de[cz](ember)?)"
)
_Y, _M, _D = r"(?:19|20)\d\d", r"(?:0[1-9]|1[0-2])", r"(?:0[1-9]|[12]\d|3[01])"
_DATE = re.compile(
    rf"(?<![a-z0-9])({_Y}(?P<a>[-_. ]?){_M}(?P=a){_D}([-_t ]?([01]\d|2[0-3])[-_:]?[0-5]\d([-_:]?[0-5]\d)?)?"
    rf"|{_D}(?P<b>[-_. ]?){_M}(?P=b){_Y}|{_M}(?P<c>[-_. ]){_D}(?P=c){_Y}|{_Y}[-.]{_M}|{_D}\.{_M}\.\d\d"
    rf"|\d\d?[-_. ]?{_MONTH}[-_. ]?{_Y}|{_MONTH}-?{_Y}|{_Y}[-_. ]?{_MONTH}([-_. ]?\d\d?)?"
    rf"|{_Y}[-_. ]?q[1-4]|q[1-4][-_. ]?{_Y})(?![a-z0-9])",
    re.IGNORECASE,
)
_UID = re.compile(r"(?<![\w.])\d+(\.\d+){5,}(?![\w.])")
"""Of DICOM, one number without its dots."""

_SIZE = re.compile(r"(?<![a-z0-9])\d+([.,p]\d+)?(mm|t)(?![a-z0-9])|(?<![a-z0-9])\d+(\.\d+)?(x\d+(\.\d+)?)+(mm)?", re.I)

_HOW = re.compile(
    r"[a-z0-9]*flair[a-z]*|t1[a-z]{0,4}|t2(w|wi|weighted|tse|fse|se|space|cube|vista|s|star|\*)?|\*|pdw?|dp|dwi|dti|adc|swi|swan"
    r"|mp2?rage|dir|stir|psir|star|map|tof|mtr|bold|asl|ct|tirm|tir|tse|fse|se|ir|gre|epi|ffe|space|cube|vista|darkfluid|dark|fluid"
    r"|weighted|w|[23]d|tra|trans|transversal|transverse|axial|ax|sag|sagittal|cor|coronal|iso(\d(mm)?)?|isovox|isotropic"
    r"|n[34][a-z]{0,4}|bias[a-z]*|brain[a-z]*|skull[a-z]*|strip|stripped|noskull|ss|pp|prep|preproc[a-z]*|preprocessed|processed|proc"
    r"|reg[a-z]{0,4}|registered|coreg[a-z]*|rigid|affine|warped|mni(152)?|icbm\w*|norm[a-z]*|bet|hdbet|synthstrip|deface[d]?|anon[a-z]*"
    r"|img|imgs|image|images|vol|volume|raw|rawdata|orig|original|native|resampled|resliced|resamp|denoised?|clean(ed)?"
    r"|final|corr|corrected|bc|ce|gd|gado[a-z]*|contrast|fs|fatsat|mri?|mris|nii|nifti|gz|to|in|on|onto|into|middle"
    r"|sourcedata|derivatives|anat|images?t[rs]|data|datasets?|all|public|train|training|test|testing|val|valid"
    r"|validation|eval|dev|out|fold\d*|batch\d*|scanner\d*|masked|cropped|crop|pad|padded|linear|lin|high|low|res|hr|lr"
)
"""Words that tell how or what for, not who."""

_WHEN = re.compile(
    r"(ses|sess|session|sessions|visit|vis|tp|tpt|time|times|timepoint|point|scan|scans|study|exam|examination|month|months"
    r"|mo|mth|weeks?|wk|years?|yr|days?|fu|followup|follow|up|bl|base|baseline|screening|screen|scr|run|acq|rec|echo|rep"
    r"|repeat|retest|rescan|date|acc|accession|round|wave|prior|current|previous|series|seq|ser|im)(\d{0,14}|\d{1,3}(mo?|y|w|d))"
    r"|[vt]\d{1,2}|m\d{1,2}|w[1-9]?\d{1,2}|y\d{1,2}|d\d{1,4}|\d{1,3}(m|mo|mth|months?|y|yr|years?|w|wk|weeks?|d|days?)"
    r"|pre|post|first|second|third|fourth|1st|2nd|3rd|4th|early|late"
)
"""Words that tell when."""

_FAINT = re.compile(r"(scans?|study|exam|examination|days?|run|acq|round|acc|accession)\d*|[mwyd]\d+", re.IGNORECASE)
"""Of these, words that name patients, too, where nothing else does."""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ENTITY = _set("ses run acq rec echo desc space res ce dir part mod chunk inv flip date")
"""Keys of BIDS, whose value goes with them."""

PATIENT = _set("p pt pat patient patients sub subj subject subjects sbj participant person pid patid proband")
"""Words whose number names a patient, wherever it stands."""

COHORT = _set(
    "ms rrms spms ppms cis ris hc nc control controls ctrl healthy volunteer vol case cases id "
    "nr no num number training train test testing val validation tr ts"
)
"""Words whose number mostly names a patient."""

PLACE = _set("center centre site hospital clinic klinik cohort group zentrum")
"""Words that tell where."""


@dataclass(frozen=True)
class Unit:
    """A word, a number, or a word with its number that may tell who."""

    text: str
    """As it stands in the name."""
    word: str
    """In lower case."""
    number: str
    """Digits; empty where it has none."""
    level: int = field(default=0, compare=False)
    """Of the path's parts, the topmost being 0."""

    @property
    def key(self) -> tuple[str, str]:
        """What is the same however it is written: `P01`, `p_1` and `patient 1` are."""
        word = "p" if self.word in PATIENT else self.word
        return word, str(int(self.number)) if self.number else ""

    @property
    def patient(self) -> bool:
        """Whether it is a patient's number by its word."""
        return bool(self.number) and self.word in PATIENT

    @property
    def cohort(self) -> bool:
        """Whether it is most likely a patient's number by its word."""
        return bool(self.number) and self.word in COHORT

    @property
    def long(self) -> bool:
        """Whether its number is so long that it means one patient wherever it stands."""
        return len(self.number) >= 5 and self.word not in PLACE

    @property
    def like_a_visit(self) -> bool:
        """Whether it is a number that may count visits."""
        if self.word or not self.number:
            return len(self.word) == 1 and not self.number
        return len(self.number) <= 2 or self.year

    @property
    def year(self) -> bool:
        """Whether it is nothing but a year."""
        return not self.word and re.fullmatch(_Y, self.number) is not None

    @property
    def padded(self) -> bool:
        """Whether its number has leading zeros."""
        return self.number.startswith("0") and len(self.number) > 1


@dataclass(frozen=True)
class Told:
    """What one part of a path tells."""

    units: tuple[Unit, ...]
    """What may tell who."""
    faint: str
    """Words that tell when, and might tell who where nothing else does (`scan_001`)."""


def read_name(name: str) -> Told:
    """Read a folder's name, or a file's without its suffix."""
    whole = _UID.sub(lambda uid: uid.group().replace(".", ""), name)
    text = _SIZE.sub("_", _DATE.sub("_date_", whole))
    words = words_of(text)
    units: list[Unit] = []
    faint: list[str] = []
    place = 0
    while place < len(words):
        before, word = words[place]
        low, place = word.lower(), place + 1
        following = words[place] if place < len(words) else ("", "")
        if low in _ENTITY and following[0] == "-" and (before == "_" or (not before and low in ("ses", "run", "acq"))):
            place = _behind_value(words, place)
        elif _WHEN.fullmatch(low):
            shown = word
            # A visit's number may stand apart, and so may the words of follow-up and time point.
            if low.isalpha() and low != "date" and (following[1].isdecimal() or re.fullmatch("[A-Za-z]", following[1])):
                shown, place = f"{word}_{following[1]}", place + 1
            if _FAINT.match(low) and low != "date":
                faint.append(shown)
        elif low in COHORT and following[1].isdecimal():
            units.append(_joined(word, following))
            place += 1
        elif _HOW.fullmatch(low):
            continue
        elif low.isdecimal():
            if units and re.fullmatch(r"\d{6}", low) and _is_short_date(low):
                continue
            if units and not units[-1].number:
                units[-1] = _joined(units[-1].text, (before, word))
            else:
                units.append(Unit(word, "", word))
        else:
            units.append(_unit(word))
    return Told(tuple(units), "_".join(faint))


def _unit(word: str) -> Unit:
    match = re.fullmatch(r"(\D*)(\d+)(.*)", word)
    return Unit(word, (match[1] + match[3]).lower(), match[2]) if match else Unit(word, word.lower(), "")


def _joined(text: str, following: tuple[str, str]) -> Unit:
    between = following[0] if following[0] in ("", "-") else "_"
    return Unit(f"{text}{between}{following[1]}", text.lower(), following[1])


def _behind_value(words: list[tuple[str, str]], place: int) -> int:
    place += 1
    while place < len(words) and words[place][0] in ("", "-"):
        place += 1
    return place


def _is_short_date(digits: str) -> bool:
    return bool(re.fullmatch(rf"\d\d{_M}{_D}|{_D}{_M}\d\d", digits))
