"""The LSTM for lanes against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from models.recurrent import LSTM

FEATURES, HIDDEN, LANES = 5, 7, 3
X = torch.randn((LANES, 4, 9, FEATURES), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
#: Double precision: sums of at most twelve terms of order one, over nine times, come out 1e-14 apart; gradients, which
#: sum over batch and time too, likewise.
CLOSE = 1e-12


def net(seed: int) -> LSTM:
    torch.manual_seed(seed)
    return LSTM(FEATURES, HIDDEN).double()


def value(found: tuple[Tensor, tuple[Tensor, Tensor]]) -> Tensor:
    """A number in which every part of a result has its own weight."""
    output, (hidden, cell) = found
    entries = torch.cat([output.flatten(), hidden.flatten(), cell.flatten()])
    return entries @ torch.arange(len(entries), dtype=entries.dtype).cos()


def gradients(result: tuple[Tensor, tuple[Tensor, Tensor]], layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value(result), (x, *layer.parameters()))


def test_the_loop_equals_torchs_own_in_outputs_and_gradients() -> None:
    layer, x = net(1), X[0].clone().requires_grad_()
    own = nn.LSTM.forward(layer, x)
    torch.testing.assert_close(layer.loop(x), own, rtol=0, atol=CLOSE)
    torch.testing.assert_close(gradients(layer.loop(x), layer, x), gradients(own, layer, x), rtol=CLOSE, atol=CLOSE)


def test_a_plain_run_is_torchs_own() -> None:
    layer, own = net(1), nn.LSTM(FEATURES, HIDDEN, batch_first=True).double()
    own.load_state_dict(layer.state_dict())
    for found, expected in zip(layer(X[0]), own(X[0]), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    alone = functional_call(net(2), dict(layer.named_parameters()), (X[0],))
    torch.testing.assert_close(alone, own(X[0]), rtol=0, atol=0)


def test_weights_move_to_torchs_own_and_back() -> None:
    layer, own = net(1), nn.LSTM(FEATURES, HIDDEN, batch_first=True).double()
    assert list(layer.state_dict()) == list(own.state_dict())
    other = net(2)
    own.load_state_dict(layer.state_dict())
    other.load_state_dict(own.state_dict())
    torch.testing.assert_close(other(X[0]), layer(X[0]), rtol=0, atol=0)


def test_lanes_equal_runs_of_their_own() -> None:
    layers = [net(seed) for seed in range(LANES)]

    def loss(parameters: dict[str, Tensor], x: Tensor) -> tuple[Tensor, tuple[Tensor, tuple[Tensor, Tensor]]]:
        found = functional_call(layers[0], parameters, (x,))
        return value(found), found

    parameters, _ = stack_module_state(layers)
    slopes, together = vmap(grad(loss, has_aux=True))(parameters, X)
    for lane, layer in enumerate(layers):
        alone = layer(X[lane])
        output, state = together
        torch.testing.assert_close(output[lane], alone[0], rtol=0, atol=CLOSE)
        torch.testing.assert_close(tuple(part[lane] for part in state), alone[1], rtol=0, atol=CLOSE)
        expected = torch.autograd.grad(value(alone), tuple(layer.parameters()))
        found = tuple(slopes[name][lane] for name, _ in layer.named_parameters())
        torch.testing.assert_close(found, expected, rtol=CLOSE, atol=CLOSE)


@pytest.mark.parametrize("which", ["input", "parameters"])
@pytest.mark.parametrize("below_grad", [False, True])
def test_lanes_are_noticed_by_whatever_they_differ_in(which: str, below_grad: bool) -> None:
    """torch's own raises where it meets a lane: no error says that the loop ran; no loop, that it is left alone."""
    layers = [net(seed) for seed in range(LANES)]
    parameters, _ = stack_module_state(layers)
    dims = (0, None) if which == "parameters" else (None, 0)
    given = (parameters, X[0]) if which == "parameters" else (dict(layers[0].named_parameters()), X)

    def output(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(layers[0], parameters, (x,))[0]

    def slope(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return grad(lambda x: output(parameters, x).square().sum())(x)

    found = vmap(slope if below_grad else output, dims)(*given)
    for lane in range(LANES):
        own = layers[lane if which == "parameters" else 0]
        x = X[0 if which == "parameters" else lane].clone().requires_grad_()
        expected = own(x)[0]
        if below_grad:
            (expected,) = torch.autograd.grad(expected.square().sum(), x)
        torch.testing.assert_close(found[lane], expected, rtol=0, atol=CLOSE)


def test_no_lane_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A derivative alone, and a `vmap` that maps over something else, leave torch's own at work."""
    monkeypatch.delattr(LSTM, "loop")
    layer = net(1)
    expected = layer(X[0])[0].sum()
    (slope,) = torch.autograd.grad(layer(x := X[0].clone().requires_grad_())[0].sum(), x)
    torch.testing.assert_close(grad(lambda x: layer(x)[0].sum())(X[0]), slope, rtol=0, atol=CLOSE)
    scaled = vmap(lambda factor: factor * layer(X[0])[0].sum())(torch.arange(LANES))
    torch.testing.assert_close(scaled, torch.arange(LANES) * expected, rtol=0, atol=0)
