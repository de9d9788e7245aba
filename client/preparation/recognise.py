"""Which contrast a series is, by how it was acquired and by its name.

How it was acquired decides where it is known, for names are free: an inversion of 1.6 to 3 s nulls fluid at
1.5 and 3 T, and with a long echo that is a FLAIR, whatever it is called (Siemens: `t2_tirm_tra_dark-fluid`). A long
echo and a long repetition without inversion are T2-weighted. Values: the ranges of Wattjes et al., Lancet Neurology
20:653-670, 2021, widened to what scanners of 1 to 7 T use.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from client.data.filenames import contrast_of

OTHER = "other"

INVERSION = (1.6, 3.0)
"""s; the inversion time of a FLAIR."""
LONG_ECHO, LONG_REPETITION = 0.07, 2.0
"""s; of a FLAIR and a T2w alike."""

FEWEST_SLICES = 5
"""Of fewer no brain is made: a localizer."""

_LOCALIZER = r"loc|localizer|localiser|scout|survey|plan|planning|aahead|3-?plane|topogram"
_MAP = (
    r"adc|dwi|dti|diff|diffusion|trace|tracew|swi|mip|minip|phase|asl|bold|fmri|perf|perfusion|cbf|cbv|mtt|ttp"
    r"|tof|mra|angio|angiography|subtraction|t2[-_ ]?map|fieldmap|b0|b1000|t2-?star|t2\*|t2s|hemo|screensave"
)
_DARK_FLUID = re.compile(r"dark[-_ ]?fl(uid)?(?![a-z])|flair")
_OTHER_SEQUENCE = r"t1|t1w|t1-?map|mprage|mp2rage|bravo|fspgr|spgr|tfe|flash|pd|pdw|stir|dir|ciss|fiesta|drive"


@dataclass(frozen=True)
class Recognised:
    """A contrast (`FLAIR`, `T2w` or `other`), and what it was told by."""

    contrast: str
    why: str


def recognise(sidecar: Mapping[str, Any], name: str, slices: int) -> Recognised:
    """The contrast of a series with dcm2niix's sidecar (empty: only the name is known), a name and so many slices."""
    text = " ".join([name, *(str(sidecar.get(key, "")) for key in ("SeriesDescription", "ProtocolName"))]).lower()
    if found := _word(text, _LOCALIZER):
        return Recognised(OTHER, f"a localizer by its name ({found})")
    if slices < FEWEST_SLICES:
        return Recognised(OTHER, f"only {slices} slices")
    kinds = {str(kind).lower() for kind in sidecar.get("ImageType", ()) if isinstance(kind, str)}
    if found := _word(text, _MAP) or _word(" ".join(kinds), _MAP):
        return Recognised(OTHER, f"a map or another sequence ({found})")
    acquired = _by_acquisition(sidecar, text)
    return acquired or _by_name(text)


def _by_acquisition(sidecar: Mapping[str, Any], text: str) -> Recognised | None:
    echo, repetition = _seconds(sidecar, "EchoTime"), _seconds(sidecar, "RepetitionTime")
    inversion = _seconds(sidecar, "InversionTime")
    if echo is None or repetition is None:
        return None
    times = f"TE {1000 * echo:.0f}, TR {1000 * repetition:.0f}" + (f", TI {1000 * inversion:.0f}" if inversion else "")
    scanning = str(sidecar.get("ScanningSequence", "")).upper()
    if "EP" in re.split(r"[^A-Z]+", scanning):
        return Recognised(OTHER, f"echo-planar ({times} ms)")
    if echo < LONG_ECHO:
        return Recognised(OTHER, f"a short echo, so neither FLAIR nor T2w ({times} ms)")
    if repetition < LONG_REPETITION:
        return Recognised(OTHER, f"a short repetition, so neither FLAIR nor T2w ({times} ms)")
    if inversion and INVERSION[0] <= inversion <= INVERSION[1]:
        if found := _word(text, "dir|double ir"):
            return Recognised(OTHER, f"a double inversion by its name ({found})")
        return Recognised("FLAIR", f"{times} ms")
    if inversion:
        return Recognised(OTHER, f"an inversion that nulls no fluid ({times} ms)")
    if _DARK_FLUID.search(text):
        return Recognised("FLAIR", f"its name, and {times} ms")
    if found := _word(text, _OTHER_SEQUENCE):
        return Recognised(OTHER, f"its name ({found})")
    return Recognised("T2w", f"{times} ms without inversion")


def _by_name(text: str) -> Recognised:
    if _DARK_FLUID.search(text):
        return Recognised("FLAIR", "its name")
    if found := _word(text, _OTHER_SEQUENCE):
        return Recognised(OTHER, f"its name ({found})")
    told = contrast_of(text)
    return Recognised(told or OTHER, "its name" if told else "nothing that tells its contrast")


def _word(text: str, words: str) -> str | None:
    """The first of the words that stands alone in a text, between whatever is no letter or digit."""
    found = re.search(rf"(?<![a-z0-9])({words})(?![a-z0-9])", text)
    return found.group(1) if found else None


def _seconds(sidecar: Mapping[str, Any], key: str) -> float | None:
    value = sidecar.get(key)
    return float(value) if isinstance(value, int | float) and value > 0 else None
