"""Which file of a folder of sessions holds what.

    keypoints/          CSV or HDF5 of DeepLabCut, one per session
    annotations/        CSV of the actions, one or several per session; may be left out
    videos/             one per session; may be left out
    classes.json        names of the actions; may be left out
    sessions.csv        groups of the sessions; may be left out

However the folders are capitalised; other folders are not looked at. Without a folder `keypoints` all of this lies in
the folder itself, and each CSV is told by how it begins: `scorer` for key points, `Frame` for annotations. An HDF5
beside a CSV of the same name is the same once more, as DeepLabCut writes it, and left alone; so are videos that
DeepLabCut has drawn key points into (`_labeled`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.objective import DataError
from objectives.behaviour import h5 as behaviour_h5
from objectives.behaviour.about import ABOUT_FILE
from objectives.behaviour.actions import FIRST_COLUMN
from objectives.behaviour.classes import CLASSES_FILE
from objectives.behaviour.keypoints import HEADER
from objectives.tables import first_cell, first_line
from objectives.texts import not_text
from objectives.video import VIDEO_ENDINGS

_KEYPOINTS, _ANNOTATIONS, _VIDEOS = "keypoints", "annotations", "videos"
#: What lies beside data and holds none of it.
_PASSED_OVER, _BESIDE = (".md", ".txt", ".pickle"), ("license", "licence", "readme")
_DRAWN = "_labeled"
_TRACKED = (".csv", *behaviour_h5.ENDINGS)


@dataclass(frozen=True, kw_only=True)
class Folder:
    """The files of a source, each kind sorted by name."""

    source: Path
    keypoints: tuple[Path, ...]
    annotations: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    classes: Path | None = None
    about: Path | None = None
    others: tuple[Path, ...] = ()  #: what is not read

    def name(self, path: Path) -> str:
        """A file as messages call it."""
        return path.relative_to(self.source).as_posix() if path != self.source else path.name


def find(source: Path, problems: list[str]) -> Folder:
    """The files of a folder, or of a single file of key points.

    Raises:
        DataError: the source does not exist, or cannot be read, or holds no key points.
    """
    if source.is_file():
        if _ending(source) not in _TRACKED:
            raise DataError(f"{source}: no file of key points; give a CSV or HDF5 of DeepLabCut, or a folder of them")
        return Folder(source=source, keypoints=(source,))
    try:
        entries = sorted(source.iterdir())
        below = {path.name.lower(): path for path in entries if path.is_dir()}
        deep = _KEYPOINTS in below
        inside = {
            kind: sorted(below[kind].iterdir()) if deep and kind in below else []
            for kind in (_KEYPOINTS, _ANNOTATIONS, _VIDEOS)
        }
    except OSError as error:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); give a folder or file that can"
        ) from None
    twice = [path.name for path in entries if path.is_dir() and path.name.lower() in inside]
    if deep and len(twice) > len({name.lower() for name in twice}):
        problems.append(f"folders {', '.join(twice)} differ in capitals alone; keep one of a kind")
    folder = _deep(source, entries, inside) if deep else _flat(source, entries, problems)
    problems += not_text(folder.name(path) for path in (*folder.keypoints, *folder.annotations, *folder.videos))
    if not folder.keypoints and not problems:
        where = f"in {below[_KEYPOINTS].name}/" if deep else "in the folder itself, or in its folder keypoints/"
        there = f"; there are folders {', '.join(path.name for path in below.values())}" if below and not deep else ""
        raise DataError(f"{source}: no key points; give CSV or HDF5 files of DeepLabCut {where}{there}")
    return folder


def _deep(source: Path, entries: Sequence[Path], inside: dict[str, list[Path]]) -> Folder:
    files = {kind: [path for path in paths if _counts(path)] for kind, paths in inside.items()}
    read = {
        _KEYPOINTS: _once([path for path in files[_KEYPOINTS] if _ending(path) in _TRACKED]),
        _ANNOTATIONS: [path for path in files[_ANNOTATIONS] if _ending(path) == ".csv"],
        _VIDEOS: [path for path in files[_VIDEOS] if _is_video(path)],
    }
    loose = [path for path in entries if _counts(path) and path.name not in (CLASSES_FILE, ABOUT_FILE)]
    others = [*loose, *(path for kind in files for path in files[kind] if path not in read[kind])]
    return Folder(
        source=source,
        keypoints=tuple(read[_KEYPOINTS]),
        annotations=tuple(read[_ANNOTATIONS]),
        videos=tuple(read[_VIDEOS]),
        **_named(entries),
        others=tuple(others),
    )


def _flat(source: Path, entries: Sequence[Path], problems: list[str]) -> Folder:
    named = _named(entries)
    files = [path for path in entries if _counts(path) and path not in named.values()]
    begins = {path: first_line(path) for path in files if _ending(path) == ".csv"}
    keypoints = [path for path, line in begins.items() if first_cell(line) == HEADER[0]]
    annotations = [path for path, line in begins.items() if first_cell(line) == FIRST_COLUMN]
    for path in begins:
        if path not in keypoints and path not in annotations:
            text = f"neither key points (line 1 begins {HEADER[0]}) nor annotations (line 1 begins Frame)"
            way_out = "correct it, or move it to another folder"
            problems.append(f"{path.name}: {text}; this one begins {begins[path][:60]!r}; {way_out}")
    keypoints += [path for path in files if _ending(path) in behaviour_h5.ENDINGS]
    videos = [path for path in files if _is_video(path)]
    return Folder(
        source=source,
        keypoints=tuple(sorted(_once(keypoints))),
        annotations=tuple(annotations),
        videos=tuple(videos),
        **named,
        others=tuple(path for path in files if path not in {*keypoints, *begins, *videos}),
    )


def _named(entries: Sequence[Path]) -> dict[str, Path | None]:
    """The two files that are told by their names."""
    files = {path.name: path for path in entries if path.is_file()}
    return {"classes": files.get(CLASSES_FILE), "about": files.get(ABOUT_FILE)}


def _counts(path: Path) -> bool:
    """Whether a file may hold data."""
    name = path.name.lower()
    beside = name.startswith(".") or name.split(".")[0] in _BESIDE or _ending(path) in _PASSED_OVER
    return path.is_file() and not beside


def _ending(path: Path) -> str:
    return path.suffix.lower()


def _is_video(path: Path) -> bool:
    return _ending(path) in VIDEO_ENDINGS and not path.stem.endswith(_DRAWN)


def _once(keypoints: Sequence[Path]) -> list[Path]:
    """All but each HDF5 whose CSV is there."""
    tables = {path.stem for path in keypoints if _ending(path) == ".csv"}
    return [path for path in keypoints if _ending(path) == ".csv" or path.stem not in tables]
