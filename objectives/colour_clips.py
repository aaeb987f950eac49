"""Augmentation of batches of clips in colour on their device; one draw per clip changes all its frames alike.

A draw per frame would show a network of sequences a face that jumps and flickers: what it reads off is movement. Every
strength acts through arithmetic only, so that lanes of `torch.func.vmap` may differ in it, as in `objectives.images`,
whose parts do the work. In this order a clip is mirrored, turned, scaled and shifted in one resampling, changed in
brightness, contrast, saturation and hue, and blurred; for given parameters each does what `torchvision.transforms.v2`
does, with the differences that `objectives.images` names and these:

- Contrast is the distance from the mean grey level of the whole clip, not from each frame's: that would flicker.
- A clip is shifted by parts of a pixel too; v2 rounds to whole ones.
- v2 draws a blur from at least 0.1; here it is drawn from none on, so that strength 0 changes nothing.

Shape legend: `rows` clips of a batch, `time` their frames, `side` pixels of their height and of their width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from objectives.images import Strength, affine, jittered, read, warped

#: What a strength is at most, once multiplied; beyond it there is nothing, or the same again.
MOST_COLOUR, MOST_HUE, MOST_ROTATION, MOST_TRANSLATE, MOST_SCALE = 1.0, 0.5, 180.0, 1.0, 0.9
#: Numbers drawn per clip for place, for colour, for blur.
_PLACE, _COLOUR, _BLUR = 5, 4, 1


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How much a batch is changed; 0 = off, and all 0 gives the batch back bit for bit."""

    flip: Strength = 0.0  #: probability of a mirror image, left to right; 0 to 1
    rotation: Strength = 0.0  #: largest angle in degrees, either way; 0 to 180
    translate: Strength = 0.0  #: largest shift as a share of the side, in each direction; 0 to 1
    scale: Strength = 0.0  #: scaled by 1 - scale to 1 + scale; 0 to 0.9
    brightness: Strength = 0.0  #: scaled by 1 - brightness to 1 + brightness; 0 to 1
    contrast: Strength = 0.0  #: likewise
    saturation: Strength = 0.0  #: likewise
    hue: Strength = 0.0  #: largest turn as a share of the colour circle, either way; 0 to 0.5
    blur: Strength = 0.0  #: largest standard deviation, in pixels, of a Gaussian cut off beyond the next pixel


def augmented(clips: Tensor, strengths: Strengths, factor: Tensor, generator: torch.Generator) -> Tensor:
    """Change each clip of a batch by a draw of its own.

    The number of draws depends on the number of rows alone. Strengths and factors are read in single precision and
    parameters computed in double precision, pixels in single: the clips are then the same for strengths that are Python
    numbers, tensors of either precision, or lanes of `torch.func.vmap`.

    Args:
        clips: uint8 `[rows, time, 3, side, side]`, RGB, sides of at least 2 pixels.
        strengths: numbers, or 0-d tensors on any device.
        factor: float `[rows]`, at least 0: every strength but the probability of a mirror image is multiplied by it,
            up to the largest that its description in `Strengths` names.
        generator: the only source of randomness; it may be on another device than the clips.

    Returns:
        uint8 `[rows, time, 3, side, side]`.

    Raises:
        ValueError: when the clips are of another type or shape.
    """
    if (
        clips.dtype != torch.uint8
        or clips.ndim != 5
        or clips.shape[2] != 3
        or not 2 <= clips.shape[3] == clips.shape[4]
    ):
        told = f"{clips.dtype} {list(clips.shape)}"
        raise ValueError(f"clips must be uint8 [rows, time, 3, side, side] with sides from 2 on, not {told}")
    shape = (_PLACE + _COLOUR + _BLUR, len(clips))
    draw = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(clips.device)
    place, colour, (blur,) = draw.split([_PLACE, _COLOUR, _BLUR])
    factor = factor.to(draw.device).float().to(draw.dtype)
    matrix = _drawn_place(place, strengths, factor)
    colours = _drawn_colour(colour, strengths, factor)
    sigma = blur * read(strengths.blur, draw) * factor
    parameters = (each.split(1) for each in (matrix, sigma, *colours))
    return torch.stack([_changed(*clip) for clip in zip(clips, *parameters, strict=True)])


