"""Read `waveforms.csv`: one averaged auditory brainstem response per row.

Columns, in any order (others are ignored):

    subject                group for folds: rows of one subject never part
    level_db               stimulus level, dB
    freq_khz               tone frequency, kHz; 0 = click
    n_sweeps               sweeps in the average
    hearing_class          0, 1, 2, 3 = level relative to the threshold (CLASSES); empty where no expert looked
    wave_v_present         1 or 0; empty where nobody looked
    wave_v_latency_ms      after stimulus onset; empty where no peak was picked
    wave_v_amplitude_uv    of the picked peak; empty where none was picked
    s0 ... s199            uV, 20 kHz, from stimulus onset

An empty label cell is a missing label and never a zero; a file to predict on needs no label columns at all. Anything
else that is not a number is an error: `nan` written as text usually means that a script lost a value without noticing.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo.objective import DataError

FILE_NAME = "waveforms.csv"
SAMPLES = 200
RATE_HZ = 20_000
WINDOW_MS = 1e3 * SAMPLES / RATE_HZ
CLASSES = ("below threshold", "0-10 dB", "15-30 dB", ">30 dB")
STATICS = ("level_db", "freq_khz", "n_sweeps")
LABELS = ("hearing_class", "wave_v_present", "wave_v_latency_ms", "wave_v_amplitude_uv")
SAMPLE_COLUMNS = tuple(f"s{i}" for i in range(SAMPLES))
#: A wave V never comes this early: what was picked there is stimulus artefact or an earlier wave.
EARLIEST_MS = 4.0
#: Beyond this a latency is no brainstem response but another unit (samples, microseconds).
LATEST_MS = 30.0
#: Problems an error lists before it only counts them.
MOST_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Everything read from the file, one entry per row."""

    subject: np.ndarray  #: text `[rows]`
    statics: np.ndarray  #: float64 `[rows, 3]`, in the order of STATICS
    waveform: np.ndarray  #: float32 `[rows, 200]`, uV
    hearing_class: np.ndarray  #: int64 `[rows]`, -1 = missing
    present: np.ndarray  #: int64 `[rows]`, 1, 0 or -1 = missing
    latency_ms: np.ndarray  #: float32 `[rows]`, NaN = missing
    amplitude_uv: np.ndarray  #: float32 `[rows]`, NaN = missing
    absent: tuple[str, ...] = ()  #: label columns that the file does not have

    def masked_picks(self) -> tuple[Recordings, int]:
        """Without the latency and amplitude of doubtful picks, and how many those were.

        A pick before EARLIEST_MS is not a wave V; one after the end of the window cannot be seen by a network that is
        given the window. The rows stay, and so does what the expert said about presence.
        """
        doubtful = (self.latency_ms < EARLIEST_MS) | (self.latency_ms > WINDOW_MS)  # False for NaN
        latency = np.where(doubtful, np.float32("nan"), self.latency_ms)
        amplitude = np.where(doubtful, np.float32("nan"), self.amplitude_uv)
        masked = Recordings(**{**vars(self), "latency_ms": latency, "amplitude_uv": amplitude})
        return masked, int(doubtful.sum())


def file_of(source: Path) -> Path:
    """The file itself, or the one of a folder."""
    return source / FILE_NAME if source.is_dir() else source


def read(source: Path) -> Recordings:
    """Read a file, or the `waveforms.csv` of a folder.

    Raises:
        DataError: with file, line, column, value and way out of everything that is wrong, MOST_LISTED lines at most.
    """
    path = file_of(source)
    if not path.is_file():
        raise DataError(f"{path}: no such file; give a CSV file, or a folder that holds {FILE_NAME}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:
            return _read_rows(csv.reader(opened), path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8 text; save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error}); save the table as comma-separated text") from None


