"""Read the key points that DeepLabCut has written as CSV.

    scorer,DLC_resnet50,DLC_resnet50,DLC_resnet50,...
    individuals,mouse1,mouse1,mouse1,...                only where several animals are tracked
    bodyparts,nose,nose,nose,...
    coords,x,y,likelihood,...
    0,351.5,181.7,0.99,...

The first column numbers the frames or names images. Rows are frames, from 0, whatever number the first one has; numbers
that leave frames out are refused, since all later rows would be taken for earlier frames. An empty cell or `nan` is not
seen. A first row of numbers that is empty but for its frame is a frame: pandas takes it for a name of the columns.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from objectives.behaviour.points import Track, layout, track
from objectives.problems import Mistake, gathered
from objectives.tables import Table, frame_numbers, gaps, ragged, read_table

HEADER = ("scorer", "bodyparts", "coords")
_INDIVIDUALS = "individuals"


def read_csv(path: Path, file: str, min_likelihood: float, problems: list[str]) -> Track | None:
    """The points of one file; None where something is wrong with it, which is added to `problems`."""
    table = read_table(path, file, problems)
    if table is None:
        return None
    before = len(problems)
    problems += _header(table)
    problems += ragged(table)
    if len(problems) > before:
        return None
    words = [cells[0].strip().lower() for cells in table.rows[:4]]
    depth = 4 if _INDIVIDUALS in words else 3
    header = dict(zip(words, table.rows[:depth], strict=False))
    parts, coords = header["bodyparts"][1:], header["coords"][1:]
    of = header.get(_INDIVIDUALS, [""] * (1 + len(parts)))[1:]
    columns = [tuple(map(str.strip, column)) for column in zip(of, parts, coords, strict=True)]
    found = layout([(individual, part, coord) for individual, part, coord in columns], file, problems)
    if len(table.rows) == depth:
        problems.append(f"{file}: no frames below the header; give it some or remove it")
    below = Table(file, table.rows[depth:], table.lines[depth:])
    problems += gathered(file, gaps(below, frame_numbers(below)))
    values = _numbers(below, parts, coords, problems)
    if found is None or len(problems) > before:
        return None
    return track(found, values, min_likelihood, file, problems)


def _header(table: Table) -> Iterator[str]:
    words = [cells[0].strip().lower() for cells in table.rows[:4]]
    if words[:3] == list(HEADER) or words == [HEADER[0], _INDIVIDUALS, *HEADER[1:]]:
        return
    form = f"the header rows are {HEADER[0]}, ({_INDIVIDUALS},) {HEADER[1]}, {HEADER[2]} in this order"
    missing = [word for word in HEADER if word not in words]
    lacks = f"no header row {' and no '.join(missing)}" if missing else "header rows in another order"
    begins = f"line 1 begins {','.join(table.rows[0])[:60]!r}"
    yield f"{table.file}: {lacks}; {form}; {begins}; give the file as DeepLabCut has written it"


def _numbers(table: Table, parts: Sequence[str], coords: Sequence[str], problems: list[str]) -> np.ndarray:
    """float64 `[frame, column]`; all cells are converted at once, and looked at one by one only where that fails."""
    cells = [cell for row in table.rows for cell in row[1:]]
    shape = len(table.rows), len(parts)
    try:
        return np.asarray([float(cell or "nan") for cell in cells]).reshape(shape)
    except ValueError:
        pass
    values = np.full(len(cells), np.nan)
    wrong: list[Mistake] = []
    for place, cell in enumerate(cells):
        row, column = divmod(place, len(parts))
        try:
            values[place] = float(cell.strip() or math.nan)
        except ValueError:
            text = f"column {parts[column]} {coords[column]}: {cell.strip()[:60]!r} is not a number"
            comma = "write decimals with a point, and " if "," in cell else ""
            text += f"; {comma}leave the cell empty where nothing is seen"
            wrong.append(Mistake(table.lines[row], text, "number"))
    problems += gathered(table.file, wrong)
    return values.reshape(shape)