def placed(mirrored: Tensor, angle: Tensor, scale: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """The matrices of `objectives.images.affine` for an image that is mirrored, turned, scaled, then shifted.

    Args:
        mirrored: bool `[rows]`: exchange left and right.
        angle: `[rows]`, degrees, counter-clockwise about the centre, as in `v2.functional.rotate`.
        scale: `[rows]`, about the centre, above 0; above 1 enlarges.
        right: `[rows]`, in sides.
        down: `[rows]`, likewise.

    Returns:
        `[rows, 2, 3]`.
    """
    return affine(mirrored, angle, 1 / scale, -2 * right / scale, -2 * down / scale)


def hued(image: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue of float images `[rows, 3, height, width]` by shares `[rows]` of the colour circle, -0.5 to 0.5.

    As `v2.functional.adjust_hue`: in the hexagon of hue, saturation and value (Smith 1978), where most, least and so
    their difference, the chroma, stay. Hue is counted here in sixths of the circle times the chroma, from green on
    towards blue, and each channel falls from most to least between one and two chromas from its own place. That takes
    no division and no choice between cases, both of which cost several times as much as sums.
    """
    red, green, blue = image.unbind(1)
    most = torch.maximum(torch.maximum(red, green), blue)
    least = torch.minimum(torch.minimum(red, green), blue)
    chroma = most - least
    hue = torch.copysign(red + blue - green + most - 2 * least, blue - red)
    hue = hue + chroma * (6 * turn).to(image.dtype)[:, None, None]
    apart, circle, top = 2 * chroma, 6 * chroma, most + chroma

    def level(off: Tensor) -> Tensor:
        off = off.abs()
        return (top - torch.minimum(off, (off - circle).abs())).clamp(least, most)

    return torch.stack([level(hue + apart), level(hue), level(hue - apart)], 1)


def blurred(image: Tensor, sigma: Tensor) -> Tensor:
    """Blur float images `[rows, channel, side, side]` by Gaussians of standard deviations `[rows]`, in pixels.

    As `v2.functional.gaussian_blur` with a kernel of 3: an image goes on as its mirror image. Sigma 0 changes nothing.
    """
    tail = torch.exp(-0.5 / sigma**2)
    next_, own = (
        (each / (1 + 2 * tail)).to(image.dtype)[:, None, None, None] for each in (tail, torch.ones_like(tail))
    )
    rows = F.pad(image, (0, 0, 1, 1), mode="reflect")
    image = (image * own).add_((rows[..., :-2, :] + rows[..., 2:, :]) * next_)
    columns = F.pad(image, (1, 1, 0, 0), mode="reflect")
    return (image * own).add_((columns[..., :-2] + columns[..., 2:]) * next_)


def _changed(clip: Tensor, matrix: Tensor, sigma: Tensor, turn: Tensor, *factors: Tensor) -> Tensor:
    """One clip uint8 `[time, 3, side, side]` by its parameters `[1, ...]`; a processor's cache holds one."""
    moved = warped(clip.float().flatten(0, 1)[None], matrix)
    channels = moved.unflatten(1, clip.shape[:2]).flatten(-2).transpose(1, 2)  # [1, 3, time, pixels]: one large image
    coloured = hued(jittered(channels, *factors), turn)
    frames = coloured.transpose(1, 2).reshape(moved.shape)
    return blurred(frames, sigma).round().to(torch.uint8).view(clip.shape)


def _drawn_place(draw: Tensor, strengths: Strengths, factor: Tensor) -> Tensor:
    """The matrices `[rows, 2, 3]` of draws `[_PLACE, rows]` from 0 to 1."""
    mirror, turn, size, x, y = draw
    shift = _most(strengths.translate, factor, MOST_TRANSLATE)
    angle = _either_way(turn, _most(strengths.rotation, factor, MOST_ROTATION))
    scale = 1 + _either_way(size, _most(strengths.scale, factor, MOST_SCALE))
    return placed(mirror < read(strengths.flip, draw), angle, scale, _either_way(x, shift), _either_way(y, shift))


def _drawn_colour(draw: Tensor, strengths: Strengths, factor: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Turn of the hue; factors of brightness, contrast and saturation; from draws `[_COLOUR, rows]` from 0 to 1."""
    light, depth, colour, turn = draw
    return (
        _either_way(turn, _most(strengths.hue, factor, MOST_HUE)),
        1 + _either_way(light, _most(strengths.brightness, factor, MOST_COLOUR)),
        1 + _either_way(depth, _most(strengths.contrast, factor, MOST_COLOUR)),
        1 + _either_way(colour, _most(strengths.saturation, factor, MOST_COLOUR)),
    )


def _most(strength: Strength, factor: Tensor, limit: float) -> Tensor:
    """The strength `[rows]`, multiplied."""
    return (read(strength, factor) * factor).clamp_max(limit)


def _either_way(draw: Tensor, most: Tensor) -> Tensor:
    """From -most to most, from draws from 0 to 1."""
    return (2 * draw - 1) * most
