"""The means of an external validation by hospital and contrast: counted by hand, printed and written."""

import json

import pytest

from scenarios.inference.external_validation import ExternalValidation, ScoredCase
from scenarios.inference.validation_groups import (
    NO_INTERVAL,
    footnotes,
    groups_of,
    line_of,
    notes,
    tables_of,
    to_json,
)
from tests.support.validated import case, mask

HALF = mask((0, 0, 4, 0)), mask((0, 2, 4, 0), (0, 20, 21, 0))
"""2 of 4 voxels are hit and 1 of 3 is false: recall 1/2, precision 2/3, Dice 4/7; 1 lesion is hit, 1 of 2 is false."""
NONE = mask((0, 0, 2, 0), (1, 10, 31, 4)), mask()
"""Lesions of 0.1 and 1.05 ml, of which nothing is found."""
WHOLE = mask((0, 0, 4, 0)), mask((0, 0, 4, 0))


def cases() -> list[ScoredCase]:
    return [
        case(*HALF, "here", "sub-1", "FLAIR"),
        case(*NONE, "here", "sub-1", "T2w"),
        case(*WHOLE, "here", "sub-2", "FLAIR"),
        case(*WHOLE, "there", "sub-1", "FLAIR"),
    ]


def test_scores_are_those_counted_by_hand() -> None:
    one = cases()[0]
    assert one.scores.recall == 0.5
    assert one.scores.precision == pytest.approx(2 / 3)
    assert one.scores.dice == pytest.approx(4 / 7)
    assert one.scores.lesion_f1 == pytest.approx(2 / 3)  # 2 * 1 * 1/2 / (1 + 1/2)


def test_each_hospital_and_contrast_has_its_means_and_so_have_all() -> None:
    groups = groups_of(cases())
    assert [(one.hospital, one.contrast, one.patients, one.images) for one in groups] == [
        ("here", "FLAIR", 2, 2),
        ("here", "T2w", 1, 1),
        ("there", "FLAIR", 1, 1),
        ("all", "FLAIR", 3, 3),
        ("all", "T2w", 1, 1),
        ("all", "all", 3, 4),
    ]
    here, t2w, _, flair, _, every = groups
    assert here.dice.mean == pytest.approx((4 / 7 + 1) / 2) and here.scores["recall"].mean == pytest.approx(0.75)
    assert every.dice.mean == pytest.approx((4 / 7 + 0 + 1 + 1) / 4)
    assert every.scores["precision"].mean == pytest.approx((2 / 3 + 0 + 1 + 1) / 4)
    # Three patients: the range of their own means, over both images of the one who has two.
    assert flair.dice.interval == (pytest.approx(4 / 7), 1)
    assert every.dice.interval == (pytest.approx(2 / 7), 1)
    assert every.scores["lesion_f1"].interval == (pytest.approx(1 / 3), 1)
    assert here.dice.interval is t2w.dice.interval is None
    assert (every.counts.lesions, every.counts.missed, every.counts.false) == (5, 2, 1)
    assert (every.counts.labelled, every.counts.hit) == ((0, 4, 1), (0, 3, 0))


def test_one_hospital_with_one_contrast_is_one_group() -> None:
    assert [(one.hospital, one.contrast) for one in groups_of([cases()[3]])] == [("there", "FLAIR")]
    assert [(one.hospital, one.contrast) for one in groups_of(cases()[:3])] == [
        *(("here", "FLAIR"), ("here", "T2w"), ("here", "all"))
    ]
    assert groups_of([]) == ()


def test_the_tables_say_where_no_interval_can_be_given() -> None:
    groups = groups_of(cases())
    lines = tables_of(groups)
    words = [line.split() for line in lines]
    assert " ".join(words[1]) == "here FLAIR 2 2 0.786 (no interval) 0.833 (no interval) 0.750 0.833"
    assert words[6][:8] == ["all", "all", "3", "4", "0.643", "(0.286", "to", "1.000)"]
    assert words[9][:4] == ["here", "FLAIR", "0.4", "ml"] and words[9][6:9] == ["2", "0", "1"]
    assert " ".join(words[14]).endswith("5 2 1 0 of 0 3 of 4 0 of 1")
    assert len({len(line.rstrip()) for line in lines[8:]}) == 1, "the columns stand below their headings"
    assert footnotes(groups)[-1] == NO_INTERVAL and "over patients (seed 0)" in footnotes(groups)[0]
    assert len(footnotes(groups_of([case(*HALF, subject=str(i)) for i in range(3)] + [case(*WHOLE)]))) == 1


def test_an_image_s_line_has_all_that_was_counted() -> None:
    assert line_of(cases()[0]).split() == [
        "sub-1",
        "FLAIR",
        "0.571",
        "0.667",
        "0.500",
        "0.667",
        *("0.2", "ml", "0.2", "ml"),
    ]
    nothing = case(mask(), mask())
    assert "no lesion labelled, nothing found: not in the means" in line_of(nothing)
    false = case(mask(), mask((0, 0, 2, 0)))
    assert "no lesion labelled, 0.10 ml found: not in the means" in line_of(false)


def test_json_has_the_images_the_groups_and_how_intervals_were_made() -> None:
    content = to_json(ExternalValidation((*cases(), case(mask(), mask((0, 0, 2, 0)))), ("sub-9 has no label",)))
    assert json.loads(json.dumps(content, allow_nan=False)) is not None
    first = content["cases"][0]
    assert {name: first[name] for name in ("id", "hospital", "subject", "contrast")} == {
        "id": "sub-1",
        "hospital": "here",
        "subject": "sub-1",
        "contrast": "FLAIR",
    }
    assert first["dice"] == pytest.approx(4 / 7) and first["recall"] == 0.5 and first["false_lesions"] == 1
    assert first["labelled_ml"] == pytest.approx(0.2) and first["found_ml"] == pytest.approx(0.15)
    assert first["lesions_by_size"]["0.1 to 1 ml"] == {"labelled": 1, "found": 1}
    assert content["mean_dice"] == pytest.approx((4 / 7 + 2) / 4)
    every = content["groups"][-1]
    assert (every["hospital"], every["contrast"], every["patients"]) == ("all", "all", 3)
    assert every["dice"]["interval"] == (pytest.approx(2 / 7), 1)
    assert content["groups"][0]["dice"]["interval"] is None
    assert content["without_lesion"][0]["false_lesions"] == 1
    assert content["bootstrap"] == {"over": "patients", "confidence": 0.95, "resamples": 9999, "seed": 0}
    assert content["skipped"] == ["sub-9 has no label"]


def test_warnings_name_their_image() -> None:
    assert notes([case(*HALF, warnings=("slices are thick",))]) == ["sub-1 FLAIR: slices are thick"]
