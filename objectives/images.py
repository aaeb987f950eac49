"""Augmentation of batches of photographs on their device: torchvision's v2 transforms with a draw for every image.

torchvision draws one set of parameters for a whole batch, from the global generator, and branches on it in Python.
Here a batch costs one call, each image has a draw of its own, and every strength acts through arithmetic only, so that
a lane may bring its own. What an image goes through for given parameters is what `torchvision.transforms.v2` does to
it, with these differences:

- Mirroring, rotation and crop are one resampling instead of two: less blur. They act in that order, so that a crop
  also cuts off what a rotation had to make up in the corners.
- What a rotation brings in from outside repeats the image's edge. Black, as in v2, would show the network a frame
  that test images do not have; a mirror image would show it second chins, hands and eyebrows.
- Brightness, contrast and saturation act in that order; v2 permutes them. Grey levels are rounded once, at the end.
- The hue stays: no face has the colours of skin that a shifted hue gives.
- What is erased takes the mean colour of its image, not black, which on a face is a beard or sunglasses.

Shape legend: `rows` images of a batch, `side` pixels of their height and of their width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: A Python number in a plain run, a 0-d tensor in a lane.
Strength = float | Tensor

WHITE = 255  #: brightest grey level
GREY = (0.2989, 0.587, 0.114)  #: red, green and blue of luminance (ITU-R BT.601), as v2 rounds them
ERASED_SHARE = (0.02, 0.2)  #: of the image's area; v2's default goes up to a third, which can take a whole face
ERASED_RATIO = (0.3, 3.3)  #: height to width
#: Numbers drawn per image for mirroring, rotation and crop; for colour; for erasing.
GEOMETRY, COLOUR, ERASING = 5, 3, 5


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How much a batch is changed; 0 = off, and all 0 gives the batch back bit for bit."""

    flip: Strength = 0.0  #: probability of a mirror image, left to right; 0 to 1
    rotation: Strength = 0.0  #: largest angle in degrees, either way; 0 to 180
    crop: Strength = 0.0  #: largest share of each side that is cut off, the rest enlarged; 0 to below 1
    colour: Strength = 0.0  #: brightness, contrast, saturation are scaled by 1 - colour to 1 + colour
    erasing: Strength = 0.0  #: probability that a random rectangle is blanked; 0 to 1


