"""The grid of windows over a volume: every voxel in one, as much overlap as asked for, and no more windows."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from objectives.surface.grid import corners, importance, padded


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "expected"),
    [
        (32, 32, 0.5, [0]),
        (33, 32, 0.0, [0, 1]),
        (64, 32, 0.0, [0, 32]),
        (64, 32, 0.5, [0, 16, 32]),
        (65, 32, 0.5, [0, 11, 22, 33]),  # one voxel more than three windows cover with that overlap
        (48, 16, 0.25, [0, 11, 21, 32]),
        (30, 20, 0.9, [0, 2, 4, 6, 8, 10]),
        (12, 8, 0.9, [0, 1, 2, 3, 4]),  # the next window begins at least a voxel later
    ],
)
def test_windows_along_an_axis(size: int, patch: int, overlap: float, expected: list[int]) -> None:
    found = corners((patch, size, patch), patch, overlap)
    assert found.dtype == np.int64
    assert found.tolist() == [[0, at, 0] for at in expected]


@pytest.mark.parametrize("overlap", ["0", "0.1", "0.25", "0.3", "0.5", "0.7", "0.75", "0.8", "0.9"])
def test_windows_reach_from_end_to_end_and_are_as_few_as_can_be(overlap: str) -> None:
    """Counted in fractions: with one window fewer some pair would overlap too little, whatever their places."""
    for size, patch in product(range(8, 70, 3), (8, 10, 16, 20, 32)):
        if size < patch:
            continue
        starts = corners((patch, patch, size), patch, float(overlap))[:, 2]
        steps = np.diff(starts)
        most = max(1, int(patch * (1 - Fraction(overlap))))
        assert starts[0] == 0 and starts[-1] == size - patch, (size, patch)
        assert (steps > 0).all() and (steps <= most).all(), (size, patch)
        assert len(steps) == 0 or (len(steps) - 1) * most < size - patch, (size, patch)


def test_windows_come_slice_by_slice_and_cover_every_voxel() -> None:
    shape, patch = (20, 31, 17), 8
    found = corners(shape, patch, 0.3)
    assert found.tolist() == sorted(found.tolist()) and len(np.unique(found, axis=0)) == len(found)
    seen = np.zeros(shape, int)
    for corner in found.tolist():
        seen[tuple(slice(at, at + patch) for at in corner)] += 1
    assert seen.sum() == len(found) * patch**3, "no window sticks out"
    assert seen.min() >= 1


def test_a_volume_smaller_than_a_window_is_made_to_hold_one() -> None:
    assert padded((6, 40, 12), 16) == (16, 40, 16)
    assert corners(padded((6, 9, 12), 16), 16, 0.5).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("patch", [8, 15, 64])
def test_a_window_says_most_of_its_middle_and_something_of_its_corners(patch: int) -> None:
    found = importance(patch)
    assert found.shape == (patch,) * 3 and found.dtype == np.float32
    for axis in range(3):
        np.testing.assert_array_equal(found, np.flip(found, axis))
        np.testing.assert_array_equal(found, np.moveaxis(found, axis, 0))
    middle = (patch - 1) // 2
    line = found[:, middle, middle]
    assert (np.diff(line[: middle + 1]) > 0).all() and found.max() == found[middle, middle, middle]
    # at a distance of one standard deviation along an axis the share is that of a Gaussian, to rounding of float32
    at = np.arange(patch) - (patch - 1) / 2
    gaussian = np.exp(-0.5 * (at / (patch / 8)) ** 2)
    np.testing.assert_allclose(line / line[middle], gaussian / gaussian[middle], rtol=1e-5, atol=1e-5)
    assert found.min() == np.float32(1e-6)
