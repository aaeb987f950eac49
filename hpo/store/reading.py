"""What has been recorded, as frozen records: for status, logs, report, export and promotion."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

import sqlalchemy as sa
from optuna.storages._rdb import models
from optuna.trial import TrialState

from hpo.objective import Epoch
from hpo.records import FinalRecord, JobRecord, TrialRecord, WorkerRecord, WorkRecord
from hpo.store import tables, working
from hpo.store.database import Database


class Reading:
    """Read-only queries over one study."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def states(self, study_id: int) -> dict[str, int]:
        """Number of trials per Optuna state name; states without trials are 0."""
        trial = tables.optuna_trials
        query = sa.select(trial.c.state, sa.func.count()).where(trial.c.study_id == study_id).group_by(trial.c.state)
        with self._db.reading() as connection:
            found: dict[Any, int] = {row[0]: row[1] for row in connection.execute(query)}
        return {state.name: found.get(state, 0) for state in TrialState}

    def ended(self, study_id: int) -> int:
        """Trials that are over, however they ended."""
        states = self.states(study_id)
        return states["COMPLETE"] + states["PRUNED"] + states["FAIL"]

    def tickets(self, study_id: int) -> int:
        """Trials begun, whatever became of them."""
        lease = tables.leases
        query = sa.select(sa.func.count()).where(lease.c.study_id == study_id, lease.c.trial_id.is_not(None))
        with self._db.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def last_ends(self, study_id: int, most: int) -> list[tuple[str | None, str | None]]:
        """Class and text of how the trials ended that were begun last; (None, None) for a completion.

        By `held_since`, which the database's clock wrote: the moments of their ends are those of the workers' clocks.
        """
        lease, trial = tables.leases, tables.optuna_trials
        query = sa.select(lease.c.end, lease.c.end_text).join(trial, trial.c.trial_id == lease.c.trial_id)
        done = query.where(lease.c.study_id == study_id, lease.c.state == "done")
        with self._db.reading() as connection:
            rows = connection.execute(done.order_by(lease.c.held_since.desc()).limit(most))
            return [(row.end, row.end_text) for row in rows]

    def broken_ends(self, study_id: int) -> dict[str, list[int]]:
        """Numbers of the trials that neither completed nor were pruned, by the class of their end."""
        lease, trial = tables.leases, tables.optuna_trials
        query = sa.select(lease.c.end, trial.c.number).join(trial, trial.c.trial_id == lease.c.trial_id)
        ended = query.where(lease.c.study_id == study_id, lease.c.state == "done", lease.c.end != "pruned")
        found: dict[str, list[int]] = defaultdict(list)
        with self._db.reading() as connection:
            for row in connection.execute(ended.order_by(trial.c.number)):
                found[row.end].append(row.number)
        return found

    def compute_hours(self, study_id: int) -> float:
        """Training time of all epochs on record, over all workers."""
        epoch, lease = tables.epochs, tables.leases
        seconds = sa.select(sa.func.coalesce(sa.func.sum(epoch.c.seconds), 0.0)).join(lease)
        with self._db.reading() as connection:
            return float(connection.execute(seconds.where(lease.c.study_id == study_id)).scalar_one()) / 3600

    def trials(
        self, study_id: int, numbers: Sequence[int] | None = None, *, start: int = 0, curves: bool = True
    ) -> list[TrialRecord]:
        """Trials in order: all, those of the given numbers, or from `start` on; `curves=False` reads no epochs."""
        lease, trial = tables.leases, tables.optuna_trials
        columns = (trial.c.trial_id.label("id"), trial.c.number, trial.c.state.label("optuna_state"))
        query = (
            sa.select(lease, *columns, trial.c.datetime_start, trial.c.datetime_complete)
            .select_from(trial.outerjoin(lease, lease.c.trial_id == trial.c.trial_id))
            .where(trial.c.study_id == study_id, trial.c.number >= start)
            .order_by(trial.c.number)
        )
        if numbers is not None:
            query = query.where(trial.c.number.in_(numbers))
        with self._db.reading() as connection:
            rows = connection.execute(query).all()
            some = numbers is not None
            wanted = lease.c.trial_id.in_([row.id for row in rows]) if some else lease.c.trial_id.is_not(None)
            epochs = self._epochs(connection, study_id, wanted) if curves else {}
            searched = self._searched(connection, study_id, start)
            enqueued = self._enqueued(connection, study_id)
        return [_trial(row, epochs, searched, enqueued) for row in rows]

    def best_trial(self, study_id: int, direction: str) -> TrialRecord | None:
        """The COMPLETE trial with the best recorded value, without its curve.

        Taken from our own rows, which are written under a lease, not from Optuna's, which anybody may have told.
        """
        query = _best_first(tables.optuna_trials.c.number, study_id, direction).limit(1)
        with self._db.reading() as connection:
            number = connection.execute(query).scalar_one_or_none()
        return None if number is None else self.trials(study_id, [number], start=number, curves=False)[0]

    def retired(self, study_id: int, direction: str, keep: int, among: Sequence[int]) -> list[int]:
        """Those of the given leases that are done and not of one of the `keep` best COMPLETE trials."""
        lease = tables.leases
        best = _best_first(lease.c.lease_id, study_id, direction).limit(keep)
        done = (lease.c.study_id == study_id, lease.c.state == "done", lease.c.lease_id.in_(among))
        query = sa.select(lease.c.lease_id).where(*done, lease.c.lease_id.not_in(best)).order_by(lease.c.lease_id)
        with self._db.reading() as connection:
            return list(connection.execute(query).scalars())

    def jobs(self, study_id: int, *, curves: bool = True) -> list[JobRecord]:
        """Every job of the promotion; `curves=False` reads no epochs."""
        job, lease, final = tables.jobs, tables.leases, tables.finals
        columns = (lease.c.lease_id, lease.c.state, lease.c.worker, lease.c.end_text, final.c.candidate.label("best"))
        query = (
            sa.select(job, *columns)
            .select_from(
                job.outerjoin(lease, lease.c.job_id == job.c.job_id).join(final, final.c.study_id == job.c.study_id)
            )
            # Jobs of an earlier promotion, before the budget grew, stay on record but are not part of this one.
            .where(job.c.study_id == study_id, job.c.candidate.in_([final.c.candidate, final.c.baseline]))
            .order_by(job.c.job_id)
        )
        with self._db.reading() as connection:
            rows = connection.execute(query).all()
            epochs = self._epochs(connection, study_id, lease.c.job_id.is_not(None)) if curves else {}
        return [_job(row, epochs) for row in rows]

    def final(self, study_id: int) -> FinalRecord | None:
        """The promotion's outcome so far; None before it began."""
        with self._db.reading() as connection:
            query = sa.select(tables.finals).where(tables.finals.c.study_id == study_id)
            row = connection.execute(query).one_or_none()
        return None if row is None else _final(row, self.jobs(study_id, curves=False))

    def workers(self, study_id: int) -> list[WorkerRecord]:
        """Every worker that ever registered, the newest last."""
        with self._db.reading() as connection:
            return working.workers(connection, study_id)

    def work(self, study_id: int) -> list[WorkRecord]:
        """Every unit of work that is begun and not done, with its holder; the oldest first."""
        with self._db.reading() as connection:
            return working.work(connection, study_id)

    @staticmethod
    def _epochs(
        connection: sa.Connection, study_id: int, where: sa.ColumnElement[bool]
    ) -> dict[int, tuple[Epoch, ...]]:
        epoch, lease = tables.epochs, tables.leases
        query = (
            sa.select(epoch.c.lease_id, epoch.c.record)
            .join(lease, lease.c.lease_id == epoch.c.lease_id)
            .where(lease.c.study_id == study_id, where)
            .order_by(epoch.c.lease_id, epoch.c.epoch)
        )
        found: dict[int, list[Epoch]] = defaultdict(list)
        for row in connection.execute(query):
            found[row.lease_id].append(Epoch.from_json(json.loads(row.record)))
        return {lease_id: tuple(epochs) for lease_id, epochs in found.items()}

    @staticmethod
    def _searched(connection: sa.Connection, study_id: int, start: int) -> dict[int, list[str]]:
        param, trial = tables.optuna_params, tables.optuna_trials
        query = sa.select(param.c.trial_id, param.c.param_name).join(trial, trial.c.trial_id == param.c.trial_id)
        found: dict[int, list[str]] = defaultdict(list)
        of_study = (trial.c.study_id == study_id, trial.c.number >= start)
        for row in connection.execute(query.where(*of_study).order_by(param.c.param_id)):
            found[row.trial_id].append(row.param_name)
        return found

    @staticmethod
    def _enqueued(connection: sa.Connection, study_id: int) -> dict[int, str]:
        attr, trial = models.TrialUserAttributeModel.__table__, tables.optuna_trials
        query = sa.select(attr.c.trial_id, attr.c.value_json).join(trial, trial.c.trial_id == attr.c.trial_id)
        rows = connection.execute(query.where(trial.c.study_id == study_id, attr.c.key == "configuration"))
        return {row.trial_id: json.loads(row.value_json) for row in rows}


