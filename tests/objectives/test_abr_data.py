"""The grid: waveforms of any rate and start, compared with closed forms, and doubtful picks."""

from __future__ import annotations

import numpy as np
import pytest

from hpo.objective import DataError
from objectives.abr.data import CLASSES, Grid, class_of_level

RATES_HZ = [10_000.0, 24_414.0625, 24_414.0, 44_100.0, 48_828.125, 100_000.0]


def sine(rate_hz: float, hz: float, length_ms: float, start_ms: float = 0.0) -> np.ndarray:
    time_ms = start_ms + 1e3 * np.arange(int(rate_hz * length_ms / 1e3)) / rate_hz
    return np.asarray(np.sin(2e-3 * np.pi * hz * time_ms + 0.7)[None])


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("hz", [300, 1000, 3000])
def test_a_sine_keeps_frequency_and_phase_on_the_grid(rate_hz: float, hz: float) -> None:
    placed = Grid().place(sine(rate_hz, hz, 15), rate_hz, 0.0)
    assert placed.shape == (1, 200) and placed.dtype == np.float32
    # The filter ripples by 0.3 %; a shift by a tenth of a sample, 5 us, would be off by 9 % at 3 kHz, 1 % at 300 Hz.
    inner = slice(20, None)
    np.testing.assert_allclose(placed[:, inner], sine(20_000, hz, 10)[:, inner], atol=0.003)


@pytest.mark.parametrize("hz", [12_000, 15_000, 19_000, 30_000])
def test_what_the_grid_cannot_carry_is_removed_and_not_folded_back(hz: float) -> None:
    placed = Grid().place(sine(100_000, hz, 15), 100_000, 0.0)
    assert np.abs(placed[:, 20:]).max() < 0.003


@pytest.mark.parametrize("start_ms", [-2.0, -0.48])
def test_a_baseline_before_the_onset_is_cut(start_ms: float) -> None:
    placed = Grid().place(sine(100_000, 1000, 15, start_ms), 100_000, start_ms)
    np.testing.assert_allclose(placed[:, 20:], sine(20_000, 1000, 10)[:, 20:], atol=0.003)


def test_an_offset_makes_no_step_at_the_ends() -> None:
    grid = Grid(20_000, 10)
    line = np.linspace(5.0, 7.0, 250, endpoint=False)[None]
    np.testing.assert_allclose(grid.place(line, 25_000, 0.0)[0], np.linspace(5.0, 7.0, 200, endpoint=False), rtol=1e-3)


def test_waveforms_on_the_grid_already_are_left_as_they_are() -> None:
    wave = np.random.default_rng(0).normal(size=(3, 260))
    np.testing.assert_array_equal(Grid().place(wave, 20_000, 0.0), wave[:, :200].astype(np.float32))
    np.testing.assert_array_equal(Grid().place(wave, 20_000, -1.0), wave[:, 20:220].astype(np.float32))


@pytest.mark.parametrize(
    ("rate_hz", "window_ms", "samples"),
    [(20_000, 10, 200), (24_414.0625, 10, 244), (20_000, 8.57, 170), (44_100, 10, 440)],
)
def test_the_window_holds_whole_pairs_of_samples(rate_hz: float, window_ms: float, samples: int) -> None:
    grid = Grid(rate_hz, window_ms)
    assert grid.samples == samples
    assert grid.end_ms == pytest.approx(1e3 * samples / rate_hz) and grid.end_ms <= window_ms
    assert grid == Grid.of({"rate_hz": rate_hz, "window_ms": window_ms, "batch_size": 64})


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_what_a_grid_does_not_miss_fills_it(rate_hz: float) -> None:
    grid = Grid()
    enough = next(length for length in range(1, 2000) if not grid.lacks(length, rate_hz, 0.0))
    assert grid.place(np.zeros((1, enough)), rate_hz, 0.0).shape == (1, 200)
    assert grid.place(np.zeros((1, enough - 1)), rate_hz, 0.0).shape[1] < 200
    assert abs(1e3 * enough / rate_hz - 10) <= 1e3 / min(rate_hz, grid.rate_hz)


@pytest.mark.parametrize(
    ("rate_hz", "window_ms", "expected"),
    [
        (20, 10, r"data\.rate_hz 20 is under 2000; give it in Hz"),
        (float("nan"), 10, r"data\.rate_hz nan is under 2000"),
        (
            20_000,
            0.01,
            r"data\.window_ms 0\.01 is 0 samples at data\.rate_hz 20000, 16 are the least; give it in milli",
        ),
        (20_000, float("inf"), r"data\.window_ms inf is 0 samples"),
        (20_000, -10, r"data\.window_ms -10 is -200 samples"),
    ],
)
def test_a_grid_in_other_units_is_refused(rate_hz: float, window_ms: float, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        Grid(rate_hz, window_ms)


def test_levels_between_two_classes_go_to_the_nearer_one() -> None:
    above_db = np.array([-30, -0.1, 0, 10, 12.4, 12.6, 15, 30, 32.4, 32.6, 35])
    assert class_of_level(above_db).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3]
    assert len(CLASSES) == 4
