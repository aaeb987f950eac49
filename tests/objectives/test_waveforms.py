"""Shifts in time and bands of the spectrum against numpy."""

from __future__ import annotations

import numpy as np
import torch
from torch.func import vmap

from objectives.waveforms import band, delay

WAVE = torch.randn(4, 30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_whole_samples_move_and_the_ends_are_held() -> None:
    moved = delay(WAVE, torch.tensor([0.0, 3.0, -2.0, 40.0], dtype=torch.float64))
    assert torch.equal(moved[0], WAVE[0])
    torch.testing.assert_close(moved[1], torch.cat([WAVE[1, :1].expand(3), WAVE[1, :-3]]))
    torch.testing.assert_close(moved[2], torch.cat([WAVE[2, 2:], WAVE[2, -1:].expand(2)]))
    torch.testing.assert_close(moved[3], WAVE[3, :1].expand(30))


def test_between_samples_the_shift_interpolates() -> None:
    moved = delay(WAVE, torch.full((4,), 1.25, dtype=torch.float64))
    position = np.clip(np.arange(30) - 1.25, 0, 29)
    for row, wave in zip(moved, WAVE, strict=True):
        np.testing.assert_allclose(row, np.interp(position, np.arange(30), wave.numpy()))


def test_bands_side_by_side_add_up_to_the_waveform() -> None:
    half, one = torch.full((4,), 0.5, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    low, high = band(WAVE, 0 * one, half), band(WAVE, one, half)
    spectrum = np.abs(np.fft.rfft(low.numpy()))
    assert spectrum[:, 8:].max() < 1e-12 and spectrum[:, :7].min() > 1e-3
    highest = np.fft.irfft(np.where(np.arange(16) == 15, np.fft.rfft(WAVE.numpy()), 0), n=30)
    np.testing.assert_allclose(low + high, WAVE.numpy() - highest, atol=1e-12)  # the last frequency is in no band


def test_no_width_is_exactly_nothing_and_lanes_may_differ() -> None:
    place = torch.rand(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.equal(band(WAVE, place, 0 * place), torch.zeros_like(WAVE))
    strengths = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    lanes = vmap(lambda strength: band(WAVE, place, strength * place))(strengths)
    for lane, strength in zip(lanes, strengths, strict=True):
        torch.testing.assert_close(lane, band(WAVE, place, strength * place))