def _best_first(column: sa.Column[Any], study_id: int, direction: str) -> sa.Select[Any]:
    """This column of the COMPLETE trials with a value, the best one first; the earlier one of equals."""
    lease, trial = tables.leases, tables.optuna_trials
    order = lease.c.value.desc() if direction == "maximize" else lease.c.value.asc()
    query = sa.select(column).select_from(lease).join(trial, trial.c.trial_id == lease.c.trial_id)
    complete = (lease.c.study_id == study_id, trial.c.state == TrialState.COMPLETE, lease.c.value.is_not(None))
    return query.where(*complete).order_by(order, trial.c.number)


def _trial(
    row: sa.Row[Any], epochs: dict[int, tuple[Epoch, ...]], searched: dict[int, list[str]], enqueued: dict[int, str]
) -> TrialRecord:
    params = json.loads(row.params) if row.params else {}
    return TrialRecord(
        trial_id=row.id,
        number=row.number,
        state=row.optuna_state.name,
        value=row.value,
        params=params,
        searched={name: params[name] for name in searched.get(row.id, ()) if name in params},
        configuration=enqueued.get(row.id),
        fold=-1 if row.fold is None else row.fold,
        worker=row.worker,
        attempt=row.attempt or 0,
        end=row.end,
        end_text=row.end_text,
        started=row.datetime_start,
        finished=row.datetime_complete,
        epochs=epochs.get(row.lease_id, ()),
    )


