"""What DeepLabCut has tracked in a recording, whatever its file: columns named in a header, numbers below.

A column has a body part and a coordinate, x, y or likelihood; where several animals are tracked also an individual.
Parts of the individual `single` belong to none of the animals, but to the arena (DeepLabCut's documentation of
multi-animal projects); they count as one more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from objectives.behaviour.names import animals
from objectives.problems import near, some

COORDS = ("x", "y", "likelihood")
#: Pixels beyond which a position is another unit or a slip.
LARGEST = 1e6
#: How far rounding may carry a likelihood out of 0 to 1; it is put back.
_ROUNDING = 1e-3


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Which column holds what."""

    names: tuple[str, ...]  #: of the points
    animal: tuple[int, ...]  #: of each point, from 0
    columns: np.ndarray  #: int64 `[point, 3]`, of x, y and likelihood


@dataclass(frozen=True, kw_only=True)
class Track:
    """The points of one recording."""

    file: str
    names: tuple[str, ...]
    animal: tuple[int, ...]
    points: np.ndarray  #: float32 `[frame, point, 2]`, pixels; NaN = not seen
    likelihood: np.ndarray  #: float32 `[frame, point]`, 0 where not seen
    unrated: int  #: positions without likelihood; they count as certain


def layout(columns: Sequence[tuple[str, str, str]], file: str, problems: list[str]) -> Layout | None:
    """The layout of columns given as individual (empty where there are none), body part and coordinate."""
    individuals = list(dict.fromkeys(individual for individual, _, _ in columns))
    several = len(individuals) > 1
    found: dict[str, dict[str, int]] = {}
    animal: dict[str, int] = {}
    wrong: list[str] = []
    for number, (individual, part, coord) in enumerate(columns):
        point = f"{individual}_{part}" if several else part
        animal[point] = individuals.index(individual)
        own = found.setdefault(point, {})
        if coord.lower() not in COORDS:
            wrong.append(f"{point!r} has a column {coord!r}; the columns of a point are {', '.join(COORDS)}")
        elif coord.lower() in own:
            wrong.append(f"{point!r} has two columns {coord}; keep one, or give its points different names")
        own[coord.lower()] = number
    for point, own in found.items():
        if missing := [coord for coord in COORDS if coord not in own]:
            wrong.append(f"{point!r} has no column {some(missing)}; every point needs {', '.join(COORDS)}")
        if not point.strip():
            wrong.append("a point has no name; fill the cell in the row bodyparts")
    if not found:
        wrong.append("no points; the columns after the first are x, y and likelihood of each")
    problems += [f"{file}: {text}" for text in wrong]
    if wrong:
        return None
    names = tuple(found)
    return Layout(
        names=names,
        animal=animals(names) if individuals == [""] else tuple(animal.values()),
        columns=np.asarray([[own[coord] for coord in COORDS] for own in found.values()]),
    )


def track(layout: Layout, values: np.ndarray, min_likelihood: float, file: str, problems: list[str]) -> Track | None:
    """What is seen: a position whose x and y are there, of at least that likelihood.

    A position without a likelihood counts as certain: DeepLabCut writes none without the other, so it was put there by
    hand or by a program that knew better.

    Args:
        layout: which of the columns holds what.
        values: float64 `[frame, column]`; NaN = empty.
        min_likelihood: below it a point counts as not seen.
        file: name for messages.
        problems: what is wrong with the numbers is added here.
    """
    table = values[:, layout.columns]
    positions, likelihood = table[..., :2], table[..., 2]
    strange = (np.abs(table) > LARGEST) | (table < np.asarray([-LARGEST, -LARGEST, -_ROUNDING]))
    strange[..., 2] |= likelihood > 1 + _ROUNDING
    if strange.any():
        frame, point, coord = np.argwhere(strange)[0]
        where = f"{file}, frame {frame} (from 0), {layout.names[point]} {COORDS[coord]}: {table[frame, point, coord]:g}"
        says = "a likelihood from 0 to 1" if coord == 2 else "a position in pixels"
        more = f"; {strange.sum() - 1} more such numbers" if strange.sum() > 1 else ""
        problems.append(f"{where} is not {says}{more}; correct it, or empty the cells of the point")
        return None
    there = ~np.isnan(positions).any(-1)
    rated = ~np.isnan(likelihood)
    certain = np.where(rated, np.clip(likelihood, 0, 1), 1.0)
    seen = there & (certain >= min_likelihood)
    return Track(
        file=file,
        names=layout.names,
        animal=layout.animal,
        points=np.where(seen[..., None], positions, np.nan).astype(np.float32),
        likelihood=np.where(seen, certain, 0).astype(np.float32),
        unrated=int((there & ~rated).sum()),
    )


def alike(tracks: Sequence[Track], problems: list[str]) -> list[np.ndarray]:
    """For every recording the order of its points that gives those of the first; problems where points differ."""
    names = tracks[0].names
    orders: list[np.ndarray] = []
    for own in tracks:
        missing = [name for name in names if name not in own.names]
        unknown = [name for name in own.names if name not in names]
        if missing or unknown:
            meant = [f"{name} (did you mean {other}?)" if (other := near(name, names)) else name for name in unknown]
            lacks = [f"no points {some(missing)}"] if missing else []
            lacks += [f"unknown points {some(meant)}"] if meant else []
            problems.append(f"{own.file}: {', '.join(lacks)}; all files have the points of {tracks[0].file}")
        orders.append(np.asarray([own.names.index(name) for name in names if name in own.names], np.int64))
    return orders
