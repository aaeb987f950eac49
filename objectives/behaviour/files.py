"""Read sessions from files: key points of DeepLabCut, annotations frame by frame, and where the videos are.

`objectives.behaviour.folder` says which file holds what, `objectives.behaviour.names` whose it is;
`behaviour_keypoints`, `behaviour_h5`, `behaviour_actions`, `behaviour_classes` and `behaviour_about` say what the files
hold. Without annotations the sessions are unlabelled: enough for predictions. Videos are only found, not opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpo.objective import DataError
from objectives.behaviour import actions as behaviour_actions
from objectives.behaviour import h5 as behaviour_h5
from objectives.behaviour import names as behaviour_names
from objectives.behaviour.about import About, read_about
from objectives.behaviour.actions import Actions, read_actions
from objectives.behaviour.classes import read_classes
from objectives.behaviour.data import Annotation, Session, Sessions
from objectives.behaviour.folder import Folder, find
from objectives.behaviour.keypoints import read_csv
from objectives.behaviour.points import Track, alike
from objectives.problems import listing, some


def read(source: Path, min_likelihood: float, *, videos: bool = True) -> Sessions:
    """Read a folder of sessions, or one file of key points.

    Args:
        source: the folder, or a CSV or HDF5 of DeepLabCut.
        min_likelihood: points of a lower likelihood count as not seen.
        videos: whether videos are looked for; else no session has one.

    Raises:
        DataError: with file, line, value and way out of everything that is wrong in the source, MOST_LISTED at most.
    """
    problems: list[str] = []
    folder = find(source, problems)
    sessions, points, animal, notes = _tracked(folder, min_likelihood, problems)
    if folder.about is not None:
        about, more = read_about(folder.about, list(sessions), problems)
        sessions = {name: _told(session, about) for name, session in sessions.items()}
        notes += more
    given = read_classes(folder.classes, problems) if folder.classes is not None else None
    labelled = _annotated(folder, sessions, given, problems)
    sessions = labelled.sessions
    notes += labelled.notes
    if videos and folder.videos:
        sessions, more = _filmed(folder, sessions, problems)
        notes += more
    if folder.others:
        notes.append(f"not read: {some([folder.name(path) for path in folder.others])}")
    if problems:
        raise DataError(listing(source, problems))
    return Sessions(
        sessions=tuple(sessions.values()),
        points=points,
        animal=animal,
        classes=labelled.classes,
        notes=tuple(notes),
        unlabelled="" if folder.annotations else "no annotation files: nothing says which action a frame shows",
    )


def _tracked(
    folder: Folder, min_likelihood: float, problems: list[str]
) -> tuple[dict[str, Session], tuple[str, ...], np.ndarray, list[str]]:
    """Every session with its points by name, the names and animals of the points, and notes."""
    files: dict[str, Path] = {}
    tracks: dict[str, Track] = {}
    named = sorted((behaviour_names.session_name(path.name), path) for path in folder.keypoints)
    for name, path in named:
        if name in files:
            both = f"{folder.name(files[name])} and {folder.name(path)}"
            problems.append(f"{both}: both hold key points of session {name}; keep one")
            continue
        files[name] = path
        read_one = behaviour_h5.read_h5 if path.suffix.lower() in behaviour_h5.ENDINGS else read_csv
        if track := read_one(path, folder.name(path), min_likelihood, problems):
            tracks[name] = track
    if not tracks:  # a problem already
        return {name: _untracked(name) for name in files}, (), np.zeros(0, np.int64), []
    first = next(iter(tracks.values()))
    orders = alike(list(tracks.values()), problems)
    sessions = {name: _untracked(name) for name in files}
    for (name, track), order in zip(tracks.items(), orders, strict=True):
        points, likelihood = track.points[:, order], track.likelihood[:, order]
        sessions[name] = replace(sessions[name], points=points, likelihood=likelihood)
    return sessions, first.names, np.asarray(first.animal, np.int64), list(_certain(tracks))


def _untracked(name: str) -> Session:
    """A session by name alone: its file is wrong, but others may belong to it."""
    return Session(
        name=name, group=name, points=np.zeros((0, 0, 2), np.float32), likelihood=np.zeros((0, 0), np.float32)
    )


def _certain(tracks: Mapping[str, Track]) -> Iterator[str]:
    if unrated := {name: track.unrated for name, track in tracks.items() if track.unrated}:
        count = f"{sum(unrated.values())} positions of {some(list(unrated))}"
        yield f"{count} have no likelihood and count as certain"


def _told(session: Session, about: Mapping[str, About]) -> Session:
    own = about.get(session.name)
    return replace(session, group=own.group, fps=own.fps, size=own.size) if own else session


@dataclass(frozen=True, kw_only=True)
class _Labelled:
    """Sessions with their annotations."""

    sessions: dict[str, Session]
    classes: tuple[str, ...]
    notes: Sequence[str]


def _annotated(
    folder: Folder, sessions: dict[str, Session], given: tuple[str, ...] | None, problems: list[str]
) -> _Labelled:
    """The sessions that have annotations; all, where there are none. `given` are the classes of classes.json."""
    if not folder.annotations:
        return _Labelled(sessions=sessions, classes=given or (), notes=())
    owned: dict[str, dict[str, int | None]] = {}
    actions: dict[str, Actions] = {}
    stray: list[str] = []
    for path in folder.annotations:
        file = folder.name(path)
        owner = behaviour_names.owner(path.stem, sessions)
        if owner is None:
            stray.append(file)
            continue
        owned.setdefault(owner[0], {})[file] = owner[1]
        if found := read_actions(path, file, problems):
            actions[file] = found
    if not owned:
        problems.append(
            f"no overlap of file names: annotations are {some(stray, 3)}, sessions are {some(list(sessions), 3)}; "
            f"{behaviour_names.RULE}; rename one of the two"
        )
        return _Labelled(sessions=sessions, classes=(), notes=())
    classes = behaviour_actions.classes_of(list(actions.values()), problems) if given is None and actions else given
    labelled: dict[str, Session] = {}
    notes = [f"annotation files that belong to no session: {some(stray)}"] if stray else []
    for name in sorted(owned):
        order, more = behaviour_names.clips(name, owned[name], problems)
        notes += more
        known = [(file, clip) for file, clip in order.items() if file in actions and classes]
        annotations = [
            Annotation(
                file=file,
                clip=clip,
                action=behaviour_actions.numbered(actions[file], classes or (), problems),
                first_frame=actions[file].first_frame,
            )
            for file, clip in known
        ]
        clips = 1 + max(order.values(), default=0)
        labelled[name] = replace(sessions[name], annotations=tuple(annotations), clips=clips)
    if without := [name for name in sessions if name not in owned]:
        notes.append(f"sessions without annotations, left out: {some(without)}")
    return _Labelled(sessions=labelled, classes=classes or (), notes=notes)


def _filmed(folder: Folder, sessions: dict[str, Session], problems: list[str]) -> tuple[dict[str, Session], list[str]]:
    """The sessions with their videos, and notes."""
    found: dict[str, Path] = {}
    stray: list[str] = []
    for path in folder.videos:
        owner = behaviour_names.owner(path.stem, sessions)
        if owner is None:
            stray.append(folder.name(path))
        elif owner[0] in found:
            both = f"{folder.name(found[owner[0]])} and {folder.name(path)}"
            problems.append(f"{both}: both are videos of session {owner[0]}; keep one, of the whole session")
        else:
            found[owner[0]] = path
    if without := [name for name in sessions if name not in found]:
        text = (
            f"videos: none of session {some(without)}, though there are {len(folder.videos)} ({behaviour_names.RULE})"
        )
        problems.append(f"{text}; add them, move the videos to another folder, or set data.videos: false")
    notes = [f"videos that belong to no session: {some(stray)}"] if stray else []
    return {name: replace(session, video=found.get(name)) for name, session in sessions.items()}, notes
