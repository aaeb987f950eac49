"""What an image goes through, for given parameters, against torchvision's v2 functions one image at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from objectives.images import affine, erased, jittered, warped

ROWS, SIDE = 6, 48
NOISE = torch.rand((ROWS, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
ANGLES = [-170.0, -20.0, 0.0, 7.5, 45.0, 90.0]
#: Grey levels. Both sides work in double precision: places err by 1e-14 pixels, times 255, and forty such roundings.
CLOSE = 1e-10


def column(*values: float) -> Tensor:
    return torch.tensor(values * (ROWS // len(values)), dtype=torch.float64)


ZERO, ONE = column(0), column(1)
NEVER = torch.zeros(ROWS, dtype=torch.bool)


def rotated(image: Tensor, angle: float) -> Tensor:
    """What v2 makes of an image that goes on beyond its edge: it fills with a constant only, so the image is padded."""
    padded = v2.pad(image, [SIDE // 2], padding_mode="edge")
    return v2.center_crop(v2.rotate(padded, angle, InterpolationMode.BILINEAR), [SIDE])


def window(left: int, top: int, size: int) -> tuple[float, float, float]:
    """Scale, right and down of a window of whole pixels."""
    return size / SIDE, (2 * left + size) / SIDE - 1, (2 * top + size) / SIDE - 1


def test_mirrored_as_by_v2() -> None:
    mirrored = torch.tensor([True, False] * (ROWS // 2))
    found = warped(NOISE, affine(mirrored, ZERO, ONE, ZERO, ZERO))
    expected = torch.where(mirrored[:, None, None, None], v2.horizontal_flip(NOISE), NOISE)
    torch.testing.assert_close(found, expected, rtol=0, atol=CLOSE)


def test_rotated_as_by_v2() -> None:
    found = warped(NOISE, affine(NEVER, column(*ANGLES), ONE, ZERO, ZERO))
    for row, angle in enumerate(ANGLES):
        torch.testing.assert_close(found[row], rotated(NOISE[row], angle), rtol=0, atol=CLOSE)


def test_cropped_as_by_v2() -> None:
    """But for the outermost pixels: v2 does not look beyond its window, although the image goes on there."""
    boxes = [(0, 0, 48), (3, 5, 40), (8, 0, 40), (1, 2, 46), (10, 14, 30), (20, 11, 25)]
    scale, right, down = zip(*(window(*box) for box in boxes), strict=True)
    found = warped(NOISE, affine(NEVER, ZERO, column(*scale), column(*right), column(*down)))
    for row, (left, top, size) in enumerate(boxes):
        expected = v2.resized_crop(NOISE[row], top, left, size, size, [SIDE, SIDE], InterpolationMode.BILINEAR)
        inner = slice(1, -1)
        torch.testing.assert_close(found[row, :, inner, inner], expected[:, inner, inner], rtol=0, atol=CLOSE)


def test_mirrored_rotated_and_cropped_in_this_order_as_by_v2_one_after_the_other() -> None:
    """To the error of interpolation: of one here, of two in v2.

    Linear interpolation of a wave of amplitude a and wave vector (k, l) errs by at most a (k^2 + l^2) / 8. v2's second
    interpolation adds the same to what the first brought along: three errors lie between the two results.
    """
    amplitude, k, horizontal = 100.0, 0.2, 0.15
    at = torch.arange(SIDE, dtype=torch.float64)
    wave = 127.5 + amplitude * torch.sin(k * at[:, None] + horizontal * at)
    image, box = wave.expand(ROWS, 3, SIDE, SIDE), (8, 12, 28)
    scale, right, down = window(*box)
    found = warped(image, affine(~NEVER, column(*ANGLES), scale * ONE, right * ONE, down * ONE))
    for row, angle in enumerate(ANGLES):
        turned = rotated(v2.horizontal_flip(image[row]), angle)
        expected = v2.resized_crop(turned, box[1], box[0], box[2], box[2], [SIDE, SIDE], InterpolationMode.BILINEAR)
        difference = (found[row] - expected)[:, 1:-1, 1:-1].abs().max()
        assert difference <= 3 * amplitude * (k**2 + horizontal**2) / 8
        assert (expected[:, 1:-1, 1:-1] - image[row, :, 1:-1, 1:-1]).abs().max() > 100  # the bound above is no gift


def test_a_mark_ends_where_geometry_says() -> None:
    """By complex numbers: x + iy in half sides from the centre, y down."""
    centres = (torch.arange(SIDE, dtype=torch.float64) * 2 + 1 - SIDE) / SIDE
    mark, angle, scale, shift = 0.3 - 0.1j, 30.0, 0.75, 0.1 - 0.2j
    blob = torch.exp(-((centres - mark.real) ** 2 + (centres[:, None] - mark.imag) ** 2) / (2 * 0.08**2))
    matrix = affine(~NEVER, angle * ONE, scale * ONE, shift.real * ONE, shift.imag * ONE)
    found = warped(blob.expand(ROWS, 3, SIDE, SIDE), matrix)[0, 0]
    place = complex((found.sum(0) * centres).sum(), (found.sum(1) * centres).sum()) / float(found.sum())
    mirrored = -mark.conjugate()
    turned = mirrored * complex(math.cos(math.radians(angle)), -math.sin(math.radians(angle)))
    # A hundredth of a pixel: what is cut off of the mark, more than five standard deviations from it, and sampling.
    assert abs(place - (turned - shift) / scale) < 0.01 * 2 / SIDE


def test_quarter_turns_move_whole_pixels() -> None:
    found = warped(NOISE, affine(~NEVER, 90 * ONE, ONE, ZERO, ZERO))
    torch.testing.assert_close(found, torch.rot90(NOISE.flip(-1), 1, (-2, -1)), rtol=0, atol=CLOSE)


def test_colour_is_changed_as_by_v2() -> None:
    """v2 takes 1 for white where images are floating-point."""
    factors = column(1.0, 0.6, 1.5), column(0.5, 1.0, 1.7), column(1.4, 0.0, 1.0, 0.7, 1.3, 2.0)
    found = jittered(NOISE, *factors)
    for row in range(ROWS):
        brightness, contrast, saturation = (float(factor[row]) for factor in factors)
        image = v2.adjust_contrast(v2.adjust_brightness(NOISE[row] / 255, brightness), contrast)
        expected = v2.adjust_saturation(image, saturation) * 255
        torch.testing.assert_close(found[row], expected, rtol=0, atol=CLOSE)
    assert found.min() == 0 and found.max() == 255  # both clamps were at work


def test_boxes_are_erased_as_by_v2_with_the_mean_colour() -> None:
    boxes = [(0, 0, 10, 20), (47, 47, 1, 1), (5, 30, 40, 18), (20, 3, 7, 7), (0, 0, 48, 48), (9, 9, 0, 12)]
    found = erased(NOISE, *(column(*part) for part in zip(*boxes, strict=True)))
    for row, box in enumerate(boxes):
        value = NOISE[row].mean((-2, -1))[:, None, None]
        expected = v2.erase(NOISE[row], *box, v=value.expand(3, *box[2:]))
        torch.testing.assert_close(found[row], expected, rtol=0, atol=CLOSE)
