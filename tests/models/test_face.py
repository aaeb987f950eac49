"""The network for faces: its heads, its gate, its backbone's weights, and batch normalisation in lanes."""

from __future__ import annotations

import re

import pytest
import torch
import torchvision
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torchvision.transforms.v2.functional import normalize

from models.backbones import BACKBONES, load_backbone
from models.face import FaceNet

MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])


def net(backbone: str = "resnet18", *, units: int = 3, dropout: float = 0.0, au_attention: bool = False) -> FaceNet:
    return FaceNet(backbone, 5, units, dropout, MEAN, STD, au_attention=au_attention)


def faces(rows: int = 6, side: int = 32) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {"image": torch.randint(256, (rows, 3, side, side), generator=generator, dtype=torch.uint8)}


def test_the_heads_read_the_features_of_torchvisions_network() -> None:
    model = net().eval()
    plain = torchvision.models.resnet18(weights=None)
    plain.fc = torch.nn.Identity()
    plain.load_state_dict(model.backbone.state_dict())
    batch = faces()
    scaled = normalize(batch["image"] / 255, MEAN.tolist(), STD.tolist())
    features = plain.eval()(scaled)
    outputs = model(batch)
    # Scaling in another order rounds differently in single precision.
    torch.testing.assert_close(outputs["emotion"], model.emotion(features), rtol=1e-4, atol=1e-4)
    assert model.au is not None
    torch.testing.assert_close(outputs["au"], model.au(features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_has_two_heads(name: str) -> None:
    outputs = net(name).eval()(faces(2))
    assert {key: tuple(value.shape) for key, value in outputs.items()} == {"emotion": (2, 5), "au": (2, 3)}


def test_an_unknown_backbone_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"model\.backbone is one of resnet18, .*resnet152, got 'vgg16'"):
        net("vgg16")


def test_without_units_there_is_one_head_and_no_gate() -> None:
    model = net(units=0, au_attention=True)
    assert model.au is None
    assert model.gate is None
    assert list(model(faces())) == ["emotion"]


def test_the_gate_opens_and_closes_channels_by_the_evidence_for_units() -> None:
    """With evidence of exactly one half, or a closed path from the units, the gate is 1; else emotion depends on it."""
    model = net(au_attention=True).eval()
    assert model.gate is not None
    assert model.au is not None
    batch = faces()
    with torch.no_grad():
        model.gate.bias.zero_()
        gated = model(batch)["emotion"]
        model.au.weight.zero_()
        model.au.bias.zero_()  # a logit of 0: undecided
        features = model.backbone((batch["image"] / 255 - MEAN[:, None, None]) / STD[:, None, None])
        undecided = model(batch)["emotion"]
        torch.testing.assert_close(undecided, model.emotion(features), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(gated, undecided, atol=1e-3)


def test_the_emotion_teaches_the_units_through_the_gate() -> None:
    model = net(au_attention=True)
    model(faces())["emotion"].square().sum().backward()
    assert model.au is not None
    assert model.au.weight.grad is not None
    assert model.au.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_backbone_starts_from_a_state_dict_of_torchvision_whatever_its_last_layer(prefix: str) -> None:
    donor, model = torchvision.models.resnet18(num_classes=7), net()
    state = donor.state_dict()
    load_backbone(model.backbone, {f"{prefix}{name}": value for name, value in state.items()})
    own = model.backbone.state_dict()
    for name, value in donor.state_dict().items():
        if not name.startswith("fc."):
            torch.testing.assert_close(own[name], value, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {k: v for k, v in s.items() if k != "conv1.weight"}, "1 missing: conv1.weight"),
        (lambda s: {**s, "more": torch.zeros(1)}, "1 unknown: more"),
        (lambda s: {**s, "conv1.weight": torch.zeros(2)}, "1 of another shape: conv1.weight"),
        (lambda s: torchvision.models.resnet50().state_dict(), "unknown: layer1.0.conv3.weight"),
        (lambda s: {}, "100 missing: conv1.weight, bn1.weight, bn1.bias"),
    ],
)
def test_weights_of_another_network_are_refused(change: object, message: str) -> None:
    state = torchvision.models.resnet18().state_dict()
    with pytest.raises(ValueError, match=re.escape(message)):
        load_backbone(net().backbone, change(state))  # type: ignore[operator]


def test_running_statistics_of_lanes_are_those_of_separate_models() -> None:
    """Three models in training mode on one batch: gradients and what batch normalisation remembers, lane by lane."""
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(net(au_attention=True).double())
    batch = faces()

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        outputs = functional_call(models[0], (parameters, buffers), (batch,))
        return outputs["emotion"].square().mean() + outputs["au"].square().mean(), buffers

    parameters, buffers = stack_module_state(models)
    gradients, remembered = vmap(grad(loss, has_aux=True), randomness="same")(parameters, buffers)
    for lane, model in enumerate(models):
        outputs = model(batch)  # updates its own statistics in place
        (outputs["emotion"].square().mean() + outputs["au"].square().mean()).backward()
        for name, value in model.named_buffers():
            torch.testing.assert_close(remembered[name][lane], value, rtol=1e-9, atol=1e-12)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(gradients[name][lane], parameter.grad, rtol=1e-7, atol=1e-10)
    fresh = net().backbone.bn1.running_mean
    assert not torch.allclose(remembered["backbone.bn1.running_mean"][0].float(), fresh)
