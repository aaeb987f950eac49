"""What augmentation of clips promises: nothing at 0, points, video and actions together, lanes like plain runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap

from objectives.clips import Strengths, augmented
from tests.objectives.made_up_clips import ALL, assert_same, clips, drawn

NAMES = list(vars(ALL))


# ---- contract


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_without_strength_every_bit_stays(dtype: torch.dtype) -> None:
    batch = clips(6, 9, padded=3, dtype=dtype)
    batch["keypoints"][0, 0] = torch.tensor([-0.5, 2.0])  # a tracker may see points beyond the frame
    batch["video"][-1, -1] = 9  # whatever padding holds
    found = drawn(batch, Strengths())
    assert found.keys() == {*batch, "clean"}
    for name, entry in {**batch, "clean": batch["keypoints"]}.items():
        assert_same(found[name], entry)


def test_clips_that_are_not_chosen_stay() -> None:
    batch, chosen = clips(40, 9), torch.arange(40) % 2 == 0
    everything = Strengths(jitter=0.1, brightness=1, contrast=1, temporal_drop=1, noise=0.5, roll=5, flip=1)
    found = drawn(batch, everything, chosen=chosen)
    for name, entry in {**batch, "clean": batch["keypoints"]}.items():
        assert_same(found[name][~chosen], entry[~chosen])
    assert (found["keypoints"][chosen] != batch["keypoints"][chosen]).flatten(1).any(1).all()
    free = drawn(batch, everything)
    assert_same(found["video"][chosen], free["video"][chosen])  # what is not chosen takes no draw from what is


def test_draws_come_from_the_generator_and_their_number_from_the_shapes() -> None:
    state, batch = torch.random.get_rng_state(), clips(6, 9)
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2, 1)]
    everyone, none = torch.ones(6, dtype=torch.bool), torch.zeros(6, dtype=torch.bool)
    cases = [(ALL, everyone), (ALL, everyone), (ALL, everyone), (Strengths(), none)]
    first, again, other, _ = (
        augmented(batch, strengths, chosen, generator)
        for (strengths, chosen), generator in zip(cases, generators, strict=True)
    )
    for name in first:
        assert_same(first[name], again[name])
    assert not torch.equal(first["keypoints"].nan_to_num(), other["keypoints"].nan_to_num())
    assert torch.equal(generators[0].get_state(), generators[3].get_state())
    assert torch.equal(state, torch.random.get_rng_state())


def test_points_are_changed_alike_with_and_without_a_video() -> None:
    batch = clips(40, 9)
    found = drawn(batch, ALL)
    del batch["video"]
    blind = drawn(batch, ALL)
    assert "video" not in blind
    for name in blind:
        assert_same(blind[name], found[name])


def test_single_precision_is_changed_like_double() -> None:
    """To its own rounding: numbers around one, a handful of operations."""
    batch = clips(40, 9)
    single = drawn({name: e.float() if e.is_floating_point() else e for name, e in batch.items()}, ALL)
    double = drawn(batch, ALL)
    for name in ("keypoints", "clean"):
        assert single[name].dtype == torch.float32
        torch.testing.assert_close(single[name].double(), double[name], rtol=0, atol=1e-6, equal_nan=True)


# ---- together


def test_points_video_and_action_keep_together_through_everything_at_once() -> None:
    """Each frame carries its number: in its action, in a point's height, in bright and dark bars across its picture.

    A bar bright on the left alone tells whether the picture is mirrored, the left point's x whether the points are.
    """
    rows, time = 60, 100
    number = torch.arange(time).repeat(rows, 1)
    bits = (number[..., None] >> torch.arange(7)) & 1
    bars = torch.cat([bits, torch.ones_like(bits[..., :1])], -1)[..., None].repeat(1, 1, 1, 8)
    bars[..., -1, 4:] = 0
    points = torch.tensor([[0.1, 0.5], [0.7, 0.5], [0.5, 0.5]], dtype=torch.float64).repeat(rows, time, 1, 1)
    points[:, :, 2, 1] = number.double() / time
    batch = {
        "keypoints": points,
        "extent": torch.ones((rows, 2), dtype=torch.float64),
        "action": number,
        "frame": number,
        "mirror": torch.tensor([[1, 0, 2]]).repeat(rows, 1),
        "video": (50 + 150 * bars).to(torch.uint8),
    }
    found = drawn(batch, replace(ALL, jitter=1e-4, temporal_drop=0.3, roll=30))
    assert_same(found["action"], found["frame"])
    torch.testing.assert_close(found["clean"][:, :, 2, 1], found["frame"].double() / time, rtol=0, atol=1e-15)
    seen = ~found["keypoints"].isnan().any(-1).any(-1)
    torch.testing.assert_close(found["keypoints"][seen], found["clean"][seen], rtol=0, atol=1e-3)
    assert torch.equal((found["keypoints"][:, :, 2, 1] * time).round().long()[seen], found["frame"][seen])

    grey = found["video"].double()
    left, right = grey[:, :, -1, :4].mean(-1), grey[:, :, -1, 4:].mean(-1)
    read = (grey[:, :, :7].mean(-1) > ((left + right) / 2)[..., None]).long() @ (1 << torch.arange(7))
    assert torch.equal(read[seen], found["frame"][seen])
    assert (grey[~seen] == 0).all()
    turned = found["clean"][:, :, 0, 0] > 0.2
    torch.testing.assert_close(found["clean"][:, :, 0, 0], 0.1 + 0.2 * turned.double(), rtol=0, atol=1e-15)
    assert torch.equal((left < right)[seen], turned[seen])
    assert 0 < turned[:, 0].sum() < rows and 0 < (~seen).sum() and (found["frame"][:, 0] != 0).any()


# ---- lanes


@pytest.mark.parametrize("names", [*([name] for name in NAMES), NAMES])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanes_equal_plain_runs(names: list[str], dtype: torch.dtype) -> None:
    """Whichever strengths differ: points to 1e-9, grey levels to the bit."""
    batch = clips(12, 10, padded=4)
    values: dict[str, list[float]] = {name: [0.0, 0.3, 1.0] for name in NAMES} | {"roll": [0.0, 2.7, 5.0]}

    def loss(weight: Tensor, *strengths: Any) -> tuple[Tensor, dict[str, Tensor]]:
        found = drawn(batch, replace(ALL, **dict(zip(names, strengths, strict=True))))
        return (weight * found["keypoints"].nan_to_num()).mean(), found

    lanes = vmap(grad(loss, has_aux=True), randomness="same")
    _, found = lanes(torch.ones(3), *(torch.tensor(values[name], dtype=dtype) for name in names))
    for lane in range(3):
        _, plain = loss(torch.ones(()), *(values[name][lane] for name in names))
        assert found.keys() == plain.keys()
        for name, entry in plain.items():
            exact = 1e-9 if entry.is_floating_point() else 0
            torch.testing.assert_close(found[name][lane], entry, rtol=0, atol=exact, equal_nan=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; torch finds none")
def test_a_gpu_gives_the_clips_of_the_cpu() -> None:
    """From the same generator on the CPU; other roundings of 1e-4 grey levels tip few of them to the next."""
    batch = clips(12, 10, padded=4)
    found = drawn({name: entry.cuda() for name, entry in batch.items()}, ALL, chosen=torch.ones(12).bool().cuda())
    plain = drawn(batch, ALL)
    difference = (found.pop("video").cpu().short() - plain.pop("video").short()).abs()
    assert difference.max() <= 1
    assert (difference > 0).double().mean() < 0.01
    for name, entry in plain.items():
        torch.testing.assert_close(found[name].cpu(), entry, rtol=0, atol=1e-9, equal_nan=True)
