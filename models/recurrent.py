"""An LSTM that also runs in lanes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class LSTM(nn.LSTM):
    """One layer, batch first (Hochreiter and Schmidhuber 1997); parameters and results are those of `nn.LSTM`.

    `nn.LSTM` has no rule for `torch.func.vmap`. Where its input or a parameter is a lane's, the same parameters run in
    a loop over time, which equals it but for rounding; everywhere else it is `nn.LSTM` itself, which is faster.
    Whether a tensor is a lane's no public function tells; a test holds the private one that does (`_in_lanes`).
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, features: int, hidden: int) -> None:
        """Start from random weights.

        Args:
            features: entries of the input at each time.
            hidden: entries of the state.
        """
        super().__init__(features, hidden, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:  # type: ignore[override]  # from zeros only
        """Read sequences from a state of zeros.

        Args:
            x: `[batch, time, feature]`, at least one time.

        Returns:
            The state at each time, `[batch, time, hidden]`; then hidden and cell state at the last, each
            `[1, batch, hidden]`.
        """
        return self.loop(x) if any(map(_in_lanes, (x, *self.parameters()))) else super().forward(x)

    def loop(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """`forward` written out, one time after another. The gates lie as in `nn.LSTM`: input, forget, cell, output."""
        driven = F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)
        hidden = cell = x.new_zeros(x.shape[0], self.hidden_size)
        states = []
        for drive in driven.unbind(1):
            enter, keep, new, leave = (drive + F.linear(hidden, self.weight_hh_l0)).chunk(4, -1)
            cell = torch.sigmoid(keep) * cell + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(leave) * torch.tanh(cell)
            states.append(hidden)
        return torch.stack(states, 1), (hidden[None], cell[None])


def _in_lanes(tensor: Tensor) -> bool:
    """Whether `vmap` maps over the tensor, also below `torch.func.grad`; the one place that asks torch's inside."""
    functorch = torch._C._functorch
    while functorch.is_functorch_wrapped_tensor(tensor):
        if functorch.is_batchedtensor(tensor):
            return True
        tensor = functorch.get_unwrapped(tensor)
    return False
