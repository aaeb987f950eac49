"""Read a folder of volumes and their labels, as the sets of the Vesuvius challenge have them.

`objectives.surface.folder` says where files lie, `table` what train.csv holds, `tiff` what a file may be. Every slice
is decoded once before anything is prepared, so that a file that is damaged in its middle, or a label of other values,
is named at once with all that is wrong.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from hpo.objective import DataError
from objectives.problems import Mistake, gathered, listing, some
from objectives.surface.data import FOREGROUND, IGNORED, Slabs, Volume, Volumes
from objectives.surface.faults import Fault, alike
from objectives.surface.folder import Folder, Stacks, find
from objectives.surface.table import Row, Rows, read_rows
from objectives.surface.tiff import ENDINGS, SingleSliceError, Stack, open_stack
from objectives.surface.voxels import Seen, look, slabs
from objectives.texts import not_text, spelled

_Result = TypeVar("_Result")
_TYPES = (np.uint8, np.uint16)
_SINGLE = "single slice"


def read(source: Path) -> Volumes:
    """Read a folder of volumes, or a single file to predict on.

    Raises:
        DataError: with file, line, value and way out of everything that is wrong in the source, MOST_LISTED at most;
            by the slabs of a volume, where a slice can be decoded no more.
    """
    folder = find(source)
    problems: list[str] = []
    of_labels: list[str] = []  # those that are none to who only predicts
    listed = _rows(folder, problems)
    rows = listed.rows
    named = [row.name for row in rows]
    images = _opened(source, folder.images, _paths(folder, folder.images, rows, problems), problems)
    problems += _types(images, folder.images.where)
    _decode(source, folder.images, images, problems)
    seen: dict[str, Seen] = {}
    labels: dict[str, Stack] = {}
    if folder.labels:
        labels = _opened(source, folder.labels, _paths(folder, folder.labels, rows, of_labels), of_labels)
        of_labels += _label_types(labels, folder.labels)
        of_labels += _unequal(source, images, labels, folder.labels)
        seen = _look(source, folder.labels, labels, of_labels)
        if not (problems or of_labels or any(own.counts[FOREGROUND] for own in seen.values())):
            text = "no voxel is foreground (1) in any label; there is nothing to learn"
            of_labels.append(f"{folder.labels.where}: {text}")
    if problems or of_labels:
        hint = f"\nto predict without labels name the images alone: {source / folder.images.where}"
        raise DataError(listing(source, problems + of_labels) + (hint if not problems else ""))
    return Volumes(
        volumes=tuple(_volume(row, images[row.name], labels.get(row.name)) for row in rows),
        dtype=next(iter(images.values())).dtype.type,
        notes=(*folder.notes, *listed.notes, *_left_out(folder, named), *_all_ignored(seen)),
        unlabelled=folder.unlabelled,
    )


def _rows(folder: Folder, problems: list[str]) -> Rows:
    """A row for each volume; without a table each image is one, and its own group."""
    if folder.table is not None:
        listed = read_rows(folder.table, problems, grouped=folder.labels is not None)
        return replace(listed, rows=tuple(_without_ending(folder, folder.table, listed.rows, problems)))
    problems += not_text(folder.images.of)
    return Rows(tuple(Row(0, name, name) for name in folder.images.of if spelled(name) == name))


def _without_ending(folder: Folder, table: Path, rows: Sequence[Row], problems: list[str]) -> list[Row]:
    """Rows whose id has the ending of a file are read without it, so that what else is wrong with them shows."""
    read: list[Row] = []
    wrong: list[Mistake] = []
    named = [row.name for row in rows]
    for row in rows:
        stem, ending = os.path.splitext(row.name)
        if ending.lower() in ENDINGS and row.name not in folder.images.of and stem in folder.images.others(named):
            wrong.append(Mistake(row.line, f"id {row.name!r}: ids are written without {ending}", "ending"))
            read.append(replace(row, name=stem))
        else:
            read.append(row)
    problems += gathered(table.name, wrong)
    return read


def _paths(folder: Folder, stacks: Stacks, rows: Sequence[Row], problems: list[str]) -> dict[str, Path]:
    """The file, or folder of slices, of each row that has one and no more."""
    found: dict[str, Path] = {}
    missing: list[Row] = []
    often: dict[str, str] = {}
    for row in rows:
        paths = stacks.of.get(row.name, ())
        if len(paths) == 1:
            found[row.name] = paths[0]
        elif paths:
            often[row.name] = some([path.name + ("/" if path.is_dir() else "") for path in paths])
        else:
            missing.append(row)
    if len(often) == 1:
        problems += [
            f"{stacks.where}{name} is there more than once ({there}); keep one" for name, there in often.items()
        ]
    elif often:
        each = some([f"{name} ({there})" for name, there in often.items()], 4)
        problems.append(
            f"{stacks.where or 'the folder'}: {len(often)} volumes are there more than once: {each}; keep one of each"
        )
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


def _opened(source: Path, stacks: Stacks, paths: Mapping[str, Path], problems: list[str]) -> dict[str, Stack]:
    faults: list[Fault] = []
    tried = {name: _tried(source / stacks.where, partial(open_stack, path), faults) for name, path in paths.items()}
    problems += _one_volume(source, faults) if len(paths) == len(faults) and not stacks.where else []
    problems += alike(stacks.where, faults)
    return {name: stack for name, stack in tried.items() if stack is not None}


def _tried(folder: Path, call: Callable[[], _Result], faults: list[Fault]) -> _Result | None:
    """What a call gives; None and a fault, with its file in the folder, where it raises a DataError."""
    try:
        return call()
    except DataError as error:
        file, _, text = str(error).removeprefix(f"{folder}/").partition(": ")
        faults.append(Fault(file, text, _SINGLE if isinstance(error, SingleSliceError) else ""))
        return None


def _one_volume(source: Path, faults: list[Fault]) -> Iterator[str]:
    """A folder of slices was named where a folder of volumes should be; its faults are one."""
    if len(faults) > 1 and {(fault.kind, fault.text) for fault in faults} == {(_SINGLE, faults[0].text)}:
        path = source.resolve()
        text = f"{len(faults)} single slices of one size; one volume? name the folder above, {path.parent}, in which"
        yield f"{text} {path.name}/ is a stack"
        faults.clear()


def _types(images: Mapping[str, Stack], where: str) -> Iterator[str]:
    """Images are all of one type."""
    names: dict[np.dtype, list[str]] = defaultdict(list)
    for name, stack in images.items():
        names[stack.dtype].append(name)
    good = [dtype for dtype in names if dtype.type in _TYPES]
    way_out = "scale them and save all as uint8 (0 .. 255), or all as uint16 (0 .. 65535)"
    if len(good) == 1:  # the advice must not lead to images of two types
        way_out = f"scale them to 0 .. {np.iinfo(good[0]).max} and save them as {good[0]}, as the others are"
    for dtype in [dtype for dtype in names if dtype.type not in _TYPES]:
        yield f"{where or 'images'}: of type {dtype}: {some(names.pop(dtype))}; {way_out}"
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


def _unequal(source: Path, images: Mapping[str, Stack], labels: Mapping[str, Stack], stacks: Stacks) -> Iterator[str]:
    """Labels that are not as large as their image."""
    faults: list[Fault] = []
    for name in [name for name in labels if name in images]:
        image, label = images[name].shape, labels[name].shape
        if image != label:
            sizes = f"a label of {_by(label)} voxels for an image of {_by(image)} (slices, lines, columns)"
            swapped = "; are its axes in another order?" if sorted(image) == sorted(label) else ""
            file = str(labels[name].path.relative_to(source / stacks.where))
            faults.append(Fault(file, f"{sizes}{swapped}; cut both to the same place"))
    return alike(stacks.where, faults)


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _decode(source: Path, stacks: Stacks, images: Mapping[str, Stack], problems: list[str]) -> None:
    """Find images of which a slice cannot be decoded."""

    def decode(stack: Stack) -> None:
        for _ in slabs(stack):
            pass

    faults: list[Fault] = []
    for stack in images.values():
        _tried(source / stacks.where, partial(decode, stack), faults)
    problems += alike(stacks.where, faults)


def _look(source: Path, stacks: Stacks, labels: Mapping[str, Stack], problems: list[str]) -> dict[str, Seen]:
    """What each label holds that can be decoded."""
    found: dict[str, Seen] = {}
    faults: list[Fault] = []
    folder = source / stacks.where
    for name, stack in labels.items():
        seen = _tried(folder, partial(look, stack), faults) if _whole(stack) else None
        if seen is not None:
            found[name] = seen
            if strange := seen.strange():
                faults.append(Fault(str(stack.path.relative_to(folder)), strange, seen.kind()))
    problems += alike(stacks.where, faults)
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
