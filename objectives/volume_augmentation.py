"""Augmentation of batches of windows of volumes on their device, image and label alike; one draw per window.

Every strength acts through arithmetic only, so that lanes of `torch.func.vmap` may differ in it, as in
`objectives.images`. In this order a window is rotated by right angles, mirrored, deformed, and its image changed in
brightness and contrast and made noisy. Right angles and mirror images move voxels and change none.

Brightness, contrast and noise are measured in the window's own mean and standard deviation: grey levels of a scan have
no unit, and scrolls, scanners and 8 or 16 bits differ in them.

Shape legend: `rows` windows of a batch, `side` voxels of their three edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from objectives.images import Strength, read

#: Label of a voxel that came in from outside the window: nothing is known of it, it is neither trained on nor scored.
OUTSIDE = 2
#: Voxels from one control point of a deformation to the next.
SPACING = 8
#: Numbers drawn per window for place and for grey levels.
_PLACE, _GREY = 6, 3
#: In which order the axes stand after half the rotations of a plane: as they were, or those of the plane exchanged.
_ORDERS = ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1))
#: The axes of each plane, in the order of _ORDERS[1:].
_PLANES = ((0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, kw_only=True)
class Strengths:
    """How much a batch is changed; 0 = off, and all 0 gives the batch back bit for bit."""

    flip: Strength = 0.0  #: probability of a mirror image, for each of the three axes; 0 to 1
    rotate: Strength = 0.0  #: probability of 90, 180 or 270 degrees in one of the three planes; 0 to 1
    brightness: Strength = 0.0  #: largest shift, either way, in standard deviations of the window
    contrast: Strength = 0.0  #: distance from the window's mean is scaled by 1 - contrast to 1 + contrast; 0 to 1
    noise: Strength = 0.0  #: largest standard deviation of Gaussian noise, in standard deviations of the window
    elastic: Strength = 0.0  #: standard deviation of the displacement along each axis, in voxels; 0 to 3, see `field`


def augmented(image: Tensor, label: Tensor, strengths: Strengths, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Change each window of a batch by a draw of its own.

    The number of draws depends on the shape alone. Strengths are read in single precision and parameters computed in
    double precision, voxels in single (double for an image in double precision): the windows are then the same for
    strengths that are Python numbers, tensors of either precision, or lanes of `torch.func.vmap`.

    Args:
        image: integer or float `[rows, side, side, side]`.
        label: uint8, likewise.
        strengths: numbers, or 0-d tensors on any device.
        generator: the only source of randomness; it may be on another device than the windows.

    Returns:
        Image and label in their types, integers rounded and clamped to what their type holds; OUTSIDE where a label
        came in from outside the window.

    Raises:
        ValueError: when image or label are of another type or shape.
    """
    sides = image.shape[1:]
    if image.ndim != 4 or len(set(sides)) != 1 or label.shape != image.shape or label.dtype != torch.uint8:
        raise ValueError(
            "image and label must be [rows, side, side, side] both, the label uint8, not "
            f"{image.dtype} {list(image.shape)} and {label.dtype} {list(label.shape)}"
        )
    rows, side, source = len(image), image.shape[-1], generator.device
    draw = torch.rand((_PLACE + _GREY, rows), generator=generator, device=source, dtype=torch.float64)
    control = torch.randn((rows, 3, *[_points(side)] * 3), generator=generator, device=source, dtype=torch.float32)
    noise = torch.randn(image.shape, generator=generator, device=source, dtype=torch.float32)
    draw, control, noise = (each.to(image.device) for each in (draw, control, noise))
    place, (shift, stretch, loudness) = draw.split([_PLACE, _GREY])
    order, mirrored = _drawn_orientation(place, strengths)
    displacement = field(control, side) * read(strengths.elastic, control)
    factors = (
        (2 * shift - 1) * read(strengths.brightness, draw),
        (2 * stretch - 1) * read(strengths.contrast, draw),
        loudness * read(strengths.noise, draw),
    )
    moved, label = displaced(oriented(image, order, mirrored), oriented(label, order, mirrored), displacement)
    changed = _regreyed(moved, image, noise, *factors)
    if not image.is_floating_point():
        limits = torch.iinfo(image.dtype)
        changed = changed.round().clamp(limits.min, limits.max)
    return changed.to(image.dtype), label


def oriented(volume: Tensor, order: Tensor, mirrored: Tensor) -> Tensor:
    """Put the axes of volumes `[rows, side, side, side]` in another order, then mirror some.

    One gather, since a voxel's address is a sum over its axes: less than half the time of choosing between copies.

    Args:
        volume: of any type.
        order: int64 `[rows, 3]`, which old axis each new one is, from 0.
        mirrored: bool `[rows, 3]`, of the new axes.
    """
    side = volume.shape[-1]
    position = torch.arange(side, device=volume.device)
    step = torch.tensor([side**2, side, 1], device=volume.device)[order]
    first = torch.where(mirrored, step * (side - 1), 0).sum(-1)
    d, h, w = torch.where(mirrored, -step, step)[:, :, None].mul(position).unbind(1)
    address = (first[:, None, None] + d[:, :, None] + h[:, None])[..., None] + w[:, None, None]
    return volume.flatten(1).gather(1, address.flatten(1)).view(volume.shape)


