"""The overlapping windows of a volume become one probability per voxel, and the volume is scored as a whole."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hpo.objective import Batch, Outputs, Sums, Whole
from objectives.surface.data import FOREGROUND, IGNORED
from objectives.surface.grid import importance, padded
from objectives.surface.volume_scores import volume_scores

if TYPE_CHECKING:
    from hpo.arrays import Arrays

#: Scores of volumes, of which a split's is the mean.
SCORES = (
    "cldice",
    "surface_dice@1",
    "surface_dice@2",
    "boundary_f1",
    "component_error",
    "topology",
    "voi",
    "competition",
)
#: Those that stand in the table of predictions, as `volume.NAME`.
COLUMNS = ("dice", "surface_dice@1", "surface_dice@2", "cldice", "competition")


class Blended(Whole):
    """One volume at a time: probabilities are averaged with the weights of `importance`, and cut at one half.

    Voxels that no window covers, as in a validation on a part of the rows, are left out of its scores.

    Args:
        arrays: prepared volumes, perhaps without labels.
        folder: gets `NAME.tif` of each volume, uint8, 1 = foreground; None = nothing is written.
    """

    def __init__(self, arrays: Arrays, folder: Path | None) -> None:
        self._arrays, self._folder = arrays, folder
        self._importance = importance(arrays.info["patch"])
        self._files: list[Path] = []
        self._volume: int | None = None
        self._seen: set[int] = set()
        self._windows: list[int] = []  #: of each volume that came, how many
        self._scores: list[dict[str, float]] = []  #: of each volume that is complete

    def add(self, outputs: Outputs, batch: Batch) -> Sums:
        """Blend the windows of a batch into their volumes."""
        said = torch.sigmoid(outputs["logits"].float()).cpu().numpy()
        found: Sums = {}
        numbers, corners = batch["volume"].tolist(), batch["corner"].tolist()
        for number, corner, window in zip(numbers, corners, said, strict=True):
            if number != self._volume:
                found = _added(found, self._closed())
                self._open(number)
            place = tuple(slice(at, at + len(window)) for at in corner)
            self._said[place] += window * self._importance
            self._weight[place] += self._importance
            self._windows[-1] += 1
        return found

    def finish(self) -> Sums:
        """Score the last volume."""
        return self._closed()

    @property
    def files(self) -> tuple[Path, ...]:
        """A TIFF of each volume that is complete."""
        return tuple(self._files)

    def columns(self) -> dict[str, np.ndarray]:
        """`volume.NAME` of each window's volume; NaN where it could not be computed."""
        each = {name: np.asarray([scores.get(name, np.nan) for scores in self._scores]) for name in COLUMNS}
        return {f"volume.{name}": np.repeat(values, self._windows) for name, values in each.items()}

    def _open(self, number: int) -> None:
        if number in self._seen:
            raise ValueError(f"windows of volume {number} come apart: rows must be in their order")
        self._seen.add(number)
        shape = padded(self._arrays.info["volumes"][number]["shape"], self._arrays.info["patch"])
        self._volume, self._said, self._weight = number, np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._windows.append(0)

    def _closed(self) -> Sums:
        """What the volume at hand comes to; nothing where there is none, or it has no labels."""
        if self._volume is None:
            return {}
        about, begin = (self._arrays.info[name][self._volume] for name in ("volumes", "begins"))
        self._volume = None
        inside = tuple(slice(size) for size in about["shape"])
        entries = slice(begin, begin + self._said.size)
        label = self._arrays.fields["label"][entries].reshape(self._said.shape)[inside]
        weight = self._weight[inside]
        prediction = self._said[inside] > 0.5 * weight
        if self._folder is not None:
            self._files.append(self._folder / f"{about['name']}.tif")
            _write(self._files[-1], prediction)
        valid = (label != IGNORED) & (weight > 0)
        del self._said, self._weight, weight  # scores need the room
        if not valid.any():
            self._scores.append({})
            return {}
        truth = label == FOREGROUND
        self._scores.append(volume_scores(prediction, truth, valid))
        return _sums(prediction, truth, valid, self._scores[-1])


def _sums(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray, scores: dict[str, float]) -> Sums:
    """`voxels` `[4]`, outcomes as of `objectives.scores.binary_counts`, and `volumes` `[score, 2]`, sum and number."""
    outcomes = (prediction & truth, prediction & ~truth, ~prediction & truth, ~prediction & ~truth)
    each = [[scores.get(name, 0.0), float(name in scores)] for name in SCORES]
    return {
        "voxels": torch.tensor([float(np.count_nonzero(one & valid)) for one in outcomes], dtype=torch.float64),
        "volumes": torch.tensor(each, dtype=torch.float64),
    }


def _added(first: Sums, second: Sums) -> Sums:
    if not first or not second:
        return first or second
    return {name: first[name] + second[name] for name in first}


def _write(path: Path, prediction: np.ndarray) -> None:
    """Write a TIFF beside its place and rename it.

    Raises:
        OSError: it cannot be written; with its own path, since the name beside it tells nobody anything.
    """
    import tifffile

    beside = path.with_name(f".{os.getpid()}.writing")  # short: a name as long as may be leaves no room for more
    try:
        tifffile.imwrite(beside, prediction.astype(np.uint8), compression="zlib", photometric="minisblack")
        os.replace(beside, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        with contextlib.suppress(OSError):  # it would hide why
            beside.unlink()
