"""Residual networks of torchvision as encoders of pictures, with random weights or those of a file."""

from __future__ import annotations

from collections.abc import Mapping

import torchvision
from torch import Tensor, nn
from torchvision.models import ResNet

#: Residual networks of He et al. (2016) by their names in torchvision.
BACKBONES = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def backbone(name: str) -> tuple[ResNet, int]:
    """The network without its last layer, with random weights; nothing is downloaded.

    Returns:
        A module from `[batch, 3, side, side]` to `[batch, width]`, and that width.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in BACKBONES:
        raise ValueError(f"model.backbone is one of {', '.join(BACKBONES)}, got {name!r}")
    net: ResNet = torchvision.models.get_model(name, weights=None)
    width = net.fc.in_features
    net.fc = nn.Identity()
    return net, width


def load_backbone(net: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Start from a state_dict of the same network, as torchvision writes it; its last layer is left out.

    Names that begin with `module.`, as DataParallel writes them, are read without it.

    Raises:
        ValueError: with the first names that are missing, unknown or of another shape.
    """
    plain = {name.removeprefix("module."): value for name, value in weights.items()}
    given = {name: value for name, value in plain.items() if not name.startswith("fc.")}
    own = net.state_dict()
    wrong = {
        "missing": [name for name in own if name not in given and not name.endswith("num_batches_tracked")],
        "unknown": [name for name in given if name not in own],
        "of another shape": [name for name in given if name in own and given[name].shape != own[name].shape],
    }
    if any(wrong.values()):
        told = (f"{len(names)} {what}: {', '.join(names[:3])}" for what, names in wrong.items() if names)
        raise ValueError("; ".join(told))
    net.load_state_dict(given, strict=False)
