"""Key points of DeepLabCut as HDF5: the same as its CSV, and no code in them runs."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from objectives.behaviour import files as behaviour_files
from tests.objectives.behaviour_folders import SCORER, dlc_csv, dlc_h5, numbers, problems, pytables, read, write
from tests.objectives.cases import recordings

WAY_OUT = "; give the CSV that DeepLabCut writes beside it (save_as_csv, or analyze_videos_converth5_to_csv)"
COLUMNS = [(SCORER, "nose", coord) for coord in ("x", "y", "likelihood")]


@pytest.mark.parametrize("individuals", [None, ["m1", "m1", "m2"]])
def test_both_files_of_deeplabcut_hold_the_same(tmp_path: Path, individuals: list[str] | None) -> None:
    """The first row empty: that of pandas' CSV would be lost by a reader that takes it for names."""
    values, parts = numbers(0), ["nose", "schnäuzchen", "tail"]
    values[0], values[2, 1] = np.nan, np.nan
    (tmp_path / "a.csv").write_text(dlc_csv(values, parts, individuals), encoding="utf-8")
    table, binary = read(tmp_path / "a.csv"), read(dlc_h5(tmp_path / "a.h5", values, parts, individuals))
    assert table.points == binary.points and table.animal.tolist() == binary.animal.tolist()
    (one,), (other,) = table.sessions, binary.sessions
    np.testing.assert_array_equal(one.points, other.points)
    np.testing.assert_array_equal(one.likelihood, other.likelihood)
    assert one.frames == len(values)


def test_the_recorded_file_holds_what_its_csv_does() -> None:
    """Exactly: pandas prints every digit of a double."""
    folder = recordings("behaviour") / "native_mouse_paw"
    (binary,), (table,) = folder.glob("*.h5"), folder.glob("*resnet50.csv")
    one, other = behaviour_files.read(binary, 0.6), behaviour_files.read(table, 0.6)
    assert one.points == other.points == ("mouth", "L_frontpaw", "R_frontpaw", "L_hindpaw", "R_hindpaw", "tail_base")
    assert len(one.sessions[0].points) == 1080
    np.testing.assert_array_equal(one.sessions[0].points, other.sessions[0].points)
    np.testing.assert_array_equal(one.sessions[0].likelihood, other.sessions[0].likelihood)


def test_the_csv_is_read_where_both_are_there(tmp_path: Path) -> None:
    write(tmp_path)
    dlc_h5(tmp_path / "keypoints/rat1.h5", numbers(99))
    session = read(tmp_path).sessions[0]
    np.testing.assert_array_equal(session.points, numbers(1)[..., :2].astype(np.float32))
    (tmp_path / "keypoints/rat1.csv").unlink()
    session = next(session for session in read(tmp_path).sessions if session.name == "rat1")
    np.testing.assert_array_equal(session.points, numbers(99)[..., :2].astype(np.float32))


def test_frames_that_are_left_out_are_said_as_of_a_csv(tmp_path: Path) -> None:
    """Without the rows in which nothing was seen, all later ones would lie beside other frames' actions."""
    path = dlc_h5(tmp_path / "rat1.h5", numbers(0))
    with h5py.File(path, "r+") as opened:
        rows = opened["df_with_missing/table"][:]
        rows["index"] += 7
        opened["df_with_missing/table"][:] = rows
    assert len(read(path).sessions[0].points) == len(numbers(0))
    with h5py.File(path, "r+") as opened:
        rows["index"][2:] += 1
        opened["df_with_missing/table"][:] = rows
    said = "Frame is 10 after 8; frames rise by one: give every frame a row, in order"
    assert problems(path) == [f"rat1.h5: {said}"]


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._file}",)


@pytest.mark.parametrize("place", [lambda evil: evil, lambda evil: [evil], lambda evil: [(*COLUMNS[0][:2], evil)]])
def test_no_code_in_a_file_runs(tmp_path: Path, place: Callable[[Evil], Any]) -> None:
    evil = place(Evil(tmp_path / "owned"))
    (found,) = problems(pytables(tmp_path / "evil.h5", np.ones((4, 3)), evil))
    assert found == (
        "evil.h5: not a table of DeepLabCut: the names of its columns are no list of texts (it holds GLOBAL, which "
        f"could run code or is not needed; it was not run){WAY_OUT}"
    )
    assert not (tmp_path / "owned").exists()
    with h5py.File(tmp_path / "evil.h5") as opened:
        pickled = opened["df_with_missing/table"].attrs["values_block_0_kind"]
    pickle.loads(pickled)
    assert (tmp_path / "owned").exists(), "the file is as evil as it should be"


