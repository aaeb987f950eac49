"""Made-up brainstem responses: what makes them a stand-in for recordings."""

from __future__ import annotations

import numpy as np
import pytest

from objectives.abr import synthetic as abr_synthetic
from objectives.abr.data import CLASSES


def test_made_up_waveforms_are_the_same_on_every_call_and_look_like_recordings() -> None:
    first, second = abr_synthetic.generate(), abr_synthetic.generate()
    for name, values in vars(first).items():
        np.testing.assert_array_equal(values, getattr(second, name))
    assert len(first.subject) == 1260
    assert len(np.unique(first.subject)) == 10
    shares = np.bincount(first.hearing_class[first.hearing_class >= 0]) / (first.hearing_class >= 0).sum()
    assert len(shares) == len(CLASSES)
    assert shares.min() == shares[-1] < 0.16 < 0.35 < shares.max() == shares[0]
    assert first.masked_picks(10.0)[1] == 0
    assert (first.present[np.isfinite(first.latency_ms)] == 1).all()


def test_made_up_noise_falls_with_the_sweeps_and_waves_come_later_at_low_levels() -> None:
    made = abr_synthetic.generate()
    level, _, sweeps = made.statics.T
    below = made.hearing_class == 0
    after = made.waveform[:, 120:]  # from 6 ms on, where nothing is left of the artefact
    few, many = (after[below & (sweeps == n)].std() for n in (500, 4000))
    assert 2.0 < few / many < 3.5  # 8 times the sweeps: noise falls by sqrt(8) = 2.8
    picked = np.isfinite(made.latency_ms)
    assert np.corrcoef(level[picked], made.latency_ms[picked])[0, 1] < -0.5


def test_the_artefact_of_loud_stimuli_is_hundreds_of_times_the_response_and_soon_over() -> None:
    made = abr_synthetic.generate()
    level, onset, rest = made.statics[:, 0], np.abs(made.waveform[:, 0]), made.waveform[:, 80:]
    assert np.median(onset[level == 65]) > 100 * rest.std()
    assert np.median(onset[level == 65]) / np.median(onset[level == 45]) == pytest.approx(10, rel=0.3)  # 20 dB
    assert (made.waveform[:, 0] > 0).mean() == pytest.approx(0.5, abs=0.1)
    assert rest.std() < 0.5
