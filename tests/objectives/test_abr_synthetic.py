"""Made-up brainstem responses: what makes them a stand-in for recordings."""

from __future__ import annotations

import numpy as np

from objectives import abr_synthetic
from objectives.abr_data import CLASSES


def test_made_up_waveforms_are_the_same_on_every_call_and_look_like_recordings() -> None:
    first, second = abr_synthetic.generate(), abr_synthetic.generate()
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, getattr(second, name))
    assert len(first.subject) == 780
    assert len(np.unique(first.subject)) == 10
    shares = np.bincount(first.hearing_class[first.hearing_class >= 0]) / (first.hearing_class >= 0).sum()
    assert len(shares) == len(CLASSES)
    assert shares.min() < 0.1 < 0.4 < shares.max()
    assert first.masked_picks(10.0)[1] == 0
    assert (first.present[np.isfinite(first.latency_ms)] == 1).all()


def test_made_up_noise_falls_with_the_sweeps_and_waves_come_later_at_low_levels() -> None:
    made = abr_synthetic.generate()
    level, _, sweeps = made.statics.T
    below = made.hearing_class == 0
    few, many = (made.waveform[below & (sweeps == n)].std() for n in (500, 4000))
    assert 2.0 < few / many < 3.5  # 8 times the sweeps: noise falls by sqrt(8) = 2.8
    picked = np.isfinite(made.latency_ms)
    assert np.corrcoef(level[picked], made.latency_ms[picked])[0, 1] < -0.5
