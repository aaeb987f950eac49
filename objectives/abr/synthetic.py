"""Made-up brainstem responses, for tests and first steps without recordings. Not for science.

Ten subjects, three averages per tone (click, 1 kHz, 4 kHz) and level (0 to 65 dB by 5), 1260 rows:

- Waves I to V are Gaussians at textbook latencies of a loud click (Hall 2007), each 0.03 ms later per dB below 60 dB
  above the subject's threshold for that tone, later again for low tones; their amplitudes grow with that level too.
- The stimulus leaves an artefact in the first two milliseconds, as in recordings at high levels; it grows with the
  sound pressure and decays exponentially, and its polarity is that of the stimulus. In loud rows it is hundreds of
  times the response, so that a loss in units of the response starts near 20, falls slowly, and teaches the signal
  far more than the class: the trouble of the note behind `studies/abr.yaml`.
- The noise is smoothed Gaussian noise that falls with the square root of the number of sweeps.
- Classes follow from level and threshold exactly as in the recordings; "below threshold" is the commonest, ">30 dB"
  the rarest. Nine subjects have classes; in every subject about a third of the rows was looked at for a wave V, and
  those with a wave V have latency and amplitude.
"""

from __future__ import annotations

import numpy as np

from objectives.abr.data import RATE_HZ, SAMPLES, Recordings, class_of_level

SUBJECTS, SUBJECTS_WITH_CLASS = 10, 9
SEED = 5
FREQS_KHZ = (0.0, 1.0, 4.0)
LEVELS_DB = np.arange(0, 70, 5)
REPLICATES = 3
LATENCIES_MS = np.array([1.6, 2.7, 3.7, 5.0, 5.6])  # waves I to V, click at 80 dB
AMPLITUDES_UV = np.array([0.15, 0.06, 0.18, 0.12, 0.40])  # 50 dB above threshold
WIDTH_MS = 0.25
DELAY_MS_PER_DB = 0.03
DELAY_MS = {0.0: 0.0, 1.0: 0.8, 4.0: 0.2}  # of the tones: low ones travel further along the cochlea
ARTEFACT_UV = 16.0  # at stimulus onset, 60 dB; a tenth of it at 40 dB
ARTEFACT_MS = 0.4  # in which it falls to 1/e
NOISE_UV = 0.04  # of an average of 1000 sweeps, before smoothing
LOOKED_AT = 1 / 3


def generate() -> Recordings:
    """The recordings; the same on every call."""
    generator = np.random.default_rng(SEED)
    thresholds_db = generator.choice(np.arange(15, 45, 5), (SUBJECTS, len(FREQS_KHZ)))
    grid = np.indices((SUBJECTS, len(FREQS_KHZ), len(LEVELS_DB), REPLICATES)).reshape(4, -1)
    subject, tone, level_db = grid[0], grid[1], LEVELS_DB[grid[2]]
    above_db = level_db - thresholds_db[subject, tone]
    freq_khz = np.asarray(FREQS_KHZ)[tone]
    n_sweeps = generator.choice([500, 1000, 2000, 4000], len(subject))
    latency_ms, amplitude_uv = _waves(above_db, freq_khz, generator)
    waveform = _signal(latency_ms, amplitude_uv) + _artefact(level_db, generator) + _noise(n_sweeps, generator)
    looked = generator.random(len(subject)) < LOOKED_AT
    present = np.where(looked, (above_db >= 0).astype(np.int64), -1)
    nothing = np.float32("nan")
    return Recordings(
        subject=np.array([f"S{number + 1:02d}" for number in subject]),
        statics=np.stack([level_db, freq_khz, n_sweeps], axis=1).astype(np.float64),
        waveform=waveform.astype(np.float32),
        hearing_class=np.where(subject < SUBJECTS_WITH_CLASS, class_of_level(above_db), -1),
        present=present,
        latency_ms=np.where(present == 1, latency_ms[:, -1].astype(np.float32), nothing),
        amplitude_uv=np.where(present == 1, amplitude_uv[:, -1].astype(np.float32), nothing),
    )


def _waves(above_db: np.ndarray, freq_khz: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Latencies in ms and amplitudes in uV of the five waves, each `[rows, wave]`."""
    delay = DELAY_MS_PER_DB * (60 - above_db) + np.array([DELAY_MS[freq] for freq in freq_khz])
    jitter = generator.normal(0, 0.05, (len(above_db), len(LATENCIES_MS)))
    growth = np.clip((above_db + 10) / 50, 0, 1)
    spread = generator.lognormal(0, 0.2, (len(above_db), len(AMPLITUDES_UV)))
    latency_ms: np.ndarray = LATENCIES_MS + delay[:, None] + jitter
    return latency_ms, AMPLITUDES_UV * growth[:, None] * spread


def _signal(latency_ms: np.ndarray, amplitude_uv: np.ndarray) -> np.ndarray:
    time_ms = 1e3 * np.arange(SAMPLES) / RATE_HZ
    distance = (time_ms - latency_ms[:, :, None]) / WIDTH_MS
    return np.asarray((amplitude_uv[:, :, None] * np.exp(-0.5 * distance**2)).sum(1))


def _artefact(level_db: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    time_ms = 1e3 * np.arange(SAMPLES) / RATE_HZ
    size = ARTEFACT_UV * 10 ** ((level_db - 60) / 20) * generator.lognormal(0, 0.3, len(level_db))
    polarity = generator.choice([-1, 1], len(level_db))
    return np.asarray((polarity * size)[:, None] * np.exp(-time_ms / ARTEFACT_MS))


def _noise(n_sweeps: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    white = generator.normal(0, 1, (len(n_sweeps), SAMPLES + 8)) * NOISE_UV * np.sqrt(1000 / n_sweeps)[:, None]
    smoothed = np.lib.stride_tricks.sliding_window_view(white, 9, axis=1).sum(-1) / 3  # keeps the standard deviation
    return np.asarray(smoothed)
