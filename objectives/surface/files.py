"""Read a folder of volumes and their labels, as the sets of the Vesuvius challenge have them.

`objectives.surface.folder` says where files lie, `table` what train.csv holds, `tiff` what a file may be. Every slice
is decoded once before anything is prepared, so that a file that is damaged in its middle, or a label of other values,
is named at once with all that is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from hpo.objective import DataError
from objectives.problems import listing, some
from objectives.surface.data import FOREGROUND, IGNORED, Slabs, Volume, Volumes
from objectives.surface.folder import Folder, Stacks, find
from objectives.surface.table import Row, Rows, read_rows
from objectives.surface.tiff import Stack, open_stack
from objectives.surface.voxels import Seen, look, slabs
from objectives.texts import not_text, spelled

_Result = TypeVar("_Result")
_TYPES = (np.uint8, np.uint16)


def read(source: Path) -> Volumes:
    """Read a folder of volumes, or a single file to predict on.

    Raises:
        DataError: with file, line, value and way out of everything that is wrong in the source, MOST_LISTED at most;
            by the slabs of a volume, where a slice can be decoded no more.
    """
    problems: list[str] = []
    folder = find(source)
    listed = _rows(folder, problems)
    rows = listed.rows
    named = [row.name for row in rows]
    images = _opened(source, _paths(folder, folder.images, rows, problems), problems)
    labels = _opened(source, _paths(folder, folder.labels, rows, problems), problems) if folder.labels else {}
    problems += _types(images, folder.images.where)
    problems += _label_types(labels, folder.labels)
    problems += _unequal(images, labels, folder)
    _decode(source, images, problems)
    seen = _look(source, labels, problems)
    if folder.labels and not problems and not any(own.counts[FOREGROUND] for own in seen.values()):
        problems.append(f"{folder.labels.where}: no voxel is foreground (1) in any label; there is nothing to learn")
    if problems:
        raise DataError(listing(source, problems))
    return Volumes(
        volumes=tuple(_volume(row, images[row.name], labels.get(row.name)) for row in rows),
        dtype=next(iter(images.values())).dtype.type,
        notes=(*folder.notes, *listed.notes, *_left_out(folder, named), *_all_ignored(seen)),
        unlabelled=folder.unlabelled,
    )


def _rows(folder: Folder, problems: list[str]) -> Rows:
    """A row for each volume; without a table each image is one, and its own group."""
    if folder.table is not None:
        return read_rows(folder.table, problems, grouped=folder.labels is not None)
    problems += not_text(folder.images.of)
    return Rows(tuple(Row(0, name, name) for name in folder.images.of if spelled(name) == name))


def _paths(folder: Folder, stacks: Stacks, rows: Sequence[Row], problems: list[str]) -> dict[str, Path]:
    """The file, or folder of slices, of each row that has one and no more."""
    found: dict[str, Path] = {}
    missing: list[Row] = []
    for row in rows:
        paths = stacks.of.get(row.name, ())
        if len(paths) == 1:
            found[row.name] = paths[0]
        elif paths:
            there = some([path.name + ("/" if path.is_dir() else "") for path in paths])
            problems.append(f"{stacks.where}{row.name} is there {len(paths)} times ({there}); keep one")
        else:
            missing.append(row)
    problems += _missing(folder, stacks, missing, [row.name for row in rows])
    return found


def _missing(folder: Folder, stacks: Stacks, rows: Sequence[Row], named: Sequence[str]) -> Iterator[str]:
    if not rows or folder.table is None:
        return
    most = 8  # names of a sentence; a hint costs a look at every file
    each = [f"{row.name!r} in line {row.line}" for row in rows]
    hints = [stacks.meant(row.name, named) for row in rows[:most]]
    each[:most] = [f"{text} ({spelled(meant)}?)" if meant else text for text, meant in zip(each, hints, strict=False)]
    count = "1 volume without a TIFF" if len(rows) == 1 else f"{len(rows)} volumes without a TIFF"
    there = f", where there is {stacks.empty}" if stacks.empty else ""
    way_out = "copy it there, correct the id, or take out the row"
    yield f"{folder.table.name} names {count} in {stacks.where}{there}: {some(each, most)}; {way_out}"


def _opened(source: Path, paths: Mapping[str, Path], problems: list[str]) -> dict[str, Stack]:
    tried = {name: _tried(source, partial(open_stack, path), problems) for name, path in paths.items()}
    return {name: stack for name, stack in tried.items() if stack is not None}


def _tried(source: Path, call: Callable[[], _Result], problems: list[str]) -> _Result | None:
    """What a call gives; None and a problem, with its path in the source, where it raises a DataError."""
    try:
        return call()
    except DataError as error:
        problems.append(str(error).removeprefix(f"{source}/"))
        return None


def _types(images: Mapping[str, Stack], where: str) -> Iterator[str]:
    """Images are all of one type."""
    names: dict[np.dtype, list[str]] = defaultdict(list)
    for name, stack in images.items():
        names[stack.dtype].append(name)
    for dtype in [dtype for dtype in names if dtype.type not in _TYPES]:
        text = f"{where or 'images'}: of type {dtype}: {some(names.pop(dtype))}"
        yield f"{text}; images are uint8 or uint16: scale them to 0 .. 65535 and save them as uint16"
    if len(names) > 1:
        each = "; ".join(f"{dtype}: {some(own)}" for dtype, own in names.items())
        yield f"images of {len(names)} types ({each}); save all in one type"


def _label_types(labels: Mapping[str, Stack], stacks: Stacks | None) -> Iterator[str]:
    """Labels are whole numbers."""
    if stacks and (wrong := {name: stack.dtype for name, stack in labels.items() if not _whole(stack)}):
        each = some([f"{name} ({dtype})" for name, dtype in wrong.items()])
        yield f"{stacks.where}: not of whole numbers: {each}; save labels as uint8"


def _whole(label: Stack) -> bool:
    return label.dtype.kind in "bui"


def _unequal(images: Mapping[str, Stack], labels: Mapping[str, Stack], folder: Folder) -> Iterator[str]:
    """Labels that are not as large as their image."""
    for name in [name for name in labels if name in images]:
        image, label = images[name].shape, labels[name].shape
        if image != label and folder.labels:
            sizes = f"{_by(label)} voxels, its image {_by(image)} (slices, lines, columns)"
            swapped = "; are its axes in another order?" if sorted(image) == sorted(label) else ""
            yield f"{folder.labels.where}{name} has {sizes}{swapped}; cut both to the same place"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _decode(source: Path, images: Mapping[str, Stack], problems: list[str]) -> None:
    """Find images of which a slice cannot be decoded."""

    def decode(stack: Stack) -> None:
        for _ in slabs(stack):
            pass

    for stack in images.values():
        _tried(source, partial(decode, stack), problems)


def _look(source: Path, labels: Mapping[str, Stack], problems: list[str]) -> dict[str, Seen]:
    """What each label holds that can be decoded."""
    found: dict[str, Seen] = {}
    for name, stack in labels.items():
        seen = _tried(source, partial(look, stack), problems) if _whole(stack) else None
        if seen is not None:
            found[name] = seen
            problems += [f"{stack.path.relative_to(source)}: {strange}" for strange in [seen.strange()] if strange]
    return found


def _volume(row: Row, image: Stack, label: Stack | None) -> Volume:
    return Volume(
        name=row.name,
        group=row.group,
        shape=image.shape,
        image=image.slab,
        label=partial(_uint8, label.slab) if label else None,
    )


def _uint8(slab: Slabs, first: int, last: int) -> np.ndarray:
    """Labels may be of another type of whole numbers; that they are 0, 1 and 2 is known by now."""
    return slab(first, last).astype(np.uint8, copy=False)


def _left_out(folder: Folder, named: Sequence[str]) -> Iterator[str]:
    for stacks in (folder.images, folder.labels):
        if folder.table and stacks and (others := stacks.others(named)):
            names = some([spelled(name) for name in others])
            yield f"{stacks.where}: volumes that {folder.table.name} does not name, left out: {names}"


def _all_ignored(seen: Mapping[str, Seen]) -> Iterator[str]:
    if names := [name for name, own in seen.items() if not own.labelled]:
        yield f"all voxels are ignored ({IGNORED}), so that nothing is learnt from them, in {some(names)}"
