"""Which frames of a video a clip has, and what keeps a video from having them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from objectives.grimace.data import Wanted
from objectives.problems import some

#: Videos that a problem names before it only counts them.
_NAMED = 4


@dataclass(frozen=True, kw_only=True)
class Film:
    """A video whose frames were counted."""

    name: str  #: as messages call it, with its line in the table
    frames: int
    event: int | None  #: number of the frame that the table names; None = it names none


def chosen(wanted: Wanted, frames: int, event: int | None) -> np.ndarray:
    """The numbers of a clip's frames, rising; `short` must have nothing against the video.

    Args:
        wanted: which.
        frames: of the video.
        event: as in `Film`.

    Returns:
        int64 `[max_frames]`. Evenly spread ones are those of `numpy.linspace`, rounded; a single one is the first.
    """
    if wanted.frames == "event":
        middle = (wanted.event_frame if event is None else event) - wanted.max_frames // 2
        first = min(max(middle, 0), frames - wanted.max_frames)
        return np.arange(first, first + wanted.max_frames)
    last = (wanted.last_frame or frames) - 1
    return np.linspace(wanted.first_frame, last, wanted.max_frames).round().astype(np.int64)


def short(films: Sequence[Film], wanted: Wanted) -> Iterator[str]:
    """Problems with videos that do not have the frames that are wanted, a sentence for each kind."""
    if wanted.frames == "event":
        yield from _few(films, [film.frames for film in films], wanted, "")
        yield from _no_event(films, wanted)
        return
    first, last = wanted.first_frame, wanted.last_frame
    if 0 < last <= first:
        text = f"data.first_frame: {first} and data.last_frame: {last} leave no frame"
        yield f"{text}; set data.last_frame to more, or to 0 for the end of each video"
        return
    if ended := [film for film in films if film.frames < last]:
        least = min(film.frames for film in ended)
        way_out = f"set data.last_frame: {least}, or 0 for the end of each video"
        yield f"data.last_frame: {last} is beyond the end of {_listed(ended)}; {way_out}"
    counts = [max(min(film.frames, last or film.frames) - first, 0) for film in films]
    until = f" to {last - 1}" if last else " on"
    yield from _few(films, counts, wanted, f" from {first}{until}" if first or last else "")


def _few(films: Sequence[Film], counts: Sequence[int], wanted: Wanted, where: str) -> Iterator[str]:
    """Too few frames in what is looked at of each video, which `where` names."""
    lacking = {film.name: count for film, count in zip(films, counts, strict=True) if count < wanted.max_frames}
    if not lacking:
        return
    found = some([f"{count} in {name}" for name, count in lacking.items()], _NAMED)
    least = min(lacking.values())
    way_out = f"set data.max_frames: {least}" if least else "set data.first_frame: 0"
    way_out += ", or leave out " + ("that video" if len(lacking) == 1 else "those videos")
    yield f"data.max_frames: {wanted.max_frames}, but there are fewer frames{where}: {found}; {way_out}"


def _no_event(films: Sequence[Film], wanted: Wanted) -> Iterator[str]:
    """Events behind the last frame; none lies before the first."""
    named = [film for film in films if film.event is not None and film.event >= film.frames]
    if named:
        found = some([f"{film.event} of {film.name}, which has {film.frames} frames" for film in named], _NAMED)
        yield f"column event names frames that are not in the video: {found}; frames are counted from 0: correct them"
    rest = [film for film in films if film.event is None and film.frames <= wanted.event_frame]
    if rest:
        text = f"data.event_frame: {wanted.event_frame} is not in {_listed(rest)}"
        yield f"{text}; correct it, or name the frame of each video in a column event of the table"


def _listed(films: Sequence[Film]) -> str:
    return some([f"{film.name} with {film.frames} frames" for film in films], _NAMED)
