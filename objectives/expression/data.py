"""What the faces of the expression objective are once their labels are read, whatever they came from.

`objectives.expression.files` reads a folder in the layout of RAF-CE, `objectives.expression.synthetic` draws faces;
both give `Faces`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

#: Parts of a partition file.
TRAIN, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Faces:
    """Everything read from a source, one entry per image."""

    file: np.ndarray  #: text `[rows]`, as the label files name the image
    emotion: np.ndarray  #: int64 `[rows]`, number in `classes`, -1 = missing
    units: np.ndarray  #: int64 `[rows, unit]`, 1 active, 0 not, -1 throughout a row = nobody looked
    classes: tuple[str, ...]  #: names of the emotions
    unit_names: tuple[str, ...]  #: `AU1`, `AU2`, ... in ascending order of their numbers
    group: np.ndarray | None = None  #: text `[rows]`: whose rows never part in folds; None where nothing is said
    part: np.ndarray | None = None  #: int64 `[rows]`, TRAIN, VALIDATION or TEST; None without a partition
    #: The images in the order of the rows, each uint8 `[3, side, side]` (RGB), for a side in pixels. From the first on
    #: that cannot be decoded none is given; once all were looked at, `DataError` names every such image.
    pictures: Callable[[int], Iterator[np.ndarray]]
    notes: tuple[str, ...] = ()  #: what was left out or changed
    unlabelled: str = ""  #: what labels a source of images alone lacks; empty where there are labels
