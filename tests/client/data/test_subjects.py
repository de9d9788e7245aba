"""Whose each image is, in the ways that sites and public data sets name their files."""

from pathlib import Path, PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.data.subjects import Whose, read_participants, spelt_alike, subjects_of, whose


def named(names: str, **more: object) -> Whose:
    """Whose the images `A|B|C` are."""
    return whose([PurePath(f"{name}.nii.gz") for name in names.split("|")], **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "subjects"),
    [
        (["sub-01/anat/sub-01_FLAIR.nii.gz", "sub-01_ses-2_FLAIR.nii"], ["sub-01", "sub-01"]),
        (["imagesTr/patient3_ses2_FLAIR.nii.gz", "imagesTr/patient3_ses1_T2w.nii.gz"], ["patient3", "patient3"]),
        (["MS_001.nii.gz", "MS_002.nii.gz"], ["MS_001", "MS_002"]),
        (["MS_001_20150301.nii.gz", "MS_001_2016-04-01.nii.gz"], ["MS_001", "MS_001"]),
        (["P1/FLAIR.nii.gz", "P2/FLAIR.nii.gz", "P2/T2w.nii.gz"], ["P1", "P2", "P2"]),
        (["data/P1/tp1/brain.nii.gz", "data/P1/tp2/brain.nii.gz", "data/P2/tp1/brain.nii.gz"], ["P1", "P1", "P2"]),
        (["P1_ses1/image.nii.gz", "P1_ses2/image.nii.gz"], ["P1", "P1"]),
        (["sesame_01.nii.gz", "runner_02.nii.gz"], ["sesame_01", "runner_02"]),
        (["FLAIR.nii.gz"], ["FLAIR"]),
        ([], []),
    ],
    ids=str,
)
def test_a_subject_is_who_it_is_and_not_when_or_how(names: list[str], subjects: list[str]) -> None:
    assert subjects_of([PurePath(name) for name in names]) == subjects


