"""Ratio losses of volumes against scipy and plain loops, and what ignored voxels, gaps and constants do to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torchvision.ops import sigmoid_focal_loss

from hpo.objective import Term
from objectives.losses import binary_focal
from objectives.region_losses import boundary, cldice, connectivity, dice
from objectives.soft_morphology import skeleton
from tests.objectives.volume_loops import (
    ROUNDING,
    certain,
    drawn,
    expected_boundary,
    expected_cldice,
    expected_connectivity,
    expected_dice,
    sheet,
)

Loss = Callable[[Tensor, Tensor], Term]
#: Each term, and the loss of one row worked out another way: of probability, truth and whether labelled.
EXPECTED: dict[Loss, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    dice: expected_dice,
    boundary: expected_boundary,
    cldice: expected_cldice,
    connectivity: expected_connectivity,
}
TERMS = tuple(EXPECTED)


@pytest.fixture(params=TERMS, ids=lambda term: term.__name__)
def term(request: pytest.FixtureRequest) -> Loss:
    loss: Loss = request.param
    return loss


@pytest.mark.parametrize("lowest", [-1, 0], ids=["some ignored", "all labelled"])
@pytest.mark.parametrize("sure", [1.0, 1e3], ids=["soft", "hard"])
def test_terms_are_the_sums_over_rows_of_the_loops(term: Loss, lowest: int, sure: float) -> None:
    logits, target = drawn(1, 3, 7, 8, 9, lowest=lowest)
    logits = sure * logits
    known = (target >= 0).numpy()
    p, t = torch.sigmoid(logits).numpy(), target.double().numpy()
    value, count = term(torch.where(target < 0, torch.nan, logits), target)
    expected = [EXPECTED[term](p[row], t[row], known[row]) for row in range(3)]
    assert value.item() == pytest.approx(sum(expected), abs=ROUNDING)
    assert count == 3


# --- What the losses are worth


def test_the_truth_itself_costs_nothing(term: Loss) -> None:
    _, target = drawn(4, 2, 8, 8, 8)
    empty, full = torch.zeros(1, 8, 8, 8, dtype=torch.int64), torch.ones(1, 8, 8, 8, dtype=torch.int64)
    thin = sheet(2)[None].long()
    for truth in (target, empty, full, thin):
        assert term(certain(truth > 0), truth)[0].item() == pytest.approx(0, abs=ROUNDING)


def test_every_loss_lies_from_0_to_1(term: Loss) -> None:
    for seed in range(20):
        logits, target = drawn(seed, 1, 6, 6, 6)
        for sure in (0.0, 1.0, 50.0):
            assert -ROUNDING <= term(sure * logits, target)[0].item() <= 1 + ROUNDING


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_constant_costs_what_its_formula_says(p: float) -> None:
    """A constant has neither contour nor skeleton: what is left are sums that can be counted by hand."""
    truth = sheet(3)
    voxels, true = truth.numel(), int(truth.sum())
    pairs, true_pairs = 3 * 19 * 20 * 20, 2 * 16 * 16 + 2 * 3 * 15 * 16
    faces = true - 14 * 14  # all of the sheet but the inside of its middle layer
    spine = int(skeleton(truth.double(), torch.ones(20, 20, 20), 3).sum())
    precision, recall = (p * true + 1) / (p * voxels + 1), (p * true + 1) / (true + 1)
    sensitivity = (p * spine + recall) / (spine + 1)
    expected = {
        dice: 1 - (2 * p * true + 1) / (p * voxels + true + 1),
        connectivity: 1 - (2 * p**2 * true_pairs + 1) / (p**2 * pairs + true_pairs + 1),
        boundary: 1 - 2 / (1 + (faces + 1)),
        cldice: 1 - 2 / (1 / precision + 1 / sensitivity),
    }
    logits = torch.full((1, 20, 20, 20), p, dtype=torch.float64).logit()
    for term, value in expected.items():
        assert term(logits, truth[None].long())[0].item() == pytest.approx(value, abs=ROUNDING), term.__name__


def test_foreground_everywhere_is_no_way_out() -> None:
    """Two thirds foreground: in clDice smoothed by a plain 1 this predictor, without a skeleton, would cost nothing."""
    truth = torch.zeros(1, 18, 18, 18, dtype=torch.int64)
    truth[:, 0:4], truth[:, 6:10], truth[:, 12:16] = 1, 1, 1
    everywhere = torch.full((1, 18, 18, 18), 50.0)
    share = 2 / 3
    costs = {term.__name__: term(everywhere, truth)[0].item() for term in TERMS}
    # 1 - 2 share / (1 + share), but for the smoothing by 1 in 4000 voxels
    assert costs["dice"] == pytest.approx(1 - 2 * share / (1 + share), abs=1e-3)
    assert costs["cldice"] == pytest.approx(costs["dice"], abs=1e-3)
    assert costs["connectivity"] > costs["dice"]
    assert costs["boundary"] > 0.99


def test_a_cut_costs_more_than_as_many_voxels_off_a_face_or_the_rim() -> None:
    truth = sheet(3)
    cut, face, rim = truth.clone(), truth.clone(), truth.clone()
    cut[9:12, 2:18, 10] = False
    face[9, 4:10, 5:13] = False
    rim[9:12, 2:18, 2] = False

    def cost(term: Loss, said: Tensor) -> float:
        return term(certain(said)[None], truth[None].long())[0].item()

    assert all((truth & ~said).sum() == 48 for said in (cut, face, rim))
    assert cost(dice, cut) == pytest.approx(cost(dice, face)) == pytest.approx(cost(dice, rim))
    assert cost(cldice, cut) > 100 * max(cost(cldice, face), cost(cldice, rim))
    assert cost(connectivity, cut) > 1.05 * max(cost(connectivity, face), cost(connectivity, rim))


@pytest.mark.parametrize("shift", [(0, 0), (2, 0), (0, 2)])
def test_a_boundary_counts_up_to_its_tolerance(shift: tuple[int, int]) -> None:
    """Sheets one voxel thick, so far apart along one axis: a boundary is right or wrong as a whole, but for the rim."""
    truth = sheet(1)
    moved = certain(torch.roll(truth, (*shift, 0), (0, 1, 2)))[None]
    near, far = (boundary(moved, truth[None].long(), tolerance)[0].item() for tolerance in (2, 1))
    assert near == pytest.approx(0, abs=ROUNDING)
    if shift == (2, 0):
        assert far == pytest.approx(1 - 1 / 257)  # 256 voxels, all wrong, smoothed by 1
    if shift == (0, 2):
        assert far == pytest.approx(1 - (256 - 16 + 1) / 257)  # the outermost line alone is too far away


def test_a_boundary_has_no_side_which_is_why_other_terms_stand_beside_it() -> None:
    truth = torch.zeros(1, 12, 12, 12, dtype=torch.int64)
    truth[:, :6] = 1
    exchanged = certain(truth == 0)
    assert boundary(exchanged, truth)[0].item() == pytest.approx(0, abs=ROUNDING)
    assert all(term(exchanged, truth)[0] > 0.99 for term in (dice, cldice, connectivity))


# --- Ignored voxels


def test_ignored_voxels_are_as_outside_of_the_volume(term: Loss) -> None:
    logits, target = drawn(5, 2, 8, 9, 10, lowest=0)
    known = torch.zeros(2, 8, 9, 10, dtype=torch.bool)
    known[:, 1:6, 2:, :-3] = True
    value, _ = term(torch.where(known, logits, torch.inf), torch.where(known, target, -1))
    cropped, _ = term(logits[:, 1:6, 2:, :-3], target[:, 1:6, 2:, :-3])
    torch.testing.assert_close(value, cropped, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("said", [1.0, torch.inf, -torch.inf, torch.nan])
def test_what_the_net_says_of_ignored_voxels_does_no_harm(term: Loss, said: float) -> None:
    logits, target = drawn(6, 2, 6, 6, 6)
    grads, values = [], []
    for ignored in (0.0, said):
        x = torch.where(target < 0, ignored, logits).requires_grad_()
        value, _ = term(x, target)
        value.backward()
        assert x.grad is not None
        grads.append(x.grad)
        values.append(value)
    assert torch.equal(grads[0], grads[1]) and torch.equal(values[0], values[1])
    assert not grads[1][target < 0].any()


def test_a_row_without_labels_adds_nothing(term: Loss) -> None:
    logits, target = drawn(7, 2, 6, 6, 6)
    alone, one = term(logits[:1], target[:1])
    target[1] = -1
    logits[1] = torch.nan
    value, count = term(logits.requires_grad_(), target)
    value.backward()
    assert one == count == 1
    torch.testing.assert_close(value, alone)
    assert logits.grad is not None and not logits.grad[1].any() and logits.grad.isfinite().all()


# --- Slopes, rows and lanes


def test_slopes_are_those_of_small_differences(term: Loss) -> None:
    """A step of 1e-6 changes no maximum: the logits lie further apart than that."""
    logits, target = drawn(8, 1, 4, 4, 4)
    apart = logits.flatten().sort().values.diff().min()
    assert apart > 1e-5
    assert torch.autograd.gradcheck(lambda x: term(x, target)[0], (logits.requires_grad_(),), eps=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_slopes_are_finite_at_certainty_and_sums_in_float32(term: Loss, dtype: torch.dtype) -> None:
    _, target = drawn(9, 2, 8, 8, 8)
    for logits in (certain(target > 0), certain(target < 1), certain(target > 5), certain(target < 5)):
        x = logits.to(dtype).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            value, count = term(x, target)
        value.backward()
        assert value.dtype == count.dtype == torch.float32
        assert value.isfinite() and x.grad is not None and x.grad.isfinite().all()


def test_rows_add_up_and_may_be_mapped_over(term: Loss) -> None:
    logits, target = drawn(10, 4, 6, 7, 8)
    target[2] = -1
    alone = [term(logits[row], target[row]) for row in range(4)]
    together = term(logits, target)
    mapped = vmap(term)(logits, target)
    for part in range(2):
        by_row = torch.stack([pair[part] for pair in alone])
        torch.testing.assert_close(together[part], by_row.sum())
        torch.testing.assert_close(mapped[part], by_row)


def test_lanes_are_plain_runs_in_value_and_slope(term: Loss) -> None:
    logits, target = drawn(11, 2, 6, 6, 6)
    scales = torch.tensor([0.5, 1.0, 3.0], dtype=torch.float64)

    def loss(scale: Tensor) -> Tensor:
        return term(scale * logits, target)[0]

    slopes, values = vmap(torch.func.grad_and_value(loss))(scales)
    for lane, scale in enumerate(scales):
        slope, value = torch.func.grad_and_value(loss)(scale)
        torch.testing.assert_close(values[lane], value)
        torch.testing.assert_close(slopes[lane], slope)


# --- The focal term beside them


def test_focal_of_a_volume_is_torchvisions_where_alpha_weighs_foreground() -> None:
    logits, target = drawn(12, 2, 5, 6, 7)
    known = target >= 0
    value, count = binary_focal(logits, target, gamma=2.0, alpha=0.34)
    truth = sigmoid_focal_loss(logits[known], target[known].double(), alpha=0.34, gamma=2.0, reduction="sum")
    torch.testing.assert_close(value, truth)
    assert count == known.sum()
    background, foreground = (
        binary_focal(certain(torch.tensor([label == 0])), torch.tensor([label]), 2.0, 0.34)[0] for label in (0, 1)
    )
    assert (background / foreground).item() == pytest.approx(0.66 / 0.34)
