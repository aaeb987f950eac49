"""Finished trials that nobody trained: written straight into the tables, as a worker would have left them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from optuna.distributions import distribution_to_json
from optuna.samplers import RandomSampler
from optuna.storages._rdb import models
from optuna.study import create_study
from optuna.trial import FrozenTrial, TrialState

from hpo.objective import Epoch
from hpo.store import Store, tables
from hpo.study import Study

FINITE_VALUE = models.TrialValueModel.TrialValueType.FINITE
FINITE_REPORT = models.TrialIntermediateValueModel.TrialIntermediateValueType.FINITE
OPTUNAS = models.BaseModel.metadata.tables
#: Epochs at which ASHA of digits.yaml looks (3 and 9), and the end (12): a third is left after each.
LENGTHS = (3, 9, 12)
SCORES = ("macro_f1", "weighted_f1", "accuracy", "balanced_accuracy", *(f"f1.{digit}" for digit in range(10)))


def fabricate(store: Store, study_id: int, spec: Study, count: int) -> None:
    """Fill an empty study with finished trials, in one transaction.

    Scores fall with the distance from a point of the space, plus noise, so that the sampler has something to learn.
    Lengths follow from the scores as ASHA would have it: of nine trials six end at epoch 3, two at 9, one at 12.
    """
    points = _points(spec, count)
    finals = _scores(points)
    lengths = np.asarray(LENGTHS)[np.digitize(finals, np.quantile(finals, [6 / 9, 8 / 9]))]
    with store.database.transaction() as connection:
        _insert(connection, OPTUNAS["trials"], (_trial(study_id, n, int(lengths[n])) for n in range(count)))
        trial = tables.optuna_trials
        mine = sa.select(trial.c.trial_id).where(trial.c.study_id == study_id).order_by(trial.c.number)
        ids = list(connection.execute(mine).scalars())
        curves = [_curve(float(score), int(length)) for score, length in zip(finals, lengths, strict=True)]
        _insert(connection, OPTUNAS["trial_params"], _params(ids, points))
        _insert(connection, OPTUNAS["trial_values"], _values(ids, curves))
        _insert(connection, OPTUNAS["trial_intermediate_values"], _reports(ids, curves))
        _insert(connection, OPTUNAS["trial_system_attributes"], _rungs(ids, curves))
        leases = (_lease(study_id, spec, *row) for row in zip(ids, points, curves, strict=True))
        _insert(connection, tables.leases, leases)
        lease = tables.leases
        held = sa.select(lease.c.lease_id).where(lease.c.study_id == study_id).order_by(lease.c.trial_id)
        _insert(connection, tables.epochs, _epochs(list(connection.execute(held).scalars()), curves))


def _insert(connection: sa.Connection, table: sa.Table, rows: Iterator[dict[str, Any]]) -> None:
    connection.execute(table.insert(), list(rows))


def _points(spec: Study, count: int) -> list[FrozenTrial]:
    """Random points, suggested as any trial's are, in memory."""
    study = create_study(sampler=RandomSampler(seed=0))
    for _ in range(count):
        spec.suggest(study.ask())
    return study.get_trials(deepcopy=False)


def _scores(points: list[FrozenTrial]) -> np.ndarray:
    names = list(points[0].params)
    values = np.array([[p.distributions[n].to_internal_repr(p.params[n]) for n in names] for p in points])
    values[:, :2] = np.log(np.maximum(values[:, :2], 1e-9))
    standard = (values - values.mean(0)) / values.std(0)
    noise = np.random.default_rng(0).standard_normal(len(points))
    return np.asarray(1 / (1 + np.exp(np.abs(standard[:, :3] - 0.5).sum(1) - 2 + 0.3 * noise)))


def _curve(final: float, length: int) -> list[float]:
    return [final * (1 - 0.7**epoch) for epoch in range(1, length + 1)]


def _trial(study_id: int, number: int, length: int) -> dict[str, Any]:
    state = TrialState.COMPLETE if length == LENGTHS[-1] else TrialState.PRUNED
    ended = _now()
    times = {"datetime_start": ended - timedelta(seconds=length), "datetime_complete": ended}
    return {"study_id": study_id, "number": number, "state": state, **times}


def _params(ids: list[int], points: list[FrozenTrial]) -> Iterator[dict[str, Any]]:
    for trial_id, point in zip(ids, points, strict=True):
        for name, distribution in point.distributions.items():
            value = distribution.to_internal_repr(point.params[name])
            row = {"param_value": value, "distribution_json": distribution_to_json(distribution)}
            yield {"trial_id": trial_id, "param_name": name, **row}


def _values(ids: list[int], curves: list[list[float]]) -> Iterator[dict[str, Any]]:
    for trial_id, curve in zip(ids, curves, strict=True):
        yield {"trial_id": trial_id, "objective": 0, "value": curve[-1], "value_type": FINITE_VALUE}


def _reports(ids: list[int], curves: list[list[float]]) -> Iterator[dict[str, Any]]:
    for trial_id, curve in zip(ids, curves, strict=True):
        for step, value in enumerate(curve, 1):
            row = {"intermediate_value": value, "intermediate_value_type": FINITE_REPORT}
            yield {"trial_id": trial_id, "step": step, **row}


def _rungs(ids: list[int], curves: list[list[float]]) -> Iterator[dict[str, Any]]:
    for trial_id, curve in zip(ids, curves, strict=True):
        for rung, epoch in enumerate(LENGTHS[:2]):
            if len(curve) >= epoch:
                value = json.dumps(curve[epoch - 1])
                yield {"trial_id": trial_id, "key": f"completed_rung_{rung}", "value_json": value}


def _lease(study_id: int, spec: Study, trial_id: int, point: FrozenTrial, curve: list[float]) -> dict[str, Any]:
    params = spec.params(point.params)
    end = None if len(curve) == LENGTHS[-1] else "pruned"
    text = f"pruned after epoch {len(curve)}" if end else None
    row = {"study_id": study_id, "trial_id": trial_id, "worker": "nobody", "state": "done", "fold": spec.folds.search}
    row |= {"params": json.dumps(params.flat()), "params_key": params.key(), "value": curve[-1]}
    return row | {"held_since": _now(), "end": end, "end_text": text}


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _epochs(leases: list[int], curves: list[list[float]]) -> Iterator[dict[str, Any]]:
    for lease_id, curve in zip(leases, curves, strict=True):
        for number, value in enumerate(curve, 1):
            yield {"lease_id": lease_id, "epoch": number, "seconds": 0.1, "record": json.dumps(_epoch(number, value))}


def _epoch(number: int, value: float) -> dict[str, Any]:
    split = {"loss": 1 - value, "loss.class": 1 - value, **dict.fromkeys(SCORES, value)}
    epoch = Epoch(
        number=number,
        train=split,
        validation=split,
        lr=1e-3,
        gradient_norm=1.0,
        seconds=0.1,
        samples=620,
        peak_memory_mb=400.0,
    )
    return epoch.to_json()
