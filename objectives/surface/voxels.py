"""Decode a stack once, slab by slab: whether every slice can be, and what a label holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from objectives.problems import some
from objectives.surface.data import BACKGROUND, FOREGROUND, IGNORED
from objectives.surface.tiff import Stack

#: Bytes of a slab, about: enough to be fast, and nothing beside a network.
_SLAB = 8 << 20


@dataclass
class Seen:
    """What a label holds, as far as it was decoded."""

    counts: Counter[int] = field(default_factory=Counter)  #: voxels by value
    first: dict[int, int] = field(default_factory=dict)  #: slice in which a strange value is seen first

    @property
    def labelled(self) -> int:
        """Voxels that are neither ignored nor strange."""
        return self.counts[BACKGROUND] + self.counts[FOREGROUND]

    def strange(self) -> str:
        """What is wrong with the values; empty where nothing is."""
        if not self.first:
            return ""
        each = [f"{value} ({_voxels(self.counts[value])}, first in slice {at})" for value, at in self.first.items()]
        return f"label values other than 0, 1 and 2: {some(each, 4)}; {self._way_out()}"

    def kind(self) -> str:
        """Equal in labels that share a mistake: one wrong value, or objects, whose numbers differ."""
        return f"{self._way_out()} {set(self.first) if len(self.first) == 1 else ''}"

    def _way_out(self) -> str:
        wanted = f"{BACKGROUND} is background, {FOREGROUND} foreground, {IGNORED} ignored"
        if set(self.first) == {255} and not self.counts[FOREGROUND]:
            return f"255 is foreground in many programs: write 1 for it; {wanted}"
        if len(self.first) > 1:
            return f"a number for each object? write 1 for all that is surface; {wanted}"
        return f"{wanted}; correct them"


def slabs(stack: Stack) -> Iterator[tuple[int, np.ndarray]]:
    """All slabs of a stack, each with the number of its first slice.

    Raises:
        DataError: a slice cannot be decoded.
    """
    slices, lines, columns = stack.shape
    step = max(_SLAB // (lines * columns * stack.dtype.itemsize), 1)
    for first in range(0, slices, step):
        yield first, stack.slab(first, min(first + step, slices))


def look(stack: Stack) -> Seen:
    """Decode a label and count its values.

    Raises:
        DataError: a slice cannot be decoded.
    """
    seen = Seen()
    for first, slab in slabs(stack):
        usual = 0
        for value in (BACKGROUND, FOREGROUND, IGNORED):
            count = int(np.count_nonzero(slab == value))
            seen.counts[value] += count
            usual += count
        if usual < slab.size:
            _look_closer(seen, first, slab)
    return seen


def _look_closer(seen: Seen, first: int, slab: np.ndarray) -> None:
    for number, piece in enumerate(slab, first):
        for value, count in zip(*np.unique(piece, return_counts=True), strict=True):
            if value not in (BACKGROUND, FOREGROUND, IGNORED):
                seen.counts[int(value)] += int(count)
                seen.first.setdefault(int(value), number)


def _voxels(count: int) -> str:
    return f"{count:,} voxel{'s' if count > 1 else ''}"
