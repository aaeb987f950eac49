"""Find the videos of a folder, and the one that a table means by a name.

Videos lie anywhere below the folder; the table calls them by their path in it, or in its folder videos/. A name is
looked up among the files found there and never opened as a path, so that a table cannot point out of the folder.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from hpo.objective import DataError
from objectives.problems import near
from objectives.video import VIDEO_ENDINGS

VIDEOS = "videos"


@dataclass(frozen=True)
class Folder:
    """The files of a source but hidden ones, whatever their endings."""

    source: Path
    by_name: Mapping[str, Sequence[Path]]  #: by what a table may call them
    videos: Mapping[str, Path]  #: those with the ending of a video, by their shortest name, sorted

    def called(self, name: str) -> Sequence[Path]:
        """The files that a table means; several where one lies in the folder and another of its name in videos/."""
        return self.by_name.get(PurePosixPath(name).as_posix(), ())

    def meant(self, name: str, taken: Collection[Path | None]) -> str | None:
        """The video that was meant by a name under which none is there, if one is near that nothing else names."""
        free = tuple(video for video, path in self.videos.items() if path not in taken)
        own = PurePosixPath(name).name
        elsewhere = next((video for video in free if PurePosixPath(video).name == own), None)
        return elsewhere or near(name, free)


def find(source: Path) -> Folder:
    """The files below a folder; links to folders are not entered, but for videos/ itself.

    Raises:
        DataError: a folder cannot be read.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    videos: dict[str, Path] = {}
    for path in sorted({*_below(source), *_below(source / VIDEOS)}):
        names = _names(path.relative_to(source))
        for name in names:
            by_name[name].append(path)
        if is_video(path):
            videos[names[-1]] = path
    return Folder(source, dict(by_name), videos)


def is_video(path: Path) -> bool:
    """Whether a file has the ending of a video."""
    return path.suffix.lower() in VIDEO_ENDINGS


def _names(path: Path) -> list[str]:
    """What a table may call a file, the shortest last."""
    inner = path.relative_to(VIDEOS) if path.is_relative_to(VIDEOS) else path
    return list(dict.fromkeys([path.as_posix(), inner.as_posix()]))


def _below(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        return
    for at, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in files if not name.startswith(".") and (path := Path(at, name)).is_file())


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend that, or take the folder out")
