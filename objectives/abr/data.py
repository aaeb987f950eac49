"""What the recordings of the ABR objective are once they are read, whatever file they came from.

`objectives.abr.csv` reads tables (`waveforms.csv`), `objectives.abr.epl` the exports of EPL's instrument; both give
`Recordings` on the `Grid` that the study asks for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from hpo.objective import DataError

CLASSES = ("below threshold", "0-10 dB", "15-30 dB", ">30 dB")
STATICS = ("level_db", "freq_khz", "n_sweeps")
LABELS = ("hearing_class", "wave_v_present", "wave_v_latency_ms", "wave_v_amplitude_uv")
#: The grid of a study that asks for no other; made-up responses are made on it.
RATE_HZ, WINDOW_MS = 20_000, 10.0
SAMPLES = 200
#: Below this a rate cannot carry a wave V (up to about 1 kHz) and is most likely given in kHz.
LOWEST_RATE_HZ = 2_000
#: A wave V never comes this early: what was picked there is stimulus artefact or an earlier wave.
EARLIEST_MS = 4.0
#: No number of a recording is larger: a volt is 1e6 uV, and float32 must hold its square.
LARGEST = 1e9
#: Half the gap between two classes, dB above threshold: levels come in steps of 5 dB, what lies between goes to the
#: nearer class.
_CLASS_EDGES_DB = (0, 12.5, 32.5)
#: A ratio of rates is rounded to a fraction with this denominator at most: off by under 1e-8, 0.1 ns in 10 ms.
_LARGEST_DENOMINATOR = 10_000


@dataclass(frozen=True)
class Grid:
    """The samples that every waveform is put on: `samples` from stimulus onset on, `rate_hz` apart.

    Raises:
        DataError: a rate under LOWEST_RATE_HZ or a window of fewer than 16 samples.
    """

    rate_hz: float = RATE_HZ
    window_ms: float = WINDOW_MS

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate_hz) and self.rate_hz >= LOWEST_RATE_HZ):
            raise DataError(f"data.rate_hz {self.rate_hz:g} is under {LOWEST_RATE_HZ}; give it in Hz")
        if not (math.isfinite(self.window_ms) and self.samples >= 16):
            raise DataError(
                f"data.window_ms {self.window_ms:g} is {self.samples} samples at data.rate_hz {self.rate_hz:g}, "
                "16 are the least; give it in milliseconds"
            )

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Grid:
        """From the parameters of the group `data`."""
        return cls(float(data["rate_hz"]), float(data["window_ms"]))

    @property
    def samples(self) -> int:
        """Whole pairs of samples in the window: the network halves the time axis and doubles it again."""
        return 2 * math.floor(self.rate_hz * self.window_ms / 2e3 + 1e-6) if math.isfinite(self.window_ms) else 0

    @property
    def end_ms(self) -> float:
        """Where the window really ends."""
        return 1e3 * self.samples / self.rate_hz

    def lacks(self, length: int, rate_hz: float, start_ms: float) -> str:
        """Why a waveform does not fill the window, and the way out; nothing where it does."""
        if round(start_ms * rate_hz / 1e3) > 0:
            return f"starts {start_ms:g} ms after stimulus onset; the window starts at the onset"
        if math.ceil((length + round(start_ms * rate_hz / 1e3)) * self._ratio(rate_hz)) >= self.samples:
            return ""
        end_ms = 1e3 * length / rate_hz + start_ms
        return (
            f"{length} samples at {rate_hz:g} Hz end {end_ms:.4g} ms after stimulus onset, data.window_ms asks for "
            f"{self.window_ms:g}; set data.window_ms to {end_ms:.4g} or less, or give longer recordings"
        )

    def place(self, waves: np.ndarray, rate_hz: float, start_ms: float) -> np.ndarray:
        """Put waveforms on the grid.

        What lies before the onset and after the window is cut. Polyphase resampling: a linear-phase low-pass at the
        lower of the two Nyquist frequencies (`scipy.signal.resample_poly`, Kaiser window), which shifts no peak and
        folds nothing back. Outside its ends a waveform is taken to go on along the line through its first and last
        sample, so that an offset makes no step there.

        Args:
            waves: float `[rows, time]`, uV.
            rate_hz: of `waves`.
            start_ms: of the first sample after stimulus onset, negative for a baseline; to the nearest sample.

        Returns:
            float32 `[rows, samples]`, uV.
        """
        onset = -round(start_ms * rate_hz / 1e3)
        ratio = self._ratio(rate_hz)
        placed = waves[:, onset:]
        if ratio != 1:
            from scipy.signal import resample_poly  # half a second that only the first worker of a cache pays

            placed = resample_poly(placed, ratio.numerator, ratio.denominator, axis=1, padtype="line")
        return np.asarray(placed[:, : self.samples], np.float32)

    def _ratio(self, rate_hz: float) -> Fraction:
        return (Fraction(self.rate_hz) / Fraction(rate_hz)).limit_denominator(_LARGEST_DENOMINATOR)


@dataclass(frozen=True, kw_only=True)
class Recordings:
    """Everything read from a source, one entry per waveform."""

    subject: np.ndarray  #: text `[rows]`
    statics: np.ndarray  #: float64 `[rows, 3]`, in the order of STATICS
    waveform: np.ndarray  #: float32 `[rows, samples]`, uV
    hearing_class: np.ndarray  #: int64 `[rows]`, -1 = missing
    present: np.ndarray  #: int64 `[rows]`, 1, 0 or -1 = missing
    latency_ms: np.ndarray  #: float32 `[rows]`, NaN = missing
    amplitude_uv: np.ndarray  #: float32 `[rows]`, NaN = missing
    file: np.ndarray | None = None  #: text `[rows]`; None where one file holds all rows
    notes: tuple[str, ...] = ()  #: what was left out or changed
    unlabelled: str = ""  #: what labels the source lacks, and the way out

    def masked_picks(self, window_ms: float) -> tuple[Recordings, int]:
        """Without the latency and amplitude of doubtful picks, and how many those were.

        A pick before EARLIEST_MS is not a wave V; one after the end of the window cannot be seen by a network that is
        given the window. The rows stay, and so does what the expert said about presence.
        """
        doubtful = (self.latency_ms < EARLIEST_MS) | (self.latency_ms > window_ms)  # False for NaN
        latency = np.where(doubtful, np.float32("nan"), self.latency_ms)
        amplitude = np.where(doubtful, np.float32("nan"), self.amplitude_uv)
        masked = Recordings(**{**vars(self), "latency_ms": latency, "amplitude_uv": amplitude})
        return masked, int(doubtful.sum())


def class_of_level(above_threshold_db: np.ndarray) -> np.ndarray:
    """Class 0 to 3 of levels in dB above threshold: below, 0-10, 15-30, more than 30; int64 of the same shape."""
    return np.asarray(np.digitize(above_threshold_db, _CLASS_EDGES_DB), np.int64)
