"""What augmentation does to waveforms: one strength per row, arithmetic only, so that lanes may differ in it."""

from __future__ import annotations

import torch
from torch import Tensor


def delay(wave: Tensor, samples: Tensor) -> Tensor:
    """Move each waveform `[rows, time]` later by `samples` `[rows]`, interpolating linearly; the ends are held."""
    last = wave.shape[-1] - 1
    position = torch.arange(last + 1, dtype=wave.dtype, device=wave.device) - samples[:, None]
    position = position.clamp(0, last)
    before = position.floor()
    share = position - before
    left, right = before.long(), (before.long() + 1).clamp_max(last)
    return wave.gather(-1, left) * (1 - share) + wave.gather(-1, right) * share


def band(wave: Tensor, place: Tensor, width: Tensor) -> Tensor:
    """What of each waveform `[rows, time]` lies in one band of its spectrum (SpecAugment, Park et al. 2019).

    Args:
        wave: of any length.
        place: `[rows]`, 0 to 1, of the band within the frequencies from 0 to half the sampling rate.
        width: `[rows]`, 0 to 1, as a share of them; 0 gives exactly 0.
    """
    bins = torch.linspace(0, 1, wave.shape[-1] // 2 + 1, dtype=wave.dtype, device=wave.device)
    low = (place * (1 - width))[:, None]
    inside = (bins >= low) & (bins < low + width[:, None])
    return torch.fft.irfft(torch.fft.rfft(wave) * inside, n=wave.shape[-1])
