"""Windows of volumes: what they go through against numpy and scipy, label and image alike, and lanes."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates
from torch import Tensor
from torch.func import grad, vmap

from objectives.surface.data import IGNORED
from objectives.volume_augmentation import OUTSIDE, Strengths, augmented, displaced, field, oriented

ROWS, SIDE = 6, 12
SEEDED = torch.Generator().manual_seed(0)
IMAGE = torch.randint(256, (ROWS, SIDE, SIDE, SIDE), generator=SEEDED, dtype=torch.uint8)
LABEL = torch.randint(3, (ROWS, SIDE, SIDE, SIDE), generator=SEEDED, dtype=torch.uint8)
ALL = Strengths(flip=0.5, rotate=0.5, brightness=0.3, contrast=0.3, noise=0.2, elastic=1.5)
NAMES = list(vars(ALL))
TYPES = [torch.uint8, torch.int16, torch.float32, torch.float64]


def drawn(image: Tensor, label: Tensor, strengths: Strengths, seed: int = 1) -> tuple[Tensor, Tensor]:
    return augmented(image, label, strengths, torch.Generator().manual_seed(seed))


def many(rows: int, strengths: Strengths) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One window many times, image and label before and after."""
    image, label = IMAGE[:1, :4, :4, :4].expand(rows, -1, -1, -1), LABEL[:1, :4, :4, :4].expand(rows, -1, -1, -1)
    return image, label, *drawn(image, label, strengths)


def counted(found: Tensor, windows: list[np.ndarray]) -> list[int]:
    """How many of the rows equal each of the windows; every row equals one."""
    names = [np.ascontiguousarray(window).tobytes() for window in windows]
    assert len(set(names)) == len(names)
    rows = [window.tobytes() for window in found.numpy()]
    assert set(rows) <= set(names)
    return [rows.count(name) for name in names]


def likely(counts: list[int], expected: float) -> bool:
    """Within six standard deviations of a count that is rare among many."""
    return all(abs(count - expected) < 6 * expected**0.5 for count in counts)


# ---- what is done for given parameters


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float64])
def test_axes_are_exchanged_and_mirrored_as_by_numpy(dtype: torch.dtype) -> None:
    """All 48 ways a cube may lie."""
    ways = list(product(permutations(range(3)), product([False, True], repeat=3)))
    order, mirrored = torch.tensor([way[0] for way in ways]), torch.tensor([way[1] for way in ways])
    volume = IMAGE[0].to(dtype)
    found = oriented(volume.expand(len(ways), -1, -1, -1), order, mirrored)
    for row, (axes, flips) in enumerate(ways):
        turned = np.flip(np.transpose(volume.numpy(), axes), tuple(axis for axis in range(3) if flips[axis]))
        assert np.array_equal(found[row].numpy(), turned)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float64])
def test_windows_are_resampled_as_by_scipy(dtype: torch.dtype) -> None:
    """In the window and out of it, by parts of a voxel. In double precision places err by 1e-14, times 255."""
    image = IMAGE.to(dtype)
    displacement = 4 * torch.randn((ROWS, 3, SIDE, SIDE, SIDE), generator=SEEDED, dtype=torch.float64)
    found, label = displaced(image, LABEL, displacement)
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"))
    for row in range(ROWS):
        place = grid + displacement[row].numpy()
        expected = map_coordinates(image[row].numpy().astype(float), place, order=1, mode="nearest")
        # Other images than those in double precision are read in single: 6e-8 of 255, four times.
        close = 1e-11 if dtype == torch.float64 else 1e-4
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=0, atol=close)
        nearest = np.rint(place).astype(int)
        outside = ((nearest < 0) | (nearest >= SIDE)).any(0)
        values = LABEL[row].numpy()[tuple(nearest.clip(0, SIDE - 1))]
        assert outside.mean() > 0.1
        assert np.array_equal(label[row].numpy(), np.where(outside, IGNORED, values))


def test_outside_is_what_the_surface_objective_ignores() -> None:
    assert OUTSIDE == IGNORED


