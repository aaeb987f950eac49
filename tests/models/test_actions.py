"""The net for clips: what it does not see cannot matter, how far it sees, and what moving or zooming changes."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from models.actions import LAGS, WINDOWS, ActionNet, Scaling, posture

#: Two animals: three points and two.
ANIMAL = torch.tensor([[1.0, 1, 1, 0, 0], [0, 0, 0, 1, 1]])
CLASSES, POINTS, TIME, SIDE = 4, 5, 120, 16
#: Features summed in another order round differently: 1e-4 is a hundred times what single precision loses here.
ROUNDING: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}


def net(unit: str = "frame", *, layers: int = 3, piece: int = 0, video: bool = False, **changes: Any) -> ActionNet:
    torch.manual_seed(0)
    scaling = Scaling(
        place=torch.tensor([[0.5, 0.4], [0.2, 0.1]]),
        speed=torch.tensor(0.01),
        body=torch.tensor(0.1),
        animal=ANIMAL,
        grey=torch.tensor([0.4, 0.2]) if video else None,
    )
    given: dict[str, Any] = {"width": 8, "dropout": 0.0, "head_dropout": 0.0} | changes
    return ActionNet(CLASSES, layers=layers, scaling=scaling, unit=unit, piece=piece, **given)


def clips(rows: int = 2, time: int = TIME, *, missing: float = 0.1, video: bool = False) -> dict[str, Tensor]:
    """Points that wander by steps of 0.01, some of them not seen."""
    g = torch.Generator().manual_seed(1)
    steps = 0.01 * torch.randn(rows, time, POINTS, 2, generator=g)
    points = 0.5 + 0.1 * torch.randn(rows, 1, POINTS, 2, generator=g) + steps.cumsum(1)
    points[torch.rand(rows, time, POINTS, generator=g) < missing] = torch.nan
    batch = {"keypoints": points, "frame": torch.arange(time).expand(rows, -1)}
    if video:
        batch["video"] = torch.randint(256, (rows, time, SIDE, SIDE), generator=g, dtype=torch.uint8)
    return batch


def answers(model: ActionNet, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    with torch.no_grad():
        found: dict[str, Tensor] = model.eval()(batch)
    return found


def changed(one: Tensor, other: Tensor) -> list[int]:
    """Frames in which any answer differs at all."""
    return torch.nonzero((one != other).flatten(2).any(-1).any(0)).flatten().tolist()


# ---- shapes, units, errors


@pytest.mark.parametrize("unit", ["frame", "animal"])
@pytest.mark.parametrize("video", [False, True])
def test_shapes_are_what_the_docstring_says(unit: str, video: bool) -> None:
    found = answers(net(unit, video=video), clips(video=video))
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "action": (2, TIME, CLASSES),
        "keypoints": (2, TIME, POINTS, 2),
    }


def test_a_clip_of_one_frame_is_answered() -> None:
    assert answers(net(), clips(time=1))["action"].shape == (2, 1, CLASSES)


@pytest.mark.parametrize("unit", ["frame", "animal"])
def test_every_clip_is_answered_by_itself(unit: str) -> None:
    model, batch = net(unit, video=True), clips(5, video=True)
    together, alone = answers(model, batch), answers(model, {name: value[2:3] for name, value in batch.items()})
    for name, value in alone.items():
        torch.testing.assert_close(value, together[name][2:3], **ROUNDING)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "model.width and model.layers are 1 or more, got 0 and 3"),
        ({"layers": 0}, "model.width and model.layers are 1 or more, got 8 and 0"),
        ({"unit": "cage"}, "model.unit is one of frame, animal, got 'cage'"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        net(**changes)


@pytest.mark.parametrize("unit", ["frame", "animal"])
def test_mixed_precision_does_not_round_places(unit: str) -> None:
    """In bfloat16 a place near 0.5 of a frame of 640 pixels would be a multiple of 1.25 pixels."""
    batch = clips()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = net(unit).eval()(batch)["keypoints"]
    assert found.dtype == torch.float32
    assert (found != found.bfloat16().float()).any()


def test_mixed_precision_does_not_round_what_is_measured_of_the_points() -> None:
    """A head that says nothing answers with each animal's centre, in bfloat16 up to 0.004 of the frame beside it."""
    model, batch = net("animal").eval(), clips()
    torch.nn.init.zeros_(model.keypoints.weight)
    torch.nn.init.zeros_(model.keypoints.bias)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        rounded = model(batch)["keypoints"]
    assert torch.equal(rounded, answers(model, batch)["keypoints"])


def test_nothing_runs_along_with_training() -> None:
    """No statistics of batches: trained and evaluated alike, so that lanes need none of their own."""
    model, batch = net("animal", video=True), clips(video=True)
    before = {name: value.clone() for name, value in model.named_buffers()}
    trained = model.train()(batch)
    assert not [name for name, _ in model.named_buffers() if "running" in name]
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    for name, value in answers(model, batch).items():
        torch.testing.assert_close(value, trained[name].detach(), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["dropout", "head_dropout"])
