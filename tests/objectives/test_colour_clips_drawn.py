"""What is drawn for each clip of colour pictures: from which distribution, each independent of the others."""

from __future__ import annotations

import colorsys
from itertools import combinations

import torch
from scipy import stats
from torch import Tensor

from objectives.colour_clips import Strengths, augmented

#: Clips drawn where a distribution is compared.
MANY = 2000
#: A comparison of distributions refuses one seed in ten thousand; the seeds are fixed, so it does so now or never.
ODDS = 1e-4


def drawn(picture: Tensor, strengths: Strengths) -> Tensor:
    """`[MANY, 3, side, side]`, double: clips of the one picture `[3, side, side]`, each changed."""
    clips = picture.expand(MANY, 1, -1, -1, -1)
    return augmented(clips, strengths, torch.ones(MANY), torch.Generator().manual_seed(1))[:, 0].double()


def assert_uniform(sample: Tensor, low: float, high: float) -> None:
    assert stats.kstest(sample, stats.uniform(low, high - low).cdf).pvalue > ODDS


def assert_independent(*samples: Tensor) -> None:
    for first, second in combinations(samples, 2):
        assert stats.spearmanr(first, second).pvalue > ODDS


def test_mirroring_rotation_scale_and_shift_are_uniform() -> None:
    """Read off three marks, one per colour, on a picture that is black elsewhere."""
    side, rotation, translate, scale = 49, 25.0, 0.1, 0.3
    centres = (torch.arange(side) * 2 + 1 - side) / side
    marks = torch.tensor([-0.2, 0.2, -0.2j])
    distance = (centres - marks.real[:, None, None]) ** 2 + (centres[:, None] - marks.imag[:, None, None]) ** 2
    picture = (255 * torch.exp(-distance / (2 * 0.05**2))).round().to(torch.uint8)
    found = drawn(picture, Strengths(flip=0.3, rotation=rotation, translate=translate, scale=scale))
    place = torch.complex((found.sum(-2) * centres).sum(-1), (found.sum(-1) * centres).sum(-1)) / found.sum((-2, -1))
    red, green, blue = place.T

    # The mark above red and green's middle tells whether red, left of green, has come to its right.
    axis = green - red
    mirrored = ((blue - red) * axis.conj()).imag > 0
    assert stats.binomtest(int(mirrored.sum()), MANY, 0.3).pvalue > ODDS
    axis = torch.where(mirrored, -axis, axis)
    size, angle = axis.abs() / 0.4, -torch.rad2deg(axis.angle())  # counter-clockwise, where y points down
    shift = (red + green) / 4  # in sides, of which two halves are one
    assert_uniform(size, 1 - scale, 1 + scale)
    assert_uniform(angle, -rotation, rotation)
    for part in (shift.real, shift.imag):
        assert_uniform(part, -translate, translate)
    assert_independent(mirrored, angle, size, shift.real, shift.imag)


def test_brightness_contrast_and_saturation_are_uniform() -> None:
    """Read off two halves of one tint: luminance in the mean, its step, and red less green."""
    light, depth, colour = 0.3, 0.25, 0.2
    weight = torch.tensor([0.2989, 0.587, 0.114], dtype=torch.float64)
    picture = torch.tensor([140, 100, 120], dtype=torch.uint8)[:, None, None].repeat(1, 16, 16)
    picture[:, 8:] -= 60
    found = drawn(picture, Strengths(brightness=light, contrast=depth, saturation=colour))
    halves, original = found[:, :, [0, 15], 0], picture.double()[:, [0, 15], 0]
    luminance, step = weight @ halves, weight @ original
    brightness = luminance.mean(-1) / step.mean()
    contrast = (luminance[:, 0] - luminance[:, 1]) / (step[0] - step[1]) / brightness
    saturation = (halves[:, 0] - halves[:, 1]).mean(-1) / 40 / brightness / contrast
    for factor, strength in ((brightness, light), (contrast, depth), (saturation, colour)):
        assert_uniform(factor, 1 - strength, 1 + strength)
    assert_independent(brightness, contrast, saturation)


def test_hue_and_blur_are_uniform() -> None:
    """Read off a red half beside a black one: hue where it is far from the edge, blur off what crosses the edge."""
    hue, blur = 0.1, 1.0
    picture = torch.tensor([250, 0, 0], dtype=torch.uint8)[:, None, None].repeat(1, 8, 8)
    picture[:, :, 4:] = 0
    found = drawn(picture, Strengths(hue=hue, blur=blur))
    turn = torch.tensor([(colorsys.rgb_to_hsv(*colour)[0] + 0.5) % 1 - 0.5 for colour in found[:, :, 0, 0].tolist()])
    assert_uniform(turn, -hue, hue)
    crossed = found[:, 0, 0, 4] / 250  # red stays the largest channel
    sigma = (-0.5 / (crossed / (1 - 2 * crossed)).log()).sqrt()
    seen = sigma > 0.35  # up to there, whole grey levels say too little
    assert_uniform(sigma[seen], 0.35, blur)
    assert stats.binomtest(int(seen.sum()), MANY, 1 - 0.35 / blur).pvalue > ODDS
    assert_independent(turn[seen], sigma[seen])
