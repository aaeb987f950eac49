"""Folds by class and by group."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from hpo.objective import DataError
from objectives.splits import TEST, grouped_folds, stratified_folds, to_split

#: The recordings of shared/data/abr: subject -> rows of class 0, 1, 2, 3, of absent and of present waves.
RECORDED = {
    **{"P3": (18, 27, 36, 36, 0, 0), "P6": (9, 27, 36, 42, 0, 0), "P8": (54, 27, 36, 0, 0, 0)},
    **{"N1": (0, 0, 0, 0, 2, 8), "N2": (0, 0, 0, 0, 0, 8), "N3": (0, 0, 0, 0, 2, 6), "N4": (0, 0, 0, 0, 1, 7)},
    **{"N5": (0, 0, 0, 0, 0, 8), "N6": (0, 0, 0, 0, 0, 8), "N7": (0, 0, 0, 0, 1, 7)},
}


def rows_of(table: Mapping[str, tuple[int, ...]]) -> tuple[np.ndarray, np.ndarray]:
    groups = [name for name, counts in table.items() for _ in range(sum(counts))]
    kinds = [
        np.eye(len(counts), dtype=bool)[k] for counts in table.values() for k, n in enumerate(counts) for _ in range(n)
    ]
    return np.array(groups), np.array(kinds)


def missing(groups: np.ndarray, kinds: np.ndarray, number: np.ndarray, folds: int) -> int:
    """(fold, kind) pairs without a row, beyond those that the number of groups with a kind enforces."""
    total = 0
    for kind in kinds.T:
        wanted = min(folds, len(np.unique(groups[kind])))
        total += max(0, wanted - len(np.unique(number[kind])))
    return total


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_classes_are_spread_to_within_one_row(folds: int) -> None:
    labels = np.random.default_rng(0).choice(4, 203, p=[0.6, 0.25, 0.1, 0.05])
    number = stratified_folds(labels, folds, seed=1)
    for label in range(4):
        counts = np.bincount(number[labels == label], minlength=folds)
        assert counts.max() - counts.min() <= 1
    sizes = np.bincount(number)
    assert sizes.max() - sizes.min() <= 1


def test_seeds_decide() -> None:
    labels = np.arange(60) % 3
    groups, kinds = np.arange(60) // 5, np.eye(3, dtype=bool)[labels]
    np.testing.assert_array_equal(stratified_folds(labels, 3, 7), stratified_folds(labels, 3, 7))
    assert (stratified_folds(labels, 3, 7) != stratified_folds(labels, 3, 8)).any()
    np.testing.assert_array_equal(grouped_folds(groups, kinds, 3, 7), grouped_folds(groups, kinds, 3, 7))
    assert any((grouped_folds(groups, kinds, 3, 7) != grouped_folds(groups, kinds, 3, seed)).any() for seed in (8, 9))


@pytest.mark.parametrize("folds", [2, 3, 4, 5])
@pytest.mark.parametrize("seed", [0, 1])
def test_recorded_subjects_are_dealt_with_every_kind_they_can_bring(folds: int, seed: int) -> None:
    groups, kinds = rows_of(RECORDED)
    number = grouped_folds(groups, kinds, folds, seed)
    assert missing(groups, kinds, number, folds) == 0
    assert all(len(np.unique(number[groups == name])) == 1 for name in RECORDED)
    assert len(np.unique(number)) == folds


@pytest.mark.parametrize("seed", range(6))
def test_no_other_assignment_has_more_kinds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    counts = generator.poisson(generator.gamma(0.6, 9, (6, 4))) * (generator.random((6, 4)) < 0.5) + np.eye(
        6, 4, dtype=int
    )
    table = {f"g{k}": tuple(int(n) for n in row) for k, row in enumerate(counts) if row.sum()}
    groups, kinds = rows_of(table)
    found = missing(groups, kinds, grouped_folds(groups, kinds, 3, seed), 3)
    names, member = np.unique(groups, return_inverse=True)
    all_assignments = itertools.product(range(3), repeat=len(names))
    fewest = min(missing(groups, kinds, np.array(a)[member], 3) for a in all_assignments if len(set(a)) == 3)
    assert found == fewest


@pytest.mark.parametrize("seed", range(8))
def test_the_first_fold_misses_least(seed: int) -> None:
    groups, kinds = np.repeat(np.arange(6), 5), np.zeros((30, 2), bool)
    kinds[groups == seed % 6] = True  # one group has all the labels
    kinds[groups == (seed + 1) % 6, 0] = True
    number = grouped_folds(groups, kinds, 3, seed)
    found = [int(kinds[number == fold].any(0).sum()) for fold in range(3)]
    assert found == [2, 1, 0]


def test_groups_without_any_label_are_spread_too() -> None:
    groups = np.repeat(np.arange(9), 10)
    number = grouped_folds(groups, np.zeros((90, 2), bool), 3, 0)
    assert np.bincount(number).tolist() == [30, 30, 30]


def test_hundreds_of_groups_are_dealt_evenly() -> None:
    groups, kinds = np.arange(300), np.eye(4, dtype=bool)[np.arange(300) % 4]
    number = grouped_folds(groups, kinds, 5, 0)
    counts = np.array([np.bincount(number[kind], minlength=5) for kind in kinds.T])
    assert counts.min() >= 12
    assert counts.max() <= 18


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stratified_folds(np.zeros(5, int), 1, 0), "cross-validation needs at least 2 folds, got 1"),
        (
            lambda: stratified_folds(np.array([0, 0, 0, 1, 1]), 3, 0, ["many", "few"]),
            r"3 folds need 3 rows of every class; fewer have: few \(2\)\. Ask for fewer folds",
        ),
        (
            lambda: grouped_folds(np.array([0, 0, 1]), np.ones((3, 1), bool), 3, 0, ["Ann", "Bob"]),
            r"3 folds need at least 3 groups, the data have 2: Ann, Bob; ask for fewer, folds: \{count: 2\}, or ad",
        ),
        (
            lambda: grouped_folds(np.array([0, 0]), np.ones((2, 1), bool), 2, 0, ["Ann"]),
            "the data have 1: Ann; add recordings of more groups",
        ),
        (lambda: to_split(np.array([0, 0, 2]), 3), "no rows would validate fold 1 of 3; ask for fewer folds"),
    ],
)
def test_impossible_folds_are_refused(call: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        call()


def test_test_rows_are_in_no_fold() -> None:
    split = to_split(np.array([0, 1, TEST, 0, 1]), 2)
    assert split.test.tolist() == [2]
    assert [(fold.train.tolist(), fold.validation.tolist()) for fold in split.folds] == [
        ([1, 4], [0, 3]),
        ([0, 3], [1, 4]),
    ]
    assert split.refit().train.tolist() == [0, 1, 3, 4]
