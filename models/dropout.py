"""Dropout whose rate is a value, not a Python number, so that lanes may differ in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dropout(nn.Module):
    """Inverted dropout (Srivastava et al. 2014) with its rate in a buffer.

    `nn.Dropout` holds the rate as a Python float: models stacked by `torch.func.stack_module_state` would all use the
    rate of the first. A buffer is stacked with the weights. The draw has the shape of one lane, so that under
    `vmap(randomness="same")` every lane drops what a plain run of the same seed drops.
    """

    rate: Tensor

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"a dropout rate is at least 0 and below 1, got {rate}")
        self.register_buffer("rate", torch.tensor(float(rate)))

    def forward(self, x: Tensor) -> Tensor:
        """Set a share `rate` of the entries to zero and scale the rest; nothing in evaluation mode."""
        if not self.training:
            return x
        keep = torch.rand(x.shape, device=x.device) >= self.rate  # rate 0 keeps all: rand lies in [0, 1)
        return x * keep.to(x.dtype) / (1.0 - self.rate).to(x.dtype)
