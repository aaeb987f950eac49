"""Sessions cut into clips of equal length, each frame with the action that was annotated of it.

The alignment rule of annotations: a network that annotates by a window of past frames says nothing of the first ones.
Its file is shorter than its clip (345 rows of 360 frames, a window of 15) and belongs to the *last* frames of the
clip, of video and key points alike. Lined up at the start, every action would come 15 frames early.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.objective import DataError
from objectives.behaviour.data import Annotation, Session, Sessions
from objectives.problems import listing, some

#: How annotation files cover their clips, for `hpo check`.
WHOLE, LAST, SKIPPED = "of the whole clip", "of its last frames", "skipped, shorter than min_frames"


@dataclass(frozen=True, kw_only=True)
class Cutting:
    """How sessions are cut; all in frames."""

    length: int  #: of a clip
    min_frames: int  #: files with fewer rows are skipped, unless they cover all of their clip
    context_frames: int  #: the most that a file may lack at the start of its clip
    clip_frames: int  #: of the clips that annotation files belong to; 0 = the session's, over the number of its clips

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Cutting:
        """From the parameters that `prepare` gets."""
        shared = {name: int(data[name]) for name in ("min_frames", "context_frames", "clip_frames")}
        return cls(length=max(int(data["train_T"]), int(data["val_T"])), **shared)


@dataclass(frozen=True, kw_only=True)
class Clips:
    """One row per clip."""

    session: np.ndarray  #: int64 `[row]`, number in the sessions
    frame: np.ndarray  #: int64 `[row, time]`, number in the session; -1 = behind the end of the clip
    action: np.ndarray  #: int64 `[row, time]`, -1 = not annotated
    files: Mapping[str, int]  #: WHOLE, LAST and SKIPPED: number of annotation files
    notes: tuple[str, ...]


def cut(read: Sessions, cutting: Cutting, source: Path | None) -> Clips:
    """Line annotations up with their frames, and cut what is annotated into clips of equal length.

    Clips without any annotated frame are left out, unless the source has no annotations at all.

    Args:
        read: all sessions.
        cutting: how.
        source: for messages; None for made-up sessions.

    Raises:
        DataError: files longer than their clip, or shorter by more than a context explains; nothing is left.
    """
    problems: list[str] = []
    files = dict.fromkeys((WHOLE, LAST, SKIPPED), 0)
    skipped: list[str] = []
    session, frame, action = [], [], []
    for number, one in enumerate(read.sessions):
        spans = list(_spans(one, cutting, problems))
        actions = np.full(one.frames, -1, np.int64)
        for annotation in one.annotations if spans else ():
            start, stop = spans[annotation.clip]
            how = _kind(annotation, start, stop, cutting, problems)
            files[how] += 1
            if how == SKIPPED:
                skipped.append(f"{annotation.file} ({len(annotation.action)})")
            elif not problems:  # a file with too many rows would not fit
                actions[stop - len(annotation.action) : stop] = annotation.action
        for start, stop in spans:
            for first in range(start, stop, cutting.length):
                piece = np.arange(first, min(first + cutting.length, stop))
                if read.unlabelled or (actions[piece] >= 0).any():
                    session.append(number)
                    frame.append(_padded(piece, cutting.length))
                    action.append(_padded(actions[piece], cutting.length))
    if problems:
        raise DataError(listing(source or "made-up sessions", problems))
    notes = []
    if skipped:
        notes.append(
            f"annotation files with fewer rows than data.min_frames: {cutting.min_frames} are skipped, "
            f"{len(skipped)} in all: {some(skipped)}"
        )
    if not session:
        raise DataError(f"{source}: no clip is annotated; {' '.join(notes) or 'no annotation file names an action'}")
    return Clips(
        session=np.asarray(session, np.int64),
        frame=np.stack(frame),
        action=np.stack(action),
        files=files,
        notes=tuple(notes),
    )


def _spans(session: Session, cutting: Cutting, problems: list[str]) -> Iterator[tuple[int, int]]:
    """First frame of each of a session's clips, and the one behind its last."""
    length = cutting.clip_frames if session.clips > 1 else session.frames
    if not length:
        length, rest = divmod(session.frames, session.clips)
        if rest:
            problems.append(
                f"{session.name}: {session.frames} frames are not {session.clips} clips of equal length, as its "
                "annotation files number them; name their length as data.clip_frames"
            )
            return
    if session.clips * length > session.frames:
        problems.append(
            f"{session.name}: {session.clips} clips of data.clip_frames: {length} are more than its "
            f"{session.frames} frames"
        )
        return
    yield from ((k * length, (k + 1) * length) for k in range(session.clips))


def _kind(annotation: Annotation, start: int, stop: int, cutting: Cutting, problems: list[str]) -> str:
    """How a file covers its clip, frames `start` to `stop` of the session; what the rule forbids becomes a problem."""
    frames, rows, file = stop - start, len(annotation.action), annotation.file
    lead = frames - rows
    counted = sorted({0, lead, start + lead})  # from the first row, of the clip, of the session
    if lead < 0:
        problems.append(
            f"{file}: {rows} rows for a clip of {frames} frames; are they of another video, or at another frame rate?"
        )
    elif rows < min(cutting.min_frames, frames):
        return SKIPPED
    elif lead > cutting.context_frames:
        problems.append(
            f"{file}: {rows} rows for a clip of {frames} frames; it may lack the first data.context_frames: "
            f"{cutting.context_frames}, not {lead}. Raise that where a longer context explains it; else see whether "
            "the file is of another video, or at another frame rate"
        )
    elif annotation.first_frame not in (*counted, *(first + 1 for first in counted)):
        problems.append(
            f"{file}: its column Frame begins with {annotation.first_frame}, but by their number the {rows} rows "
            f"belong to frames {lead} to {frames - 1} of a clip of {frames}; "
            f"count from {' or '.join(map(str, counted))}"
        )
    return LAST if lead else WHOLE


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.pad(values, (0, length - len(values)), constant_values=-1)
