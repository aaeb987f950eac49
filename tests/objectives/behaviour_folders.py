"""Folders of sessions for tests of what reads them: a good one, changed in one place or another."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpo.objective import DataError
from objectives.behaviour import files as behaviour_files
from objectives.behaviour.data import Sessions

PARTS = ("nose", "ear", "tail")
FRAMES = 6
SCORER = "DLC_resnet50_madeupMay7shuffle1_500000"


def numbers(seed: int, points: int = len(PARTS), frames: int = FRAMES) -> np.ndarray:
    """float64 `[frame, point, 3]`: x and y in pixels with two digits, likelihood from 0.7 to 1."""
    rng = np.random.default_rng(seed)
    spread = rng.uniform((10, 10, 0.7), (600, 400, 1), (frames, points, 3))
    return spread.round(2)


def dlc_csv(values: np.ndarray, parts: Sequence[str] = PARTS, individuals: Sequence[str] | None = None) -> str:
    """Key points as DeepLabCut writes them, with four header rows where individuals are given, one per point."""
    rows = [["scorer"] + [SCORER] * 3 * len(parts)]
    if individuals is not None:
        rows += [["individuals", *(name for name in individuals for _ in range(3))]]
    rows += [
        ["bodyparts", *(name for name in parts for _ in range(3))],
        ["coords", *("x", "y", "likelihood") * len(parts)],
    ]
    for frame, row in enumerate(values.reshape(len(values), -1).tolist()):
        rows.append([str(frame), *("" if np.isnan(value) else repr(value) for value in row)])
    return "".join(",".join(row) + "\n" for row in rows)


def dlc_h5(
    path: Path, values: np.ndarray, parts: Sequence[str] = PARTS, individuals: Sequence[str] | None = None
) -> Path:
    """Key points as pandas and PyTables write them for DeepLabCut."""
    of = [(name,) for name in individuals] if individuals is not None else [()] * len(parts)
    columns = [
        (SCORER, *own, part, coord) for own, part in zip(of, parts, strict=True) for coord in ("x", "y", "likelihood")
    ]
    return pytables(path, values.reshape(len(values), -1), columns)


def pytables(path: Path, values: np.ndarray, columns: Any, group: str = "df_with_missing") -> Path:
    """A table of pandas with any object as names of its columns, pickled as PyTables pickles them."""
    rows = np.zeros(len(values), [("index", "<i8"), ("values_block_0", "<f8", values.shape[1:])])
    rows["index"], rows["values_block_0"] = np.arange(len(values)), values
    with h5py.File(path, "w") as opened:
        table = opened.create_dataset(f"{group}/table", data=rows)
        table.attrs["values_block_0_kind"] = np.bytes_(pickle.dumps(columns, 0))
        opened[group].attrs["pandas_type"] = np.bytes_(b"frame_table")
    return path


def actions(cells: Sequence[object], first: int = 0) -> str:
    """A file of annotations with one column of actions."""
    return "Frame,Action\n" + "".join(f"{first + row},{cell}\n" for row, cell in enumerate(cells))


GOOD: Mapping[str, str] = {
    "keypoints/rat1.csv": dlc_csv(numbers(1)),
    f"keypoints/rat2{SCORER}.csv": dlc_csv(numbers(2)),
    "keypoints/rat12.csv": dlc_csv(numbers(12)),
    "annotations/rat1.csv": actions([0, 0, 1, 1, 2, ""]),
    "annotations/prediction_rat2.mp4_1.csv": actions(["rest", "walk", "nan"]),
    "annotations/prediction_rat2.mp4_2.csv": actions([2, "2.0", "lick"]),
    "annotations/rat12.csv": "Frame,rest,lick\n0,1,0\n1,0,1.0\n2,0,0\n3,,1\n4,0,1\n5,1.0,0\n",
    "classes.json": '{"0": "rest", "1": "walk", "2": "lick"}',
    "sessions.csv": "session,group,fps,width,height,note\nrat1,A,20,640,480,x\nrat2,B,20,,,\nrat12,A,20,640,480,\n",
}


def write(folder: Path, changes: Mapping[str, str | None] | None = None) -> Path:
    """A good folder with files added or replaced, or left out where the text is None."""
    for name, text in {**GOOD, **(changes or {})}.items():
        if text is not None:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def read(folder: Path) -> Sessions:
    return behaviour_files.read(folder, 0.5)


def problems(source: Path) -> list[str]:
    """What is wrong with a source, each problem by itself."""
    with pytest.raises(DataError, match=re.escape(f"{source}: ")) as error:
        read(source)
    first, *rest = str(error.value).split("\n  ")
    assert first == f"{source}: {len(rest)} problem{'s' if len(rest) > 1 else ''}"
    return rest
