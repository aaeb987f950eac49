"""Sessions as arrays of clips: points in units of the frame, actions, and videos where there are some."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.objective import DataError
from objectives import scores, video
from objectives.behaviour import clips as behaviour_clips
from objectives.behaviour import files as behaviour_files
from objectives.behaviour import synthetic as behaviour_synthetic
from objectives.behaviour.clips import Clips, Cutting
from objectives.behaviour.data import Session, Sessions
from objectives.problems import listing, some

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder

#: Parameters of the group `data` that clips are made by.
KEYS = (
    *("train_T", "val_T", "min_frames", "context_frames", "clip_frames"),
    *("min_likelihood", "videos", "image_size"),
)
#: Frames of cameras, pixels: where nobody says how large a frame is, the smallest that holds all points is taken, so
#: that sessions of one camera are scaled alike, today's and those that a model is used on later.
FORMATS = ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))
#: Words for the sides of points, of which a mirror image makes one the other.
SIDES = {"l": "r", "left": "right", "r": "l", "right": "left"}
#: `left_ear`, `ear-L`, `earL` and `leftEar` name the left one, `leftover` does not.
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^A-Za-z]+")


def prepare(source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
    """Write clips, read or made up.

    `keypoints` float32 `[row, time, point, 2]`, in units of the frame's longer side, NaN = not seen; `extent` float32
    `[row, 2]`, width and height in that unit; `action` int64 `[row, time]`, -1 = not annotated; `frame` int64
    `[row, time]`, number in the session, -1 = behind the end; `session` and `group` int64 `[row]`, numbers in
    `info["sessions"]` and `info["groups"]`; `mirror` int64 `[row, point]`, what a mirror image makes of a point;
    `rarity` float32 `[row]`, the smallest share of the annotated frames that an action of the clip has; with videos
    `video` uint8 `[row, time, side, side]`, grey.

    Raises:
        DataError: with everything that is wrong with the files.
    """
    if source is None:
        read = behaviour_synthetic.generate()
    else:
        read = behaviour_files.read(source, data["min_likelihood"], videos=data["videos"])
    if taken := [name for name in read.classes if name.lower() in scores.AVERAGES]:
        raise DataError(f"{source}: actions are called like rows of reports: {some(taken)}; rename them")
    clips = behaviour_clips.cut(read, Cutting.of(data), source)
    films = {session.name: video.facts(session.video) for session in read.sessions if session.video}
    sizes = _sizes(read, films, source)
    _write_points(read, clips, sizes, folder)
    groups, number = np.unique([session.group for session in read.sessions], return_inverse=True)
    folder.add("frame", clips.frame)
    folder.add("action", clips.action)
    folder.add("session", clips.session)
    folder.add("group", number.astype(np.int64)[clips.session])
    folder.add("mirror", np.tile(_mirror(read.points), (len(clips.session), 1)))
    folder.add("rarity", _rarity(clips.action, len(read.classes)))
    filmed = all(session.video for session in read.sessions)
    if filmed:
        _write_video(read, clips, int(data["image_size"]), folder)
    unsaid = [session.name for session in read.sessions if not (session.size or session.video)]
    guessed = _pixels(sizes[unsaid[0]]) if unsaid else ""  # one for all
    notes = [*read.notes, *clips.notes, *_notes(read, len(np.unique(number[clips.session])), unsaid, guessed)]
    if len(found := np.unique(clips.action[clips.action >= 0])) == 1:
        only = read.classes[found[0]]
        notes.append(
            f"every annotated frame is of action {only}: there is nothing to tell apart, and its F1 is always 1"
        )
    return {
        "classes": list(read.classes),
        "points": list(read.points),
        "animal": read.animal.tolist(),
        "animals": sorted(set(read.animal.tolist())),
        "sessions": [session.name for session in read.sessions],
        "groups": groups.tolist(),
        "fps": _rates(read, films),
        "files": dict(clips.files),
        "video": filmed,
        "frames": sorted({_pixels(size) for size in sizes.values()}),
        "guessed": guessed,
        "notes": notes,
        "synthetic": source is None,
        "unlabelled": read.unlabelled,
    }


def _rates(read: Sessions, films: Mapping[str, video.Facts]) -> dict[str, float]:
    """Frames per second of each session where they are said, by sessions.csv or else by its video."""
    said = {session.name: session.fps or getattr(films.get(session.name), "fps", None) for session in read.sessions}
    return {name: rate for name, rate in said.items() if rate}


def _sizes(read: Sessions, films: Mapping[str, video.Facts], source: Path | None) -> dict[str, tuple[int, int]]:
    """Width and height of each session's frames: as said, or its video's, or the smallest format that holds all."""
    problems: list[str] = []
    known: dict[str, tuple[int, int]] = {}
    for session in read.sessions:
        size = session.size
        if session.video is not None:
            film = films[session.name]
            size = size or (film.width, film.height)
            if film.frames != session.frames:
                problems.append(
                    f"{session.video.name}: {film.frames} frames, but the key points of {session.name} have "
                    f"{session.frames}; track the video as it is, or set data.videos: false"
                )
        if size is not None:
            known[session.name] = size
            problems += _outside(session, size)
    if problems:
        raise DataError(listing(source, problems))
    rest = [session for session in read.sessions if session.name not in known]
    if rest:
        x, y = np.max([_reach(session) for session in rest], axis=0)
        fitting = [(width, height) for width, height in FORMATS if width >= x and height >= y]
        size = fitting[0] if fitting else (int(np.ceil(x)), int(np.ceil(y)))
        known |= {session.name: size for session in rest}
    return known


def _reach(session: Session) -> np.ndarray:
    """The largest x and y of a session's points; 1 where none is seen."""
    return np.max(np.nan_to_num(session.points.reshape(-1, 2), nan=1.0), axis=0, initial=1.0)


