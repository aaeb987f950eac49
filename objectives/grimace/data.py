"""What the clips of the grimace objective are once their tables are read, whatever they came from.

`objectives.grimace.files` reads a folder of videos, `objectives.grimace.synthetic` draws mice; both give `Clips`, which
`objectives.grimace.arrays` writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

#: When a clip was recorded, from before the stimulus to after the recovery. Some parameters carry their names.
MOMENTS = ("M0", "M1", "M2", "M3", "M4")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which frames of a video are taken, and how large: the parameters of the group `data` with these names."""

    max_frames: int  #: pictures of a clip
    resolution: int  #: side of the square picture, pixels
    fit: Literal["stretch", "pad"]  #: the frame is stretched to the square, or fitted into it with black bars
    #: `even`: spread evenly over the frames from `first_frame` on to before `last_frame`, both ends among them;
    #: `event`: consecutive ones with the event in their middle, moved inside the video where they would reach beyond it
    frames: Literal["even", "event"]
    first_frame: int  #: counted from 0
    last_frame: int  #: the first one that is not taken any more; 0 = the video's end
    event_frame: int  #: of videos of which the table names none

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Wanted:
        """Those among the values of the group `data`."""
        return cls(**{name: data[name] for name in cls.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Everything read from a source; a row is a video."""

    videos: tuple[str, ...]  #: name of each row's file
    subjects: tuple[str, ...]  #: of each row: the animal; those of one subject never part in folds
    moment: np.ndarray  #: int64 `[row]`, number in MOMENTS, -1 = not said
    score: np.ndarray  #: float32 `[row]`, NaN = not scored
    features: np.ndarray  #: float32 `[row, feature]`, NaN = not scored
    feature_names: tuple[str, ...]  #: as in the table, without `feature_`
    pictures: Callable[[int], np.ndarray]  #: row -> uint8 `[max_frames, 3, resolution, resolution]`, RGB
    fold: np.ndarray | None = None  #: int64 `[row]`, as the source deals the subjects to folds; None = it does not
    notes: tuple[str, ...] = ()  #: what was left out
    unlabelled: str = ""  #: what a source without scores lacks; empty where there are some
