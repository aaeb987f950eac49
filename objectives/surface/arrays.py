"""Volumes as flat fields, and the windows that are the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo.objective import DataError
from objectives.problems import listing
from objectives.surface import files, synthetic
from objectives.surface.data import FOREGROUND, IGNORED, Volume, Volumes
from objectives.surface.grid import corners, padded

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder

#: Parameters of the group `data` that windows are made by.
KEYS = ("patch", "overlap", "sheets")
#: Windows by the share of foreground among their labelled voxels, up to and including each: the classes of the rows.
STRATA = {"up to 2%": 0.02, "up to 10%": 0.1, "up to 25%": 0.25, "up to 50%": 0.5, "up to 75%": 0.75, "up to 100%": 1.0}
#: Voxels that are read at a time, whole slices at least: a compressed stack is opened anew for every slab.
SLAB = 2**23
#: Subtracted from values of uint16, which torch cannot index, to make int16 of them; the net takes the mean off anyway.
OFFSET = 2**15


def prepare(source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
    """Write volumes, read or made up, each of them once; windows overlap in them.

    Fields `image`, uint8, or int16 of uint16 less OFFSET, and `label` uint8. Of each window `volume` int64 `[row]`, the
    number in `info["volumes"]`, `corner` int64 `[row, 3]`, `group` int64 `[row]`, a number in `info["groups"]`,
    `foreground` and `labelled` int64 `[row]`, voxels, and `stratum` int64 `[row]`, a number in STRATA, -1 = nothing is
    labelled. A volume that is smaller than a window is continued by its last voxels, which are ignored.

    Raises:
        DataError: with everything that is wrong with the files.
    """
    found = synthetic.generate(data["sheets"]) if source is None else files.read(source)
    patch, wide = data["patch"], found.dtype is np.uint16
    shapes = [padded(volume.shape, patch) for volume in found.volumes]
    sizes = [int(np.prod(shape)) for shape in shapes]
    begins = np.concatenate([[0], np.cumsum(sizes)])
    image = folder.create_field("image", int(begins[-1]), np.int16 if wide else np.uint8)
    label = folder.create_field("label", int(begins[-1]), np.uint8)
    groups = sorted({volume.group for volume in found.volumes})
    rows, about, problems = _Rows(patch), [], []
    for number, (volume, shape, begin) in enumerate(zip(found.volumes, shapes, begins.tolist(), strict=False)):
        box = slice(begin, begin + sizes[number])
        labels = label[box].reshape(shape)
        try:
            _write(volume, image[box].reshape(shape), labels)
        except DataError as error:
            problems.append(str(error))
            continue
        rows.add(number, groups.index(volume.group), begin, corners(shape, patch, data["overlap"]), labels)
        about.append(_about(volume, labels))
    if problems:
        raise DataError(listing(source, problems))
    image.flush()
    label.flush()
    rows.write(folder)
    return {
        "classes": list(STRATA),
        "volumes": about,
        "groups": groups,
        "begins": begins[:-1].tolist(),
        "dtype": np.dtype(found.dtype).name,
        "patch": patch,
        "notes": [_read(found, len(rows), data), *found.notes],
        "synthetic": source is None,
        "unlabelled": found.unlabelled,
    }


def _read(found: Volumes, rows: int, data: Mapping[str, Any]) -> str:
    """What a row is, which counts alone would not tell."""
    shapes = sorted({volume.shape for volume in found.volumes})
    sizes = " x ".join(map(str, shapes[0])) + ("" if len(shapes) == 1 else " to " + " x ".join(map(str, shapes[-1])))
    volumes = f"{len(found.volumes)} volume{'s' * (len(found.volumes) > 1)}, {sizes} {np.dtype(found.dtype).name}"
    patch, overlap = data["patch"], data["overlap"]
    return f"{volumes}: a row is one of {rows} windows, {patch} voxels wide, overlapping by {overlap:.0%} or more"


class _Rows:
    """The windows of all volumes."""

    def __init__(self, patch: int) -> None:
        self._patch = patch
        self._parts: list[dict[str, np.ndarray]] = []

    def add(self, number: int, group: int, begin: int, corner: np.ndarray, label: np.ndarray) -> None:
        stride = np.asarray([label.shape[1] * label.shape[2], label.shape[2], 1])
        windows = [label[tuple(slice(at, at + self._patch) for at in place)] for place in corner.tolist()]
        foreground = np.asarray([np.count_nonzero(window == FOREGROUND) for window in windows])
        labelled = np.asarray([np.count_nonzero(window != IGNORED) for window in windows])
        share = foreground / np.maximum(labelled, 1)
        stratum = np.searchsorted(list(STRATA.values()), share)
        self._parts.append(
            {
                "volume": np.full(len(corner), number),
                "group": np.full(len(corner), group),
                "corner": corner,
                "foreground": foreground,
                "labelled": labelled,
                "stratum": np.where(labelled > 0, stratum, -1),
                "start": begin + corner @ stride,
                "stride": np.tile(stride, (len(corner), 1)),
            }
        )

    def __len__(self) -> int:
        return sum(len(part["volume"]) for part in self._parts)

    def write(self, folder: ArrayFolder) -> None:
        whole = {name: np.concatenate([part[name] for part in self._parts]) for name in self._parts[0]}
        folder.add_windows(whole.pop("start"), whole.pop("stride"), (self._patch,) * 3)
        for name, array in whole.items():
            folder.add(name, array.astype(np.int64))


def _about(volume: Volume, label: np.ndarray) -> dict[str, Any]:
    """Facts of a volume, with its `foreground` and `labelled` voxels, each of which counts once."""
    slices = [(np.count_nonzero(part == FOREGROUND), np.count_nonzero(part != IGNORED)) for part in label]
    foreground, labelled = (int(sum(counts)) for counts in zip(*slices, strict=True))
    counts = {"foreground": foreground, "labelled": labelled}
    return {"name": volume.name, "group": volume.group, "shape": list(volume.shape), **counts}


def _write(volume: Volume, image: np.ndarray, label: np.ndarray) -> None:
    """Fill the arrays of one volume, which are its size or larger, slab by slab."""
    slices, lines, columns = volume.shape
    around = [(0, 0), (0, image.shape[1] - lines), (0, image.shape[2] - columns)]
    label[:] = IGNORED
    step = max(1, SLAB // (lines * columns))
    for first in range(0, slices, step):
        last = min(first + step, slices)
        slab = volume.image(first, last)
        if slab.dtype == np.uint16:
            slab = (slab.astype(np.int32) - OFFSET).astype(np.int16)
        image[first:last] = np.pad(slab, around, mode="edge")
        if volume.label is not None:
            label[first:last, :lines, :columns] = volume.label(first, last)
    image[slices:] = image[slices - 1]
