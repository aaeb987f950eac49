"""The digits objective: its recipe and its augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

from hpo.arrays import open_arrays
from hpo.objective import DataError
from objectives.digits import CLASSES, Digits
from tests.objectives.cases import Case


@pytest.fixture(scope="module")
def digits(cache: Path) -> Case:
    return Case(Digits(), open_arrays(Digits(), None, {}, cache))


def test_the_recipe_is_what_the_docstring_says(digits: Case) -> None:
    arrays = digits.arrays
    split = digits.objective.split(arrays, 5, seed=0)
    rows = split.refit().train
    shares = np.bincount(arrays["target"][rows]) / len(rows)
    assert 0.17 < shares[0] < 0.20
    assert 0.012 < shares[9] < 0.016
    assert (np.diff(shares) < 0).all()
    assert set(np.bincount(arrays["target"][split.test]).tolist()) <= {35, 36, 37}
    assert arrays["image"].shape == (len(arrays), 1, 8, 8)
    assert arrays["image"].dtype == np.float32
    assert arrays["image"].min() == 0.0
    assert arrays["image"].max() == 1.0
    assert arrays["target"].dtype == np.int64


def test_test_rows_do_not_depend_on_the_seed_and_folds_do(digits: Case) -> None:
    first, second = (digits.objective.split(digits.arrays, 5, seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test, second.test)
    assert not np.array_equal(first.folds[0].validation, second.folds[0].validation)


def test_every_fold_validates_every_digit(digits: Case) -> None:
    for fold in digits.objective.split(digits.arrays, 5, seed=0).folds:
        assert np.bincount(digits.arrays["target"][fold.validation], minlength=10).min() >= 2


def test_a_data_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scans.csv").touch()
    with pytest.raises(DataError, match="the objective 'digits' brings its own data; leave the data path out"):
        open_arrays(Digits(), tmp_path, {}, tmp_path / "cache")


def test_more_folds_than_rows_of_a_digit_are_refused(digits: Case) -> None:
    with pytest.raises(DataError, match=r"12 folds need 12 rows of every class; fewer have: 9 \(11\)"):
        digits.objective.split(digits.arrays, 12, seed=0)


def test_a_shift_moves_the_ink_and_interpolates(digits: Case) -> None:
    image = torch.zeros(400, 1, 8, 8)
    image[:, 0, 4, 3] = 1.0
    params = digits.params(augment__shift=1.5)
    moved = digits.objective.augment({"image": image}, params, torch.Generator().manual_seed(0))["image"]
    torch.testing.assert_close(moved.sum((1, 2, 3)), torch.ones(400))  # nothing leaves the frame here
    place = torch.arange(8.0)
    down = (moved.sum((1, 3)) * place).sum(-1) - 4
    right = (moved.sum((1, 2)) * place).sum(-1) - 3
    for shift in (down, right):
        assert shift.abs().max() <= 1.5 + 1e-5
        assert shift.abs().max() > 1.4
        assert shift.mean().abs() < 6 * 1.5 / 3**0.5 / 400**0.5  # six standard deviations


def test_ink_that_leaves_the_frame_is_gone(digits: Case) -> None:
    image = torch.ones(300, 1, 8, 8)
    params = digits.params(augment__shift=8.0)
    moved = digits.objective.augment({"image": image}, params, torch.Generator().manual_seed(0))["image"]
    assert moved.max() <= 1 + 1e-6
    assert moved.min() == 0
    assert moved.sum((1, 2, 3)).min() < 4


def test_noise_has_its_strength(digits: Case) -> None:
    image = torch.zeros(100, 1, 8, 8)
    params = digits.params(augment__noise=0.3)
    noisy = digits.objective.augment({"image": image}, params, torch.Generator().manual_seed(0))["image"]
    assert abs(noisy.std().item() - 0.3) < 6 * 0.3 / (2 * 6400) ** 0.5


def test_the_report_is_scikit_learns_and_class_weights_are_torchs(digits: Case) -> None:
    arrays = digits.arrays
    rows = digits.objective.split(arrays, 5, seed=0).folds[0].train
    statistics = digits.objective.statistics(arrays, rows)
    batch = digits.batch(rows)
    logits = torch.randn(len(rows), 10, generator=torch.Generator().manual_seed(0))
    sums = {name: value.numpy() for name, value in digits.objective.sums({"logits": logits}, batch).items()}
    report = digits.objective.report(sums, arrays.info)
    truth = batch["target"].numpy()
    expected = metrics.classification_report(truth, logits.argmax(-1).numpy(), output_dict=True)
    for name in (*CLASSES, "macro avg", "weighted avg"):
        assert report[name] == pytest.approx(expected[name], abs=1e-6)
    params = digits.params(loss__class_weights="balanced")
    value, count = digits.objective.losses({"logits": logits}, batch, params, statistics)["class"]
    balanced = compute_class_weight("balanced", classes=np.arange(10), y=truth)
    weighted = torch.nn.CrossEntropyLoss(torch.from_numpy(balanced).float())(logits, batch["target"])
    torch.testing.assert_close(value / count, weighted)
