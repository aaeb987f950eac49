"""The two text layouts of EPL's instrument and of its peak picker, one file at a time.

A recording (ISO 8859-1: the micro sign is one byte) is a header, whose lines begin with a colon and end in CR alone,
and a matrix whose lines end in CR LF, one line per sample and one column per level:

    :RUN-3  LEVEL SWEEP  TEMP:207.44  4/6/2007  8:03 AM  -3852.21HR:
    :SW EAR: R  SW FREQ: 16.00  # AVERAGES: 512  REP RATE (/sec): 40  DRIVER: Starship  SAMPLE (usec): 10
    :NOTES-
    :CHAMBER-412
    :LEVELS:10;15;20;
    :DATA
     -0.052685   -0.016803   -0.048387

Items are separated by tabs; the interval between samples is in microseconds, the frequency in kHz. An analysis:

    Threshold (dB SPL): 15.0                      or None
    Frequency (kHz): 16.00
    Filter history (zpk format):
    ...
    NOTE: Negative latencies indicate no peak
    Level  1msec Avg  1msec StDev  P1 Latency  P1 Amplitude  N1 Latency  N1 Amplitude  ...
    80.00  0.338461   0.376819     1.19        2.13          1.67        -1.59
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from objectives.abr.data import LARGEST, LOWEST_RATE_HZ

#: How a recording begins.
MAGIC = b":RUN-"
#: Item of the header -> its pattern, and what it says.
_ITEMS = {
    "SW FREQ": (r"SW FREQ: *([^\t\n]*)", "kHz, or click"),
    "# AVERAGES": (r"# AVERAGES: *([^\t\n]*)", "sweeps in the average"),
    "SAMPLE": (r"SAMPLE \([^)m]{0,3}sec\): *([^\t\n]*)", "microseconds between samples"),
    "LEVELS": (r":LEVELS: *([^\t\n]*)", "dB, separated by semicolons"),
}


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One level series."""

    path: Path
    freq_khz: float  #: 0 = click
    n_sweeps: float
    rate_hz: float
    levels_db: np.ndarray  #: float64 `[level]`
    waves: np.ndarray  #: float64 `[level, time]`, uV


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What an analyst said about one level series."""

    path: Path
    threshold_db: float | None
    freq_khz: float
    levels_db: tuple[float, ...]
    wave_v: Mapping[float, tuple[float, float]]  #: level -> latency ms (negative = no peak), amplitude uV of P5


def _lines(path: Path) -> list[str]:
    """Lines however they end, as an editor numbers them."""
    return path.read_bytes().decode("latin-1").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_recording(path: Path, problems: list[str]) -> Recording | None:
    """The recording, or None and what is wrong with the file added to `problems`."""
    lines, before = _lines(path), len(problems)
    if not lines[0].encode("latin-1").startswith(MAGIC):
        start = f"begins with {lines[0][:12]!r}, not with {MAGIC.decode()!r}"
        problems.append(f"{path.name}, line 1: {start}: no EPL recording, or a damaged one; export it again")
        return None
    data = next((number for number, line in enumerate(lines) if line.startswith(":DATA")), None)
    items = _items(path, lines[:data], problems)
    if data is None:
        problems.append(f"{path.name}: no line :DATA among its {len(lines)} lines; the export is cut off, repeat it")
    if data is None or len(problems) > before:
        return None
    levels_db = np.array(items["LEVELS"])
    waves = _matrix(path, lines, data + 1, len(levels_db), problems)
    if waves is None:
        return None
    (freq_khz,), (n_sweeps,), (interval_us,) = items["SW FREQ"], items["# AVERAGES"], items["SAMPLE"]
    rate_hz = 1e6 / interval_us
    return Recording(
        path=path, freq_khz=freq_khz, n_sweeps=n_sweeps, rate_hz=rate_hz, levels_db=levels_db, waves=waves.T
    )


def _items(path: Path, header: Sequence[str], problems: list[str]) -> dict[str, list[float]]:
    """The numbers of the header's items."""
    found: dict[str, list[float]] = {}
    text = "\n".join(header)
    for item, (pattern, what) in _ITEMS.items():
        match = re.search(pattern, text)
        if match is None:
            problems.append(f"{path.name}: the header has no item {item} ({what}); is it cut off?")
            continue
        value = match[1].strip()
        line = text.count("\n", 0, match.start(1)) + 1
        words = value.strip(";").split(";") if item == "LEVELS" else [value]
        numbers = [0.0 if item == "SW FREQ" and word.lower() == "click" else _float(word) for word in words]
        if not all(_allowed(item, number) for number in numbers):
            problems.append(f"{path.name}, line {line}: {item} is {value!r}; it is {what}")
        elif len(set(numbers)) < len(numbers):
            problems.append(f"{path.name}, line {line}: {item} names a level twice: {value!r}; remove one of the two")
        found[item] = numbers
    return found