NO_TEXTS = "not a table of DeepLabCut: the names of its columns are no list"
OTHERWISE = "not a table of DeepLabCut: a column is named by other things than scorer, (individual,) body part"


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ([], NO_TEXTS),
        ("text", NO_TEXTS),
        ([1, 2, 3], f"{NO_TEXTS} of texts (it holds INT"),
        (["x", "y", "likelihood"], OTHERWISE),
        ([("x",), ("y",), ("likelihood",)], OTHERWISE),
        ([COLUMNS[0], ("a", *COLUMNS[1]), COLUMNS[2]], OTHERWISE),
        ([*COLUMNS, *COLUMNS], "6 columns are named, the numbers are (4, 3)"),
        ([COLUMNS[0], COLUMNS[0], COLUMNS[2]], "'nose' has two columns x; keep one"),
    ],
)
def test_names_that_are_none_of_deeplabcut_are_said(tmp_path: Path, columns: Any, expected: str) -> None:
    found = problems(pytables(tmp_path / "a.h5", np.ones((4, 3)), columns))
    assert found[0].startswith(f"a.h5: {expected}"), found


@pytest.mark.parametrize("pickled", [b".", b"t.", b"g7\n.", b"(lp0\ng0\na.", b"(lp0\n(Vx", b"\xff", b"Vx\n(a."])
def test_a_pickle_that_is_cut_off_or_made_up_is_refused(tmp_path: Path, pickled: bytes) -> None:
    path = pytables(tmp_path / "a.h5", np.ones((4, 3)), COLUMNS)
    with h5py.File(path, "r+") as opened:
        opened["df_with_missing/table"].attrs["values_block_0_kind"] = np.bytes_(pickled)
    (found,) = problems(path)
    assert found.startswith("a.h5: not a table of DeepLabCut: ") and found.endswith(WAY_OUT)


def test_other_files_are_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_text("scorer")
    (found,) = problems(tmp_path / "a.h5")
    assert found.startswith("a.h5: cannot be read as HDF5 (") and found.endswith(WAY_OUT)
    with h5py.File(tmp_path / "b.h5", "w") as opened:
        opened["tracks"] = np.ones((2, 3))
    (found,) = problems(tmp_path / "b.h5")
    assert found == (
        "b.h5: not a table of DeepLabCut: 0 groups with a dataset 'table', there is one in DeepLabCut's" + WAY_OUT
    )
    with h5py.File(tmp_path / "c.h5", "w") as opened:
        opened["df/table"] = np.ones(2, [("values_block_0", "<f8", (3,)), ("values_block_1", "<i8", (3,))])
    (found,) = problems(tmp_path / "c.h5")
    assert "the table has values_block_0, values_block_1 where DeepLabCut has values_block_0" in found
    with h5py.File(tmp_path / "d.h5", "w") as opened:
        opened["df/table"] = np.ones(2, [("values_block_0", "<f8", (3,))])
    (found,) = problems(tmp_path / "d.h5")
    assert "it has no attribute values_block_0_kind that names its columns" in found
    (found,) = problems(pytables(tmp_path / "e.h5", np.ones((0, 3)), COLUMNS))
    assert found.startswith("e.h5: 3 columns are named, the numbers are (0, 3)")


def test_a_damaged_file_is_a_problem(tmp_path: Path) -> None:
    path = dlc_h5(tmp_path / "a.h5", numbers(0))
    path.write_bytes(path.read_bytes()[:3000])
    (found,) = problems(path)
    assert found.startswith("a.h5: ") and found.endswith(WAY_OUT)


def test_rows_that_a_file_only_claims_are_not_given_memory(tmp_path: Path) -> None:
    path = pytables(tmp_path / "a.h5", np.ones((4, 3)), COLUMNS)
    with h5py.File(path, "r+") as opened:
        dtype = opened["df_with_missing/table"].dtype
        opened.create_dataset("other/table", (10**10,), dtype, chunks=(1000,))
        del opened["df_with_missing"]
    (found,) = problems(path)
    assert "the table claims 10000000000 rows, 320000000000 bytes, in a file of " in found


def test_links_out_of_a_file_are_not_followed(tmp_path: Path) -> None:
    dlc_h5(tmp_path / "a.h5", numbers(0))
    with h5py.File(tmp_path / "b.h5", "w") as opened:
        opened["df_with_missing"] = h5py.ExternalLink(tmp_path / "a.h5", "/df_with_missing")
        opened["other/table"] = h5py.ExternalLink(tmp_path / "a.h5", "/df_with_missing/table")
    (found,) = problems(tmp_path / "b.h5")
    assert "0 groups with a dataset 'table'" in found
