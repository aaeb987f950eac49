"""Made-up volumes of a scroll's sheets, for tests, benches and first steps without scans. Not for science.

Six scrolls, two cubes of 48 voxels of each, drawn by `objectives.surface.sheets`. VARIANTS:

- `thick`: sheets are 66 % of the voxels in the mean over volumes, from 27 % to 92 %: the shares of the note behind
  `studies/surface.yaml`. To call everything a sheet has a Dice of 0.80 over all voxels.
- `thin`: sheets are 2 to 3 voxels thick, 9 % to 15 % of the voxels.

What both have of a scan:

- A scroll has a brightness, a contrast, a noise, a thickness of sheets and a direction of its own; folds by group ask
  for scrolls that were not seen.
- The noise is about as large as the step from air to sheet: the brightness of a single voxel says little, that of its
  neighbourhood nearly all. Brightness drifts across a volume, sheets are unevenly dense, and the step is blurred.
- Gaps: here and there a sheet cannot be told from air, and its label goes on.
- Every third volume has a slab at a side or a corner that nobody labelled (IGNORED).

A logistic regression on brightness blurred at six widths has a mean Dice of 0.87 on thick volumes of scrolls that it
was not fitted to; on the brightness of single voxels it has 0.77, and to call everything a sheet has 0.78.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from objectives.surface.data import BACKGROUND, FOREGROUND, IGNORED, Slabs, Volume, Volumes
from objectives.surface.sheets import Bend, distance, smooth

SEED = 11
SIDE = 48
GROUPS, VOLUMES = 6, 2  #: scrolls; cubes of each
#: Share of sheets in every volume, and least and greatest thickness of a scroll's sheets in voxels.
SHARES = {
    "thick": (0.27, 0.42, 0.52, 0.60, 0.64, 0.68, 0.71, 0.74, 0.78, 0.81, 0.83, 0.92),
    "thin": tuple(np.linspace(0.09, 0.15, GROUPS * VOLUMES).tolist()),
}
THICKNESS = {"thick": (5.0, 8.0), "thin": (2.2, 2.8)}
VARIANTS = tuple(SHARES)
#: Of a scroll, in grey levels: air, and the step from air to sheet; then the noise, in steps.
AIR, STEP, NOISE = (85.0, 105.0), (35.0, 45.0), (0.7, 1.1)
RADIUS, TILT = (60.0, 200.0), 0.3  #: of a scroll's wraps, voxels; of its axis at most, radians
BLUR, GRAIN = 0.5, 0.5  #: voxels: of the step, and of the noise, which is not quite white
DENSITY, TEXTURE = 0.15, 1.5  #: unevenness of sheets, as a share of the step; voxels
DRIFT, FAR = 0.15, 14.0  #: of the brightness across a volume, in steps; voxels
HOLES, HOLE = 0.06, 3.0  #: share of the volume where no sheet is seen; voxels
SLAB = 8  #: voxels that an unlabelled slab is thick


@dataclass(frozen=True, kw_only=True)
class _Scroll:
    """What the cubes of a group have in common."""

    name: str
    air: float
    step: float
    noise: float
    thickness: float
    bend: Bend


def generate(variant: str) -> Volumes:
    """The volumes of one of VARIANTS; the same on every call."""
    generator = np.random.default_rng([SEED, VARIANTS.index(variant)])
    shares = generator.permutation(SHARES[variant]).tolist()
    volumes: list[Volume] = []
    for group in range(GROUPS):
        scroll = _scroll(group, THICKNESS[variant], generator)
        for number in range(VOLUMES):
            image, label = _cube(scroll, shares[len(volumes)], generator)
            if len(volumes) % 3 == 2:
                label[_slab(len(volumes))] = IGNORED
            volume = Volume(
                name=f"{scroll.name}_{number + 1}",
                group=scroll.name,
                shape=(SIDE, SIDE, SIDE),
                image=_slabs(image),
                label=_slabs(label),
            )
            volumes.append(volume)
    return Volumes(volumes=tuple(volumes), dtype=np.uint8)


def _scroll(group: int, thickness: tuple[float, float], generator: np.random.Generator) -> _Scroll:
    step = generator.uniform(*STEP)
    return _Scroll(
        name=f"scroll{group + 1}",
        air=generator.uniform(*AIR),
        step=step,
        noise=step * generator.uniform(*NOISE),
        thickness=generator.uniform(*thickness),
        bend=Bend(
            radius=generator.uniform(*RADIUS),
            turn=generator.uniform(-np.pi, np.pi),
            tilt=generator.uniform(-TILT, TILT),
        ),
    )


def _cube(scroll: _Scroll, share: float, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image and label, uint8 `[slice, line, column]` each, every voxel labelled."""
    surface = distance(scroll.bend, SIDE, scroll.thickness, share, generator)
    sheet = gaussian_filter(np.clip(0.5 - surface, 0, 1), BLUR)  # a voxel on the surface is half a sheet
    hidden = smooth(surface.shape, HOLE, generator)
    seen = np.clip((np.quantile(hidden, 1 - HOLES) - hidden) / 0.2, 0, 1)  # the rim of a hole is no edge
    dense = 1 + DENSITY * smooth(surface.shape, TEXTURE, generator)
    light = DRIFT * smooth(surface.shape, FAR, generator)
    clean = scroll.air + scroll.step * (sheet * seen * dense + light)
    noisy = clean + scroll.noise * smooth(surface.shape, GRAIN, generator)
    image = np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
    return image, np.where(surface <= 0, FOREGROUND, BACKGROUND).astype(np.uint8)


def _slab(number: int) -> tuple[slice, ...]:
    """Which part of a volume nobody labelled: the last slices, the first columns or a corner, in turn."""
    everything, first, last = slice(None), slice(SLAB), slice(-SLAB, None)
    places = ((last, everything, everything), (everything, everything, first), (last, slice(16), slice(16)))
    return places[number // 3 % len(places)]


def _slabs(array: np.ndarray) -> Slabs:
    return lambda first, end: array[first:end]
