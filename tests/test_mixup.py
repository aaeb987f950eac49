"""Blends of rows against scipy's Beta distribution and plain arithmetic; in the loop see test_training.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from hpo.mixup import blended, blended_terms, draw_share, partners, require


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.4, 1.0, 2.0, 5.0])
def test_shares_follow_the_folded_beta_distribution(alpha: float) -> None:
    """Kolmogorov-Smirnov over 2,000 draws; a right sampler fails one seed in a million, and the seed is fixed."""
    source = generator(1)
    shares = np.array([float(draw_share(alpha, source)) for _ in range(2000)])
    folded = stats.beta(alpha, alpha)
    assert stats.kstest(shares, lambda x: 2 * folded.cdf(x) - 1).pvalue > 1e-6
    assert shares.min() >= 0.5 and shares.max() <= 1


def test_lanes_with_different_alphas_share_a_draw() -> None:
    alphas = torch.tensor([0.2, 1.0, 3.0], dtype=torch.float64)
    together = torch.func.vmap(lambda alpha: draw_share(alpha, generator(4)), randomness="same")(alphas)
    alone = torch.stack([draw_share(float(alpha), generator(4)) for alpha in alphas])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=0)


def test_an_extreme_draw_is_a_share() -> None:
    source = generator(0)
    assert all(0.5 <= float(draw_share(0.01, source)) <= 1 for _ in range(200))


def test_partners_are_the_same_rows_in_another_order() -> None:
    batch = {"x": torch.arange(50.0), "label": torch.arange(50) * 10}
    other = partners(batch, generator(2))
    assert sorted(other["x"].tolist()) == batch["x"].tolist()
    assert not torch.equal(other["x"], batch["x"])
    torch.testing.assert_close(other["x"] * 10, other["label"].float())


def test_only_named_entries_are_blended_and_keep_their_type() -> None:
    batch = {"x": torch.tensor([1.0, 2.0]), "label": torch.tensor([0, 1])}
    other = {"x": torch.tensor([3.0, 6.0]), "label": torch.tensor([1, 0])}
    blend = blended(batch, other, ["x"], torch.tensor(0.75, dtype=torch.float64))
    torch.testing.assert_close(blend["x"], torch.tensor([1.5, 3.0]))
    assert blend["label"] is batch["label"]
    assert set(blend) == {"x", "label"}


def test_terms_are_blended_in_sum_and_count() -> None:
    """A row without a label counts by the share of the row that has one."""
    own = {"class": (torch.tensor(4.0), torch.tensor(2.0))}
    other = {"class": (torch.tensor(0.0), torch.tensor(0.0))}
    value, count = blended_terms(own, other, torch.tensor(0.8))["class"]
    assert float(value) == pytest.approx(3.2)
    assert float(count) == pytest.approx(1.6)


def test_an_objective_says_truly_what_is_blended() -> None:
    batch = {"x": torch.zeros(2), "target": torch.zeros(2)}
    require(["x"], batch)
    with pytest.raises(ValueError, match="`mixed` is empty: name what is blended, of x, target"):
        require([], batch)
    with pytest.raises(ValueError, match="`mixed` names waveform, but the batch has x, target"):
        require(["waveform", "x"], batch)
