"""Augmentation of batches of clips on their device: of tracked points and of the video beside them.

A batch costs one call, each clip has a draw of its own, and every strength acts through arithmetic only, so that lanes
of `torch.func.vmap` may differ in it, as in `objectives.images`. In this order a clip is rolled in time, mirrored, its
video changed in brightness and contrast about the clip's mean grey level and made noisy, its points jittered, and
frames dropped. Grey levels are rounded and clamped once, at the end.

Frames that pad a clip behind its session's end roll along, are in no mean, and keep their grey levels. The bars about
a frame in its square are part of the picture, and change with it.

Shape legend: `rows` clips of a batch, `time` their frames, `point` the tracked points, `side` pixels of the height and
of the width of a video's squares (`objectives.video`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from objectives.images import WHITE, Strength

#: Shares of the clips that each change happens to. Jitter changes all of them, mirroring has its own probability.
BRIGHTNESS_SHARE = CONTRAST_SHARE = 0.5
DROP_SHARE = NOISE_SHARE = 0.3
ROLL_SHARE = 0.2
#: Entries without time; their second dimension may be as long as time all the same.
_TIMELESS = ("extent", "mirror")
#: Numbers drawn per clip: whether something happens to it, and how much.
_HAPPENS, _AMOUNTS = 6, 3
#: Normal numbers drawn per batch of videos, besides those of one frame. Each frame reads its noise off them from a
#: place of its own: one for every pixel would cost more than everything else together.
_NOISES = 2**18


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How much a batch is changed; 0 = off, and all 0 gives the batch back bit for bit."""

    #: Standard deviation of how far a point is off all through a clip, in its unit; then the frame clips it. Noise that
    #: is new in every frame would say that resting animals race: steps of training were then unlike any in validation.
    jitter: Strength = 0.0
    brightness: Strength = 0.0  #: video is scaled by 1 - brightness to 1 + brightness; 0 to 1
    contrast: Strength = 0.0  #: likewise its distance from the clip's mean grey level; 0 to 1
    temporal_drop: Strength = 0.0  #: probability that a frame is blanked; 0 to 1
    noise: Strength = 0.0  #: standard deviation of noise on the video, as a share of white
    roll: Strength = 0.0  #: most whole frames by which a clip is rolled either way, circular
    flip: Strength = 0.0  #: probability of a mirror image, left to right, in which left and right points swap; 0 to 1