def _allowed(item: str, number: float) -> bool:
    least, most = {
        "SW FREQ": (0, LARGEST),
        "# AVERAGES": (1, LARGEST),
        "SAMPLE": (1e-3, 1e6 / LOWEST_RATE_HZ),
        "LEVELS": (-LARGEST, LARGEST),
    }[item]
    return least <= number <= most  # False for NaN


def _matrix(path: Path, lines: Sequence[str], start: int, columns: int, problems: list[str]) -> np.ndarray | None:
    """float64 `[time, level]`."""
    rows = [(number, line.split()) for number, line in enumerate(lines[start:], start + 1) if line.strip()]
    if not rows:
        problems.append(f"{path.name}: nothing follows :DATA; the export is cut off, repeat it")
        return None
    uneven = [(number, len(words)) for number, words in rows if len(words) != columns]
    if uneven:
        number, length = uneven[0]
        also = f", and so do {len(uneven) - 1} more lines" if len(uneven) > 1 else ""
        text = (
            f"has {length} values, LEVELS names {columns} levels{also}; every line has them all, is the export cut off?"
        )
        problems.append(f"{path.name}, line {number}: {text}")
        return None
    try:
        values = np.array([words for _, words in rows], np.float64)
        if (np.abs(values) <= LARGEST).all():  # False for NaN
            return values
    except ValueError:
        pass
    cells = ((number, k, word) for number, words in rows for k, word in enumerate(words, 1))
    number, column, word = next(cell for cell in cells if not abs(_float(cell[2])) <= LARGEST)
    problems.append(
        f"{path.name}, line {number}, column {column}: {word[:20]!r} is not a number, or too large; it is in uV"
    )
    return None


def read_analysis(path: Path, problems: list[str]) -> Analysis | None:
    """The analysis, or None and what is wrong with the file added to `problems`."""
    lines, before = _lines(path), len(problems)
    threshold = _after(path, lines, 0, "Threshold (dB SPL):", "in dB, or None", problems)
    freq = _after(path, lines, 1, "Frequency (kHz):", "in kHz", problems)
    head = next((number for number, line in enumerate(lines) if line.split("\t")[0].strip() == "Level"), None)
    if head is None:
        problems.append(f"{path.name}: no line of column names that begins with Level; save the analysis again")
        return None
    names = [name.strip() for name in lines[head].rstrip().split("\t")]
    table: dict[float, dict[str, float]] = {}
    for number, line in enumerate(lines[head + 1 :], head + 2):
        if not line.strip():
            continue
        cells = dict(zip(names, line.rstrip().split("\t"), strict=False))
        if len(line.rstrip().split("\t")) != len(names):
            count = len(line.rstrip().split("\t"))
            problems.append(f"{path.name}, line {number}: {count} values, line {head + 1} names {len(names)} columns")
            continue
        row = {name: _float(cell) for name, cell in cells.items() if name == "Level" or name.startswith("P5 ")}
        for name in (name for name, value in row.items() if not abs(value) <= LARGEST):
            problems.append(f"{path.name}, line {number}, column {name}: {cells[name]!r} is not a number, or too large")
        if row["Level"] in table:
            problems.append(f"{path.name}, line {number}: {row['Level']:g} dB a second time; keep one of the two")
        table[row["Level"]] = row
    if ("P5 Latency" in names) != ("P5 Amplitude" in names):
        problems.append(f"{path.name}, line {head + 1}: P5 Latency and P5 Amplitude belong together; one is missing")
    if not table:
        problems.append(f"{path.name}: no levels below line {head + 1}; save the analysis again, or remove it")
    if threshold is None or freq is None or len(problems) > before:
        return None
    picked = {level: (row["P5 Latency"], row["P5 Amplitude"]) for level, row in table.items() if "P5 Latency" in row}
    threshold_db = None if math.isnan(threshold) else threshold
    return Analysis(path=path, threshold_db=threshold_db, freq_khz=freq, levels_db=tuple(table), wave_v=picked)


def _after(path: Path, lines: Sequence[str], number: int, label: str, what: str, problems: list[str]) -> float | None:
    """The number after a label at the start of a line, NaN for the word None where `what` allows it."""
    line = lines[number] if number < len(lines) else ""
    value = line.removeprefix(label).strip()
    if line.startswith(label) and "None" in what and value in ("None", "nan"):
        return math.nan
    found = _float(value)
    if line.startswith(label) and abs(found) <= LARGEST:
        return found
    problems.append(f"{path.name}, line {number + 1}: {line[:40]!r}; it is {label!r} and a number {what}")
    return None


def _float(text: str) -> float:
    """The number, or NaN."""
    try:
        return float(text)
    except ValueError:
        return math.nan
