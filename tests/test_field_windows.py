"""Rows that are windows of flat fields: the same boxes that numpy cuts out, on every way to the device."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.arrays import ArrayFolder, Arrays, Feed, open_arrays
from tests.toy import CPU, Toy, toy_arrays

SHAPES, BOX = [(5, 6, 7), (4, 9, 5), (3, 4, 6)], (2, 4, 3)


class Boxes(Toy):
    """Every box of three volumes of unlike shape, at the places of a grid of its own."""

    prepare_keys: tuple[str, ...] = ()

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        volumes = volumes_of()
        flat = folder.create_field("image", sum(volume.size for volume in volumes), np.uint8)
        twice = folder.create_field("twice", flat.size, np.int16)
        start, stride, where, begins = [], [], [], 0
        for number, volume in enumerate(volumes):
            flat[begins : begins + volume.size] = volume.ravel()
            _, lines, columns = volume.shape
            for corner in np.ndindex(*(size - box + 1 for size, box in zip(volume.shape, BOX, strict=True))):
                start.append(begins + (corner[0] * lines + corner[1]) * columns + corner[2])
                stride.append((lines * columns, columns, 1))
                where.append((number, *corner))
            begins += volume.size
        twice[:] = flat[:].astype(np.int16) * 2
        folder.add_windows(np.asarray(start), np.asarray(stride), BOX)
        folder.add("where", np.asarray(where))
        return {}


def volumes_of() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.integers(0, 256, size=shape).astype(np.uint8) for shape in SHAPES]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return open_arrays(Boxes(), None, {}, tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("resident", [True, False])
def test_a_window_is_what_numpy_cuts_out(boxes: Arrays, resident: bool) -> None:
    volumes, feed = volumes_of(), Feed(boxes, CPU, resident)
    parts = torch.from_numpy(np.random.default_rng(0).permutation(len(boxes))).split(7)
    for batch in feed.batches(parts):
        assert set(batch) == {"where", "image", "twice"}
        assert batch["image"].dtype == torch.uint8 and batch["twice"].dtype == torch.int16
        for (number, z, y, x), image, twice in zip(
            *(batch[k].numpy() for k in ("where", "image", "twice")), strict=True
        ):
            expected = volumes[number][z : z + BOX[0], y : y + BOX[1], x : x + BOX[2]]
            np.testing.assert_array_equal(image, expected)
            np.testing.assert_array_equal(twice, expected.astype(np.int16) * 2)


def test_a_field_is_written_once_whatever_its_windows_overlap(boxes: Arrays) -> None:
    assert len(boxes) * np.prod(BOX) > 3 * boxes.fields["image"].size
    entries = sum(volume.size for volume in volumes_of())
    assert boxes.nbytes == entries * (1 + 2) + len(boxes) * 4 * 8
    assert list(boxes) == ["where"]


def test_data_without_fields_have_no_windows(tmp_path: Path) -> None:
    arrays = toy_arrays(tmp_path)
    assert arrays.windows is None and not arrays.fields
