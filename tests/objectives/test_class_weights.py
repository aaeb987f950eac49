"""Weights of classes against scikit-learn, closed forms and the numbers of the surface note."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.func import vmap

from hpo.study_space import WORDS, checked
from objectives.class_weights import RULES, class_weights


def weights(rows: list[float], rule: str) -> list[float]:
    found: list[float] = class_weights(torch.tensor(rows, dtype=torch.float64), rule).tolist()
    return found


def test_the_odds_of_34_and_66_percent_are_the_notes_weights() -> None:
    assert [round(weight, 2) for weight in weights([34, 66], "odds")] == [1.94, 0.52]


@pytest.mark.parametrize("seed", range(5))
def test_balanced_is_scikit_learns(seed: int) -> None:
    target = np.random.default_rng(seed).choice(5, 300, p=[0.5, 0.3, 0.1, 0.05, 0.05])
    expected = compute_class_weight("balanced", classes=np.arange(5), y=target)
    assert weights(np.bincount(target, minlength=5).tolist(), "balanced") == pytest.approx(expected.tolist())


def test_inverse_shares_and_none() -> None:
    assert weights([60, 30, 10], "inverse_share") == pytest.approx([100 / 60, 100 / 30, 10])
    assert weights([60, 30, 10], "none") == [1, 1, 1]


def test_effective_numbers_are_geometric_series() -> None:
    """Cui et al.: rows add 1, beta, beta^2, ...; few rows weigh as `balanced`, many less unequally."""
    series = [sum(0.999**k for k in range(rows)) for rows in (2000, 50)]
    found = weights([2000, 50], "effective_number")
    assert found == pytest.approx([2050 / 2 / effective for effective in series])
    assert found[1] / found[0] < 2000 / 50
    assert weights([4, 2], "effective_number") == pytest.approx(weights([4, 2], "balanced"), rel=2e-3)


@pytest.mark.parametrize("rule", RULES)
def test_a_class_without_rows_weighs_as_one_with_one_row(rule: str) -> None:
    found = weights([90, 10, 0, 1], rule)
    assert np.isfinite(found).all()
    assert min(found) > 0
    assert found[2] == found[3]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("rows", [[0, 0, 0], [0, 40, 0]])
def test_without_two_classes_nothing_is_weighed(rule: str, rows: list[float]) -> None:
    assert weights(rows, rule) == [1, 1, 1]


def test_an_unknown_rule_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(
        ValueError, match="unknown rule of class weights 'inverse'; there are none, inverse_share, odds"
    ):
        weights([1, 2], "inverse")


@pytest.mark.parametrize("rule", RULES)
def test_lanes_may_have_counts_of_their_own(rule: str) -> None:
    rows = torch.tensor([[34.0, 66.0, 0.0], [5.0, 0.0, 0.0], [10.0, 20.0, 30.0]])
    lanes = vmap(lambda counts: class_weights(counts, rule))(rows)
    for lane, counts in zip(lanes, rows, strict=True):
        torch.testing.assert_close(lane, class_weights(counts, rule))


def test_a_study_file_may_name_every_rule() -> None:
    assert tuple(RULES) == WORDS["loss.class_weights"]


def test_a_study_file_with_another_rule_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match="did you mean 'inverse_share'"):
        checked("loss.class_weights", "inverse_shares", "none")
