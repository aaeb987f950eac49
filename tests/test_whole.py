"""Rows that are parts of wholes, scored together; predictors that have learned nothing, measured beside a training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import Tensor

from hpo.arrays import Arrays
from hpo.check_labels import look
from hpo.epoch import Epoch
from hpo.objective import Batch, Fold, Outputs, Sums, Whole
from hpo.out_of_fold import out_of_fold
from hpo.schedule import Validation
from tests.test_check import subject
from tests.toy import Toy, toy_run

#: Rows of a whole.
SIZE = 3


class Together(Whole):
    """The sum of the numbers of the rows of a whole against what is said of it."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self._open: dict[int, list[float]] = {}
        self._found: list[float] = []

    def add(self, outputs: Outputs, batch: Batch) -> Sums:
        for row, said in zip(batch["place"].tolist(), outputs["number"].tolist(), strict=True):
            self.order.append(row)
            self._open.setdefault(row // SIZE, []).append(said)
        done = [key for key in self._open if key < max(self._open)]
        return self._closed(done)

    def finish(self) -> Sums:
        return self._closed(list(self._open))

    def columns(self) -> dict[str, np.ndarray]:
        return {"whole": np.asarray([f"whole {row // SIZE}" for row in self.order])}

    def _closed(self, keys: list[int]) -> Sums:
        if not keys:
            return {}
        totals = torch.tensor([abs(sum(self._open.pop(key))) for key in keys], dtype=torch.float64)
        self._found += totals.tolist()
        return {"total": torch.stack([totals.sum(), torch.tensor(float(len(totals)), dtype=torch.float64)])}


class Wholes(Toy):
    scores = MappingProxyType({**Toy.scores, "total": "minimize"})
    references = ("majority",)

    def prepare(self, source: Path | None, data: Mapping[str, object], folder: object) -> Mapping[str, object]:
        found = super().prepare(source, data, folder)  # type: ignore[arg-type]
        folder.add("place", np.arange(data["rows"]))  # type: ignore[attr-defined,call-overload]
        return found

    def whole(self, arrays: Arrays, folder: Path | None = None) -> Together:
        return Together()

    def reference(self, name: str, batch: Batch, statistics: Mapping[str, Tensor]) -> Outputs:
        assert name == "majority"
        rows = len(batch["target"])
        return {"logits": torch.tensor([[9.0, 0.0, 0.0]]).expand(rows, 3), "number": torch.zeros(rows)}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, object]) -> dict[str, float]:
        parts = super().score(sums, info) if "right" in sums else {}
        return parts | ({"total": float(sums["total"][0] / sums["total"][1])} if "total" in sums else {})


@pytest.fixture
def arrays(tmp_path: Path) -> Arrays:
    from hpo.arrays import open_arrays

    return open_arrays(Wholes(), None, {"data.rows": 120}, tmp_path)


def by_hand(arrays: Arrays, rows: np.ndarray, said: np.ndarray) -> float:
    keys = rows // SIZE
    return float(np.mean([abs(said[keys == key].sum()) for key in np.unique(keys)]))


def test_validation_scores_wholes_and_training_scores_rows(arrays: Arrays) -> None:
    run = toy_run(arrays, Wholes())
    epoch = run.epoch()
    assert "total" in epoch.validation and "accuracy" not in epoch.validation
    assert "accuracy" in epoch.train and "total" not in epoch.train
    found = out_of_fold(run).table
    expected = by_hand(arrays, run.fold.validation, np.asarray(found["number"], float))
    assert epoch.validation["total"] == pytest.approx(expected, rel=1e-5)  # float32
    assert run.evaluate(run.fold.validation)["total"] == pytest.approx(expected, rel=1e-5)
    assert found["whole"].tolist() == [f"whole {row // SIZE}" for row in found["row"]]


def test_a_fast_validation_takes_rows_that_are_neighbours(arrays: Arrays) -> None:
    """A part of the rows of each whole would leave none of them complete."""
    made: list[Together] = []

    class Recorded(Wholes):
        def whole(self, arrays: Arrays, folder: Path | None = None) -> Together:
            made.append(Together())
            return made[-1]

    run = toy_run(arrays, Recorded(), validation=Validation(full_validation_every=3, fast_share=0.3))
    assert [run.epoch().full, run.epoch().full, run.epoch().full] == [False, False, True]
    rows = run.fold.validation.tolist()
    fast = [whole.order for whole in made if 0 < len(whole.order) < len(rows)]
    size = round(0.3 * len(rows))
    runs = [rows[first : first + size] for first in range(len(rows) - size + 1)]
    assert len(fast) >= 2 and fast[0] in runs and all(order == fast[0] for order in fast)


def test_a_fast_validation_of_wholes_sees_labels_wherever_they_are(arrays: Arrays) -> None:
    """Some 20 rows of 120 hold one, all among the first; neighbours drawn anywhere would mostly hold none."""

    class Few(Wholes):
        def class_counts(self, arrays: Arrays) -> np.ndarray:
            counts = super().class_counts(arrays)
            counts[24:] = 0
            return counts

    rows = np.arange(len(arrays))
    for seed in range(20):
        run = toy_run(
            arrays, Few(), validation=Validation(full_validation_every=2), seed=seed, fold=Fold(0, rows, rows)
        )
        assert len(run._fast_rows) == 30 and (arrays["target"][run._fast_rows[run._fast_rows < 24]] >= 0).any()


def test_the_check_sees_scores_of_wholes(arrays: Arrays, tmp_path: Path) -> None:
    run = toy_run(arrays, Wholes())
    found = look(subject(tmp_path / "toy"), run, 0, np.random.default_rng(1).permutation(run.fold.validation))
    assert "total" in found.scores and found.whole


def test_what_predictors_that_learned_nothing_come_to_is_measured_once(arrays: Arrays) -> None:
    run = toy_run(arrays, Wholes())
    first, second = run.epoch(), run.epoch()
    assert list(first.references) == ["majority"] and not second.references
    rows = run.fold.validation
    target, number = (np.asarray(arrays[name])[rows] for name in ("target", "number"))
    log_p = -np.log(np.exp([9.0, 0.0, 0.0]).sum()) + np.asarray([9.0, 0.0, 0.0])
    found = first.references["majority"]
    assert found["loss.class"] == pytest.approx(-log_p[target[target >= 0]].mean(), rel=1e-5)  # float32
    assert found["loss.number"] == pytest.approx(np.nanmean(number**2), rel=1e-5)
    assert found["loss"] == pytest.approx(found["loss.class"] + 0.5 * found["loss.number"])
    assert found["total"] == 0
    assert Epoch.from_json(first.to_json()) == first


def test_a_run_without_validation_rows_has_no_references(arrays: Arrays) -> None:
    run = toy_run(arrays, Wholes(), fold=Fold(-1, np.arange(80), np.empty(0, np.int64)))
    assert run.epoch().references == {}
