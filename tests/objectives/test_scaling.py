"""Centres and scales of training rows against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from objectives.scaling import mean_std, median_spread


def test_mean_and_standard_deviation_leave_missing_entries_out() -> None:
    values = np.random.default_rng(0).normal(3, 2, (50, 3)).astype(np.float32)
    values[::4, 1] = np.nan
    np.testing.assert_allclose(mean_std(values), [np.nanmean(values, 0), np.nanstd(values, 0)], rtol=1e-5)


def test_what_cannot_be_scaled_keeps_its_unit() -> None:
    nothing, equal = np.full(4, np.nan), np.full(4, 7.0)
    assert mean_std(np.stack([nothing, equal], 1)).tolist() == [[0, 7], [1, 1]]
    assert median_spread(equal[:, None]).tolist() == [7, 1]


def test_the_spread_is_the_standard_deviation_of_normal_values_whatever_lies_far_out() -> None:
    """A fifth of the rows hold an artefact a thousand times as large; the quartiles move by a quarter at most."""
    values = np.random.default_rng(1).normal(2, 0.5, (4000, 5))
    assert median_spread(values).tolist() == pytest.approx([2, 0.5], rel=0.02)
    values[::10] += 1000
    values[5::10] -= 1000
    assert median_spread(values).tolist() == pytest.approx([2, 0.5], rel=0.4)
