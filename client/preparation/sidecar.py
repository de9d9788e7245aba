"""What is said of an image beside it: how it was acquired, and nothing that could tell whose it is.

Only what is listed here passes, and of free text only words that are listed, too: a scanner's console lets people
write a name anywhere.
"""

from collections.abc import Mapping
from typing import Any

NUMBERS = (
    *("MagneticFieldStrength", "EchoTime", "RepetitionTime", "InversionTime", "FlipAngle", "SliceThickness"),
    *("SpacingBetweenSlices", "EchoTrainLength", "PixelBandwidth", "NumberOfAverages", "PercentPhaseFOV"),
    *("PercentSampling", "ParallelReductionFactorInPlane"),
)
"""Fields of one number each, as BIDS and dcm2niix name them."""

CHOICES: Mapping[str, frozenset[str]] = {
    "Modality": frozenset({"MR"}),
    "MRAcquisitionType": frozenset({"2D", "3D"}),
    "Manufacturer": frozenset(
        {"Siemens", "GE", "Philips", "Toshiba", "Canon", "Hitachi", "UIH", "Bruker", "Fujifilm", "Hyperfine", "Mediso"}
    ),
}
"""Fields of one word, and which."""

SCANNING = frozenset({"SE", "IR", "GR", "EP", "RM"})
"""The codes of ScanningSequence (PS3.3, C.8.3.1)."""

MODELS = (
    *("Aera", "Altea", "Avanto", "Biograph mMR", "Espree", "Essenza", "Lumina", "Prisma", "Skyra", "Sola", "Sonata"),
    *("Symphony", "Terra", "TrioTim", "Verio", "Vida", "Cima", "Amira", "Spectra", "Free.Max"),
    *("Achieva", "Ambition", "Elition", "Gyroscan", "Ingenia", "Intera", "Multiva", "Panorama", "Prodiva"),
    *("Discovery MR750", "Discovery MR450", "Optima MR360", "Optima MR450", "Signa Architect", "Signa Artist"),
    *("Signa Excite", "Signa Explorer", "Signa HDx", "Signa Pioneer", "Signa Premier", "Signa Voyager"),
    *("Vantage", "Galan", "Orian", "Titan", "Echelon", "Oasis", "Airis", "uMR"),
)
"""Scanners whose name may be kept."""


def acquisition(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of dcm2niix's sidecar that may stand beside an image."""
    kept: dict[str, Any] = {}
    for key in NUMBERS:
        value = sidecar.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            kept[key] = value
    for key, words in CHOICES.items():
        if sidecar.get(key) in words:
            kept[key] = sidecar[key]
    named = str(sidecar.get("ManufacturersModelName", "")).lower().replace("_", " ")
    if model := next((model for model in MODELS if model.lower() in named), None):
        kept["ManufacturersModelName"] = model
    codes = [code for code in str(sidecar.get("ScanningSequence", "")).upper().split("\\") if code in SCANNING]
    if codes:
        kept["ScanningSequence"] = "\\".join(codes)
    return kept
