"""Predictions on rows that a model was not trained on: one table per fold of a promotion, and their union.

A table has a line per row of data, or several where a row holds several entries, as a clip of frames does.

A training writes `LEASE-TOKEN.csv` for people and `LEASE-TOKEN.npz` for figures (types and all digits, no pickles). A
reader takes the highest lease and token, so that a worker that wakes up late can never replace its successor's table.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.files import RunFiles, write_whole
from hpo.harmless import cell
from hpo.records import JobRecord
from hpo.wording import counted, last_line

#: Name -> `[line]`; before `long` also `[row, entry]`.
Columns = Mapping[str, np.ndarray]
_NAME = re.compile(r"(\d+)-(\d+)\.npz")
_TABLE, _EXAMPLE = "prediction/", "example/"


class Unreadable(Exception):
    """A file of predictions is there and cannot be read."""


@dataclass(frozen=True)
class Predictions:
    """A line per entry that was predicted, and a few rows with their inputs and outputs."""

    table: Columns
    examples: Columns
    folds: tuple[int, ...]


def save(folder: Path, lease_id: int, token: int, found: Predictions) -> Path:
    """Write the table of one training; returns the path of the CSV.

    Raises:
        OSError: nothing of it is there, or the arrays alone, which the same training will write again.
    """
    buffer = io.BytesIO()
    arrays = {_TABLE + name: _plain(column) for name, column in found.table.items()}
    arrays |= {_EXAMPLE + name: _plain(column) for name, column in found.examples.items()}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    path = folder / f"{lease_id}-{token}.csv"
    write_whole(path.with_suffix(".npz"), buffer.getvalue())
    write_whole(path, as_csv(found.table).encode())
    for (other, name), number in _written(folder).items():
        if (other, name) < (lease_id, token):
            for suffix in (".npz", ".csv"):
                (number.with_suffix(suffix)).unlink(missing_ok=True)
    return path


def load(folder: Path, fold: int) -> Predictions | None:
    """The table of one training; None where none was written.

    Raises:
        Unreadable: with the file and why.
    """
    written = _written(folder)
    if not written:
        return None
    path = written[max(written)]
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays.files}
    except Exception as error:  # of zip, zlib, numpy and its parsers: each has errors of its own for damaged bytes
        raise Unreadable(f"{path}: {last_line(str(error)) or repr(error)}") from None
    table, examples = (
        {name.removeprefix(kind): column for name, column in found.items() if name.startswith(kind)}
        for kind in (_TABLE, _EXAMPLE)
    )
    return Predictions(table, examples, (fold,))


def of_candidate(files: RunFiles, study: str, jobs: Sequence[JobRecord], candidate: int | None) -> Predictions | None:
    """The tables of all folds of a candidate that are done, joined and in the order of the rows; None without any.

    Args:
        files: of the runs folder.
        study: the study's folder.
        jobs: of its promotion.
        candidate: trial number.

    Raises:
        Unreadable: with the file and why.
    """
    done = [j for j in jobs if j.candidate == candidate and j.fold >= 0 and j.state == "done"]
    first = min((job.seed for job in done), default=0)  # a row once, whatever seeds follow
    places = {j.fold: files.fold_predictions(study, j.candidate, j.fold, j.seed) for j in done if j.seed == first}
    parts = [part for fold, place in sorted(places.items()) if (part := load(place, fold)) is not None]
    if not parts:
        return None
    table = join([part.table for part in parts])
    order = np.argsort(table["row"], kind="stable")
    ordered = {name: column[order] for name, column in table.items()}
    return Predictions(ordered, join([part.examples for part in parts]), tuple(part.folds[0] for part in parts))


def join(parts: Sequence[Columns]) -> dict[str, np.ndarray]:
    """Parts of one table below each other; a column that not all of them have is left out."""
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: _below([part[name] for part in parts]) for name in shared}


def long(columns: Columns) -> dict[str, np.ndarray]:
    """A table with a line per entry, of columns with one entry per row or several.

    Args:
        columns: `[row]` or `[row, entry]`, of one number of rows and one number of entries. A column `[row]` is
            repeated for every entry of its row. What a masked array (`numpy.ma`) among them masks is left out of the
            table, such as the padding behind the end of a recording.

    Returns:
        Columns `[line]`, without masks: rows in their order, the entries of each in theirs.

    Raises:
        ValueError: the shape of a column does not fit that of another; the message names both.
    """
    first = next((name for name, column in columns.items() if column.ndim == 2), next(iter(columns)))
    rows, *entries = columns[first].shape
    shape = (rows, *(entries or [1]))
    for name, column in columns.items():
        if column.shape not in ((rows,), shape):
            raise ValueError(
                f"the column '{name}' of predictions has the shape {column.shape}, '{first}' has "
                f"{columns[first].shape}: each needs one entry per row, [row], or n of them, [row, entry], and the "
                "same n everywhere"
            )
    wide = {name: column if column.ndim > 1 else column[:, None] for name, column in columns.items()}
    kept = np.ones(shape, bool)
    for column in wide.values():
        kept &= ~np.ma.getmaskarray(column)
    return {name: np.broadcast_to(np.ma.getdata(column), shape)[kept] for name, column in wide.items()}


def extent(table: Columns) -> str:
    """`120 rows`, and how many entries they hold where these are more."""
    rows, entries = len(np.unique(table["row"])), len(table["row"])
    return counted(rows, "row") + (f" with {counted(entries, 'entry', 'entries')}" if entries != rows else "")


def as_csv(table: Columns) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([cell(name) for name in table])
    rows = zip(*(column.tolist() for column in table.values()), strict=True)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def is_table(path: Path) -> bool:
    """Whether a file begins as `as_csv` writes a table of predictions: with the column `row`."""
    with path.open("rb") as file:
        return file.readline(100).strip().split(b",")[0] == b"row"


def _below(columns: Sequence[np.ndarray]) -> np.ndarray:
    """`np.concatenate` would forget the masks."""
    masked = any(isinstance(column, np.ma.MaskedArray) for column in columns)
    return np.ma.concatenate(columns) if masked else np.concatenate(columns)


def _cell(value: Any) -> str:
    """Seven digits are all that float32 has; what is missing is an empty cell, as in the input; nothing computes."""
    if isinstance(value, float):
        return f"{value:.7g}" if math.isfinite(value) else ""
    return cell(str(value))


def _plain(column: np.ndarray) -> np.ndarray:
    """Texts that numpy holds as Python objects would need a pickle."""
    return column.astype(str) if column.dtype == object else column


def _written(folder: Path) -> dict[tuple[int, int], Path]:
    """(lease, token) -> file, of all holders there have been."""
    matches = [(path, _NAME.fullmatch(path.name)) for path in folder.glob("*.npz")]
    return {(int(match[1]), int(match[2])): path for path, match in matches if match}
