"""Key points of DeepLabCut as CSV: what is read of them, and what is wrong with a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpo.objective import DataError
from objectives.behaviour import files as behaviour_files
from tests.objectives.behaviour_folders import PARTS, dlc_csv, numbers, problems, read, write
from tests.objectives.cases import recordings


def file(folder: Path, text: str, name: str = "rat1.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_numbers_of_a_file_are_read_as_they_are(tmp_path: Path) -> None:
    values = numbers(0)
    found = read(file(tmp_path, dlc_csv(values), "rat1DLC_resnet50.csv"))
    assert found.points == PARTS and found.animal.tolist() == [0, 0, 0] and found.classes == ()
    assert found.unlabelled.startswith("no annotation files: ") and found.notes == ()
    (session,) = found.sessions
    assert (session.name, session.group, session.clips, session.annotations) == ("rat1", "rat1", 1, ())
    np.testing.assert_array_equal(session.points, values[..., :2].astype(np.float32))
    np.testing.assert_array_equal(session.likelihood, values[..., 2].astype(np.float32))
    assert session.points.dtype == session.likelihood.dtype == np.float32


def test_a_point_is_not_seen_without_a_position_or_below_the_likelihood(tmp_path: Path) -> None:
    x = [10.0, np.nan, 10.0, 10.0, 10.0, np.nan]
    y = [20.0, 20.0, np.nan, 20.0, 20.0, np.nan]
    likelihood = [0.5, 1.0, 0.9, 0.49, np.nan, np.nan]
    found = read(file(tmp_path, dlc_csv(np.stack([x, y, likelihood], 1)[:, None], ["nose"])))
    (session,) = found.sessions
    seen = [True, False, False, False, True, False]
    np.testing.assert_array_equal(~np.isnan(session.points[:, 0]), np.stack([seen, seen], 1))
    np.testing.assert_array_equal(session.likelihood[:, 0], np.asarray([0.5, 0, 0, 0, 1, 0], np.float32))
    assert found.notes == ("1 positions of rat1 have no likelihood and count as certain",)


def test_an_empty_first_row_is_a_frame(tmp_path: Path) -> None:
    values = numbers(0)
    values[0] = np.nan
    (session,) = read(file(tmp_path, dlc_csv(values))).sessions
    assert session.frames == len(values) and np.isnan(session.points[0]).all()
    np.testing.assert_array_equal(session.points[1:], values[1:, :, :2].astype(np.float32))


@pytest.mark.parametrize("first", ["7", "image7.png", "7.0", ""])
def test_the_first_frame_may_have_any_number_and_frames_may_be_images(tmp_path: Path, first: str) -> None:
    """Rows are what counts: part of a recording begins somewhere in it."""
    text = "".join(
        f"{first.replace('7', str(7 + k - 3))},{line.partition(',')[2]}" if k > 2 else line
        for k, line in enumerate(dlc_csv(numbers(0)).splitlines(keepends=True))
    )
    (session,) = read(file(tmp_path, text)).sessions
    np.testing.assert_array_equal(session.points, numbers(0)[..., :2].astype(np.float32))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_saved_again_is_read_alike(tmp_path: Path, separator: str) -> None:
    text = dlc_csv(numbers(0))
    other = "\ufeff" + text.replace(",", separator).replace("\n", "\r\n") + "\r\n"
    (session,) = read(file(tmp_path, text)).sessions
    (again,) = read(file(tmp_path, other, "again.csv")).sessions
    np.testing.assert_array_equal(session.points, again.points)


def test_columns_are_told_by_their_names(tmp_path: Path) -> None:
    values, order = numbers(0), [2, 0, 1]
    columns = np.stack([values[..., 2], values[..., 1], values[..., 0]], -1)
    swapped = dlc_csv(columns).replace("x,y,likelihood", "likelihood,y,X")
    (session,) = read(file(tmp_path, swapped)).sessions
    np.testing.assert_array_equal(session.points, values[..., :2].astype(np.float32))
    other = dlc_csv(numbers(2)[:, order], [PARTS[place] for place in order])
    found = read(write(tmp_path / "folder", {"keypoints/rat2DLC_resnet50_madeupMay7shuffle1_500000.csv": other}))
    assert found.points == PARTS
    (session,) = [session for session in found.sessions if session.name == "rat2"]
    np.testing.assert_array_equal(session.points, numbers(2)[..., :2].astype(np.float32))


@pytest.mark.parametrize(
    ("parts", "individuals", "points", "animal"),
    [
        ("ab" * 2, ["m1", "m1", "m2", "m2"], ("m1_a", "m1_b", "m2_a", "m2_b"), [0, 0, 1, 1]),
        ("abc", ["m1", "m1", "single"], ("m1_a", "m1_b", "single_c"), [0, 0, 1]),
        ("ab", ["m1", "m1"], ("a", "b"), [0, 0]),
        (["r1_a", "r1_b", "r2_a", "r2_b"], None, ("r1_a", "r1_b", "r2_a", "r2_b"), [0, 0, 1, 1]),
        (["r1_a", "r1_b", "r2_a", "r2_b"], ["m1"] * 4, ("r1_a", "r1_b", "r2_a", "r2_b"), [0, 0, 0, 0]),
    ],
)
def test_individuals_are_animals(
    tmp_path: Path, parts: list[str], individuals: list[str] | None, points: tuple[str, ...], animal: list[int]
) -> None:
    found = read(file(tmp_path, dlc_csv(numbers(0, len(parts)), list(parts), individuals)))
    assert found.points == points and found.animal.tolist() == animal and found.animal.dtype == np.int64


LINES = dlc_csv(numbers(0)).split("\n")
WIDER = "\n".join(f"{line}," if number > 4 else line for number, line in enumerate(LINES[:-1]))
UNRATED = "\n".join(line.rpartition(",")[0] for line in LINES)
FORM = "the header rows are scorer, (individuals,) bodyparts, coords in this order"
POINT = "the columns of a point are x, y, likelihood"


def changed(line: int, old: str, new: str) -> str:
    lines = list(LINES)
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\n".join(LINES[1:]), f": no header row scorer; {FORM}; line 1 begins 'bodyparts,nose,nose,"),
        ("\n".join(LINES[3:]), f": no header row scorer and no bodyparts and no coords; {FORM}; line 1 begins '0,"),
        ("\n".join([*LINES[:2], *LINES[3:]]), f": no header row coords; {FORM}"),
        ("\n".join([LINES[0], LINES[2], LINES[1], *LINES[3:]]), f": header rows in another order; {FORM}"),
        ("\n".join(LINES[:3]), ": no frames below the header; give it some or remove it"),
        ("", ": the file is empty; fill it or remove it"),
        (changed(5, ",", ""), ", line 5: 9 cells, the header has 10; is a comma missing, or one too many?"),
        (
            "\n".join(f"{line}," if k > 4 else line for k, line in enumerate(LINES[:-1])),
            ", in 4 lines, first in line 6:",
        ),
        (changed(6, "2,", "2,gone"), ", line 6: column nose x: 'gone"),
        (changed(6, "2,", "3,"), ", in 2 lines, first in line 6: Frame is 3 after 1; frames rise by one: give every"),
        (changed(3, "x", "z"), f": 'nose' has a column 'z'; {POINT}"),
        (changed(3, "x", "y"), ": 'nose' has two columns y; keep one, or give its points different names"),
        (
            "\n".join(line.rpartition(",")[0] for line in LINES),
            ": 'tail' has no column likelihood; every point needs x",
        ),
        ("\n".join(line.partition(",")[0] for line in LINES), ": no points; the columns after the first are"),
        (changed(2, "tail,tail,tail", ",,"), ": a point has no name; fill the cell in the row bodyparts"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, text: str, expected: str) -> None:
    source = file(tmp_path, text)
    found = problems(source)
    assert [problem for problem in found if problem.startswith(f"rat1.csv{expected}")] != [], found


@pytest.mark.parametrize(
    ("place", "value", "expected"),
    [
        ((2, 0, 0), np.inf, "frame 2 (from 0), nose x: inf is not a position in pixels"),
        ((2, 1, 1), 1e7, "frame 2 (from 0), ear y: 1e+07 is not a position in pixels"),
        ((2, 2, 2), 87.5, "frame 2 (from 0), tail likelihood: 87.5 is not a likelihood from 0 to 1"),
        ((2, 2, 2), -0.5, "frame 2 (from 0), tail likelihood: -0.5 is not a likelihood from 0 to 1"),
    ],
)
def test_numbers_that_nothing_has_are_named(
    tmp_path: Path, place: tuple[int, int, int], value: float, expected: str
) -> None:
    values = numbers(0)
    values[place] = value
    way_out = "; correct it, or empty the cells of the point"
    assert problems(file(tmp_path, dlc_csv(values))) == [f"rat1.csv, {expected}{way_out}"]
    values[3, 1, 2] = 3
    assert problems(file(tmp_path, dlc_csv(values))) == [f"rat1.csv, {expected}; 1 more such numbers{way_out}"]


def test_a_likelihood_that_rounding_carried_over_one_is_one(tmp_path: Path) -> None:
    values = numbers(0)
    values[..., 2] = 1.0000002
    (session,) = read(file(tmp_path, dlc_csv(values))).sessions
    assert (session.likelihood == 1).all()


def test_texts_among_the_numbers_are_one_problem(tmp_path: Path) -> None:
    text = dlc_csv(numbers(0)).replace(".", ";").replace(",", "\t").replace(";", ",")
    (found,) = problems(file(tmp_path, text))
    assert found.startswith("rat1.csv, in 54 lines, first in line 4: column nose x: '"), found
    assert found.endswith(
        "is not a number; write decimals with a point, and leave the cell empty where nothing is seen"
    )
    spaced = dlc_csv(numbers(0)).replace(",", ", ")
    assert read(file(tmp_path, spaced)).points == PARTS


def test_files_with_other_points_are_named(tmp_path: Path) -> None:
    other = dlc_csv(numbers(2), ["nose", "ears", "tail"])
    assert problems(write(tmp_path, {"keypoints/rat12.csv": other})) == [
        "keypoints/rat12.csv: no points ear, unknown points ears (did you mean ear?); all files have the points of "
        "keypoints/rat1.csv"
    ]


def test_the_recorded_points_are_those_of_another_reader() -> None:
    folder = recordings("behaviour") / "keypoints"
    path = sorted(folder.glob("*.csv"))[2]
    (session,) = behaviour_files.read(path, 0.6).sessions
    table = np.genfromtxt(path, delimiter=",", skip_header=3)[:, 1:].reshape(-1, 10, 3)
    unseen = np.isnan(table).any(-1) | (table[..., 2] < 0.6)
    table[unseen] = np.nan, np.nan, 0
    np.testing.assert_array_equal(session.points, table[..., :2].astype(np.float32))
    np.testing.assert_array_equal(session.likelihood, table[..., 2].astype(np.float32))
    assert 0.1 < unseen.mean() < 0.9


def test_a_file_that_is_no_text_or_no_key_points_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rat1.csv").write_bytes(b"scorer,\xff\xfe")
    assert problems(tmp_path / "rat1.csv") == ["rat1.csv: byte 7 is not UTF-8 text; save the file as UTF-8"]
    with pytest.raises(DataError, match="no file of key points; give a CSV or HDF5 of DeepLabCut, or a folder of them"):
        read(file(tmp_path, "x", "rat1.mp4"))
    with pytest.raises(DataError, match=r"gone: cannot be read \(No such file or directory\)"):
        read(tmp_path / "gone")
