"""Find the images in a folder of faces, and those that a label file means by a name.

Links to images are images, wherever they point. Links to folders are not entered: they may lead in a circle, and the
fingerprint of the data does not enter them either.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from hpo.objective import DataError
from objectives.pictures import ENDINGS
from objectives.problems import some
from objectives.texts import spelled


@dataclass(frozen=True)
class Images:
    """What looks like an image in a folder or below it, hidden ones left out."""

    paths: tuple[str, ...]  #: in the folder, sorted
    by_name: Mapping[str, Sequence[str]]  #: paths, by file name
    links: tuple[str, ...]  #: to folders, which were not entered
    others: tuple[str, ...]  #: paths of what does not look like an image, sorted

    def called(self, name: str) -> Sequence[str]:
        """Paths of the images that a label file means by a name, or by a path in the folder.

        By a name without a folder also the aligned one, where there is none of the name itself.
        """
        path = PurePosixPath(name)
        if str(path) == path.name:
            return self.by_name.get(path.name) or self.by_name.get(aligned(name), ())
        return [own for own in self.by_name.get(path.name, ()) if own == str(path)]

    def skipped(self) -> str:
        """What to do about the links; empty without any."""
        if not self.links:
            return ""
        are = "is a link to a folder and" if len(self.links) == 1 else "are links to folders and"
        return f"{some(self.links)} {are} not entered; link the images themselves instead: cp -rs /THEIR/FOLDER ."

    def left_out(self) -> str:
        """What is no image; empty where all is."""
        if not self.others:
            return ""
        files = "1 file that is no image" if len(self.others) == 1 else f"{len(self.others)} files that are no images"
        were = "was" if len(self.others) == 1 else "were"
        return f"{files} of a format that is read {were} left out: {some([spelled(name) for name in self.others])}"

    def other_ending(self, names: Iterable[str]) -> str:
        """What to do about names of missing images that have another ending in the folder; empty without any."""
        by_stem = {PurePosixPath(name).stem: name for name in self.by_name}
        wanted = [PurePosixPath(name) for name in names if PurePosixPath(name).name not in self.by_name]
        near = [(path, by_stem.get(path.stem) or by_stem.get(f"{path.stem}_aligned")) for path in wanted]
        there = [name for path, name in near if name and PurePosixPath(name).suffix != path.suffix]
        if not there:
            return ""
        are = "is" if len(there) == 1 else "are"
        return f"with another ending there {are} {some(there, 3)}; write the endings as they are there"


def find(folder: Path) -> Images:
    """The images of a folder.

    Raises:
        DataError: a folder below it cannot be read.
    """
    paths: list[str] = []
    links: list[str] = []
    others: list[str] = []
    for at, folders, files in os.walk(folder, onerror=_refuse):
        here = Path(at)
        folders[:] = [name for name in folders if not name.startswith(".")]
        links += [(here / name).relative_to(folder).as_posix() for name in folders if (here / name).is_symlink()]
        shown = [here / name for name in files if not name.startswith(".")]
        for file in shown:
            image = file.suffix.lower() in ENDINGS and file.is_file()
            (paths if image else others).append(file.relative_to(folder).as_posix())
    paths.sort()
    by_name: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        by_name[PurePosixPath(path).name].append(path)
    return Images(tuple(paths), dict(by_name), tuple(sorted(links)), tuple(sorted(others)))


def aligned(name: str) -> str:
    """What RAF-CE calls the aligned image of another."""
    path = PurePosixPath(name)
    return f"{path.stem}_aligned{path.suffix}"


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend that, or take the folder out")