def test_a_deformation_is_smooth_and_everywhere_as_large_as_its_noise() -> None:
    """Over 4,000 draws; a standard deviation is known to 1 / sqrt(2 n) of itself, six of which are 7 %."""
    control = torch.randn((4000, 3, 5, 5, 5), generator=SEEDED)
    found = field(control, SIDE)
    assert found.shape == (4000, 3, SIDE, SIDE, SIDE)
    spread = found.std(0)
    assert spread.min() > 0.93
    assert spread.max() < 1.07
    # The derivative of a cubic B-spline has sqrt(1.39) of its norm, per 8 voxels: 0.147.
    assert found.diff(dim=2).std() == pytest.approx(0.147, rel=0.1)


# ---- draws


def test_each_axis_is_mirrored_with_the_probability_of_a_flip() -> None:
    image, label, found, _ = many(4000, Strengths(flip=0.5))
    one = image[0].numpy()
    axes = [tuple(axis for axis in range(3) if flips[axis]) for flips in product([False, True], repeat=3)]
    assert likely(counted(found, [np.flip(one, flips) for flips in axes]), 500)
    assert torch.equal(many(3, Strengths(flip=1.0))[3], label[:3].flip(1, 2, 3))


def test_rotations_are_those_of_numpy_and_equally_likely() -> None:
    image, _, found, _ = many(4000, Strengths(rotate=0.9))
    one = image[0].numpy()
    turned = [np.rot90(one, turns, plane) for plane in ((0, 1), (0, 2), (1, 2)) for turns in (1, 2, 3)]
    still, *counts = counted(found, [one, *turned])
    assert likely([still], 400)
    assert likely(counts, 400)


def test_grey_levels_change_in_the_windows_own_unit() -> None:
    """Shift and factor are read off two grey levels, of a window whose mean is 100 and whose spread is 20."""
    image = torch.tensor([80, 120], dtype=torch.int16).repeat(2000, 4, 4, 2)
    label = torch.zeros_like(image, dtype=torch.uint8)

    def levels(strengths: Strengths) -> tuple[Tensor, Tensor]:
        found = drawn(image, label, strengths)[0].double()
        return found[..., ::2].mean((1, 2, 3)), found[..., 1::2].mean((1, 2, 3))

    dark, bright = levels(Strengths(brightness=0.5))
    torch.testing.assert_close(bright - dark, torch.full_like(dark, 40))
    assert (dark.min().item(), dark.max().item()) == (70, 90)
    dark, bright = levels(Strengths(contrast=0.5))
    torch.testing.assert_close(bright + dark, torch.full_like(dark, 200), rtol=0, atol=1)  # both rounded
    assert ((bright - dark).min().item(), (bright - dark).max().item()) == (20, 60)
    found = drawn(image.double(), label, Strengths(noise=0.5))[0]
    spread = (found - image).std((1, 2, 3))  # of 64 voxels: known to 9 %, half of them on either side
    assert spread.min() < 0.5
    assert 9 < spread.quantile(0.95) < 11
    assert spread.mean() == pytest.approx(5, rel=0.1)


@pytest.mark.parametrize("name", [*NAMES, "all"])
def test_each_window_changes_in_its_own_way(name: str) -> None:
    """A window in three planes, three angles each, or mirrored along three axes."""
    strengths = ALL if name == "all" else Strengths(**{name: 0.5})
    found = many(200, strengths)[2]
    different = len({window.numpy().tobytes() for window in found})
    assert different == {"flip": 8, "rotate": 10}.get(name, different)
    assert different >= 8


def test_draws_come_from_the_generator_and_their_number_from_the_shape() -> None:
    state = torch.random.get_rng_state()
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2, 1)]
    first, again, other, still = (
        augmented(IMAGE, LABEL, strengths, generator)
        for strengths, generator in zip([ALL, ALL, ALL, Strengths()], generators, strict=True)
    )
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))
    assert not any(map(torch.equal, first, still))
    assert torch.equal(generators[0].get_state(), generators[3].get_state())
    assert torch.equal(state, torch.random.get_rng_state())


# ---- image and label


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("side", [1, 9, 32])
def test_without_strength_every_bit_stays(dtype: torch.dtype, side: int) -> None:
    """The extremes of a type among the grey levels."""
    image = torch.randn((2, side, side, side), generator=SEEDED, dtype=torch.float64).to(dtype)
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        image = torch.randint(limits.min, limits.max + 1, image.shape, generator=SEEDED, dtype=dtype)
        image.view(-1)[0], image.view(-1)[-1] = limits.min, limits.max
    label = torch.randint(3, image.shape, generator=SEEDED, dtype=torch.uint8)
    found = drawn(image, label, Strengths())
    assert torch.equal(found[0], image)
    assert torch.equal(found[1], label)


