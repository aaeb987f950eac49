"""Betti matching of two masks as it is defined (Stucki et al. 2023, section 3), cell by cell: for tiny volumes alone.

The filtration of a mask has two steps, the mask and the whole box, with voxels as vertices. Bars of prediction, truth
and union come from reducing boundary matrices; so do those of the images in the union, with rows in the order of the
mask and columns in that of the union (Bauer & Schmahl 2022). A bar of the prediction and one of the truth match where
images with their births die with the same bar of the union. Ties are broken as in Betti-Matching-3D: by position, then
by direction.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

#: Twice the centre: odd along the axes in which a cell extends.
Cell = tuple[int, ...]


@dataclass(frozen=True)
class Filtration:
    rank: dict[Cell, tuple[int, ...]]  #: the order in which cells of one dimension come
    step: dict[Cell, int]  #: 0 = of the mask, 1 = of the box alone


def betti_matching(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Matched, predicted, true bars; components, tunnels, cavities across."""
    cells = list(itertools.product(*(range(2 * length - 1) for length in prediction.shape)))
    own, other, union = (_filtration(mask, cells) for mask in (prediction, truth, prediction | truth))
    counts = np.zeros((3, 3), int)
    for dimension in range(3):
        columns = [cell for cell in cells if _dimension(cell) == dimension + 1]
        bars, true_bars, joint = (_bars(columns, each, each) for each in (own, other, union))
        images, true_images = ({death: birth for birth, death in _pairs(columns, each, union)} for each in (own, other))
        matched = sum(images.get(death) in bars and true_images.get(death) in true_bars for death in joint.values())
        counts[:, dimension] = matched, len(bars), len(true_bars)
    return counts


def _bars(columns: list[Cell], rows: Filtration, order: Filtration) -> dict[Cell, Cell]:
    """Birth -> death of the bars that have a length."""
    return {b: d for b, d in _pairs(columns, rows, order) if rows.step[b] != order.step[d]}


def _pairs(columns: list[Cell], rows: Filtration, order: Filtration) -> list[tuple[Cell, Cell]]:
    reduced: dict[Cell, set[Cell]] = {}
    pairs = []
    for column in sorted(columns, key=order.rank.__getitem__):
        boundary = {
            (*column[:axis], column[axis] + side, *column[axis + 1 :])
            for axis in range(3)
            if column[axis] % 2
            for side in (-1, 1)
        }
        while boundary:
            pivot = max(boundary, key=rows.rank.__getitem__)
            if pivot not in reduced:
                reduced[pivot] = boundary
                pairs.append((pivot, column))
                break
            boundary = boundary ^ reduced[pivot]
    return pairs


def _filtration(mask: np.ndarray, cells: list[Cell]) -> Filtration:
    step = {
        cell: int(not all(mask[v] for v in itertools.product(*({c // 2, (c + 1) // 2} for c in cell))))
        for cell in cells
    }
    return Filtration({cell: (step[cell], *(c // 2 for c in cell), _direction(cell)) for cell in cells}, step)


def _direction(cell: Cell) -> int:
    """The axis of an edge, the normal of a square."""
    return next((axis for axis in range(3) if cell[axis] % 2 == _dimension(cell) % 2), 0)


def _dimension(cell: Cell) -> int:
    return sum(c % 2 for c in cell)
