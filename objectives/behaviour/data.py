"""What the sessions of the behaviour objective are once their files are read, whatever they came from.

`objectives.behaviour.files` reads key points, annotations and videos, `objectives.behaviour.synthetic` makes sessions
up; both give `Sessions`, which `objectives.behaviour.clips` cuts into clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """The actions that one file names: of a whole clip, or of its last frames."""

    file: str  #: its name, for messages
    clip: int  #: which of the session's clips it belongs to, from 0
    action: np.ndarray  #: int64 `[row]`, number in `Sessions.classes`, -1 = none named
    first_frame: int = 0  #: what its column Frame begins with


@dataclass(frozen=True, kw_only=True)
class Session:
    """One recording: its tracked points, and what is annotated of it."""

    name: str
    group: str  #: sessions of one group (an animal, a cage) never part in folds
    points: np.ndarray  #: float32 `[frame, point, 2]`, x and y in pixels; both NaN = not seen
    likelihood: np.ndarray  #: float32 `[frame, point]`, 0 where not seen, whatever the file says
    annotations: tuple[Annotation, ...] = ()  #: in the order of their clips
    clips: int = 1  #: how many clips of equal length the session was cut into for annotation
    fps: float | None = None  #: frames per second; None where nothing is said
    size: tuple[int, int] | None = None  #: width and height of a frame in pixels; None where nothing is said
    video: Path | None = None

    @property
    def frames(self) -> int:
        return len(self.points)


@dataclass(frozen=True, kw_only=True)
class Sessions:
    """Everything read from a source."""

    sessions: tuple[Session, ...]
    points: tuple[str, ...]  #: names, those of an animal of several as `animal_point`
    animal: np.ndarray  #: int64 `[point]`, to which animal a point belongs, from 0
    classes: tuple[str, ...]  #: names of the actions
    notes: tuple[str, ...] = ()  #: what was left out or changed
    unlabelled: str = ""  #: what a source without annotations lacks; empty where there are some
