"""A training that has learned nothing is told from one that has, by predictors that never learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpo.arrays import Arrays, open_arrays
from hpo.learned_nothing import references
from hpo.objective import Batch, Direction, Epoch, Metric, Outputs
from hpo.records import TrialRecord
from hpo.reference_table import beside
from tests import made_up
from tests.test_diagnosis import F1, NOTHING, PARAMS, changed, direction_of, epoch, healthy, score, seen
from tests.toy import CLASSES, Toy, toy_run

LOSS = "the loss is that of a predictor that has learned nothing"
#: A loss of 0.40 looks like something until the majority is known to reach 0.408 without learning.
MAJORITY = {"majority": {"loss": 0.408, "macro_f1": 0.7}, "constant": {"loss": 0.411, "macro_f1": 0.69}}


def stuck(
    loss: float, count: int = 31, given: Mapping[str, Mapping[str, float]] = MAJORITY, train: float | None = None
) -> list[Epoch]:
    """Losses that end at `loss`, after more; the first epoch has the references."""

    def change(e: Epoch) -> Mapping[str, Any]:
        value = loss + 0.001 * (count - e.number)
        both = {"validation": {**e.validation, "loss": value}, "train": {**e.train, "loss": train or value}}
        return both | {"references": given if e.number == 1 else {}}

    return changed(change, count)


# ---- the loss


def test_a_loss_that_the_majority_reaches_without_learning_is_seen() -> None:
    more = {"schedule.warmup_epochs": 0, "loss.class_weights": "none", "sampling.balanced": False}
    found = seen(stuck(0.402), metric=Metric("loss", "minimize"), params=PARAMS | more)
    assert found[LOSS].evidence == (
        "loss 0.402 in epoch 31, the lowest of 31; without learning, majority gives 0.408, constant gives 0.411"
    )
    assert found[LOSS].remedy == (
        "raise optimizer.lr (now 0.0001), raise schedule.warmup_epochs (now 0), set loss.class_weights (now none), "
        "set sampling.balanced (now False)"
    )
    small_steps = seen(stuck(0.402), params=PARAMS | {"optimizer.name": "sgd"})[LOSS].remedy
    assert small_steps == "raise optimizer.lr (now 0.0001), change optimizer.name (now sgd)"
    assert NOTHING not in found, "the metric is the loss itself: one symptom says it"
    assert LOSS not in seen(stuck(0.402, given={})), "nothing is known of what learns nothing"
    assert LOSS not in seen(stuck(0.402, 5)), "too early to say"


@pytest.mark.parametrize(("lowest", "there"), [(0.5, True), (0.408, True), (0.37, True), (0.36, False), (0.1, False)])
def test_a_tenth_of_the_way_from_the_lowest_reference_to_zero_is_learned(lowest: float, there: bool) -> None:
    """0.9 * 0.408 = 0.3672."""
    assert (LOSS in seen(stuck(lowest))) is there


def test_only_full_validations_are_compared_with_references() -> None:
    fast = [
        replace(e, full=False, validation={**e.validation, "loss": 0.01}) if e.number % 2 else e for e in stuck(0.4)
    ]
    assert "loss 0.401 in epoch 30, the lowest of 31" in seen(fast)[LOSS].evidence


def test_a_loss_that_falls_in_training_alone_is_overfitting_of_all_there_is() -> None:
    params = PARAMS | {"model.dropout": 0.1, "augment.noise": 0.0}
    found = seen(stuck(0.402, train=0.05), params=params)[LOSS]
    assert found.evidence.endswith("; 0.05 in training (learned, but not for new rows)")
    assert found.remedy == "raise model.dropout (now 0.1), raise augment.noise (now 0)"


def test_references_below_zero_must_be_passed() -> None:
    """As of a likelihood, where no share of the way to 0 means anything."""
    below = {"constant": {"loss": -1.0}}
    assert LOSS in seen(stuck(-1.0, given=below)) and LOSS not in seen(stuck(-1.01, given=below))


# ---- the metric


def with_metric(value: float, given: Mapping[str, Mapping[str, float]] = MAJORITY) -> list[Epoch]:
    return [replace(e, **score(value + 0.001 * (e.number % 3))(e), references=given if e.number == 1 else {})
            for e in healthy()]  # fmt: skip


def test_a_metric_at_the_majoritys_is_nothing_learned() -> None:
    found = seen(with_metric(0.71), params=PARAMS | {"sampling.balanced": False})[NOTHING]
    assert found.evidence == (
        "macro_f1 in 15 epochs after epoch 5: median 0.711, at most 0.712 (epoch 8); "
        "without learning, majority gives 0.7, constant gives 0.69"
    )
    assert "set sampling.balanced (now False)" in found.remedy
    assert NOTHING not in seen(with_metric(0.72)), "over 0.7 + 0.05 * 0.3"
    assert NOTHING not in seen(with_metric(0.71, {})) and NOTHING not in seen(with_metric(0.71, {"a": {"loss": 1.0}}))


def test_an_error_is_compared_where_references_have_it() -> None:
    mae = Metric("number_mae", "minimize")

    def error(value: float) -> list[Epoch]:
        given = {"constant": {"number_mae": 2.0}}
        return changed(
            lambda e: {"validation": {**e.validation, mae.name: value + e.number / 1000}, "references": given}
        )

    found = seen(error(1.95), metric=mae)[NOTHING]
    assert "median 1.963, at least 1.956 (epoch 6); without learning, constant gives 2" in found.evidence
    assert NOTHING not in seen(error(1.8), metric=mae)


def test_the_measured_majority_takes_the_place_of_the_reckoned_one() -> None:
    report = {name: {"f1-score": 0.7, "support": 50.0} for name in "ab"}
    reckoned = [replace(e, report=report) for e in with_metric(0.3, {})]
    assert "always the most frequent class gives 0.3333" in seen(reckoned)[NOTHING].evidence
    measured = [replace(e, report=report) for e in with_metric(0.3, {"majority": {"macro_f1": 0.1}})]
    assert NOTHING not in seen(measured)


# ---- a real training


class Measured(Toy):
    """The majority, and the shares of the classes and the mean of the numbers: the best that one answer can do."""

    references = ("majority", "constant")

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        target, number = (np.asarray(arrays[name])[rows] for name in ("target", "number"))
        shares = np.bincount(target[target >= 0], minlength=len(CLASSES)) / (target >= 0).sum()
        own = {"shares": torch.from_numpy(shares), "middle": torch.tensor(float(np.nanmean(number)))}
        return super().statistics(arrays, rows) | own

    def reference(self, name: str, batch: Batch, statistics: Mapping[str, Tensor]) -> Outputs:
        rows, shares = len(batch["target"]), statistics["shares"].float()
        logits = shares.log() if name == "constant" else 9.0 * (shares == shares.max())
        return {"logits": logits.expand(rows, len(CLASSES)), "number": statistics["middle"].expand(rows)}


@pytest.mark.parametrize(("lr", "there"), [(0.0, True), (0.05, False)])
def test_a_training_at_a_rate_of_zero_learns_nothing(lr: float, there: bool, tmp_path: Path) -> None:
    arrays = open_arrays(Measured(), None, {"data.rows": 240}, tmp_path)
    run = toy_run(arrays, Measured(), epochs=8, optimizer__lr=lr, stopping__patience=0)
    while not run.finished:
        run.epoch()
    assert list(references(run.epochs)) == ["majority", "constant"]
    facts: dict[str, Any] = {"metric": Metric("loss", "minimize"), "params": run.params.flat(), "budget": 8}
    found = seen(run.epochs, **facts)
    assert (LOSS in found) is there


# ---- the table


def trial(value: float, loss: float, given: Mapping[str, Mapping[str, float]], **changes: Any) -> TrialRecord:
    values = {"loss": loss, "loss.class": 2 * loss, "macro_f1": value, "f1.a": 0.9}
    epochs = [epoch(n, validation=values if n == 2 else {"macro_f1": 0.0}, references=given if n == 1 else {})
              for n in (1, 2, 3)]  # fmt: skip
    found = made_up.trial(0, made_up.params(1e-3, 0.1), 0, value=value, epochs=tuple(epochs))
    return replace(found, params={"stopping.min_epochs": 1}, **changes)


def better(name: str) -> Direction | None:
    return None if name in ("macro_f1.*", "loss.*") else direction_of(name)


GIVEN = {
    "majority": {"loss": 0.408, "loss.class": 0.2, "macro_f1": 0.7, "f1.a": 0.5},
    "constant": {"loss": 0.411, "loss.class": 0.21},
}


def test_references_stand_beside_the_kept_epochs_without_families() -> None:
    trained = {"baseline": trial(0.71, 0.402, GIVEN), "best": trial(0.8, 0.2, GIVEN)}
    assert beside(trained, F1, better) == (
        ("measure", "majority", "constant", "baseline", "best"),
        [
            ("macro_f1", "0.700", "—", "0.710", "0.800"),
            ("loss", "0.408", "0.411", "0.402", "0.200"),
            ("loss.class", "0.200", "0.210", "0.804", "0.400"),
        ],
    )
    alone, rows = beside({"best": trained["best"]}, F1, better)
    assert alone == ("measure", "majority", "constant", "best") and rows[0] == ("macro_f1", "0.700", "—", "0.800")
    assert beside({"best": trial(0.8, 0.2, {})}, F1, better)[1] == []


def test_measures_that_favour_saying_nothing_are_marked() -> None:
    """Neither the metric nor a loss is: of these a better reference says that nothing was learned."""
    given = {"majority": {"loss": 0.1, "macro_f1": 0.9, "mae": 0.2, "r2": 0.3, "kept": 0.5}}
    directions: dict[str, Direction] = {"mae": "minimize", "r2": "maximize"}

    def scored(mae: float, r2: float) -> TrialRecord:
        found = trial(0.71, 0.402, given)
        values = {"mae": mae, "r2": r2, "kept": 0.4}
        return replace(found, epochs=tuple(replace(e, validation={**e.validation, **values}) for e in found.epochs))

    def names(baseline: TrialRecord, best: TrialRecord) -> list[str]:
        return [row[0] for row in beside({"baseline": baseline, "best": best}, F1, directions.get)[1]]

    assert names(scored(0.3, 0.2), scored(0.4, 0.1)) == ["macro_f1", "kept", "mae *", "r2 *", "loss"]
    assert names(scored(0.3, 0.2), scored(0.1, 0.4)) == ["macro_f1", "kept", "mae", "r2", "loss"]
    assert names(scored(0.2, 0.3), scored(0.4, 0.1)) == ["macro_f1", "kept", "mae", "r2", "loss"], "equal is not better"


def test_references_of_other_weights_have_lines_of_their_own() -> None:
    """The majority's loss depends on the weights of the loss, too; where none were measured, none are compared."""
    other = {name: {**values, "loss": values["loss"] / 2} for name, values in GIVEN.items()}
    _, rows = beside({"baseline": trial(0.71, 0.402, GIVEN), "best": trial(0.8, 0.15, other)}, F1, better)
    assert rows[1:] == [
        ("loss, baseline", "0.408", "0.411", "0.402", "—"),
        ("loss, best", "0.204", "0.205", "—", "0.150"),
        ("loss.class", "0.200", "0.210", "0.804", "0.300"),
    ]
    _, rows = beside({"baseline": trial(0.71, 0.402, {}), "best": trial(0.8, 0.15, other)}, F1, better)
    assert rows[1] == ("loss", "0.204", "0.205", "0.402", "0.150")