ONE = [
    "P01-FLAIR|P01-T2w",
    "P01 FLAIR|P01 T2w",
    "P01.FLAIR|P01.v2.T2",
    "P01_T2FLAIR|P01_T2w",
    "P01_3DFLAIR|P01_T2_TSE",
    "P01T2w|P01FLAIR",
    "P01_t2_tirm_tra_dark-fluid_3mm|P01_t2_tse_tra_512",
    "P01_V1_FLAIR|P01_V2_FLAIR",
    "P01V1_FLAIR|P01V2_FLAIR",
    "P01_m00_FLAIR|P01_m12_FLAIR",
    "P01_M6_FLAIR|P01_FLAIR",
    "P01_w24_FLAIR|P01_wk48_FLAIR",
    "P01_6m_FLAIR|P01_12months_FLAIR",
    "P01_scan1_FLAIR|P01_scan2_FLAIR",
    "P01_study2_FLAIR|P01_study1_FLAIR",
    "P01_exam1_FLAIR|P01_exam-2_FLAIR",
    "P01_tp1_FLAIR|P01_timepoint2_FLAIR",
    "P01_time_point_1|P01_TimePoint2",
    "P01_session 1_FLAIR|P01_ses-02_FLAIR",
    "P01_BL_FLAIR|P01_FU1_FLAIR",
    "P01_baseline_FLAIR|P01_follow-up_2_FLAIR",
    "P01_pre_FLAIR|P01_post_FLAIR",
    "P01_T1_FLAIR|P01_T2_FLAIR",
    "P01_20210304_FLAIR|P01_20220405_FLAIR",
    "P01_2021-03-04_FLAIR|P01_2022_04_05_FLAIR",
    "P01_04.03.2021_FLAIR|P01_05.04.2022_FLAIR",
    "P01_04032021_FLAIR|P01_05042022_FLAIR",
    "P01_210304_FLAIR|P01_220405_FLAIR",
    "P01_04Mar2021_FLAIR|P01_2022-04_FLAIR",
    "P01_20210304T1230_FLAIR|P01_20220405123000_FLAIR",
    "P01_2019_FLAIR|P01_2020_FLAIR",
    "P01_1|P01_2",
    "P01a|P01b",
    "P01_A_FLAIR|P01_B_FLAIR",
    "P01_301_FLAIR|P01_501_T2",
    "P01_FLAIR_denoised2|P01_T2w",
    "P01_acq-3d-sag_FLAIR|P01_run-1_T2w",
    "P01_FLAIR_space-MNI152|P01_T2w_reg_n4_brain_bet",
    "P01_FLAIR_1mm_iso|P01_T2w_1x1x3mm|P01_FLAIR_3T|P01_T2_1.5T",
    "training01_01_flair_pp|training01_02_flair_pp|training01_03_t2_pp",
    "test01_01_flair_pp|test01_02_flair_pp",
    "P1_T1_FLAIR|P1_T2_T1|P1_T1_T2",
    "train/P1/T1/P1_T1_FLAIR|train/P1/T2/P1_T2_FLAIR",
    "Utrecht/0/pre/FLAIR|Utrecht/0/pre/T2",
    "train/flair/1_FLAIR_isovox|train/t2/1_T2_isovox",
    "Center_01/Patient_01/Preprocessed_Data/FLAIR|Center_01/Patient_01/Raw_Data/T2",
    "013/flair_time01_on_middle_space|013/flair_time02_on_middle_space",
    "patient01/patient01_FLAIR|patient01/patient01_T2W",
    "patient01/study1_FLAIR|patient01/study2_FLAIR",
    "raw/patient01/FLAIR|coregistered/patient01/T2",
    "imagesTr/MS_012|imagesTs/MS_012_tp2",
    "MS-012-FLAIR|MS_012_T2w",
    "MS012-FLAIR|MS_012_T2w",
    "MS_Flair_07|MS_T2_07|07_MS_PD",
    "MSSEG2_013_time01|MSSEG2_013_time02",
    "20210304_Doe_flair|20220405_Doe_T2",
    "Doe^Jane_20210304_FLAIR|DOE_JANE_T2_20220405",
    "Jane_Doe_T2|Doe_Jane_FLAIR",
    "Müller_FLAIR|Müller_T2",
    "ID0007-20190501-FLAIR|ID0007-20200601-T2",
    "MRN1234567_ACC88123_FLAIR|MRN1234567_ACC90001_T2",
    "1234567_88123456_FLAIR|1234567_90001234_T2",
    "2019/1234567/FLAIR|2020/1234567/FLAIR",
    "export1/1234567_FLAIR|export2/1234567_T2",
    "baseline/P01_FLAIR|followup/P01_FLAIR",
    "P01/P01_FLAIR|old/P01/P01_T2",
    "P1_FLAIR|P01_T2|patient 1_PD",
    "c01p05_FLAIR|c01p05_T2",
    "FLAIR/001|T2w/001",
    "V1_FLAIR|V2_FLAIR",
    "20210304_FLAIR|20220405_FLAIR",
    "FLAIR|T2w",
    "0012345/1/FLAIR|0012345/2/FLAIR",
    "01016SACH/FLAIR|01016SACH/T2",
    "012/20210304/FLAIR|012/20220304/T2",
    "2021/P01_FLAIR|2022/P01_FLAIR|Jan2021/P01_T2",
    "P01_2021Q1|P01_2022Q3",
    "P01_d0_FLAIR|P01_d365_FLAIR|P01_year2_FLAIR|P01_Y3",
    "P01_S1_FLAIR|P01_R2_FLAIR|P01_EOS",
    "P01_FLAIR (1)|P01_FLAIR",
    "V01/MS-012/FLAIR|V02/MS-012/T2",
    "Patient_01_Center_02_FLAIR|Patient_01_Center_03_FLAIR",
    "UNC_train_Case01_FLAIR|UNC_train_Case01_T2",
    "anon123_FLAIR|anon123_T2",
    "T1_P01_FLAIR|T2_P01_FLAIR",
    "Pat12Flair|Pat12T2",
    "RRMS-07-bl|RRMS-07-fu",
    "1_P01_FLAIR|2_P01_FLAIR",
    "7/baseline/flair|7/12m/flair|7/6mo/t2",
    "1.2.840.113619.2.1/FLAIR|1.2.840.113619.2.1/T2",
]
"""Images of one patient."""

