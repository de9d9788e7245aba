"""A FLAIR and a T2w are told by how they were acquired, whatever they are called; all else is neither."""

from typing import Any

import pytest

from client.preparation.recognise import recognise

FLAIR = {"EchoTime": 0.12, "RepetitionTime": 8.0, "InversionTime": 2.4, "ScanningSequence": "SE\\IR"}
T2W = {"EchoTime": 0.095, "RepetitionTime": 5.0, "ScanningSequence": "SE"}
ACQUIRED: list[tuple[str, dict[str, Any], str]] = [
    ("t2_tirm_tra_dark-fluid", FLAIR, "FLAIR"),
    ("AX T2 FLAIR FS", FLAIR, "FLAIR"),
    ("series 5", FLAIR, "FLAIR"),
    ("t2_tse_tra", FLAIR, "FLAIR"),
    ("3D CUBE", {"EchoTime": 0.39, "RepetitionTime": 5.0, "InversionTime": 1.65}, "FLAIR"),
    ("VISTA FLAIR", {"EchoTime": 0.34, "RepetitionTime": 4.8}, "FLAIR"),
    ("t2_tse_tra", T2W, "T2w"),
    ("ABC", T2W, "T2w"),
    ("AX T2 FSE", T2W | {"InversionTime": 0}, "T2w"),
    ("AX PD/T2", T2W | {"EchoTime": 0.012}, "other"),
    ("AX PD", T2W, "other"),
    ("T1 FLAIR", {"EchoTime": 0.012, "RepetitionTime": 2.2, "InversionTime": 0.86}, "other"),
    ("mprage", {"EchoTime": 0.003, "RepetitionTime": 2.3, "InversionTime": 0.9}, "other"),
    ("t1_se_tra", {"EchoTime": 0.01, "RepetitionTime": 0.5}, "other"),
    ("STIR", {"EchoTime": 0.08, "RepetitionTime": 4.0, "InversionTime": 0.16}, "other"),
    ("DIR", {"EchoTime": 0.3, "RepetitionTime": 7.5, "InversionTime": 3.0}, "other"),
    ("ep2d_b1000", {"EchoTime": 0.09, "RepetitionTime": 6.0, "ScanningSequence": "EP"}, "other"),
    ("dwi adc", T2W, "other"),
    ("t2 map", T2W, "other"),
    ("MIP", FLAIR, "other"),
    ("AAHead_Scout", FLAIR, "other"),
    ("localizer", T2W, "other"),
    ("flair", FLAIR | {"ImageType": ["DERIVED", "PRIMARY", "ADC"]}, "other"),
]


@pytest.mark.parametrize(("name", "sidecar", "expected"), ACQUIRED, ids=[f"{one[0]}-{one[2]}" for one in ACQUIRED])
def test_how_a_series_was_acquired_tells_its_contrast(name: str, sidecar: dict[str, Any], expected: str) -> None:
    assert recognise(sidecar, name, 30).contrast == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Patient 7 ax flair.nii.gz", "FLAIR"),
        ("dark fluid", "FLAIR"),
        ("P01 T2 TSE", "T2w"),
        ("sub-01 T2w", "T2w"),
        ("P01 T1", "other"),
        ("P01 t2star", "other"),
        ("MP2RAGE", "other"),
        ("P01", "other"),
    ],
)
def test_where_nothing_else_is_known_the_name_does(name: str, expected: str) -> None:
    assert recognise({}, name, 30).contrast == expected


def test_the_reason_is_said() -> None:
    assert recognise(FLAIR, "x", 30).why == "TE 120, TR 8000, TI 2400 ms"
    assert recognise(FLAIR, "flair", 3).why == "only 3 slices"
    assert recognise({}, "P01", 30).why == "nothing that tells its contrast"
