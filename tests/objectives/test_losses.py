"""Losses against torch's and torchvision's, and what masks and strengths do."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import log_loss
from torch import Tensor
from torch.func import vmap
from torchvision.ops import sigmoid_focal_loss

from objectives.losses import binary_focal, focal_cross_entropy, smooth_l1

SHAPES = [(40,), (8, 5), (3, 4, 2)]


def drawn(seed: int, *shape: int) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets(seed: int, classes: int, *shape: int) -> Tensor:
    """Labels from -1 (missing) to `classes` - 1."""
    return torch.randint(-1, classes, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_gamma_zero_is_torchs_cross_entropy(shape: tuple[int, ...], smoothing: float) -> None:
    logits, target = drawn(1, *shape, 4), targets(2, 4, *shape)
    value, count = focal_cross_entropy(logits, target, 0.0, smoothing)
    truth = F.cross_entropy(
        logits.reshape(-1, 4), target.reshape(-1), ignore_index=-1, label_smoothing=smoothing, reduction="sum"
    )
    torch.testing.assert_close(value, truth)
    assert count == (target >= 0).sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_class_weights_give_torchs_weighted_mean(shape: tuple[int, ...], smoothing: float) -> None:
    logits, target = drawn(1, *shape, 4), targets(2, 4, *shape)
    weights = torch.tensor([0.5, 4.0, 1.0, 0.0], dtype=torch.float64)
    value, count = focal_cross_entropy(logits, target, 0.0, smoothing, weights)
    truth = F.cross_entropy(
        logits.reshape(-1, 4), target.reshape(-1), weights, ignore_index=-1, label_smoothing=smoothing
    )
    torch.testing.assert_close(value / count, truth)


def test_class_weights_are_scikit_learns_sample_weights() -> None:
    logits, target = drawn(13, 60, 4), targets(14, 4, 60)
    weights = torch.tensor([0.5, 4.0, 1.0, 2.0], dtype=torch.float64)
    value, count = focal_cross_entropy(logits, target, class_weights=weights)
    known = target >= 0
    p, truth = logits.softmax(-1)[known].numpy(), target[known].numpy()
    expected = log_loss(truth, p, sample_weight=weights.numpy()[truth], labels=range(4))
    assert (value / count).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_alpha_per_class_multiplies_the_focal_loss_of_its_rows(gamma: float) -> None:
    """Equation 5 of Lin et al.: the sum over the rows of each class, times the alpha of the class."""
    logits, target, alpha = drawn(15, 40, 3), targets(16, 3, 40), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    value, _ = focal_cross_entropy(logits, target, gamma, class_weights=alpha)
    alone = [focal_cross_entropy(logits, torch.where(target == k, k, -1), gamma)[0] for k in range(3)]
    torch.testing.assert_close(value, (alpha * torch.stack(alone)).sum())


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_gamma_discounts_by_the_probability_of_the_true_class(gamma: float) -> None:
    logits, target = drawn(3, 30, 4), targets(4, 4, 30).clamp_min(0)
    p = logits.softmax(-1).gather(-1, target[:, None])[:, 0]
    value, _ = focal_cross_entropy(logits, target, gamma)
    torch.testing.assert_close(value, (-((1 - p) ** gamma) * p.log()).sum(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("alpha", [None, 0.25, 0.5])
def test_binary_focal_is_torchvisions(shape: tuple[int, ...], gamma: float, alpha: float | None) -> None:
    logits, target = drawn(5, *shape), targets(6, 2, *shape)
    value, count = binary_focal(logits, target, gamma, alpha)
    labelled = target >= 0
    truth = sigmoid_focal_loss(
        logits[labelled], target[labelled].double(), -1 if alpha is None else alpha, gamma, reduction="sum"
    )
    torch.testing.assert_close(value, truth, rtol=1e-6, atol=1e-6)
    assert count == labelled.sum()


def test_weights_of_no_and_yes_are_scikit_learns_sample_weights_per_question() -> None:
    logits, target = drawn(17, 50, 3), targets(18, 2, 50, 3)
    weights = torch.tensor([[1.0, 0.5, 2.0], [3.0, 1.94, 0.52]], dtype=torch.float64)
    losses = []
    for k in range(3):
        truth = target[:, k][target[:, k] >= 0].numpy()
        p = logits[:, k][target[:, k] >= 0].sigmoid().numpy()
        value, count = binary_focal(logits[:, k], target[:, k], class_weights=weights[:, k])
        expected = log_loss(truth, p, sample_weight=weights[:, k].numpy()[truth])
        assert (value / count).item() == pytest.approx(expected, abs=1e-9)
        losses.append(np.array([value, count]))
    together = binary_focal(logits, target, class_weights=weights)
    np.testing.assert_allclose(np.array([value.item() for value in together]), np.sum(losses, axis=0))


def test_binary_smoothing_moves_the_targets() -> None:
    logits, target = drawn(7, 20), targets(8, 2, 20).clamp_min(0)
    value, _ = binary_focal(logits, target, label_smoothing=0.2)
    smooth = target.double() * 0.8 + 0.1
    torch.testing.assert_close(value, F.binary_cross_entropy_with_logits(logits, smooth, reduction="sum"))


@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_smooth_l1_is_torchs(beta: float) -> None:
    prediction, target = drawn(9, 25), drawn(10, 25)
    target[::3] = torch.nan
    value, count = smooth_l1(prediction, target, beta)
    known = torch.isfinite(target)
    torch.testing.assert_close(value, F.smooth_l1_loss(prediction[known], target[known], reduction="sum", beta=beta))
    assert count == known.sum()


@pytest.mark.parametrize(
    "term",
    [
        lambda x: focal_cross_entropy(x, torch.full((6,), -1), 2.0, 0.1, torch.arange(4.0)),
        lambda x: binary_focal(x, torch.full((6, 4), -1), 2.0),
        lambda x: binary_focal(x, torch.full((6, 4), torch.nan), 2.0, class_weights=torch.ones(2)),
        lambda x: smooth_l1(x, torch.full((6, 4), torch.nan)),
    ],
    ids=["cross entropy", "binary, -1", "binary, NaN", "smooth L1"],
)
@pytest.mark.parametrize("said", [1.0, torch.inf, torch.nan])
def test_nothing_labelled_gives_zero_and_no_gradient_whatever_the_net_said(term, said: float) -> None:  # type: ignore[no-untyped-def]
    x = torch.full((6, 4), said, requires_grad=True)
    value, count = term(x)
    value.backward()
    assert value == count == 0
    assert x.grad is not None
    assert torch.equal(x.grad, torch.zeros(6, 4))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_at_certainty(gamma: float, dtype: torch.dtype) -> None:
    logits = torch.tensor([[200.0, 0.0], [-200.0, 0.0], [20.0, 0.0]], dtype=dtype, requires_grad=True)
    several, _ = focal_cross_entropy(logits, torch.tensor([0, 0, 0]), gamma)
    single, _ = binary_focal(logits, torch.tensor([[1, 0], [1, 0], [1, 0]]), gamma)
    (several + single).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().max() <= 4  # a slope of the power alone would be thousands


def test_strengths_may_differ_among_lanes() -> None:
    logits, target = drawn(11, 3, 20, 4), targets(12, 4, 20)
    gamma, smoothing = torch.tensor([0.0, 1.0, 2.5]), torch.tensor([0.0, 0.1, 0.2])
    weights = torch.tensor([1.0, 2.0, 0.5, 3.0])
    lanes, counts = vmap(focal_cross_entropy, in_dims=(0, None, 0, 0, None))(logits, target, gamma, smoothing, weights)
    yes = (target > 1).long()
    binary, _ = vmap(binary_focal, in_dims=(0, None, 0))(logits[..., 0], yes, gamma)
    for k in range(3):
        alone, count = focal_cross_entropy(logits[k], target, gamma[k].item(), smoothing[k].item(), weights)
        torch.testing.assert_close(lanes[k], alone, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(binary[k], binary_focal(logits[k, :, 0], yes, gamma[k].item())[0])
        assert counts[k] == count


def test_smooth_l1_weighs_entries_and_counts_their_weights() -> None:
    said, truth = torch.tensor([[0.5, 3.0], [1.0, 9.0]]), torch.tensor([[0.0, 1.0], [1.5, torch.nan]])
    value, count = smooth_l1(said, truth, weights=torch.tensor([[2.0], [0.5]]))
    assert float(value) == pytest.approx(2 * (0.125 + 1.5) + 0.5 * 0.125)
    assert float(count) == 2 + 2 + 0.5


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_r_is_its_formula_with_a_slope_at_no_error(gamma: float) -> None:
    """(2 sigmoid(|error|) - 1)^gamma times the loss, in numpy; at an error of 0 loss and slope are 0, not NaN."""
    errors = np.array([0.0, 0.2, 1.0, 4.0])
    said = torch.tensor(errors, requires_grad=True)
    value, _ = smooth_l1(said, torch.zeros(4, dtype=torch.float64), gamma=gamma)
    plain = np.where(errors < 1, errors**2 / 2, errors - 0.5)
    assert value.item() == pytest.approx(float(((2 / (1 + np.exp(-errors)) - 1) ** gamma * plain).sum()))
    value.backward()
    assert said.grad is not None and said.grad.isfinite().all() and said.grad[0] == 0
