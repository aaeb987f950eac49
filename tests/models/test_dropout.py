"""Dropout with its rate in a buffer."""

from __future__ import annotations

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_dropped_and_the_mean_are_right(rate: float) -> None:
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(100_000))
    dropped = (out == 0).float().mean().item()
    assert abs(dropped - rate) < 6 * (rate * (1 - rate) / 100_000) ** 0.5  # six standard deviations
    torch.testing.assert_close(out[out > 0].unique(), torch.tensor([1 / (1 - rate)]))


def test_rate_zero_and_evaluation_change_nothing() -> None:
    x = torch.randn(1000)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.7).eval()(x), x)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 30.0])
def test_an_impossible_rate_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match=f"a dropout rate is at least 0 and below 1, got {rate}"):
        Dropout(rate)


def test_lanes_may_differ_in_their_rate_and_drop_what_they_would_drop_alone() -> None:
    layers, x = [Dropout(rate) for rate in (0.0, 0.3, 0.8)], torch.randn(3, 50)
    torch.manual_seed(1)
    together = vmap(lambda buffers, x: functional_call(layers[0], buffers, (x,)), randomness="same")(
        stack_module_state(layers)[1], x
    )
    for k, layer in enumerate(layers):
        torch.manual_seed(1)
        torch.testing.assert_close(together[k], layer(x[k]))