def field(control: Tensor, side: int) -> Tensor:
    """Smooth random displacements: cubic B-splines of normal noise at control points.

    As in Cicek et al. 2016, section 3, where they are 4 voxels large and 32 apart. Weights are scaled so that every
    voxel's displacement has the noise's standard deviation, between control points too. From a voxel to the next it
    changes by 0.15 of that: from about 3 voxels on, some windows fold.

    Args:
        control: normal noise `[rows, 3, points, points, points]`, with as many points as `side` takes, one per SPACING.
        side: of the windows.

    Returns:
        `[rows, 3, side, side, side]`.
    """
    place = torch.arange(side, device=control.device, dtype=torch.float64) / SPACING
    apart = (place[:, None] - torch.arange(-1, _points(side) - 1, device=control.device)).abs()
    spline = torch.where(apart < 1, 2 / 3 - apart**2 + apart**3 / 2, (2 - apart).clamp_min(0) ** 3 / 6)
    weights = (spline / spline.norm(dim=1, keepdim=True)).to(control.dtype)
    return torch.einsum("rcxyz,dx,hy,wz->rcdhw", control, weights, weights, weights)


def displaced(image: Tensor, label: Tensor, displacement: Tensor) -> tuple[Tensor, Tensor]:
    """Resample windows at displaced places: the image linearly, the label from the nearest voxel.

    As `scipy.ndimage.map_coordinates` with mode "nearest": an image goes on as its border.

    Args:
        image: `[rows, side, side, side]`.
        label: uint8, likewise.
        displacement: in voxels, float `[rows, 3, side, side, side]`; 0 changes nothing.

    Returns:
        The image in single precision, or double where it was; the label, OUTSIDE where the nearest voxel would lie
        beyond the border.
    """
    side = image.shape[-1]
    position = torch.arange(side, device=image.device, dtype=displacement.dtype)
    grid = torch.stack(torch.meshgrid(position, position, position, indexing="ij"))
    nearest = (grid + displacement).round()
    place = (grid + displacement).clamp(0, side - 1)
    inside = ((nearest >= 0) & (nearest <= side - 1)).all(1)
    found = label.flatten(1).gather(1, _address(nearest.clamp(0, side - 1), side)).view(label.shape)
    label = torch.where(inside, found, OUTSIDE)

    # One more voxel behind each far border: every corner of a cell is then a fixed step away from its first.
    values = image if image.dtype == torch.float64 else image.float()
    padded = F.pad(values[:, None], (0, 1) * 3, mode="replicate").flatten(1)
    low = place.floor()
    address, (d, h, w) = _address(low, side + 1), (place - low).to(values.dtype).unbind(1)

    def corner(step: int) -> Tensor:
        return padded[:, step:].gather(1, address).view(image.shape)

    def edge(step: int) -> Tensor:
        start = corner(step)
        return start + w * (corner(step + 1) - start)

    def face(step: int) -> Tensor:
        start = edge(step)
        return start + h * (edge(step + side + 1) - start)

    start = face(0)
    return start + d * (face((side + 1) ** 2) - start), label


def _address(place: Tensor, side: int) -> Tensor:
    """Of whole places `[rows, 3, ...]` in flat volumes of this side, int64 `[rows, voxel]`."""
    d, h, w = place.long().flatten(2).unbind(1)
    return (d * side + h) * side + w


def _drawn_orientation(draw: Tensor, strengths: Strengths) -> tuple[Tensor, Tensor]:
    """What `oriented` takes, from draws `[_PLACE, rows]` from 0 to 1: a rotation, then mirror images.

    A quarter turn exchanges the axes of its plane and mirrors the first, three quarters the second, half a turn mirrors
    both.
    """
    happens, plane, turn = draw[3:]
    turn = (happens < read(strengths.rotate, draw)) * (1 + (3 * turn).long())
    plane = (3 * plane).long()
    order = torch.tensor(_ORDERS, device=draw.device)[torch.where(turn % 2 == 1, 1 + plane, 0)]
    first, second = torch.tensor(_PLANES, device=draw.device)[plane].unbind(-1)
    axis = torch.arange(3, device=draw.device)
    turned = ((turn == 1) | (turn == 2))[:, None] & (axis == first[:, None])
    turned = turned | ((turn == 2) | (turn == 3))[:, None] & (axis == second[:, None])
    return order, turned ^ (draw[:3] < read(strengths.flip, draw)).T


def _regreyed(moved: Tensor, image: Tensor, noise: Tensor, shift: Tensor, stretch: Tensor, loudness: Tensor) -> Tensor:
    """Grey levels of float windows by parameters `[rows]`, in mean and spread of the windows as they came.

    Mean and spread are taken in double precision: lanes may sum in another order, and get the same in single.
    """
    variance, mean = torch.var_mean(image.double(), (1, 2, 3), correction=0)
    spread = variance.sqrt()
    mean, stretch, shift, loudness = (
        each.to(moved.dtype)[:, None, None, None] for each in (mean, stretch, shift * spread, loudness * spread)
    )
    return moved + (moved - mean) * stretch + (shift + noise * loudness)


def _points(side: int) -> int:
    """Control points along an edge: a spline takes two on either side of a voxel."""
    return (side - 1) // SPACING + 4
