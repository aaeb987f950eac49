"""Clips of colour pictures: what they go through against torchvision's v2 and colorsys, and alike in all frames."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

from objectives.colour_clips import Strengths, augmented, blurred, hued, placed
from objectives.images import warped

ROWS, SIDE = 6, 48
NOISE = torch.rand((ROWS, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 255
CLIPS = torch.randint(0, 256, (7, 5, 3, 17, 17), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
#: Grey levels. Both sides work in double precision: places err by 1e-14 pixels, times 255, and forty such roundings.
CLOSE = 1e-10
ALL = Strengths(
    flip=0.5,
    rotation=15.0,
    translate=0.1,
    scale=0.1,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
    hue=0.1,
    blur=0.5,
)
NAMES = list(vars(ALL))


def drawn(clips: Tensor, strengths: Strengths, factor: Tensor | float = 1.0, seed: int = 1) -> Tensor:
    factor = torch.as_tensor(factor).expand(len(clips))
    return augmented(clips, strengths, factor, torch.Generator().manual_seed(seed))


# ---- what is done for given parameters


def test_mirrored_turned_scaled_and_shifted_as_by_v2() -> None:
    """Whole quarter turns, sizes and pixels one after the other: no error of interpolation lies between the two."""
    none = dict.fromkeys(("angle", "scale", "right", "down"), 0.0) | {"scale": 1.0}
    cases: list[dict[str, float]] = [
        {"angle": -170.0},
        {"angle": 12.3},
        {"scale": 1.37},
        {"scale": 0.9},
        {"right": 5.0, "down": -3.0},
        {"angle": 90.0, "scale": 0.7, "right": -6.0, "down": 2.0},
    ]
    cases = [none | case for case in cases]
    angle, scale, right, down = (torch.tensor([case[name] for case in cases], dtype=torch.float64) for name in none)
    mirrored = torch.tensor([False, False, True, False, False, True])
    found = warped(NOISE, placed(mirrored, angle, scale, right / SIDE, down / SIDE))
    for row, case in enumerate(cases):
        image = v2.pad(v2.horizontal_flip(NOISE[row]) if mirrored[row] else NOISE[row], [SIDE], padding_mode="edge")
        turned = v2.rotate(image, case["angle"], InterpolationMode.BILINEAR)
        shift = [int(case["right"]), int(case["down"])]
        expected = v2.affine(turned, 0.0, shift, case["scale"], [0.0, 0.0], InterpolationMode.BILINEAR)
        torch.testing.assert_close(found[row], v2.center_crop(expected, [SIDE]), rtol=0, atol=CLOSE)


@pytest.mark.parametrize("turn", [-0.5, -0.3, -1 / 6, -0.01, 0.0, 0.1, 1 / 3, 0.49, 0.5])
def test_hue_is_turned_as_by_colorsys_and_v2(turn: float) -> None:
    """Every mixture of five levels, greys and ties of two channels among them, and noise."""
    mixtures = torch.tensor(list(product([0.0, 51.0, 127.5, 254.0, 255.0], repeat=3)), dtype=torch.float64)
    colours = torch.cat([mixtures, NOISE.movedim(1, -1).flatten(0, -2)[:1000]])
    image = colours.T[None, :, None].contiguous()
    found = hued(image, torch.tensor([turn], dtype=torch.float64))
    hsv = [colorsys.rgb_to_hsv(*(colour / 255).tolist()) for colour in colours]
    expected = torch.tensor([colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv], dtype=torch.float64) * 255
    torch.testing.assert_close(found[0, :, 0].T, expected, rtol=0, atol=CLOSE)
    # v2 works in single precision: some ten roundings of 6e-8, times up to 6 sixths of 255 levels.
    torch.testing.assert_close(found, v2.adjust_hue(image / 255, turn) * 255, rtol=0, atol=1e-3)


def test_blurred_as_by_v2() -> None:
    """For sharp to nearly flat kernels."""
    sigma = torch.tensor([0.1, 0.2, 0.35, 0.5, 1.0, 20.0], dtype=torch.float64)
    found = blurred(NOISE, sigma)
    for row, own in enumerate(sigma.tolist()):
        expected = v2.gaussian_blur(NOISE[row], kernel_size=3, sigma=own)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=CLOSE)
    assert torch.equal(blurred(NOISE, torch.zeros(ROWS)), NOISE)


# ---- contract


@pytest.mark.parametrize("side", [2, 17, 112])
def test_without_strength_every_bit_stays(side: int) -> None:
    noise = torch.randint(0, 256, (3, 4, 3, side, side), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    assert torch.equal(drawn(noise, Strengths(), 3.0), noise)
    assert torch.equal(drawn(255 * (noise > 127).to(torch.uint8), Strengths()), 255 * (noise > 127).to(torch.uint8))


def test_draws_come_from_the_generator_and_their_number_from_the_rows() -> None:
    state = torch.random.get_rng_state()
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2, 1)]
    first, again, other, still = (
        augmented(CLIPS, strengths, torch.ones(7), generator)
        for strengths, generator in zip([ALL, ALL, ALL, Strengths()], generators, strict=True)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, still)
    assert torch.equal(generators[0].get_state(), generators[3].get_state())
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_all_frames_of_a_clip_change_alike_and_each_clip_in_its_own_way(name: str) -> None:
    """Equal clips part; mirrored or not, they do so into two, and a blur below 0.25 pixels shows in no grey level."""
    still = CLIPS[:1, :1].expand(7, 5, -1, -1, -1)
    found = drawn(still, ALL if name == "all" else Strengths(**{name: getattr(ALL, name)}), 3.0)
    assert torch.equal(found, found[:, :1].expand(found.shape))
    different = {clip.numpy().tobytes() for clip in found}
    assert len(different) == 2 if name == "flip" else len(different) > 4


def test_contrast_is_about_the_clips_mean() -> None:
    """A dark and a bright frame move towards each other by one factor; about a mean of their own they would stay."""
    clips = torch.tensor([80, 160], dtype=torch.uint8)[:, None, None, None].expand(200, 2, 3, 4, 4)
    dark, bright = drawn(clips, Strengths(contrast=0.5))[:, :, 0, 0, 0].double().unbind(1)
    factor = (bright - dark) / 80
    assert factor.min() < 0.55 and factor.max() > 1.45
    torch.testing.assert_close((dark + bright) / 2, torch.full((200,), 120.0, dtype=torch.float64), rtol=0, atol=0.5)


def test_other_clips_are_refused() -> None:
    for clips in (CLIPS.float(), CLIPS[0], CLIPS[:, :, :1], CLIPS[..., :9], CLIPS[..., :1, :1]):
        with pytest.raises(ValueError, match=r"must be uint8 \[rows, time, 3, side, side\] with sides from 2 on, not "):
            drawn(clips, ALL)


# ---- factor


def test_the_factor_multiplies_every_strength_but_the_flips() -> None:
    twice = {name: 2 * getattr(ALL, name) for name in NAMES if name != "flip"}
    factor = torch.tensor([0.0, 1.0, 2.0, 1.0, 0.0, 2.0, 1.0])
    found = drawn(CLIPS, ALL, factor)
    alone = {0.0: drawn(CLIPS, Strengths(flip=0.5)), 1.0: drawn(CLIPS, ALL), 2.0: drawn(CLIPS, replace(ALL, **twice))}
    for row, own in enumerate(factor.tolist()):
        assert torch.equal(found[row], alone[own][row])


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("rotation", 180.0),
        ("translate", 1.0),
        ("scale", 0.9),
        ("brightness", 1.0),
        ("contrast", 1.0),
        ("saturation", 1.0),
        ("hue", 0.5),
    ],
)
def test_a_factor_goes_no_further_than_a_strength_may(name: str, most: float) -> None:
    found = drawn(CLIPS, Strengths(**{name: most / 2}), 5.0)
    # The limit is 0.9 in double precision, the strength in single: 1e-8 apart, which may tip a level to the next.
    assert (found.short() - drawn(CLIPS, Strengths(**{name: most})).short()).abs().max() <= 1


# ---- lanes


@pytest.mark.parametrize("names", [*([name] for name in NAMES), NAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanes_equal_plain_runs(names: list[str], dtype: torch.dtype) -> None:
    """To the bit, whichever strengths differ: where a grey level is rounded, there is no nearly."""
    values: dict[str, list[float]] = {name: [0.0, 0.3, 1.0] for name in NAMES}
    values |= {"rotation": [0.0, 12.3, 180.0], "scale": [0.0, 0.3, 0.9], "hue": [0.0, 0.11, 0.5]}

    def loss(weight: Tensor, *strengths: Any) -> tuple[Tensor, Tensor]:
        clips = drawn(CLIPS, replace(ALL, **dict(zip(names, strengths, strict=True))))
        return (weight * clips).mean(), clips

    lanes = vmap(grad(loss, has_aux=True), randomness="same")
    _, found = lanes(torch.ones(3), *(torch.tensor(values[name], dtype=dtype) for name in names))
    assert found.dtype == torch.uint8
    for lane, clips in enumerate(found):
        assert torch.equal(clips, loss(torch.ones(()), *(values[name][lane] for name in names))[1])


def test_lanes_may_differ_in_their_factors_and_clips() -> None:
    factors, batches = torch.tensor([[1.0, 2.0], [0.0, 1.5], [1.7, 1.0]]), CLIPS[:6].unflatten(0, (3, 2))
    together = vmap(lambda factor: drawn(CLIPS[:2], ALL, factor), randomness="same")(factors)
    own = vmap(lambda clips, factor: drawn(clips, ALL, factor), randomness="same")(batches, factors)
    for lane in range(3):
        assert torch.equal(together[lane], drawn(CLIPS[:2], ALL, factors[lane]))
        assert torch.equal(own[lane], drawn(batches[lane], ALL, factors[lane]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none")
def test_a_gpu_gives_the_clips_of_the_cpu() -> None:
    """From the same generator on the CPU; other roundings of 1e-3 grey levels tip few of them to the next."""
    found = augmented(CLIPS.cuda(), ALL, torch.ones(7).cuda(), torch.Generator().manual_seed(1)).cpu()
    difference = (found.short() - drawn(CLIPS, ALL).short()).abs()
    assert difference.max() <= 1
    assert (difference > 0).double().mean() < 0.01