def test_dropout_is_of_training_alone(name: str) -> None:
    changes: dict[str, Any] = {name: 0.5}
    model, batch = net(**changes), clips()
    assert not torch.equal(model.train()(batch)["action"], model(batch)["action"])
    assert torch.equal(answers(model, batch)["action"], answers(model, batch)["action"])


# ---- what is not seen


@pytest.mark.parametrize("unit", ["frame", "animal"])
@pytest.mark.parametrize("missing", [0.5, 1.0])
def test_missing_points_give_finite_answers_and_gradients(unit: str, missing: float) -> None:
    model = net(unit, video=True).train()
    found = model(clips(missing=missing, video=True))
    torch.stack([value.square().sum() for value in found.values()]).sum().backward()
    assert all(torch.isfinite(value).all() for value in found.values())
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("unit", ["frame", "animal"])
def test_a_point_that_is_never_seen_teaches_its_features_nothing(unit: str) -> None:
    """Nor does it reach those of others: its weights have no gradient, whatever the others do."""
    model, batch = net(unit).train(), clips(missing=0)
    batch["keypoints"][:, :, 1] = torch.nan
    model(batch)["action"].square().sum().backward()
    gradient = model.points.weight.grad
    assert gradient is not None
    places = gradient[:, : 2 * POINTS].unflatten(1, (POINTS, 2)).abs().sum((0, 2))
    assert [bool(value) for value in places] == [True, False, True, True, True]


def test_it_matters_whether_a_point_is_seen_where_its_place_is_the_mean() -> None:
    """Not seen reads as the mean place; a flag tells it from a point that is there."""
    model, batch = net(), clips(missing=0)
    batch["keypoints"][:] = torch.tensor([0.5, 0.4])
    hidden = {**batch, "keypoints": batch["keypoints"].clone()}
    hidden["keypoints"][:, 60, 0] = torch.nan
    assert 60 in changed(answers(model, batch)["action"], answers(model, hidden)["action"])


def test_windows_average_what_is_seen_alone() -> None:
    """Of an animal that keeps still, a gap leaves every mean as it is: only the encoder's reach notices."""
    model, batch, at = net(), clips(missing=0), 60
    batch["keypoints"] = batch["keypoints"][:, :1].repeat(1, TIME, 1, 1)
    hidden = {**batch, "keypoints": batch["keypoints"].clone()}
    hidden["keypoints"][:, at, 0] = torch.nan
    apart = (answers(model, batch)["action"] - answers(model, hidden)["action"]).abs().amax((0, 2))
    found = set(torch.nonzero(apart > ROUNDING["atol"]).flatten().tolist())
    assert at in found
    assert found <= set(range(at - 7, at + 8))


# ---- how far it sees


@pytest.mark.parametrize("layers", [1, 3, 4])
def test_a_frame_changes_no_answer_out_of_reach(layers: int) -> None:
    """Layers of dilation 1, 2, 4, ... see 2^layers - 1 frames; features look over windows, and back by lags."""
    model, batch, at = net(layers=layers), clips(missing=0), 60
    moved = {**batch, "keypoints": batch["keypoints"].clone()}
    moved["keypoints"][:, at] += 0.3
    found = changed(answers(model, batch)["action"], answers(model, moved)["action"])
    around = 2**layers - 1 + max(WINDOWS)
    expected = range(at - around, min(at + around + max(LAGS), TIME - 1) + 1)
    assert found == list(expected)


def test_video_is_seen_as_far_as_the_encoder_reaches() -> None:
    model, batch, at = net(video=True), clips(video=True), 60
    other = {**batch, "video": batch["video"].clone()}
    other["video"][:, at] = 255
    assert changed(answers(model, batch)["action"], answers(model, other)["action"]) == list(range(at - 7, at + 8))


@pytest.mark.parametrize("unit", ["frame", "animal"])
def test_padding_changes_no_other_frame(unit: str) -> None:
    """What lies behind the end of a clip is as nothing, for windows, the animal's size and the encoder."""
    model, batch, padding = net(unit, video=True), clips(video=True), 30
    longer = {
        "keypoints": torch.cat([batch["keypoints"], torch.full((2, padding, POINTS, 2), torch.nan)], 1),
        "video": torch.cat([batch["video"], torch.full((2, padding, SIDE, SIDE), 99, dtype=torch.uint8)], 1),
        "frame": torch.cat([batch["frame"], torch.full((2, padding), -1)], 1),
    }
    plain, padded = answers(model, batch), answers(model, longer)
    for name, value in plain.items():
        torch.testing.assert_close(value, padded[name][:, :TIME], **ROUNDING)


@pytest.mark.parametrize("unit", ["frame", "animal"])
def test_evaluation_cuts_longer_clips_into_pieces(unit: str) -> None:
    whole, cut, batch = net(unit, video=True), net(unit, piece=50, video=True), clips(video=True)
    parts = [{name: value[:, first : first + 50] for name, value in batch.items()} for first in (0, 50, 100)]
    said = [answers(whole, part) for part in parts]
    for name, value in answers(cut, batch).items():
        torch.testing.assert_close(value, torch.cat([part[name] for part in said], 1), rtol=0, atol=0)
    assert not torch.allclose(answers(cut, batch)["action"], answers(whole, batch)["action"])