def augmented(
    batch: Mapping[str, Tensor], strengths: Strengths, chosen: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Change each chosen clip of a batch by a draw of its own.

    The number of draws depends on shapes alone, and those for a video come last: points are changed alike with and
    without one. Strengths are read in single precision, as `objectives.images` does. Noise is drawn in single precision
    and added in that of the points; with strengths that are Python numbers, tensors or lanes, results are the same.

    Args:
        batch: every entry `[rows, time, ...]` but `extent` and `mirror` rolls along; what is not named here is not
            changed otherwise.
            `keypoints` float `[rows, time, point, 2]`, x to the right, in units of the frame's longer side, NaN where
            not seen. `extent` float `[rows, 2]`, the frame's width and height in this unit. `frame` int64
            `[rows, time]`, -1 for padding. `mirror` int64 `[rows, point]`, the point that each becomes in a mirror
            image. `video`, where there is one, uint8 `[rows, time, side, side]`, the whole frame in the square's
            middle.
        strengths: numbers, or 0-d tensors on any device.
        chosen: bool `[rows]`; the other clips stay bit for bit.
        generator: the only source of randomness; it may be on another device than the batch.

    Returns:
        The batch with its changed entries, and `clean` float `[rows, time, point, 2]`: key points rolled and mirrored
        alike, but without jitter and with every frame. A dropped frame has NaN for points and black for video.
    """
    points, extent, length = batch["keypoints"], batch["extent"], batch["frame"].shape
    happens = _uniform((_HAPPENS, len(points)), generator, points.device)
    steps, light, depth = _uniform((_AMOUNTS, len(points)), generator, points.device)
    blank = _uniform(length, generator, points.device)
    shaking = _normal((len(points), 1, *points.shape[2:]), generator, points.device).to(points.dtype)
    shares = (ROLL_SHARE, _read(strengths.flip, happens), DROP_SHARE, BRIGHTNESS_SHARE, CONTRAST_SHARE, NOISE_SHARE)
    moved, turned, gappy, lit, contrasted, grainy = (
        (draw < share) & chosen for draw, share in zip(happens, shares, strict=True)
    )

    rolled = _rolled(batch, _steps(steps, strengths.roll) * moved)
    padding, turned = rolled["frame"] < 0, turned[:, None, None, None]
    dropped = (blank < _read(strengths.temporal_drop, blank)) & gappy[:, None] & ~padding
    clean = torch.where(turned, _mirrored(rolled["keypoints"], extent, batch["mirror"]), rolled["keypoints"])
    shaken = _jittered(clean, extent, shaking, _read(strengths.jitter, points) * chosen)
    found = {**rolled, "clean": clean, "keypoints": torch.where(dropped[..., None, None], torch.nan, shaken)}
    if "video" in batch:
        brightness = 1 + _swing(light, strengths.brightness) * lit
        contrast = 1 + _swing(depth, strengths.contrast) * contrasted
        offset = _mean_grey(batch["video"], batch["frame"]) * brightness * (1 - contrast)
        changes = (brightness * contrast, offset, _read(strengths.noise, happens) * WHITE * grainy)
        gain, offset, noise = (
            torch.where(padding, unchanged, change[:, None]).float() * ~dropped
            for change, unchanged in zip(changes, (1, 0, 0), strict=True)
        )
        video = torch.where(turned, rolled["video"].flip(-1), rolled["video"])
        found["video"] = _regraded(video, gain, offset, noise, generator)
    return found


def _rolled(batch: Mapping[str, Tensor], steps: Tensor) -> dict[str, Tensor]:
    """Every entry with time moved later by whole frames `[rows]`; what leaves at the end comes in at the start."""
    rows, time = batch["frame"].shape
    frames = torch.arange(time, device=steps.device)
    source = (frames - steps.long()[:, None]) % time + time * torch.arange(rows, device=steps.device)[:, None]

    def moved(entry: Tensor) -> Tensor:
        return entry.flatten(0, 1).index_select(0, source.flatten()).reshape(entry.shape)  # ten times gather's speed

    lasting = {name for name, entry in batch.items() if entry.shape[:2] == (rows, time) and name not in _TIMELESS}
    return {name: moved(entry) if name in lasting else entry for name, entry in batch.items()}


def _mirrored(points: Tensor, extent: Tensor, mirror: Tensor) -> Tensor:
    """Key points `[rows, time, point, 2]` of the frame's mirror image, each under the name that it has there."""
    x, y = points.unbind(-1)
    swapped = torch.stack([extent[:, None, None, 0] - x, y], -1)
    return swapped.gather(2, mirror[:, None, :, None].expand(swapped.shape))


def _jittered(points: Tensor, extent: Tensor, shaking: Tensor, std: Tensor) -> Tensor:
    """Every point `shaking` standard deviations `[rows]` off, inside the frame; without, also points beyond it stay."""
    std = std[:, None, None, None]
    inside = (points + shaking * std).clamp_min(0).minimum(extent[:, None, None])
    return torch.where(std > 0, inside, points)


def _mean_grey(video: Tensor, frame: Tensor) -> Tensor:
    """`[rows]` over the frames of each clip that are no padding, from sums of integers: the same in any order."""
    real = frame >= 0
    total = (video.flatten(2).sum(-1, dtype=torch.int32) * real).sum(1)
    return total.double() / (real.sum(1) * video.shape[2] * video.shape[3]).clamp_min(1)


def _regraded(video: Tensor, gain: Tensor, offset: Tensor, noise: Tensor, generator: torch.Generator) -> Tensor:
    """Grey levels scaled, shifted and made noisy, by `[rows, time]` each.

    Clip by clip, which a processor's cache holds: half the time. Products and sums are separate operations, because
    fused ones may round differently in lanes.
    """
    side = video.shape[-1]
    windows = _normal((_NOISES + side**2,), generator, video.device).unfold(0, side**2, 1)
    start = torch.randint(_NOISES + 1, video.shape[:2], generator=generator, device=generator.device).to(video.device)
    changed = []
    for clip, at, *changes in zip(video, start, gain, offset, noise, strict=True):
        scale, shift, std = (change[:, None, None] for change in changes)
        level = clip * scale + shift + windows[at].view(clip.shape) * std
        changed.append(level.clamp(0, WHITE).round().to(torch.uint8))
    return torch.stack(changed)


def _steps(draw: Tensor, most: Strength) -> Tensor:
    """Whole numbers from -most to most, each as likely, from draws from 0 to 1."""
    whole = _read(most, draw).floor()
    return (draw * (2 * whole + 1)).floor() - whole


def _swing(draw: Tensor, strength: Strength) -> Tensor:
    """From -strength to strength, from draws from 0 to 1."""
    return (2 * draw - 1) * _read(strength, draw)


def _uniform(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(device)


def _normal(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float32).to(device)


def _read(strength: Strength, like: Tensor) -> Tensor:
    """The strength to single precision, in the type and on the device of `like`."""
    return torch.as_tensor(strength, device=like.device).to(torch.float32).to(like.dtype)