def test_a_label_goes_where_its_image_goes() -> None:
    for strengths in (Strengths(flip=0.5), Strengths(rotate=1.0), Strengths(flip=0.5, rotate=1.0)):
        image, label = drawn(100 * LABEL, LABEL, strengths)
        assert not torch.equal(label, LABEL)
        assert torch.equal(image, 100 * label)


def test_a_deformed_label_is_the_deformed_image_to_within_interpolation() -> None:
    """The image's slope is 6 grey levels per voxel, along each axis in turn; its label is what lies above 96. Nearest
    and linear place differ by half a voxel at most, where the slope turns nothing: by 3 levels, and by rounding."""
    ramp = (6 * torch.arange(32)).to(torch.uint8).expand(32, 32, 32)
    image = torch.stack([ramp, ramp.transpose(1, 2), ramp.transpose(0, 2)])
    found, label = drawn(image, (image > 96).to(torch.uint8), Strengths(elastic=2.0))
    assert not torch.equal(found, image)
    known = label != OUTSIDE
    assert 0.5 < known.float().mean() < 1
    assert found[known & (label == 1)].min() >= 99 - 3 - 1
    assert found[known & (label == 0)].max() <= 99 + 3 + 1


@pytest.mark.parametrize("dtype", TYPES)
def test_types_stay_and_integers_are_clamped(dtype: torch.dtype) -> None:
    image = IMAGE.to(dtype)
    if dtype == torch.int16:
        image = torch.randint(-32768, 32768, IMAGE.shape, generator=SEEDED, dtype=dtype)
    found, label = drawn(image, LABEL, replace(ALL, brightness=3.0, noise=1.0))
    assert (found.dtype, label.dtype) == (dtype, torch.uint8)
    assert found.shape == label.shape == image.shape
    if not dtype.is_floating_point:
        limits = torch.iinfo(dtype)
        for limit in (limits.min, limits.max):
            assert (found == limit).double().mean() > 0.05


def test_other_windows_are_refused() -> None:
    cases = [(IMAGE[0], LABEL[0]), (IMAGE[:, 1:], LABEL[:, 1:]), (IMAGE, LABEL[1:]), (IMAGE, LABEL.short())]
    for image, label in cases:
        with pytest.raises(ValueError, match=r"must be \[rows, side, side, side\] both, the label uint8, not torch\."):
            drawn(image, label, ALL)


# ---- lanes


@pytest.mark.parametrize("names", [*([name] for name in NAMES), NAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanes_equal_plain_runs(names: list[str], dtype: torch.dtype) -> None:
    """To the bit, whichever strengths differ: where a grey level is rounded, there is no nearly."""
    values = [0.0, 0.3, 1.0]

    def loss(weight: Tensor, *strengths: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        image, label = drawn(IMAGE, LABEL, replace(ALL, **dict(zip(names, strengths, strict=True))))
        return (weight * image).mean(), (image, label)

    lanes = vmap(grad(loss, has_aux=True), randomness="same")
    _, found = lanes(torch.ones(3), *[torch.tensor(values, dtype=dtype)] * len(names))
    for lane, value in enumerate(values):
        _, alone = loss(torch.ones(()), *[value] * len(names))
        assert torch.equal(found[0][lane], alone[0])
        assert torch.equal(found[1][lane], alone[1])


def test_lanes_may_differ_in_their_windows() -> None:
    images, labels = IMAGE.unflatten(0, (3, 2)), LABEL.unflatten(0, (3, 2))
    found = vmap(lambda image, label: drawn(image, label, ALL), randomness="same")(images, labels)
    for lane in range(3):
        alone = drawn(images[lane], labels[lane], ALL)
        assert torch.equal(found[0][lane], alone[0])
        assert torch.equal(found[1][lane], alone[1])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none")
def test_a_gpu_gives_the_windows_of_the_cpu() -> None:
    """From the same generator on the CPU; roundings of 1e-5 voxels tip few levels and labels to the next."""
    found = augmented(IMAGE.cuda(), LABEL.cuda(), ALL, torch.Generator().manual_seed(1))
    image, label = drawn(IMAGE, LABEL, ALL)
    assert (found[0].cpu().short() - image.short()).abs().max() <= 1
    assert (found[1].cpu() != label).double().mean() < 1e-3
