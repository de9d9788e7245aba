"""Whose the images of whole data sets are, as public ones and hospitals' exports name them."""

from collections.abc import Iterable
from itertools import product
from pathlib import PurePath

import pytest

from client.data.subjects import whose

FLAIR_T2 = ("FLAIR", "T2w")


def named(pattern: str, *values: Iterable[object]) -> list[str]:
    """The pattern filled by each combination of values."""
    return [pattern.format(*combination) for combination in product(*values)]


SETS: dict[str, tuple[list[str], int]] = {
    "WMH challenge": (
        named("Utrecht/{}/{}/FLAIR", range(0, 40, 2), ("pre", "orig"))
        + named("Singapore/{}/pre/FLAIR", range(50, 70))
        + named("Amsterdam/GE3T/{}/pre/FLAIR", range(100, 120))
        + named("Amsterdam/GE1T5/{}/pre/FLAIR", range(1, 10)),
        69,
    ),
    "cities with one numbering": (named("{}/{}/pre/FLAIR", ("Utrecht", "Singapore", "Amsterdam"), range(20)), 60),
    "MSSEG 2016": (
        named(
            "Training/Center_{:02}/Patient_{:02}/{}/{}",
            (1, 7, 8),
            range(1, 6),
            ("Raw_Data", "Preprocessed_Data"),
            FLAIR_T2,
        ),
        15,
    ),
    "MSSEG-2": (named("{:03}/flair_time{:02}_on_middle_space", range(13, 53), (1, 2)), 40),
    "ISBI 2015": (
        named(
            "training/training{0:02}/preprocessed/training{0:02}_{1:02}_{2}_pp",
            range(1, 6),
            range(1, 6),
            ("flair", "t2"),
        ),
        5,
    ),
    "MSLesSeg": (
        named("train/P{0}/T{1}/P{0}_T{1}_{2}", range(1, 54), (1, 2, 3), ("FLAIR", "T1", "T2"))
        + named("test/P{0}/P{0}_{1}", range(54, 70), ("FLAIR", "T1", "T2")),
        69,
    ),
    "Shifts": (named("train/{1}/{0}_{1}_isovox", range(1, 34), ("flair", "t1", "t2")), 33),
    "open_ms_data": (named("longitudinal/coregistered/patient{:02}/study{}_{}", range(1, 21), (1, 2), FLAIR_T2), 20),
    "3D-MR-MS": (named("patient{0:02}/patient{0:02}_{1}", range(1, 31), ("FLAIR", "T2W", "T1WKS")), 30),
    "nnU-Net": (named("MS_{:03}", range(40)), 40),
    "nnU-Net with visits": (named("MSLesion_{:03}_{}", range(20), (1, 2, 3)), 20),
    "names and dates": (named("202{1}0304_{0}_flair", ("Doe", "Roe", "Poe"), (1, 2, 3)), 3),
    "dcm2niix": (
        named("P{:03}_t2_flair_sag_3D_iso_20210304123000_{}", range(10, 20), (5, 9))
        + named("P{:03}_t2_tse_tra_20210304123000_7", range(10, 20)),
        10,
    ),
    "dcm2niix by name": (named("{}_t2_flair_3D_20210304121005_{}", ("Doe_Jane", "Roe_Rick"), (5, 7)), 2),
    "record and accession": (named("{0}/88{0}{1}/FLAIR", range(1234567, 1234570), (1, 2)), 3),
    "numbers and visits": (named("{}/{}/flair", range(1, 30), (1, 2)), 29),
    "numbers and months": (named("{}/{}/flair", range(1, 30), ("baseline", "12m")), 29),
    "sites": (named("site{}_{:03}_FLAIR", (1, 2, 3), range(10)), 30),
    "short sites": (named("S{}_{:02}_FLAIR", (1, 2, 3), range(1, 11)), 30),
    "centers": (named("{}_{}_FLAIR", ("BWH", "AMU"), range(1, 11)), 20),
    "folders of centers": (named("{}/PAT{:02}_{}", ("BWH", "AMU"), range(1, 11), FLAIR_T2), 20),
    "folders of contrasts": (named("images_{1}/{0:03}", range(9), ("flair", "t2")), 9),
    "folders of visits": (named("{1}/{0}_{2}", range(4), ("BL", "FU"), ("flair", "t2w")), 4),
    "folders of dates": (named("{}/{}/{}", ("P1", "P2", "P3"), ("2021-03-04", "2022-03-04"), FLAIR_T2), 3),
    "words with spaces": (named("Patient {} - Visit {} - {}", range(1, 6), (1, 2), ("FLAIR", "T2 TSE")), 5),
    "initials": (named("{}/{}/{}", ("AB", "CD", "EF"), ("V0", "V1"), FLAIR_T2), 3),
    "UIDs of studies": (named("1.2.840.113619.2.{}/{}", (1, 2, 3), FLAIR_T2), 3),
    "hashes": (named("{}_{}", ("a1b2c3d4", "a1b2c3d5", "ffee0011"), FLAIR_T2), 3),
    "cohorts": (named("{}-{}", ("patient", "control"), range(1, 6)), 10),
    "visits first": (named("tp{1}_P{0}_{2}", range(4), (1, 2), FLAIR_T2), 4),
}
"""Names, and how many patients they are of."""


@pytest.mark.parametrize("name", SETS)
def test_whole_data_sets_have_as_many_subjects_as_patients(name: str) -> None:
    names, patients = SETS[name]
    found = whose([PurePath(f"{one}.nii.gz") for one in names])
    assert len(set(found.subjects)) == patients
    # Whoever else is there, and in whichever order: the division is the same.
    turned = whose([PurePath(f"{one}.nii.gz") for one in reversed(names)])
    assert turned.subjects[::-1] == found.subjects and turned.doubts == found.doubts


@pytest.mark.parametrize("name", ["MSSEG 2016", "MSSEG-2", "MSLesSeg", "Shifts", "open_ms_data", "nnU-Net", "centers"])
def test_what_is_clear_is_not_doubted(name: str) -> None:
    assert whose([PurePath(f"{one}.nii.gz") for one in SETS[name][0]]).doubts == ()
