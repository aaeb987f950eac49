"""Sheets of a made-up scroll: where in a cube they run, how far they are from each other, where they touch.

All wraps bend around the scroll's axis and wave together, and each waves a little by itself. No sheet goes through
another: where one would, it lies on the one inside of it, and the two are one body, as in a crushed scroll.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.optimize import brentq

SPARE = 2  #: sheets on either side of those that fill the diagonal of a cube: some are closer than the mean
WAVE, WAVES = 2.5, 10.0  #: standard deviation of the common undulation, and of what smooths it, voxels
#: Standard deviation of a sheet's own undulation, as a share of the pitch; its greatest; of what smooths it; voxels.
OWN_WAVE, MOST_WAVE, OWN_WAVES = 0.3, 6.0, 12.0
FIELD = 96  #: side of the field of such an undulation, which repeats beyond, voxels
WIDEST = 100.0  #: pitch at which a cube has one sheet at most


@dataclass(frozen=True, kw_only=True)
class Bend:
    """Where a cube lies in its scroll. Lengths are in voxels, angles in radians."""

    radius: float  #: from the axis to the middle of the cube
    turn: float  #: direction in which it lies, seen along the axis
    tilt: float  #: of the axis, against the first dimension


def distance(bend: Bend, side: int, thickness: float, share: float, generator: np.random.Generator) -> np.ndarray:
    """How far a voxel is from the surface of the nearest sheet, below 0 inside of it.

    Args:
        bend: of the wraps.
        side: of the cube, voxels.
        thickness: of a sheet, voxels, where it does not slope against its neighbours.
        share: of the cube that lies in sheets; the pitch follows from it.
        generator: of everything random.

    Returns:
        float32 `[slice, line, column]`, in voxels.
    """
    out, around, along = _scroll(bend, side)
    out = out + WAVE * smooth((side,) * 3, WAVES, generator) + generator.uniform(-0.5, 0.5) * thickness
    wraps = SPARE + math.ceil(3**0.5 / 2 * side * share / thickness)  # on either side of the one in the middle
    waves = np.stack([_wave(np.stack([around, along]), generator) for _ in range(2 * wraps + 1)])
    number = np.arange(2 * wraps + 1, dtype=np.float32)[:, None, None, None]

    def surface(pitch: float, step: int) -> np.ndarray:
        place, wave = out[::step, ::step, ::step], waves[:, ::step, ::step, ::step]
        wanted = number * (pitch - thickness) + min(OWN_WAVE * pitch, MOST_WAVE) * wave
        middles = np.maximum.accumulate(wanted) + number * thickness
        return np.asarray(np.abs(place - middles + middles[wraps].mean()).min(0) - thickness / 2)

    # Every third voxel of each dimension tells the share well enough, at a 27th of the price.
    pitch = brentq(lambda pitch: (surface(pitch, 3) <= 0).mean() - share, thickness, WIDEST, xtol=0.01)
    return surface(pitch, 1)


def smooth(shape: tuple[int, ...], width: float, generator: np.random.Generator) -> np.ndarray:
    """Gaussian noise smoothed by `width` voxels, mean 0 and standard deviation 1."""
    noise = gaussian_filter(generator.standard_normal(shape, np.float32), width, mode="wrap")
    return np.asarray((noise - noise.mean()) / noise.std())


def _scroll(bend: Bend, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of every voxel: how far outside the middle wrap, how far around and how far along the axis it lies, voxels."""
    z, y, x = np.indices((side,) * 3, np.float32) - np.float32((side - 1) / 2)
    along, y = z * math.cos(bend.tilt) - y * math.sin(bend.tilt), z * math.sin(bend.tilt) + y * math.cos(bend.tilt)
    ahead = bend.radius + x * math.cos(bend.turn) + y * math.sin(bend.turn)
    aside = y * math.cos(bend.turn) - x * math.sin(bend.turn)
    return np.hypot(ahead, aside) - bend.radius, bend.radius * np.arctan2(aside, ahead), along


def _wave(place: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An undulation that is the same on every way out of the scroll, `[slice, line, column]`.

    Args:
        place: around and along the scroll, voxels, `[2, slice, line, column]`.
        generator: of the undulation.
    """
    field = smooth((FIELD, FIELD), OWN_WAVES, generator)
    return np.asarray(map_coordinates(field, place + FIELD / 2, np.float32, order=1, mode="grid-wrap"))
