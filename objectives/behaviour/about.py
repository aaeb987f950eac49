"""Read sessions.csv, which says of every session to which group it belongs, and how it was filmed.

    session             name of the session
    group               animal or cage: sessions of one group never part in folds
    fps                 frames per second; the column and its cells may be left out
    width, height       of a frame in pixels; the columns and their cells may be left out

Further columns are ignored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.problems import Mistake, gathered, near, some
from objectives.tables import ragged, read_table

ABOUT_FILE = "sessions.csv"
_NEEDED, _NUMBERS = ("session", "group"), ("fps", "width", "height")
#: What is beyond these is another quantity.
_MOST = {"fps": 10_000, "width": 100_000, "height": 100_000}


@dataclass(frozen=True, kw_only=True)
class About:
    """What one row says."""

    group: str
    fps: float | None = None
    size: tuple[int, int] | None = None  #: width and height, pixels


def read_about(path: Path, sessions: Sequence[str], problems: list[str]) -> tuple[Mapping[str, About], list[str]]:
    """What is said of each session, and notes; everything that is wrong is added to `problems`."""
    table = read_table(path, ABOUT_FILE, problems)
    if table is None:
        return {}, []
    header = [cell.strip().lower() for cell in table.rows[0]]
    strange = [*_header(header), *ragged(table)]
    problems += strange
    if strange:
        return {}, []
    found: dict[str, About] = {}
    wrong: list[Mistake] = []
    for line, cells in zip(table.lines[1:], table.rows[1:], strict=True):
        row = dict(zip(header, map(str.strip, cells), strict=True))
        if not any(row.values()):
            continue
        if not (row["session"] and row["group"]):
            wrong.append(Mistake(line, "session or group is empty; give both", "empty"))
        elif row["session"] in found:
            wrong.append(Mistake(line, f"session {row['session']!r} has a row already; keep one", "twice"))
        found.setdefault(row["session"], _about(row, line, wrong))
    problems += gathered(ABOUT_FILE, wrong)
    if missing := [name for name in sessions if name not in found]:
        free = tuple(name for name in found if name not in sessions)  # what others are called is no misspelling
        meant = [f"{name} ({other}?)" if (other := near(name, free)) else name for name in missing]
        way_out = "give every session with key points a row, or remove the file"
        problems.append(f"{ABOUT_FILE}: no row for {some(meant)}; {way_out}")
    more = [name for name in found if name and name not in sessions]
    notes = [f"{ABOUT_FILE}: rows of sessions without key points: {some(more)}"] if more else []
    rates = sorted({about.fps for name in sessions if (about := found.get(name)) and about.fps is not None})
    if len(rates) > 1:
        text = f"sessions have {some([f'{rate:g}' for rate in rates])} frames per second"
        notes.append(f"{text}; clips are not resampled, so that a frame does not last equally long in all")
    return found, notes


def _header(header: Sequence[str]) -> Iterator[str]:
    there = f"there are {some([name[:60] for name in header])}"
    if missing := [name for name in _NEEDED if name not in header]:
        yield f"{ABOUT_FILE}, line 1: no column {' and no column '.join(missing)}; {there}"
    if twice := [name for name in (*_NEEDED, *_NUMBERS) if header.count(name) > 1]:
        yield f"{ABOUT_FILE}, line 1: more than one column {some(twice)}; keep one"


def _about(row: Mapping[str, str], line: int, wrong: list[Mistake]) -> About:
    fps, width, height = (_positive(row.get(name, ""), name, line, wrong) for name in _NUMBERS)
    if (row.get("width", "") == "") != (row.get("height", "") == ""):
        wrong.append(Mistake(line, "one of width and height is there without the other; give both or none", "size"))
    size = None if width is None or height is None else (int(width), int(height))
    return About(group=row["group"], fps=fps, size=size)


def _positive(text: str, column: str, line: int, wrong: list[Mistake]) -> float | None:
    """The number, None where there is none."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    whole = column == "fps" or value == value // 1
    if 0 < value <= _MOST[column] and whole:  # False for NaN
        return value
    says = "frames per second" if column == "fps" else "a whole number of pixels"
    text = f"column {column}: {text[:60]!r} is not {says} (above 0, {_MOST[column]} at most); or leave the cell empty"
    wrong.append(Mistake(line, text, f"{column} {text}"))
    return None
