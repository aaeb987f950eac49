"""Find the volumes of a folder: which files hold the image and the label of each, and the table that names them.

    train.csv             names each volume and its group
    train_images/ID.tif   or .tiff, or a folder ID/ of slices
    train_labels/ID.tif   likewise

Without train.csv and train_labels/ there is nothing to learn from, but images to predict on: those in test_images/,
which test.csv may name, else those in train_images/, else those in the folder itself. A name is looked up among the
stacks found there and never opened as a path, so that a table cannot point out of the folder. Links to folders of
slices are not entered, as the fingerprint of the data does not enter them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hpo.objective import DataError
from objectives.problems import near, some
from objectives.surface.tiff import ENDINGS, is_tiff

TRAIN_TABLE, TRAIN_IMAGES, TRAIN_LABELS = "train.csv", "train_images", "train_labels"
TEST_TABLE, TEST_IMAGES = "test.csv", "test_images"
_WANTED = (
    f"give a folder with {TRAIN_TABLE}, {TRAIN_IMAGES}/ and {TRAIN_LABELS}/; for predictions a folder of TIFF files is "
    "enough"
)
_WITHOUT = "only predictions do without labels"


@dataclass(frozen=True, kw_only=True)
class Stacks:
    """The stacks of a folder."""

    where: str  #: the folder in the source, with a slash at its end; empty for the source itself
    of: Mapping[str, Sequence[Path]]  #: files and folders of slices by what a table calls them; should be one each
    empty: str = ""  #: names of other files, where there is none

    def others(self, named: Sequence[str]) -> list[str]:
        """Names of the stacks that are not named."""
        return [name for name in self.of if name not in named]

    def meant(self, name: str, named: Sequence[str]) -> str | None:
        """The stack that was meant by a name under which none is there, if one is near that nothing else names."""
        free = tuple(self.others(named))
        stem = Path(name).stem if name.lower().endswith(ENDINGS) else name
        return stem if stem in free else near(stem, free)


@dataclass(frozen=True, kw_only=True)
class Folder:
    """What a source holds."""

    table: Path | None  #: names the volumes; None = all images are volumes
    images: Stacks
    labels: Stacks | None = None  #: None = there are none
    unlabelled: str = ""  #: what is missing, where there are none
    notes: tuple[str, ...] = ()


def find(source: Path) -> Folder:
    """The volumes of a folder, or of a single file.

    Raises:
        DataError: there are none, or a folder that the others ask for is missing.
    """
    if source.is_file():
        lacks = "a single file is read without labels; give the folder that holds its table and labels"
        return Folder(table=None, images=Stacks(where="", of={source.stem: [source]}), unlabelled=lacks)
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder; {_WANTED}")
    try:
        if (source / TRAIN_TABLE).is_file() or (source / TRAIN_LABELS).is_dir():
            return _train(source)
        return _predict(source)
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); mend that, or take it out") from None


def _train(source: Path) -> Folder:
    there = tuple(sorted(path.name for path in source.iterdir() if not path.name.startswith(".")))
    labels = (source / TRAIN_LABELS).is_dir()
    if not (source / TRAIN_TABLE).is_file():
        text = f"no {TRAIN_TABLE}{_hint(TRAIN_TABLE, there)} beside {TRAIN_LABELS}/"
        way_out = f"add it with columns id and scroll_id, or take {TRAIN_LABELS}/ away to predict on the images alone"
        raise DataError(f"{source}: {text}; {way_out}")
    if not (source / TRAIN_IMAGES).is_dir():
        text = f"no folder {TRAIN_IMAGES}/{_hint(TRAIN_IMAGES, there)} beside {TRAIN_TABLE}"
        raise DataError(f"{source}: {text}; put the image of each volume there, ID.tif")
    notes = []
    if (source / TEST_IMAGES).is_dir():
        notes = [f"{TEST_IMAGES}/ is not read; to predict on it, give {source / TEST_IMAGES} as the data"]
    return Folder(
        table=source / TRAIN_TABLE,
        images=_stacks(source, TRAIN_IMAGES),
        labels=_stacks(source, TRAIN_LABELS) if labels else None,
        unlabelled="" if labels else f"no folder {TRAIN_LABELS}/{_hint(TRAIN_LABELS, there)}; {_WITHOUT}",
        notes=tuple(notes),
    )


def _predict(source: Path) -> Folder:
    where = next((name for name in (TEST_IMAGES, TRAIN_IMAGES) if (source / name).is_dir()), "")
    images = _stacks(source, where)
    table = source / TEST_TABLE if where == TEST_IMAGES and (source / TEST_TABLE).is_file() else None
    if not images.of and table is None:
        at = f"no TIFF file in {where}/" if where else "no TIFF file"
        raise DataError(f"{source}: {at}{f', but {images.empty}' if images.empty else ''}; {_WANTED}")
    unlabelled = f"neither {TRAIN_TABLE} nor {TRAIN_LABELS}/; {_WITHOUT}"
    notes = []
    if where == TEST_IMAGES and (source / TRAIN_IMAGES).is_dir():
        notes = [f"{TRAIN_IMAGES}/ is not read, since it has neither {TRAIN_TABLE} nor labels"]
    return Folder(table=table, images=images, unlabelled=unlabelled, notes=tuple(notes))


def _hint(name: str, there: tuple[str, ...]) -> str:
    """` (NAME?)` where something is there that may have been meant; no other name that has a use of its own."""
    own = (TRAIN_TABLE, TRAIN_IMAGES, TRAIN_LABELS, TEST_TABLE, TEST_IMAGES)
    meant = near(name, tuple(other for other in there if other not in own))
    return f" ({meant}?)" if meant else ""


def _stacks(source: Path, where: str) -> Stacks:
    found: dict[str, list[Path]] = defaultdict(list)
    others: list[str] = []
    for path in sorted((source / where).iterdir()):
        if path.name.startswith("."):
            continue
        if is_tiff(path):
            found[path.stem].append(path)
        elif path.is_dir() and not path.is_symlink() and any(map(is_tiff, path.iterdir())):
            found[path.name].append(path)
        else:
            others.append(path.name)
    return Stacks(where=f"{where}/" if where else "", of=dict(found), empty="" if found else some(others, 3))