def _read_rows(reader: csv._reader, path: Path) -> Recordings:  # type: ignore[name-defined]
    header = [name.strip() for name in next(reader, [])]
    _check_header(header, path)
    rows = _Rows(header)
    for cells in reader:
        if cells:  # the csv module gives an empty list for an empty line
            rows.add(reader.line_num, cells)
    if not rows.count:
        raise DataError(f"{path}: no rows below the header; each row is one averaged waveform")
    if rows.problems:
        raise DataError(_listing(path, rows.problems))
    return rows.recordings()


def _check_header(header: Sequence[str], path: Path) -> None:
    if not header:
        raise DataError(f"{path}: the file is empty; its first line names the columns, from subject to s{SAMPLES - 1}")
    if len(header) == 1:
        raise DataError(f"{path}: the first line has one column, {header[0][:60]!r}; separate columns by commas")
    required = ("subject", *STATICS, *SAMPLE_COLUMNS)
    missing = [name for name in required if name not in header]
    if missing:
        raise DataError(f"{path}: line 1: no column {some(missing)}; every row needs them")
    twice = sorted({name for name in (*required, *LABELS) if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}: line 1: more than one column {some(twice)}; keep one of each")


class _Rows:
    """Rows read so far, and what was wrong with them."""

    def __init__(self, header: Sequence[str]) -> None:
        self._header = header
        self._column = {name: i for i, name in enumerate(header)}
        self._words = [name for name in ("subject", *STATICS, *LABELS) if name in self._column]
        self._samples = [self._column[name] for name in SAMPLE_COLUMNS]
        self._subject: list[str] = []
        self._statics: list[list[float]] = []
        self._labels: list[list[float]] = []
        self._waveform: list[list[float]] = []
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
        self._subject.append(cell["subject"])
        self._statics.append([self._static(line, name, cell[name]) for name in STATICS])
        labels = [self._label(line, name, cell[name]) for name in LABELS]
        self._check_pick(line, cell, labels)
        self._labels.append(labels)
        self._waveform.append(
            [self._number(line, name, cells[i], "in uV") for name, i in zip(SAMPLE_COLUMNS, self._samples, strict=True)]
        )

    def recordings(self) -> Recordings:
        labels = np.asarray(self._labels)
        classes = np.nan_to_num(labels[:, :2], nan=-1).astype(np.int64)
        return Recordings(
            subject=np.asarray(self._subject),
            statics=np.asarray(self._statics),
            waveform=np.asarray(self._waveform, np.float32),
            hearing_class=classes[:, 0],
            present=classes[:, 1],
            latency_ms=labels[:, 2].astype(np.float32),
            amplitude_uv=labels[:, 3].astype(np.float32),
            absent=tuple(name for name in LABELS if name not in self._column),
        )

    def _problem(self, line: int, column: str | None, text: str) -> None:
        self.problems.append(f"line {line}: {text}" if column is None else f"line {line}, column {column}: {text}")

    def _number(self, line: int, column: str, text: str, what: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._problem(line, column, f"{text!r} is not a finite number; it is needed in every row, {what}")
        return value

    def _static(self, line: int, column: str, text: str) -> float:
        what = {"level_db": "in dB", "freq_khz": "in kHz, 0 for a click", "n_sweeps": "1 or more"}[column]
        value = self._number(line, column, text, what)
        if value < {"level_db": -math.inf, "freq_khz": 0, "n_sweeps": 1}[column]:
            self._problem(line, column, f"{text!r} is too small; give it {what}")
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
        return value

    def _check_pick(self, line: int, cell: dict[str, str], labels: Sequence[float]) -> None:
        if labels[1] == 0 and cell["wave_v_latency_ms"]:
            text = f"{cell['wave_v_latency_ms']!r} is given although wave_v_present is 0; empty one of the two"
            self._problem(line, "wave_v_latency_ms", text)


def _listing(path: Path, problems: Sequence[str]) -> str:
    lines = [f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''}", *problems[:MOST_LISTED]]
    if len(problems) > MOST_LISTED:
        lines.append(f"and {len(problems) - MOST_LISTED} more")
    return "\n  ".join(lines)


def some(names: Sequence[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
