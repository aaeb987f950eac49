"""What the volumes of the surface objective are once their tables are read, whatever they came from.

`objectives.surface.files` reads a folder of TIFF files, `objectives.surface.synthetic` makes sheets up; both give
`Volumes`, which `objectives.surface.arrays` writes slab by slab, since a volume may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

#: Values of a label; IGNORED voxels are neither trained on nor scored, as in the sets of the Vesuvius challenge.
BACKGROUND, FOREGROUND, IGNORED = 0, 1, 2

#: First slice, first slice that is not read any more -> `[slice, line, column]`.
Slabs = Callable[[int, int], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One image with its label, read in slabs."""

    name: str  #: of its files, without their ending
    group: str  #: volumes of one group, a scroll, never part in folds
    shape: tuple[int, int, int]  #: slices, lines, columns
    image: Slabs  #: in the type that `Volumes` names
    label: Slabs | None  #: uint8, of BACKGROUND, FOREGROUND and IGNORED alone; None = there is none


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """Everything found in a source, in the order of its table."""

    volumes: tuple[Volume, ...]
    dtype: type[np.uint8] | type[np.uint16]  #: of every image
    notes: tuple[str, ...] = ()  #: what was left out
    unlabelled: str = ""  #: what a source without labels lacks; empty where every volume has one