SEVERAL = [
    "MS_012|MS_013",
    "P01_FLAIR|P02_FLAIR",
    "P01_V1|P02_V1",
    "MS_1|HC_1|MS_2|HC_2",
    "MS2_001|MS2_002|MS2_003",
    "ISBI2015_1_FLAIR|ISBI2015_2_FLAIR",
    "training01_01_flair_pp|training02_01_flair_pp",
    "Utrecht/0/pre/FLAIR|Utrecht/2/pre/FLAIR|Singapore/0/pre/FLAIR|Amsterdam/GE3T/100/pre/FLAIR|Amsterdam/GE3T/101/pre/FLAIR",
    "Center_01/Patient_01/FLAIR|Center_01/Patient_02/FLAIR|Center_03/Patient_01/FLAIR",
    "Center_01_05_FLAIR|Center_01_06_FLAIR|Center_02_05_FLAIR",
    "1/01_FLAIR|1/02_FLAIR|2/01_FLAIR|2/02_FLAIR|2/03_FLAIR",
    "best/train/flair/1_FLAIR_isovox|msseg/train/flair/1_FLAIR_isovox",
    "013/013_FLAIR|014/014_FLAIR",
    "P1/T1/P1_T1_FLAIR|P2/T1/P2_T1_FLAIR",
    "milan/1045523_FLAIR|milan/1045524_FLAIR|rome/1045525_T2",
    "UMCL_P12_FLAIR|UMCL_P13_FLAIR",
    "c01p05_FLAIR|c02p05_FLAIR|c01p06_FLAIR",
    "lesion_017_FLAIR|lesion_018_FLAIR",
    "brain_01|brain_02",
    "img001|img002",
    "FLAIR_001|FLAIR_002",
    "MSdata/scan_001|MSdata/scan_002",
    "A/FLAIR|B/FLAIR",
    "Doe/export/FLAIR|Roe/export/FLAIR",
    "20210304_Doe_flair|20210304_Roe_flair",
    "3f2a9c1d_FLAIR|3f2a9c1e_FLAIR",
    "Test_01_FLAIR|Train_01_FLAIR",
    "M01_FLAIR|M02_FLAIR",
    "anon123_FLAIR|anon124_FLAIR|brain001_FLAIR|brain002_FLAIR",
    "Flair01|Flair02",
    "UCSF-1/FLAIR|UCSF-2/FLAIR",
    "CHB_train_Case01_FLAIR|CHB_train_Case02_FLAIR|UNC_train_Case01_FLAIR",
    "milan_01_FLAIR|milan_02_FLAIR|rome_01_FLAIR|rome_02_FLAIR",
    "Milan/P01_FLAIR|Rome/P01_FLAIR",
    "patientA_FLAIR|patientB_FLAIR",
    "12-345-678_FLAIR|12-345-679_FLAIR",
    "1.2.840.113619.2.1/FLAIR|1.2.840.113619.2.2/FLAIR",
    "1/P01_FLAIR|2/P01_FLAIR",
]
"""Images of as many patients."""


@pytest.mark.parametrize("names", ONE)
def test_images_of_one_patient_are_one_subjects(names: str) -> None:
    assert len(set(named(names).subjects)) == 1
    # Another patient who is named alike changes nothing, and is another.
    if "P01" in names:
        both = named(f"{names}|{names.replace('P01', 'P02').replace('P1_', 'P2_').replace('patient 1', 'patient 2')}")
        assert len(set(both.subjects)) == 2


@pytest.mark.parametrize("names", SEVERAL)
def test_images_of_several_patients_are_of_as_many(names: str) -> None:
    assert len(set(named(names).subjects)) == len(names.split("|"))


