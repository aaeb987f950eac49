"""Scores against scikit-learn and numpy, from sums that were added over batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch.func import vmap

from objectives.scores import (
    binary_counts,
    binary_f1,
    classification_report,
    classification_scores,
    confusion,
    regression_scores,
    regression_sums,
)

NAMES = ["a", "b", "c", "d"]


@pytest.mark.parametrize("seed", range(8))
def test_classification_equals_scikit_learn_over_the_classes_that_occur(seed: int) -> None:
    generator = np.random.default_rng(seed)
    occurring = generator.choice(4, 2 + seed % 3, replace=False)
    target = generator.choice([-1, *occurring], 60)
    logits = torch.from_numpy(generator.normal(size=(60, 4)))
    counts = sum((confusion(logits[k::7], torch.from_numpy(target[k::7])) for k in range(7)), torch.zeros(4, 4))
    scores = classification_scores(counts.numpy(), NAMES)
    truth, predicted = target[target >= 0], logits.argmax(-1).numpy()[target >= 0]
    present = np.unique(truth)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(truth, predicted, labels=range(4)))
    for average in ("macro", "weighted", "micro"):
        expected = metrics.f1_score(truth, predicted, labels=present, average=average, zero_division=0)
        assert scores[f"{average}_f1"] == pytest.approx(expected)
    each = metrics.f1_score(truth, predicted, labels=present, average=None, zero_division=0)
    assert {name: value for name, value in scores.items() if name.startswith("f1.")} == pytest.approx(
        {f"f1.{NAMES[k]}": value for k, value in zip(present, each, strict=True)}
    )
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    recall = metrics.recall_score(truth, predicted, labels=present, average="macro")
    assert scores["balanced_accuracy"] == pytest.approx(recall)


@pytest.mark.parametrize("seed", range(40))
def test_a_report_is_laid_out_as_scikit_learns(seed: int) -> None:
    """Random tables with a mask; every fifth never predicts the first class, whose precision is then missing."""
    generator = np.random.default_rng(seed)
    occurring = generator.choice(4, 1 + seed % 4, replace=False)
    target = generator.choice([-1, *occurring], 50)
    logits = generator.normal(size=(50, 4))
    logits[:, 0] -= 100 * (seed % 5 == 0)
    counts = confusion(torch.from_numpy(logits), torch.from_numpy(target)).numpy()
    report = classification_report(counts, NAMES)
    truth, predicted = target[target >= 0], logits.argmax(-1)[target >= 0]
    present = np.unique(truth)
    titles = [NAMES[k] for k in present]
    expected = metrics.classification_report(
        truth, predicted, labels=present, target_names=titles, output_dict=True, zero_division=np.nan
    )
    micro = metrics.precision_recall_fscore_support(
        truth, predicted, labels=present, average="micro", zero_division=np.nan
    )
    columns = ("precision", "recall", "f1-score", "support")
    expected["micro avg"] = dict(zip(columns, (*micro[:3], len(truth)), strict=True))
    assert list(report) == [*titles, "micro avg", "macro avg", "weighted avg", "accuracy", "balanced accuracy"]
    for name in list(report)[:-2]:
        known = {column: value for column, value in expected[name].items() if np.isfinite(value)}
        assert report[name] == pytest.approx(known, abs=1e-6), name
    assert report["accuracy"]["recall"] == pytest.approx(metrics.accuracy_score(truth, predicted), abs=1e-6)
    recall = metrics.recall_score(truth, predicted, labels=present, average="macro")
    assert report["balanced accuracy"] == pytest.approx({"recall": recall, "support": len(truth)}, abs=1e-6)


def test_nothing_labelled_gives_no_score_at_all() -> None:
    counts = confusion(torch.randn(5, 4), torch.full((5,), -1))
    assert classification_scores(counts.numpy(), NAMES) == {}
    assert classification_report(counts.numpy(), NAMES) == {}
    assert regression_scores(regression_sums(torch.randn(5), torch.full((5,), torch.nan)).numpy()) == {}
    assert binary_f1(binary_counts(torch.randn(5), torch.full((5,), -1)).numpy()) is None


def test_a_class_that_was_only_predicted_is_no_score() -> None:
    counts = np.array([[3.0, 1.0], [0.0, 0.0]])
    scores = classification_scores(counts, ["yes", "no"])
    assert "f1.no" not in scores
    assert scores["macro_f1"] == scores["f1.yes"] == pytest.approx(6 / 7)


@pytest.mark.parametrize("missing", [-1.0, torch.nan])
def test_binary_f1_equals_scikit_learn_per_question(missing: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(80, 3, generator=generator)
    target = torch.randint(0, 2, (80, 3), generator=generator).float()
    target[torch.rand(80, 3, generator=generator) < 0.3] = missing
    counts = binary_counts(logits[:30], target[:30]) + binary_counts(logits[30:], target[30:])
    for k in range(3):
        known = (target[:, k] >= 0).numpy()
        expected = metrics.f1_score(target[:, k][known], (logits[:, k] > 0)[known])
        assert binary_f1(counts[:, k].numpy()) == pytest.approx(expected)
        assert counts[:, k].sum() == known.sum()


def test_binary_f1_without_a_yes_in_the_truth_is_missing() -> None:
    assert binary_f1(np.array([0.0, 2.0, 0.0, 3.0])) is None
    assert binary_f1(np.array([0.0, 0.0, 2.0, 3.0])) == 0.0


@pytest.mark.parametrize("offset", [0.0, 7.0, 1e4])
def test_regression_equals_numpy_and_scikit_learn(offset: float) -> None:
    generator = np.random.default_rng(2)
    target = offset + generator.normal(size=90)
    prediction = target + generator.normal(size=90) * 0.5
    holes = generator.random(90) < 0.3
    with_holes = np.where(holes, np.nan, target)
    sums = sum(
        (regression_sums(torch.from_numpy(prediction[k::4]), torch.from_numpy(with_holes[k::4])) for k in range(4)),
        torch.zeros(8),
    )
    scores = regression_scores(sums.numpy())
    p, t = prediction[~holes], target[~holes]
    expected = {
        "mae": metrics.mean_absolute_error(t, p),
        "rmse": metrics.root_mean_squared_error(t, p),
        "r2": metrics.r2_score(t, p),
        "correlation": np.corrcoef(t, p)[0, 1],
    }
    assert scores == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("prediction", "target", "found"),
    [
        ([1.0, 2.0], [0.3, 0.3], {"mae", "rmse"}),
        ([0.1, 0.1], [1.0, 2.0], {"mae", "rmse", "r2"}),
        ([5.0], [4.0], {"mae", "rmse"}),
    ],
    ids=["equal truth", "equal predictions", "one row"],
)
def test_correlation_needs_values_that_vary(prediction: list[float], target: list[float], found: set[str]) -> None:
    sums = regression_sums(torch.tensor(prediction), torch.tensor(target))
    assert set(regression_scores(sums.numpy())) == found


def test_sums_are_the_same_per_lane() -> None:
    logits, target = torch.randn(3, 20, 4), torch.randint(-1, 4, (20,))
    values = torch.randn(20)
    values[::4] = torch.nan
    together = vmap(confusion, (0, None))(logits, target)
    yes = vmap(binary_counts, (0, None))(logits[..., 0], (target > 1).long())
    moments = vmap(regression_sums, (0, None))(logits[..., 1], values)
    for k in range(3):
        assert torch.equal(together[k], confusion(logits[k], target))
        assert torch.equal(yes[k], binary_counts(logits[k, :, 0], (target > 1).long()))
        torch.testing.assert_close(moments[k], regression_sums(logits[k, :, 1], values))