def _job(row: sa.Row[Any], epochs: dict[int, tuple[Epoch, ...]]) -> JobRecord:
    running = {None: "waiting", "held": "running", "returned": "waiting"}
    state: Any = running.get(row.state) or ("failed" if row.end_text else "done")
    return JobRecord(
        job_id=row.job_id,
        candidate=row.candidate,
        role="best" if row.candidate == row.best else "baseline",
        fold=row.fold,
        seed=row.seed,
        state=state,
        worker=row.worker,
        epochs=epochs.get(row.lease_id, ()),
        best_epoch=row.best_epoch,
        scores=json.loads(row.scores) if row.scores else None,
        end_text=row.end_text,
    )


def _final(row: sa.Row[Any], jobs: Sequence[JobRecord]) -> FinalRecord:
    best = [job for job in jobs if job.candidate == row.candidate]
    baseline = [job for job in jobs if job.candidate == row.baseline]
    refit = next((job for job in best if job.fold < 0), None)
    failed = [job.end_text for job in jobs if job.state == "failed"]
    open_jobs = any(job.state in ("waiting", "running") for job in jobs)
    begun = any(job.state != "waiting" for job in jobs)
    status: Any = "running" if begun else "waiting"
    if row.path or row.end_text or (failed and not open_jobs):
        status = "done" if row.path else "failed"
    elif begun and not open_jobs and not row.refit:
        status = "done"
    return FinalRecord(
        status=status,
        path=row.path,
        candidate=row.candidate,
        scores=_over_folds(best, fmean),
        spread=_over_folds(best, _spread),
        baseline_scores=_over_folds(baseline, fmean),
        baseline_spread=_over_folds(baseline, _spread),
        test_scores=dict(refit.scores or {}) if refit else {},
        end_text=row.end_text or (failed[0] if failed else None),
    )


def _over_folds(jobs: Sequence[JobRecord], summary: Any) -> dict[str, float]:
    """A summary per score over the folds on which it could be computed."""
    values: dict[str, list[float]] = defaultdict(list)
    for job in jobs:
        if job.fold >= 0 and job.scores:
            for name, value in job.scores.items():
                values[name].append(value)
    return {name: summary(found) for name, found in values.items()}


def _spread(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0
