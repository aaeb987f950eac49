"""Read `waveforms.csv`: one averaged auditory brainstem response per row.

Columns, in any order (others are ignored):

    subject                group for folds: rows of one subject never part
    level_db               stimulus level, dB
    freq_khz               tone frequency, kHz; 0 = click
    n_sweeps               sweeps in the average
    sampling_rate_hz       of the row's samples; without the column 20 kHz
    start_ms               of s0 after stimulus onset, 0 or (a baseline) less; without the column 0
    hearing_class          0, 1, 2, 3 = level relative to the threshold (CLASSES); empty where no expert looked
    wave_v_present         1 or 0; empty where nobody looked
    wave_v_latency_ms      after stimulus onset; empty where no peak was picked
    wave_v_amplitude_uv    of the picked peak; empty where none was picked
    s0, s1, ...            uV, as many as there are, the same number in every row

An empty label cell is a missing label and never a zero; a file to predict on needs no label columns at all. Anything
else that is not a number is an error: `nan` written as text usually means that a script lost a value without noticing.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hpo.objective import DataError
from objectives.abr.data import (
    CLASSES,
    LABELS,
    LARGEST,
    LOWEST_RATE_HZ,
    RATE_HZ,
    STATICS,
    Grid,
    Recordings,
)
from objectives.problems import listing, some

FILE_NAME = "waveforms.csv"
#: Optional columns that say when samples were taken, and what holds for files without them.
TIMING = {"sampling_rate_hz": float(RATE_HZ), "start_ms": 0.0}
#: Beyond this a latency is no brainstem response but another unit (samples, microseconds).
LATEST_MS = 30.0
_SAMPLE = re.compile(r"s(0|[1-9]\d{0,5})")
#: What a number must be, by column: the least that is allowed, and how to say it.
_NUMBERS = {
    "level_db": (-math.inf, "in dB"),
    "freq_khz": (0, "in kHz, 0 for a click"),
    "n_sweeps": (1, "1 or more"),
    "sampling_rate_hz": (LOWEST_RATE_HZ, f"in Hz, or remove the column for {RATE_HZ}"),
    "start_ms": (-math.inf, "in ms, or remove the column for 0"),
}


def read(path: Path, grid: Grid) -> Recordings:
    """Read a file and put its waveforms on the grid.

    Raises:
        DataError: with file, line, column, value and way out of everything that is wrong, MOST_LISTED lines at most.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            return _read_rows(csv.reader(opened), path, grid)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8 text; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error}); save the table as comma-separated text") from None


def _read_rows(reader: csv._reader, path: Path, grid: Grid) -> Recordings:  # type: ignore[name-defined]
    header = [name.strip() for name in next(reader, [])]
    samples = _check_header(header, path)
    rows = _Rows(header, samples)
    for cells in reader:
        if cells:  # the csv module gives an empty list for an empty line
            rows.add(reader.line_num, cells)
    if not rows.count:
        raise DataError(f"{path}: no rows below the header; each row is one averaged waveform")
    rows.check_together(grid)
    if rows.problems:
        raise DataError(listing(path, rows.problems))
    return rows.recordings(grid, path.name)