VISITS = [
    "V1",
    "v2",
    "ses1",
    "ses-02",
    "m06",
    "M12",
    "w24",
    "tp3",
    "visit 2",
    "scan1",
    "study2",
    "baseline",
    "FU",
    "exam3",
]
TIMES = [*VISITS, "20210304", "2021-03-04", "04.03.2021", "2021-03-04T12-30"]
HOW = [
    "FLAIR",
    "T2FLAIR",
    "3DFLAIR",
    "T2w",
    "T2_TSE",
    "brain",
    "n4",
    "1mm",
    "iso",
    "space-MNI",
    "sag",
    "stripped",
    "T2 SPACE",
]


@given(
    patient=st.sampled_from(["P01", "MS_012", "patient 3", "ID0007", "1045523", "Doe", "Doe_Jane", "MSSEG2_013"]),
    visits=st.lists(st.tuples(st.sampled_from(TIMES), st.sampled_from(HOW)), min_size=1, max_size=4),
    mark=st.sampled_from("_- ."),
)
def test_when_and_how_never_change_whose_an_image_is(patient: str, visits: list[tuple[str, str]], mark: str) -> None:
    names = [mark.join([patient, *parts]) for parts in visits]
    assert len(set(named("|".join([patient, *names])).subjects)) == 1
    assert named("|".join([patient, *names])).subjects[0] == patient.replace(" ", "_")


@given(st.lists(st.text("P01_-T2 FLAIRab.", min_size=1, max_size=12).filter(lambda name: name.strip(".")), max_size=8))
def test_any_names_have_subjects(names: list[str]) -> None:
    found = whose([PurePath(name) for name in names])
    assert len(found.subjects) == len(names) and all(found.subjects)
    assert {doubt.subject for doubt in found.doubts} <= set(found.subjects)


def test_numbers_in_folders_are_named_with_them() -> None:
    assert named("Utrecht/0/pre/FLAIR|Utrecht/1/pre/FLAIR|Singapore/0/pre/FLAIR").subjects == (
        "Utrecht-0",
        "Utrecht-1",
        "Singapore-0",
    )
    assert named("Center_01/Patient_01/FLAIR|Center_02/Patient_01/FLAIR").subjects[1] == "Center_02-Patient_01"


# What is said wins


def test_a_shared_label_makes_one_subject_across_all_names() -> None:
    found = named("P01_FLAIR|P02_FLAIR|P03_FLAIR|P04_T2", labels=[["a"], ["b"], ["b", "c"], ["c"]])
    assert found.subjects == ("P01", "P02", "P02", "P02")
    assert "P02, P03, P04, which share a label file" in " ".join(doubt.text for doubt in found.doubts)
    assert named("P01_FLAIR|P02_T2", said=["anna", "bert"], labels=[["a"], ["a"]]).subjects == ("anna", "anna")


def test_what_the_site_says_counts() -> None:
    assert named("x1|x2|P01_FLAIR", said=["anna", "anna", ""]).subjects == ("anna", "anna", "P01")
    assert named("a/17_FLAIR|a/170_FLAIR|b/17_T2", participants=["17", "170"]).subjects == ("17", "170", "17")
    assert named("P07_FLAIR|P7_T2", participants=["sub-P07"]).subjects[0] == "sub-P07"
    for name in ("sub-01-FLAIR", "sub-01 T2w", "sub-01T2w", "Sub-01_ses-2-T2w", "sub-01.FLAIR"):
        assert named(name).subjects == ("sub-01",)
    assert named("sub-MS-012_FLAIR|sub-anna-T2").subjects == ("sub-MS-012", "sub-anna")
    assert named("data/sub-01/anat/sub-01_FLAIR|sub-01_ses-2_T2").subjects == ("sub-01", "sub-01")


