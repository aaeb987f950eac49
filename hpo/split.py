"""Which rows are trained on, validated on and kept for the final test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Fold:
    """Row numbers of one cross-validation fold; `validation` is empty for a refit on all data."""

    index: int
    train: np.ndarray
    validation: np.ndarray


@dataclass(frozen=True)
class Split:
    """Every fold of a study and the held-out test rows (possibly none); no group is on two sides of any of them."""

    folds: tuple[Fold, ...]
    test: np.ndarray

    def refit(self) -> Fold:
        """All rows but the test rows, without validation."""
        first = self.folds[0]
        return Fold(-1, np.sort(np.concatenate([first.train, first.validation])), np.empty(0, np.int64))

    def to_json(self) -> dict[str, Any]:
        return {
            "folds": [{"train": f.train.tolist(), "validation": f.validation.tolist()} for f in self.folds],
            "test": self.test.tolist(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Split:
        def rows(values: list[int]) -> np.ndarray:
            return np.asarray(values, dtype=np.int64)

        folds = enumerate(record["folds"])
        return cls(tuple(Fold(i, rows(f["train"]), rows(f["validation"])) for i, f in folds), rows(record["test"]))