def _check_header(header: Sequence[str], path: Path) -> int:
    """How many samples a row has."""
    if not header:
        raise DataError(f"{path}: the file is empty; its first line names the columns, from subject to the last sample")
    if len(header) == 1:
        raise DataError(f"{path}: the first line has one column, {header[0][:60]!r}; separate columns by commas")
    numbers = [int(match[1]) for name in header if (match := _SAMPLE.fullmatch(name))]
    samples = max(numbers, default=0) + 1
    wanted = [f"s{k}" for k in sorted(set(range(samples)) - set(numbers))]
    missing = [name for name in ("subject", *STATICS) if name not in header] + wanted
    if missing:
        near = {name: other for name in missing for other in header if _bare(other) == _bare(name)}
        there = f"; there is {some(list(near.values()))}, but names count to the letter, case included" if near else ""
        raise DataError(f"{path}: line 1: no column {some(missing)}; every row needs them{there}")
    known = (name for name in header if name in {"subject", *STATICS, *TIMING, *LABELS} or _SAMPLE.fullmatch(name))
    twice = sorted({name for name in known if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: line 1: more than one column {some(twice)}; keep one of each")
    return samples


def _bare(name: str) -> str:
    """What is left of a name whose spelling is taken lightly."""
    return re.sub(r"[\W_]", "", name.lower())


class _Rows:
    """Rows read so far, and what was wrong with them."""

    def __init__(self, header: Sequence[str], samples: int) -> None:
        self._header = header
        self._column = {name: i for i, name in enumerate(header)}
        self._words = [name for name in ("subject", *STATICS, *TIMING, *LABELS) if name in self._column]
        self._samples = [self._column[f"s{k}"] for k in range(samples)]
        self._lines: list[int] = []
        self._subject: list[str] = []
        self._statics: list[list[float]] = []
        self._timing: list[tuple[float, float]] = []
        self._labels: list[list[float]] = []
        self._waveform: list[np.ndarray] = []
        self.problems: list[str] = []
        self.count = 0

    def add(self, line: int, cells: list[str]) -> None:
        """Check and keep one row."""
        self.count += 1
        if len(cells) != len(self._header):
            self._problem(line, None, f"{len(cells)} cells, the header has {len(self._header)}; is a comma missing?")
            return
        cell = dict.fromkeys(LABELS, "")
        cell |= {name: cells[self._column[name]].strip() for name in self._words}
        if not cell["subject"]:
            self._problem(line, "subject", "empty; folds need to know whose waveform this is")
        self._lines.append(line)
        self._subject.append(cell["subject"])
        self._statics.append([self._number(line, name, cell[name]) for name in STATICS])
        rate_hz, start_ms = (self._number(line, k, cell[k]) if k in cell else value for k, value in TIMING.items())
        self._timing.append((rate_hz, start_ms))
        labels = [self._label(line, name, cell[name]) for name in LABELS]
        self._check_pick(line, cell, labels)
        self._labels.append(labels)
        self._waveform.append(self._wave(line, [cells[i] for i in self._samples]))

    def check_together(self, grid: Grid) -> None:
        """What rows can only do wrong together, or in the same way: being too short, being another's waveform."""
        for (rate_hz, start_ms), rows in self._by_timing():
            if lack := grid.lacks(len(self._samples), rate_hz, start_ms):
                also = f" and {len(rows) - 1} more rows" if len(rows) > 1 else ""
                self.problems.append(f"line {self._lines[rows[0]]}{also}: {lack}")
        first: dict[bytes, int] = {}
        for row, wave in enumerate(self._waveform):
            other = first.setdefault(wave.tobytes(), row)
            named = self._subject[other] and self._subject[row]
            if named and self._subject[other] != self._subject[row] and np.ptp(wave) > 0:
                text = f"the waveform of line {self._lines[other]}, of subject {self._subject[other]!r}"
                self._problem(self._lines[row], None, f"{text}; whose is it? Keep one of the two")

    def recordings(self, grid: Grid, name: str) -> Recordings:
        """All rows, on the grid."""
        waves = np.stack(self._waveform)
        placed = np.empty((len(waves), grid.samples), np.float32)
        for timing, rows in self._by_timing():
            placed[rows] = grid.place(waves[rows], *timing)
        labels = np.asarray(self._labels)
        classes = np.nan_to_num(labels[:, :2], nan=-1).astype(np.int64)
        absent = [label for label in LABELS if label not in self._column]
        lacks = f"{name}, line 1: no column {some(absent)}; label columns may be empty, but only predictions do without"
        return Recordings(
            subject=np.asarray(self._subject),
            statics=np.asarray(self._statics),
            waveform=placed,
            hearing_class=classes[:, 0],
            present=classes[:, 1],
            latency_ms=labels[:, 2].astype(np.float32),
            amplitude_uv=labels[:, 3].astype(np.float32),
            notes=tuple(self._repeats()),
            unlabelled=f"{lacks} them" if absent else "",
        )

    def _by_timing(self) -> Iterator[tuple[tuple[float, float], np.ndarray]]:
        groups: dict[tuple[float, float], list[int]] = {}
        for row, timing in enumerate(self._timing):
            if all(map(math.isfinite, timing)):  # else it is a problem already
                groups.setdefault(timing, []).append(row)
        return ((timing, np.asarray(rows)) for timing, rows in groups.items())

    def _repeats(self) -> Iterator[str]:
        repeated = len(self._waveform) - len({wave.tobytes() for wave in self._waveform})
        if repeated:
            yield f"waveforms that are there more than once, of one subject each: {repeated} rows too many; they stay"

    def _problem(self, line: int, column: str | None, text: str) -> None:
        self.problems.append(f"line {line}: {text}" if column is None else f"line {line}, column {column}: {text}")

    def _wave(self, line: int, cells: Sequence[str]) -> np.ndarray:
        """float64 `[time]`; all cells are converted at once, and looked at one by one only where that fails."""
        try:
            wave = np.array(cells, np.float64)
            if (np.abs(wave) <= LARGEST).all():  # False for NaN
                return wave
        except ValueError:
            pass
        filled = max((k + 1 for k, text in enumerate(cells) if text.strip()), default=0)
        if 0 < filled < len(cells):
            text = f"{filled} samples, the header has {len(cells)} (s{filled} and all after it are empty)"
            self._problem(line, None, f"{text}; every waveform of a file has the same number: cut the longer ones")
            return np.zeros(len(cells))
        return np.array([self._finite(line, f"s{k}", text.strip(), "in uV") for k, text in enumerate(cells)])

    def _finite(self, line: int, column: str, text: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._problem(line, column, f"{text!r} is not a finite number; it is needed in every row, {what}")
        elif abs(value) > LARGEST:
            self._problem(line, column, f"{text!r} is too large; give it {what}")
            return math.nan
        return value

    def _number(self, line: int, column: str, text: str) -> float:
        least, what = _NUMBERS[column]
        value = self._finite(line, column, text, what)
        if value < least:
            self._problem(line, column, f"{text!r} is too small; give it {what}")
            return math.nan
        return value

    def _label(self, line: int, column: str, text: str) -> float:
        """The value, NaN for an empty cell."""
        if not text:
            return math.nan
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._problem(line, column, f"{text!r} is not a number; leave the cell empty where there is no label")
        elif column == "hearing_class" and value not in range(len(CLASSES)):
            names = ", ".join(f"{number} ({name})" for number, name in enumerate(CLASSES))
            self._problem(line, column, f"{text!r} is no class; there are {names}, or leave the cell empty")
        elif column == "wave_v_present" and value not in (0, 1):
            self._problem(line, column, f"{text!r} is neither 1 nor 0; leave the cell empty where nobody looked")
        elif column == "wave_v_latency_ms" and not 0 <= value <= LATEST_MS:
            self._problem(line, column, f"{text!r} is outside 0 to {LATEST_MS:g} ms; is it in another unit?")
        elif abs(value) > LARGEST:
            self._problem(line, column, f"{text!r} is too large; is it in another unit?")
        return value

    def _check_pick(self, line: int, cell: dict[str, str], labels: Sequence[float]) -> None:
        if labels[1] == 0 and cell["wave_v_latency_ms"]:
            text = f"{cell['wave_v_latency_ms']!r} is given although wave_v_present is 0; empty one of the two"
            self._problem(line, "wave_v_latency_ms", text)
