"""Who works on what: the workers with what they hold, and the work under way with its holders."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from hpo.objective import Epoch
from hpo.records import WorkerRecord, WorkRecord
from hpo.store import tables
from hpo.store.clock import utc_now
from hpo.store.leases import current_jobs

#: What a lease is for, its last epoch, and the database's clock.
_DETAILS = (
    tables.optuna_trials.c.number,
    tables.jobs.c.candidate,
    tables.jobs.c.fold.label("job_fold"),
    tables.epochs.c.record,
    utc_now().label("now"),
)


def workers(connection: sa.Connection, study_id: int) -> list[WorkerRecord]:
    """Every worker that ever registered, the newest last."""
    worker, lease = tables.workers, tables.leases
    held = sa.and_(lease.c.worker == worker.c.name, lease.c.state == "held")
    query = (
        sa.select(worker, lease.c.held_since, *_DETAILS)
        .select_from(_detailed(worker.outerjoin(lease, held)))
        .where(worker.c.study_id == study_id)
        .order_by(worker.c.seen)
    )
    return [_worker(row) for row in connection.execute(query)]


def work(connection: sa.Connection, study_id: int) -> list[WorkRecord]:
    """Every unit of work that is begun and not done, the oldest first."""
    worker, lease = tables.workers, tables.leases
    begun = lease.c.state.in_(("held", "returned"))
    current = sa.or_(lease.c.job_id.is_(None), lease.c.job_id.in_(current_jobs(study_id)))
    query = (
        sa.select(lease, worker.c.host, worker.c.device, worker.c.seen, *_DETAILS)
        .select_from(_detailed(lease.outerjoin(worker, worker.c.name == lease.c.worker)))
        .where(lease.c.study_id == study_id, begun, current)
        .order_by(lease.c.lease_id)
    )
    return [_work(row) for row in connection.execute(query)]


def _detailed(leases: sa.FromClause) -> sa.FromClause:
    """With trial, job and last epoch of each lease."""
    lease, trial, job, epoch = tables.leases, tables.optuna_trials, tables.jobs, tables.epochs
    earlier = epoch.alias()
    last = sa.select(sa.func.max(earlier.c.epoch)).where(earlier.c.lease_id == lease.c.lease_id).scalar_subquery()
    return (
        leases.outerjoin(trial, trial.c.trial_id == lease.c.trial_id)
        .outerjoin(job, job.c.job_id == lease.c.job_id)
        .outerjoin(epoch, sa.and_(epoch.c.lease_id == lease.c.lease_id, epoch.c.epoch == last))
    )


def _worker(row: sa.Row[Any]) -> WorkerRecord:
    last = _last(row)
    return WorkerRecord(
        name=row.name,
        host=row.host,
        pid=row.pid,
        device=row.device,
        state=row.state,
        trial=row.number,
        job=_job(row),
        epoch=last.number if last else None,
        last=last,
        held_since=row.held_since,
        seen=row.seen,
        silent_seconds=_seconds(row.seen, row.now),
    )


def _work(row: sa.Row[Any]) -> WorkRecord:
    last = _last(row)
    return WorkRecord(
        lease_id=row.lease_id,
        trial=row.number,
        job=_job(row),
        held=row.state == "held",
        worker=row.worker,
        host=row.host,
        device=row.device,
        attempt=row.attempt,
        epoch=last.number if last else None,
        last=last,
        held_since=row.held_since,
        held_seconds=_seconds(row.held_since, row.now),
        silent_seconds=None if row.seen is None else _seconds(row.seen, row.now),
    )


def _job(row: sa.Row[Any]) -> str | None:
    if row.candidate is None:
        return None
    return f"trial {row.candidate}, " + ("refit" if row.job_fold < 0 else f"fold {row.job_fold}")


def _last(row: sa.Row[Any]) -> Epoch | None:
    return Epoch.from_json(json.loads(row.record)) if row.record else None


def _seconds(since: datetime, now: datetime) -> float:
    return max(0.0, (now - since).total_seconds())  # a clock may be set back
