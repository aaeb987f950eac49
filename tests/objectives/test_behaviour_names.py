"""Whose file it is, which clip of it, and which points one animal has, all told by names."""

from __future__ import annotations

import pytest

from objectives.behaviour.names import animals, clips, owner, session_name


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("rat01.csv", "rat01"),
        ("shortened_2023-10-25_CFA_010_267M_trackingDLC_resnet50.h5", "shortened_2023-10-25_CFA_010_267M_tracking"),
        ("rat1DLC_dlcrnetms5_DLC_ratJan24shuffle1_5000.csv", "rat1"),
        ("rat1_DLC_resnet50.csv", "rat1"),
        ("rat1.mp4DLC_resnet50.csv", "rat1"),
        ("rat1.AVI.csv", "rat1"),
        ("DLC_first.csv", "DLC_first"),
        ("2023.10.25 cage 3.csv", "2023.10.25 cage 3"),
        (".mp4.csv", ".mp4"),
    ],
)
def test_a_session_is_what_comes_before_deeplabcut(file: str, expected: str) -> None:
    assert session_name(file) == expected


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("rat1", ("rat1", None)),
        ("rat12", ("rat12", None)),
        ("rat123", None),
        ("brat1", None),
        ("rat1a", None),
        ("rat1_2", ("rat1", 2)),
        ("rat1-02", ("rat1", 2)),
        ("rat1.mp4_3", ("rat1", 3)),
        ("rat1_3.mp4", ("rat1", 3)),
        ("prediction_rat1.mp4_10", ("rat1", 10)),
        ("rat1_scored_by_anna", ("rat1", None)),
        ("rat1_actions_2", ("rat1", 2)),
        ("rat1_2024", ("rat1", None)),
        ("rat1_2024-01-15", ("rat1", None)),
        ("rat1DLC_resnet50_pawMay7shuffle1_snapshot_200", ("rat1", None)),
        ("rat1DLC_resnet50_pawMay7shuffle1_500000_labeled.mp4_2", ("rat1", 2)),
        ("rat1_day2", ("rat1_day2", None)),
        ("rat1_day2_1", ("rat1_day2", 1)),
        ("rat12_rat1", ("rat12", None)),
        ("rat1 against rat2", ("rat1", None)),
        ("a.b", ("a.b", None)),
        ("a-b", None),
        ("Rat1", None),
    ],
)
def test_a_file_belongs_to_the_longest_name_in_its_own(stem: str, expected: tuple[str, int | None] | None) -> None:
    assert owner(stem, ("rat2", "rat1", "rat12", "rat1_day2", "a.b")) == expected


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (("r1_top", "r1_tail-m", "r2_top", "r2_tail-m"), (0, 0, 1, 1)),
        (("a_x_y", "b_x_y", "b_z", "a_z"), (0, 1, 1, 0)),
        (("left_ear", "left_paw", "right_ear", "right_paw"), (0, 0, 0, 0)),
        (("L_ear", "L_paw", "R_ear", "R_paw"), (0, 0, 0, 0)),
        (("paw_left", "paw_right", "ear_left", "ear_right"), (0, 0, 0, 0)),
        (("mouth", "L_frontpaw", "R_frontpaw"), (0, 0, 0)),
        (("r1_top", "r2_top"), (0, 0)),
        (("r1_top", "r1_tail", "r2_top", "r2_nose"), (0, 0, 0, 0)),
        (("nose", "tail"), (0, 0)),
        (("_a", "_b"), (0, 0)),
    ],
)
def test_the_same_parts_after_several_words_are_animals(points: tuple[str, ...], expected: tuple[int, ...]) -> None:
    assert animals(points) == expected


@pytest.mark.parametrize(
    ("files", "expected", "note"),
    [
        ({"a": None}, {"a": 0}, None),
        ({"a_1": 1}, {"a_1": 0}, None),
        ({"a_0": 0}, {"a_0": 0}, None),
        ({"a_3": 3}, {"a_3": 2}, "a_3: clip 3 is all there is of a; taken as the last of 3"),
        ({"a_2": 2, "a_1": 1}, {"a_1": 0, "a_2": 1}, None),
        ({"a_2": 2, "a_0": 0, "a_1": 1}, {"a_0": 0, "a_1": 1, "a_2": 2}, None),
        ({"a_1": 1, "a_4": 4}, {"a_1": 0, "a_4": 3}, "a: no annotations of clip 2, 3"),
        ({"a_3": 3, "a_2": 2}, {"a_2": 1, "a_3": 2}, "a: no annotations of clip 1"),
    ],
)
def test_numbers_say_which_clip(files: dict[str, int | None], expected: dict[str, int], note: str | None) -> None:
    problems: list[str] = []
    found, notes = clips("a", files, problems)
    assert (found, notes, problems) == (expected, [note] if note else [], [])
    assert list(found) == list(expected), "in the order of the clips"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            {"a": None, "a_1": 1},
            "a has no number of a clip although a has several files (a_1); end their names in _1, _2, ..., or keep "
            "one file",
        ),
        (
            {"a": None, "x_a": None},
            "a, x_a has no number of a clip although a has several files (x_a); end their names in _1, _2, ..., or "
            "keep one file",
        ),
        ({"a_1": 1, "x_a_1": 1, "a_2": 2}, "a_1 and x_a_1: the same clip of a twice; keep one"),
    ],
)
def test_clips_that_nobody_can_tell_apart(files: dict[str, int | None], expected: str) -> None:
    problems: list[str] = []
    assert clips("a", files, problems) == ({}, [])
    assert problems == [expected]
