"""The network for clips: its units, what motion adds, its encoders, and lanes that equal separate models."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

from models.clip import ENCODERS, GRID, ClipNet

PIXELS = torch.tensor([[0.5, 0.4, 0.3], [0.2, 0.25, 0.3]])
MOVING = torch.tensor([0.1, 0.05])
SCORE, FEATURES = torch.tensor([5.0, 2.0]), torch.tensor([[1.0, 0.0, 3.0], [0.5, 1.0, 2.0]])


def net(encoder: str = "small", *, dropout: float = 0.0, motion: bool = False, features: Tensor = FEATURES) -> ClipNet:
    torch.manual_seed(0)
    return ClipNet(encoder, 8, 12, dropout, PIXELS, MOVING, SCORE, features, motion=motion)


def clips(rows: int = 3, time: int = 4, side: int = 32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {"video": torch.randint(256, (rows, time, 3, side, side), generator=generator, dtype=torch.uint8)}


@pytest.mark.parametrize("encoder", ENCODERS[:2])
@pytest.mark.parametrize("motion", [False, True])
def test_every_clip_has_a_score_and_its_features(encoder: str, motion: bool) -> None:
    outputs = net(encoder, motion=motion).eval()(clips())
    assert {name: tuple(value.shape) for name, value in outputs.items()} == {"score": (3,), "features": (3, 3)}


def test_without_features_there_is_one_head() -> None:
    model = net(features=torch.zeros(2, 0))
    assert model.features is None
    assert list(model(clips())) == ["score"]


def test_heads_answer_in_the_unit_of_the_labels() -> None:
    """Heads that say nothing answer with the mean; heads that say 1 with one spread more."""
    model = net().eval()
    assert model.features is not None
    with torch.no_grad():
        for head in (model.score, model.features):
            head.weight.zero_()
            head.bias.fill_(1.0)
        outputs = model(clips())
    torch.testing.assert_close(outputs["score"], torch.full((3,), 7.0))
    torch.testing.assert_close(outputs["features"], torch.tensor([[1.5, 1.0, 5.0]]).expand(3, -1))


def test_a_clip_is_scored_alike_whatever_is_scored_with_it() -> None:
    """In training, too: nothing is normalised over a batch."""
    model, batch = net(motion=True).train(), clips(5)
    alone = model({"video": batch["video"][2:3]})["score"]
    torch.testing.assert_close(model(batch)["score"][2:3], alone, rtol=1e-5, atol=1e-5)  # sums of other shapes


def test_motion_is_the_mean_change_of_each_cell_since_the_frame_before() -> None:
    model = net(motion=True)
    seen: list[Tensor] = []
    model.lstm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    video = torch.zeros(1, 3, 3, 32, 32, dtype=torch.uint8)
    video[0, 1, :, :8, :8] = 51  # the first cell of 4 x 4, in the second frame alone
    model({"video": video})
    code, motion = seen[0][0].tensor_split([-(GRID**2)], -1)
    expected = torch.zeros(3, GRID**2)
    expected[1:, 0] = 51 / 255
    loudness = (code.shape[-1] / GRID**2) ** 0.5
    torch.testing.assert_close(motion, (expected - MOVING[0]) / MOVING[1] * loudness)


def test_an_unknown_encoder_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.backbone is one of resnet18, .*, got 'vgg16'"):
        net("vgg16")


def test_lanes_with_rates_of_their_own_equal_separate_models() -> None:
    """Scores and gradients of three models at once in float64, dropout drawn alike: sums in another order alone."""
    models = []
    for seed, rate in enumerate((0.0, 0.3, 0.6)):
        model = net(dropout=rate, motion=True).double()
        torch.manual_seed(seed)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        models.append(model.train())
    batch = clips()

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        outputs = functional_call(models[0], (parameters, buffers), (batch,))
        return outputs["score"].square().mean() + outputs["features"].square().mean()

    torch.manual_seed(7)
    stacked = vmap(grad(loss), randomness="same")(*stack_module_state(models))
    for lane, model in enumerate(models):
        torch.manual_seed(7)
        outputs = model(batch)
        (outputs["score"].square().mean() + outputs["features"].square().mean()).backward()
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(stacked[name][lane], parameter.grad, rtol=1e-9, atol=1e-9)