def test_an_image_that_nothing_is_said_of_goes_with_those_of_its_name() -> None:
    found = named("P01_FLAIR|P01_T2w|P02_FLAIR", said=["anna", "", ""])
    assert found.subjects == ("anna", "anna", "P02")
    assert "P01, anna, which have one name in their paths" in found.doubts[0].text
    assert named("P07_FLAIR|P7_T2|P08_T2", participants=["sub-P07"]).subjects == ("sub-P07", "sub-P07", "P08")
    assert named("x_FLAIR|x_T2w|x_V2_T2w", said=["anna", "bert", ""]).subjects == ("anna", "bert", "x")


def test_participants_are_read_and_what_cannot_be_is_none(tmp_path: Path) -> None:
    assert read_participants(tmp_path) == ()
    (tmp_path / "participants.tsv").write_text("\ufeffparticipant_id\tage\nP07\t40\n\nP08\n", encoding="utf-8")
    assert read_participants(tmp_path) == ("P07", "P08")
    (tmp_path / "participants.tsv").write_bytes(b"\xff\xfe\x00")
    assert read_participants(tmp_path) == ()
    (tmp_path / "participants.tsv").write_text("id\nP07\n")
    assert read_participants(tmp_path) == ()


# What is doubted


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("P01_1|P01_2|P02_1", "has 1, 2 in its names, taken for visits or techniques"),
        ("MS2_001|MS2_002|MS2_01|MS2_02", "is told by what may count visits"),
        ("P01_FLAIR|P1_T2", "is written P01, P1, taken for one patient"),
        ("S1_left_FLAIR|S1_T2", "is S1, S1_left, which seem to mean one"),
        ("scan_001|scan_002", "is told by nothing but words of time or technique"),
        ("Utrecht/0/FLAIR|Singapore/0/FLAIR", "has the number of Utrecht-0 in another folder"),
        ("P1_FLAIR|P1_T2|P1_V2_T2|P2_T2", "holds 3 of 4 images"),
        ("GE/Doe/FLAIR|Philips/Doe/T2|Philips/Roe/T2|Philips/Poe/T2", "is GE-Doe, Philips-Doe, which seem to mean one"),
        ("milan/sub-01/sub-01_FLAIR|rome/sub-01/sub-01_FLAIR", "lies in milan, rome, taken for one patient"),
        ("DOE_1|DOE_2|ROE_1", "has 1, 2 in its names, taken for visits or techniques"),
        ("Doe_005_FLAIR|Doe_007_T2|Roe_005_FLAIR", "is told by what may count visits, as is Doe_007"),
        ("DOE/FLAIR_301|DOE/T2_501|ROE/T2_501", "is told by what may count visits, as is DOE-501"),
        ("005_Doe_FLAIR|007_Doe_T2", "is told by what may count visits, as is 007_Doe"),
        ("Doe_01|Doe_02|Roe_01", "is told by what may count visits, as is Doe_02"),
        ("1234567_88123456|1234567_90001234", "has 88123456, 90001234 in its names, taken for visits"),
    ],
)
def test_a_doubt_is_said_with_its_mend(names: str, said: str) -> None:
    doubts = named(names).doubts
    assert said in " ".join(doubt.text for doubt in doubts)
    assert all("participants.tsv" in doubt.text for doubt in doubts)


def test_clear_names_are_not_doubted() -> None:
    for names in ("P01_FLAIR|P01_V2_T2|P02_FLAIR|P03_T2", "MS_001|MS_002|MS_003", "A/FLAIR|B/FLAIR"):
        assert named(names).doubts == ()
    assert named("Center_01/Patient_01/FLAIR|Center_02/Patient_01/FLAIR").doubts == ()


def test_names_that_differ_by_case_zeros_or_marks_are_doubted() -> None:
    doubted = [doubt.subject for doubt in spelt_alike(["sub-1", "sub-01", "sub-10", "sub-A_1", "sub-a1", "sub-100"])]
    assert doubted == ["sub-01", "sub-1", "sub-A_1", "sub-a1"]


def test_no_image_has_no_subject() -> None:
    assert subjects_of([]) == [] and whose([]).doubts == ()