def test_training_sees_a_clip_as_a_whole() -> None:
    cut, batch = net(piece=50).train(), clips()
    torch.testing.assert_close(cut(batch)["action"].detach(), answers(net(), batch)["action"], rtol=0, atol=0)


# ---- moving and zooming


def transformed(batch: dict[str, Tensor], zoom: float, shift: tuple[float, float]) -> dict[str, Tensor]:
    return {**batch, "keypoints": batch["keypoints"] * zoom + torch.tensor(shift)}


@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0.2, -0.1)), (0.5, (0.0, 0.0)), (1.7, (-0.3, 0.25))])
def test_by_the_animal_a_clip_may_be_anywhere_and_of_any_size(zoom: float, shift: tuple[float, float]) -> None:
    """Actions stay, points move along. In double precision: differences of places lose digits to the shift."""
    model, batch = net("animal").double(), clips()
    batch["keypoints"] = batch["keypoints"].double()
    plain, other = answers(model, batch), answers(model, transformed(batch, zoom, shift))
    torch.testing.assert_close(other["action"], plain["action"], rtol=1e-6, atol=1e-6)
    expected = plain["keypoints"] * zoom + torch.tensor(shift)
    # A point of an animal of which nothing is seen: its centre is the mean over the clip, which moves along, too.
    torch.testing.assert_close(other["keypoints"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("zoom", "shift"), [(1.0, (0.2, -0.1)), (0.5, (0.0, 0.0))])
def test_by_the_frame_place_and_size_matter(zoom: float, shift: tuple[float, float]) -> None:
    model, batch = net("frame"), clips()
    other = answers(model, transformed(batch, zoom, shift))
    assert not torch.allclose(other["action"], answers(model, batch)["action"], atol=1e-2)


def test_by_the_animal_the_distance_between_two_animals_matters() -> None:
    model, batch = net("animal"), clips()
    other = {**batch, "keypoints": batch["keypoints"].clone()}
    other["keypoints"][:, :, 3:] += 0.2
    assert not torch.allclose(answers(model, other)["action"], answers(model, batch)["action"], atol=1e-2)


def test_by_the_animal_it_matters_on_which_side_the_other_one_is() -> None:
    """Each stands on a line of its own: mirrored about the first, all distances and own places stay."""
    batch = clips(missing=0)
    batch["keypoints"][..., 0] = torch.tensor([0.5, 0.5, 0.5, 0.7, 0.7])
    other = {**batch, "keypoints": batch["keypoints"].clone()}
    other["keypoints"][:, :, 3:, 0] = 0.3
    model = net("animal")
    assert not torch.allclose(answers(model, other)["action"], answers(model, batch)["action"], atol=1e-2)


# ---- posture


def naive(points: Tensor, animal: Tensor, otherwise: float) -> tuple[Tensor, Tensor]:
    """The docstring of `posture`, one frame after another."""
    rows, time = points.shape[:2]
    centres, sizes = torch.zeros(rows, time, len(animal), 2), torch.zeros(rows)
    for row in range(rows):
        squares = []
        for number, own in enumerate(animal):
            found = {}
            for frame in range(time):
                seen = [p for p, mine in zip(points[row, frame], own, strict=True) if mine and torch.isfinite(p).all()]
                if seen:
                    found[frame] = torch.stack(seen).mean(0)
                if len(seen) > 1:
                    squares.append(float(((torch.stack(seen) - found[frame]) ** 2).sum(1).mean()))
            rest = torch.stack(list(found.values())).mean(0) if found else torch.zeros(2)
            for frame in range(time):
                centres[row, frame, number] = found.get(frame, rest)
        sizes[row] = (sum(squares) / len(squares)) ** 0.5 if squares else otherwise
    return centres, sizes


def test_posture_is_that_of_a_plain_loop() -> None:
    points = clips(4, 25, missing=0.5)["keypoints"]
    points[1, :, 3:] = torch.nan  # the second animal is never seen
    points[2] = torch.nan  # nor is any
    points[3, :, 1:3], points[3, :, 4] = torch.nan, torch.nan  # nowhere two points
    centre, size = posture(points, ANIMAL, torch.tensor(0.3))
    expected = naive(points, ANIMAL, 0.3)
    torch.testing.assert_close(centre, expected[0])
    torch.testing.assert_close(size, expected[1])
    assert size[2:].tolist() == pytest.approx([0.3, 0.3])


def test_the_size_is_that_of_the_body_and_not_of_how_far_animals_are_apart() -> None:
    points = clips(1, 10, missing=0)["keypoints"]
    apart = points.clone()
    apart[:, :, 3:] += 5.0
    one, other = (posture(each, ANIMAL, torch.tensor(1.0))[1] for each in (points, apart))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=0)  # differences of places near 5 lose a digit
