"""Read a folder of videos of faces: labels.csv, folds.csv, and the frames of the videos they name.

`objectives.grimace.folder` says where the videos lie, `table` and `folds` what the two tables hold, `frames` which
frames are taken. Videos without labels.csv, or a single one, are unlabelled: enough for predictions. Frames are
counted when the tables are read, and decoded once, by `Clips.pictures`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from hpo.objective import DataError
from objectives import video
from objectives.grimace.data import Clips, Wanted
from objectives.grimace.folder import VIDEOS, Folder, find, is_video
from objectives.grimace.folds import FOLDS_FILE, read_folds
from objectives.grimace.frames import Film, chosen, short
from objectives.grimace.table import LABELS_FILE, Labels, Row, hint, read_labels
from objectives.problems import Mistake, gathered, listing, some
from objectives.texts import not_text, spelled

_WANTED = f"give a folder with {LABELS_FILE} and its videos in {VIDEOS}/; for predictions videos alone are enough"


def read(source: Path, wanted: Wanted) -> Clips:
    """Read a folder, or a single video.

    Args:
        source: the folder or file.
        wanted: which frames a clip has.

    Raises:
        DataError: with file, line, value and way out of everything that is wrong in the source, MOST_LISTED at most;
            by `Clips.pictures`, where a frame cannot be decoded.
    """
    problems: list[str] = []
    folds: Mapping[str, int] | None = None
    folder = _opened(source)
    if (source / LABELS_FILE).is_file():
        labels = read_labels(source / LABELS_FILE, problems, events=wanted.frames == "event")
        if (source / FOLDS_FILE).is_file():
            folds = read_folds(source / FOLDS_FILE, labels, problems)
    else:
        labels = _unlabelled(source, folder, problems)
    paths = _find(folder, labels.rows, problems)
    films = _counted(labels.rows, paths, problems)
    problems += short(list(films.values()), wanted)
    if problems:
        raise DataError(listing(source, problems))
    frames = [chosen(wanted, film.frames, film.event) for film in films.values()]
    rows = labels.rows
    features = np.asarray([row.features for row in rows], np.float32)
    return Clips(
        videos=tuple(row.video for row in rows),
        subjects=tuple(row.subject for row in rows),
        moment=np.asarray([row.moment for row in rows], np.int64),
        score=np.asarray([row.score for row in rows], np.float32),
        features=features.reshape(len(rows), len(labels.features)),
        feature_names=labels.features,
        pictures=partial(_pictures, list(zip(films, frames, strict=True)), wanted),
        fold=None if folds is None else np.asarray([folds[row.subject] for row in rows], np.int64),
        notes=(*labels.notes, *_left_out(folder, films), *_dealt(folds), *_centred(rows, wanted)),
        unlabelled=labels.unlabelled,
    )


def _opened(source: Path) -> Folder:
    """The folder that is read; of a single video the folder that holds it, with that video alone."""
    if source.is_file():
        if not is_video(source):
            raise DataError(f"{source}: no video; {_WANTED}")
        return Folder(source.parent, {source.name: [source]}, {source.name: source})
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder; {_WANTED}")
    folder = find(source)
    if not folder.videos and not (source / LABELS_FILE).is_file():
        raise DataError(f"{source}: neither {LABELS_FILE} nor videos; {_WANTED}")
    return folder


def _unlabelled(source: Path, folder: Folder, problems: list[str]) -> Labels:
    """A row for each video; what it shows is not known, so each counts as its own subject."""
    problems += not_text(folder.videos)
    lacking = "a single video is read without labels; give the folder that holds them"
    notes: list[str] = []
    if source.is_dir():
        tables = sorted(path.name for path in source.glob("*.csv") if path.name != FOLDS_FILE)
        lacking = f"no {LABELS_FILE}{hint(LABELS_FILE, tables)}; only predictions do without labels"
        notes = [f"{FOLDS_FILE}: not read, since there is no {LABELS_FILE}"] if (source / FOLDS_FILE).is_file() else []
    return Labels(
        rows=tuple(Row(line=0, video=name, subject=name) for name in folder.videos if spelled(name) == name),
        notes=tuple(notes),
        unlabelled=lacking,
    )


def _find(folder: Folder, rows: Sequence[Row], problems: list[str]) -> list[Path | None]:
    """The file of each row, each once; None and a problem where there is none."""
    found: list[Path | None] = []
    missing: list[Row] = []
    first: dict[Path, int] = {}
    wrong: list[Mistake] = []
    for row in rows:
        files = folder.called(row.video) if row.video else ()
        if len(files) > 1:
            there = some([path.relative_to(folder.source).as_posix() for path in files])
            text = f"video {row.video!r} is there {len(files)} times ({there}); keep one, or write {VIDEOS}/ before it"
            wrong.append(Mistake(row.line, text, "many"))
        elif not files and row.video:  # an empty cell is a problem already
            missing.append(row)
        elif files and (same := first.setdefault(files[0].resolve(), row.line)) != row.line:
            text = f"video {row.video!r} is that of line {same} once more; keep one row"
            wrong.append(Mistake(row.line, text, "twice"))
            files = ()
        found.append(files[0] if len(files) == 1 else None)
    problems += gathered(LABELS_FILE, wrong)
    problems += _missing(folder, missing, set(found))
    return found


def _missing(folder: Folder, rows: Sequence[Row], taken: Collection[Path | None]) -> Iterator[str]:
    if not rows:
        return
    most = 8  # names of a sentence; a hint costs a look at every file
    hints = [folder.meant(row.video, taken) for row in rows[:most]]
    named = [f"{row.video!r} in line {row.line}" for row in rows]
    named[:most] = [f"{name} ({spelled(meant)}?)" if meant else name for name, meant in zip(named, hints, strict=False)]
    count = "a video that is" if len(rows) == 1 else f"{len(rows)} videos that are"
    way_out = f"copy them into {VIDEOS}/, correct the names, or take out the rows"
    yield f"{LABELS_FILE} names {count} not in the folder: {some(named, most)}; {way_out}"


def _counted(rows: Sequence[Row], paths: Sequence[Path | None], problems: list[str]) -> dict[Path, Film]:
    """The frames of each video that was found and can be read, by its file."""
    films: dict[Path, Film] = {}
    for row, path in zip(rows, paths, strict=True):
        if path is None:  # a problem already
            continue
        where = f" (line {row.line})" if row.line else ""
        try:
            films[path] = Film(name=row.video + where, frames=video.facts(path).frames, event=row.event)
        except DataError as error:
            table = f"{LABELS_FILE}, line {row.line}: " if row.line else ""
            problems.append(f"{table}video {spelled(row.video)}: {str(error).removeprefix(f'{path}: ')}")
    return films


def _left_out(folder: Folder, paths: Iterable[Path]) -> Iterator[str]:
    named = {path.resolve() for path in paths}
    if others := [name for name, path in folder.videos.items() if path.resolve() not in named]:
        yield f"videos that {LABELS_FILE} does not name, left out: {some([spelled(name) for name in others])}"


def _dealt(folds: Mapping[str, int] | None) -> Iterator[str]:
    """Which subjects are in which fold, numbered as everything else names folds."""
    if folds is not None:
        each = [some([name for name in folds if folds[name] == fold]) for fold in sorted(set(folds.values()))]
        named = "; ".join(f"fold {number}: {subjects}" for number, subjects in enumerate(each))
        yield f"folds are those of {FOLDS_FILE}, counted from 0: {named}"


def _centred(rows: Sequence[Row], wanted: Wanted) -> Iterator[str]:
    if wanted.frames == "event" and not wanted.event_frame and all(row.event is None for row in rows):
        yield (
            "data.frames: event, but no event is named: clips are taken around frame 0, the start of each video; name "
            f"events in a column event of {LABELS_FILE}, or set data.event_frame"
        )


def _pictures(clips: Sequence[tuple[Path, np.ndarray]], wanted: Wanted, row: int) -> np.ndarray:
    """Uint8 `[max_frames, 3, resolution, resolution]` of a row's file and frames."""
    path, frames = clips[row]
    only = frozenset(frames.tolist())
    return np.stack(list(video.pictures(path, wanted.resolution, grey=False, fit=wanted.fit, only=only)))
