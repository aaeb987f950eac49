"""The optimizer of a training, as `optimizer.name` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor


def optimizer(parameters: Iterable[Tensor], settings: Mapping[str, Any]) -> torch.optim.Optimizer:
    """`adamw` (Loshchilov and Hutter 2019, algorithm 2) or `sgd`, with momentum as Nesterov's (Sutskever et al. 2013).

    A step of AdamW is as large as the rate says, however small the gradient; one of SGD is proportional to the
    gradient. So a rate can be too low for SGD on a plateau that AdamW leaves with it. Either way the weights shrink by
    `lr * weight_decay` per step; SGD's momentum carries that on like the rest of the gradient.

    Args:
        parameters: of the network, all with one rate.
        settings: of the group `optimizer`: name, lr, weight_decay, and momentum, which `adamw` does not read.
    """
    lr, decay = settings["lr"], settings["weight_decay"]
    if settings["name"] == "adamw":
        return torch.optim.AdamW(parameters, lr=lr, weight_decay=decay, fused=True)
    momentum = settings["momentum"]
    return torch.optim.SGD(parameters, lr=lr, weight_decay=decay, momentum=momentum, nesterov=momentum > 0, fused=True)


def in_words(settings: Mapping[str, Any]) -> str:
    """`adamw, weight_decay 0.01, gradient_clip 1`: what is read of the group, but for the rate."""
    unread = {"name", "lr"} | ({"momentum"} if settings["name"] == "adamw" else set())
    read = [f"{key} {value:g}" for key, value in settings.items() if key not in unread]
    return ", ".join([settings["name"], *read])