def augmented(image: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Change each image of a batch by a draw of its own.

    The number of draws depends on the number of rows alone. Strengths are read in single precision and parameters
    computed in double precision, pixels in single: the images are then the same for strengths that are Python numbers,
    tensors of either precision, or lanes of `torch.func.vmap`.

    Args:
        image: uint8 `[rows, 3, side, side]`, RGB.
        strengths: numbers, or 0-d tensors on any device.
        generator: the only source of randomness; it may be on another device than the images.

    Returns:
        uint8 `[rows, 3, side, side]`.

    Raises:
        ValueError: when the images are of another type or shape.
    """
    if image.dtype != torch.uint8 or image.ndim != 4 or image.shape[1] != 3 or image.shape[2] != image.shape[3]:
        raise ValueError(f"images must be uint8 [rows, 3, side, side], not {image.dtype} {list(image.shape)}")
    shape = (GEOMETRY + COLOUR + ERASING, len(image))
    draw = torch.rand(shape, generator=generator, device=generator.device, dtype=torch.float64).to(image.device)
    geometry, colour, erasing = draw.split([GEOMETRY, COLOUR, ERASING])
    matrix = _drawn_affine(geometry, strengths)
    low = (1 - read(strengths.colour, draw)).clamp_min(0)
    factors = low + colour * (1 + read(strengths.colour, draw) - low)
    box = _drawn_box(erasing, read(strengths.erasing, draw), image.shape[-1])
    changed = erased(jittered(warped(image.float(), matrix), *factors), *box)
    return changed.round().to(torch.uint8)


def affine(mirrored: Tensor, angle: Tensor, scale: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Where each point of the new image lies in the old one, for an image that is mirrored, then turned, then cropped.

    Args:
        mirrored: bool `[rows]`: exchange left and right.
        angle: `[rows]`, degrees, counter-clockwise about the centre, as in `v2.functional.rotate`.
        scale: `[rows]`, side of the crop's window as a share of the image's.
        right: `[rows]`, of the window's centre from the image's, in half sides: -(1 - scale) to 1 - scale.
        down: `[rows]`, likewise.

    Returns:
        `[rows, 2, 3]`, as `torch.nn.functional.affine_grid` takes it: x and y from -1 to 1 between the outer edges.
    """
    cos, sin = torch.cos(torch.deg2rad(angle)), torch.sin(torch.deg2rad(angle))
    side = torch.where(mirrored, -1.0, 1.0).to(angle.dtype)
    x = torch.stack([scale * cos, -scale * sin, cos * right - sin * down], -1) * side[:, None]
    y = torch.stack([scale * sin, scale * cos, sin * right + cos * down], -1)
    return torch.stack([x, y], -2)


def warped(image: Tensor, matrix: Tensor) -> Tensor:
    """Resample float images `[rows, channel, side, side]` bilinearly at the places of `affine`; their edges go on.

    The grid is written out and not left to `affine_grid`, whose product of matrices rounds differently in lanes.
    """
    side = image.shape[-1]
    centres = (torch.arange(side, dtype=image.dtype, device=image.device) * 2 + 1 - side) / side
    x, y, shift = (column[:, :, None, None] for column in matrix.to(image.dtype).unbind(-1))
    grid = (x * centres + shift) + y * centres[:, None]
    return F.grid_sample(image, grid.movedim(1, -1), padding_mode="border", align_corners=False)


def jittered(image: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Scale brightness, contrast and saturation of float images `[rows, 3, height, width]` by factors `[rows]`.

    In this order, each clamped to 0..255, as `v2.functional.adjust_brightness`, `adjust_contrast` and
    `adjust_saturation`: contrast is the distance from the image's mean grey level, saturation that from each pixel's.
    Sums are made in place because room for a batch costs more than adding it; clamping in place is slow in lanes.
    """
    factors = [factor.to(image.dtype)[:, None, None, None] for factor in (brightness, contrast, saturation)]
    image = (image * factors[0]).clamp(0, WHITE)
    image = (image * factors[1]).add_(_grey(_mean_colour(image)) * (1 - factors[1])).clamp(0, WHITE)
    return (image * factors[2]).add_(_grey(image) * (1 - factors[2])).clamp(0, WHITE)


def erased(image: Tensor, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Fill a box of whole pixels, `[rows]` each, in float images `[rows, 3, side, side]` with the image's mean colour.

    A box of height 0 changes nothing.
    """
    pixel = torch.arange(image.shape[-1], device=image.device)
    down = (pixel >= top[:, None]) & (pixel < (top + height)[:, None])
    right = (pixel >= left[:, None]) & (pixel < (left + width)[:, None])
    return torch.where(down[:, None, :, None] & right[:, None, None, :], _mean_colour(image), image)


def _drawn_affine(draw: Tensor, strengths: Strengths) -> Tensor:
    """The matrices `[rows, 2, 3]` of draws `[GEOMETRY, rows]` from 0 to 1."""
    mirror, turn, cut, x, y = draw
    angle = (2 * turn - 1) * read(strengths.rotation, draw)
    cut = cut * read(strengths.crop, draw)
    return affine(mirror < read(strengths.flip, draw), angle, 1 - cut, (2 * x - 1) * cut, (2 * y - 1) * cut)


def _drawn_box(draw: Tensor, probability: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width `[rows]` from draws `[ERASING, rows]` from 0 to 1, as `v2.RandomErasing` draws them.

    v2 draws again when a box does not fit; with these shares and ratios every box does, from a side of 3 pixels on.
    """
    happens, share, shape, y, x = draw
    area = side**2 * (ERASED_SHARE[0] + share * (ERASED_SHARE[1] - ERASED_SHARE[0]))
    low, high = (math.log(ratio) for ratio in ERASED_RATIO)
    ratio = torch.exp(low + shape * (high - low))
    height, width = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    top, left = (y * (side - height + 1)).floor(), (x * (side - width + 1)).floor()
    return top, left, height * (happens < probability), width


def _grey(image: Tensor) -> Tensor:
    """Luminance `[rows, 1, ...]` of `[rows, 3, ...]`."""
    red, green, blue = image.split(1, dim=1)
    return red * GREY[0] + green * GREY[1] + blue * GREY[2]


def _mean_colour(image: Tensor) -> Tensor:
    """`[rows, 3, 1, 1]`, summed in double precision: lanes may sum in another order, and get the same in single."""
    return image.mean((-2, -1), keepdim=True, dtype=torch.float64).to(image.dtype)


def read(strength: Strength, like: Tensor) -> Tensor:
    """The strength `[]` to single precision, in the type and on the device of `like`."""
    return torch.as_tensor(strength, device=like.device).to(torch.float32).to(like.dtype)
