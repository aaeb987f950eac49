"""Read files of annotations: the action in every frame of a clip.

    Frame,Action        the number or the name of the action; empty where none is named
    0,0

    Frame,rest,paw_lick one column per action, 1 where it is this one; no 1 where none is named
    0,1,0

Frames are whole numbers that rise by one. The first is kept: some tools name actions only of a clip's last frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from objectives.behaviour.classes import CLASSES_FILE, MOST_CLASSES, listed
from objectives.problems import Mistake, gathered, near, some
from objectives.tables import Table, frame_numbers, gaps, plain, ragged, read_table

FIRST_COLUMN = "frame"
_ACTION = "action"


@dataclass(frozen=True, kw_only=True)
class Actions:
    """What one file says, before the actions have numbers."""

    file: str  #: its path in the source, for messages
    lines: Sequence[int]  #: where each row is in the file
    first_frame: int
    cells: Sequence[str]  #: number or name of each row's action; empty = none named
    columns: tuple[str, ...] | None  #: the actions that have a column each; None where one column names them


def read_actions(path: Path, file: str, problems: list[str]) -> Actions | None:
    """One file; None where something is wrong with it, which is added to `problems`."""
    table = read_table(path, file, problems)
    if table is None:
        return None
    before = len(problems)
    problems += _header(table)
    problems += ragged(table)
    if len(table.rows) == 1:
        problems.append(f"{file}: no rows below the header; give an action per frame, or remove the file")
    if len(problems) > before:
        return None
    header = [cell.strip() for cell in table.rows[0]]
    columns = None if header[1].lower() == _ACTION else tuple(plain(name) or name for name in header[1:])
    below = Table(file, table.rows[1:], table.lines[1:])
    wrong: list[Mistake] = []
    first = _first_frame(below, wrong)
    cells = [_cell(row[1]) for row in below.rows] if columns is None else _named(below, columns, wrong)
    problems += gathered(file, wrong)
    if wrong:
        return None
    return Actions(file=file, lines=below.lines, first_frame=first, cells=cells, columns=columns)


def _header(table: Table) -> Iterator[str]:
    header = [cell.strip() for cell in table.rows[0]]
    form = "the header is Frame,Action, or Frame and a column for every action"
    there = f"this one is {','.join(header)[:60]!r}"
    if header[0].lower() != FIRST_COLUMN or len(header) == 1:
        yield f"{table.file}, line 1: {form}; {there}"
    elif _ACTION in (name.lower() for name in header) and len(header) > 2:
        yield f"{table.file}, line 1: a column Action and others beside it; {form}; {there}"
    elif len(header) == 2 and header[1].lower() != _ACTION:
        # One column of 0 and 1 would make an action of its name, and nothing of all its zeros.
        yield f"{table.file}, line 1: the second column is called {header[1][:60]!r}; call it Action"
    elif not all(header):
        yield f"{table.file}, line 1: column {1 + header.index('')} has no name; {form}; {there}"
    elif twice := sorted({name for name in header if header.count(name) > 1}):
        yield f"{table.file}, line 1: more than one column {some(twice)}; keep one of each"


_cell = lru_cache(maxsize=4096)(plain)


def _first_frame(table: Table, wrong: list[Mistake]) -> int:
    numbers = frame_numbers(table)
    for line, row, number in zip(table.lines, table.rows, numbers, strict=True):
        if number is None:
            text = f"Frame is {plain(row[0])[:60]!r}, which is no whole number from 0 on"
            wrong.append(Mistake(line, text, "no frame"))
    wrong += gaps(table, numbers)
    return numbers[0] or 0


def _named(table: Table, columns: Sequence[str], wrong: list[Mistake]) -> list[str]:
    """The action whose column holds the 1 of each row."""
    found: list[str] = []
    for line, row in zip(table.lines, table.rows, strict=True):
        cells = [_cell(cell) for cell in row[1:]]
        ones = [name for name, cell in zip(columns, cells, strict=True) if cell == "1"]
        found.append(ones[0] if ones else "")
        if len(ones) > 1:
            wrong.append(Mistake(line, f"two actions, {some(ones)}; a frame has one action or none", "two"))
        for name, cell in zip(columns, cells, strict=True):
            if cell not in ("", "0", "1"):
                wrong.append(Mistake(line, f"column {name}: {cell[:60]!r} is neither 1 nor 0", f"cell {name}"))
    return found


def classes_of(actions: Sequence[Actions], problems: list[str]) -> tuple[str, ...]:
    """The classes that the files themselves name, where no classes.json does.

    Columns in their order; else numbers from 0 to the highest as their own names; else names, sorted.
    """
    by_columns = [own for own in actions if own.columns is not None]
    if by_columns:
        first = by_columns[0]
        others = [own.file for own in actions if own.columns != first.columns]
        if others:
            text = f"other columns than {first.file} ({some(first.columns or ())})"
            problems.append(f"{some(others)}: {text}; make them alike, or name the classes in {CLASSES_FILE}")
        return first.columns or ()
    said = {cell: own.file for own in reversed(actions) for cell in own.cells if cell}
    numbers = [cell for cell in said if cell.isdecimal()]
    names = sorted(cell for cell in said if not cell.isdecimal())
    if not said:
        problems.append(f"{some([own.file for own in actions])}: no frame has an action; there is nothing to learn")
        return ()
    if not numbers:
        return tuple(names)
    highest = max(numbers, key=lambda cell: (len(cell), cell))
    if names:
        text = (
            f"some actions are numbers ({highest[:20]}, {said[highest]}), others names ({names[0]}, {said[names[0]]})"
        )
        problems.append(f"{text}; write them alike, or name the classes in {CLASSES_FILE}")
    elif len(highest) > 8 or int(highest) >= MOST_CLASSES:
        text = f"action {highest[:20]} is no number of a class; they count from 0 to {MOST_CLASSES - 1} at most"
        problems.append(f"{said[highest]}: {text}")
    else:
        return tuple(str(number) for number in range(int(highest) + 1))
    return ()


def numbered(actions: Actions, classes: Sequence[str], problems: list[str]) -> np.ndarray:
    """int64 `[row]`, the class of each row, -1 where none is named."""
    number = {str(place): place for place in range(len(classes))} | {name: place for place, name in enumerate(classes)}
    number[""] = -1
    unknown = {cell for cell in (*actions.cells, *(actions.columns or ())) if cell not in number}
    has = f"there are {listed(classes)}; an empty cell names none"
    if actions.columns is not None:
        for name in actions.columns:
            if name in unknown:
                problems.append(f"{actions.file}, line 1: unknown action {name[:60]!r}; {_meant(name, classes)}{has}")
    elif unknown:
        problems += gathered(
            actions.file,
            (
                Mistake(line, f"unknown action {cell[:60]!r}; {_meant(cell, classes)}{has}")
                for line, cell in zip(actions.lines, actions.cells, strict=True)
                if cell in unknown
            ),
        )
    return np.asarray([number.get(cell, -1) for cell in actions.cells], np.int64)


def _meant(name: str, classes: Sequence[str]) -> str:
    found = near(name, tuple(classes))
    return f"did you mean {found!r} ({list(classes).index(found)})? " if found else ""