def _outside(session: Session, size: tuple[int, int]) -> list[str]:
    """A tracker may put a point somewhat beyond the edge, but not as far as a frame of another size reaches."""
    x, y = _reach(session)
    if x <= 1.1 * size[0] and y <= 1.1 * size[1]:
        return []
    return [f"{session.name}: points lie at up to {x:.0f}, {y:.0f}, beyond a frame of {size[0]} x {size[1]} pixels"]


def _write_points(read: Sessions, clips: Clips, sizes: Mapping[str, tuple[int, int]], folder: ArrayFolder) -> None:
    keypoints = np.full((*clips.frame.shape, len(read.points), 2), np.nan, np.float32)
    extent = np.empty((len(clips.session), 2), np.float32)
    for number, session in enumerate(read.sessions):
        rows, size = clips.session == number, np.asarray(sizes[session.name], np.float32)
        frames = clips.frame[rows]
        found = session.points[frames] / size.max()
        found[frames < 0] = np.nan
        keypoints[rows], extent[rows] = found, size / size.max()
    folder.add("keypoints", keypoints)
    folder.add("extent", extent)


def _mirror(points: tuple[str, ...]) -> np.ndarray:
    """The number of the point that each becomes in a mirror image, int64 `[point]`: `L_paw` becomes `R_paw`."""
    number = {name.lower(): k for k, name in enumerate(points)}

    def mirrored(name: str) -> int:
        words = map(str.lower, _WORDS.findall(name))
        return number.get("".join(SIDES.get(word, word) for word in words), number[name.lower()])

    return np.asarray([mirrored(name) for name in points], np.int64)


def _rarity(action: np.ndarray, classes: int) -> np.ndarray:
    """Of each clip, float32 `[row]`; 1 where nothing is annotated."""
    held = (action[..., None] == np.arange(classes)).any(axis=1)
    share = np.bincount(action[action >= 0], minlength=classes) / max((action >= 0).sum(), 1)
    return np.where(held, share, 1.0).min(axis=1, initial=1.0).astype(np.float32)


def _write_video(read: Sessions, clips: Clips, side: int, folder: ArrayFolder) -> None:
    """Decode every video once; frames that no clip has are passed over."""
    shape = (*clips.frame.shape, side, side)
    array = folder.create("video", shape, np.uint8)
    for number, session in enumerate(read.sessions):
        assert session.video is not None
        where = {
            int(clips.frame[row, time]): (row, time)
            for row in np.flatnonzero(clips.session == number)
            for time in np.flatnonzero(clips.frame[row] >= 0)
        }
        for frame, picture in enumerate(video.pictures(session.video, side, grey=True)):
            if frame in where:
                array[where[frame]] = picture
    array.flush()


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _notes(read: Sessions, groups: int, unsaid: Sequence[str], guessed: str) -> list[str]:
    notes = []
    if unsaid:
        notes.append(
            f"a frame is taken to have {guessed} pixels, which holds all points of {some(unsaid, 4)}; where it has "
            "not, name width and height in sessions.csv"
        )
    if groups == 1 and not read.unlabelled:
        notes.append(
            "there is one group of sessions alone: folds part its clips, and scores say nothing about other sessions"
        )
    return notes
