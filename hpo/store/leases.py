"""Leases: who works on which trial or job, and every write made under one.

A lease is one row. Its holder raises `beat`; another worker that has seen no change of (token, beat) for the grace
period of its own monotonic clock, while the database answered, takes over with one conditional UPDATE that raises
`token`. Every write of a holder checks its token in the same transaction (`Database.under`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.objective import Params
from hpo.store import tables
from hpo.store.clock import utc_now
from hpo.store.database import Database
from hpo.store.watch import Watch

#: A unit of work lost this often in a row without a new epoch fails instead of being taken over again.
MOST_LOSSES = 3


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on one trial or one job of a promotion, until someone takes it over."""

    lease_id: int
    token: int
    study_id: int
    fold: int
    attempt: int
    losses: int
    trial_id: int | None
    number: int | None  #: of the trial
    job_id: int | None
    candidate: int | None  #: trial number a job retrains
    seed: int  #: repeat of a job, 0 for a trial
    configuration: str | None
    params: Params | None  #: None until the sampler has chosen
    end: str | None  #: `pruned` when the pruner had decided before the last holder died


class Leases:
    """Claim, renew, record, finish, give back."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def under(self, lease: Lease) -> AbstractContextManager[None]:
        """Fence every transaction of this thread by the lease."""
        return self._db.under(lease.lease_id, lease.token)

    def new_trial(
        self, study_id: int, worker: str, fold: int, limit: int, room: Callable[[int], bool] = lambda _: True
    ) -> Lease | None:
        """Take a ticket of the budget: the next enqueued trial, or a new one; None when `limit` are taken.

        Trial, lease and ticket appear in one transaction, so that neither a kill nor a race leaves one without the
        others or goes over the budget.

        Args:
            study_id: of the study.
            worker: the holder.
            fold: on which the trial trains.
            limit: tickets of the budget.
            room: whether a finite space has a point left, given how many trials have yet to choose theirs.
        """
        lease, trial = tables.leases, tables.optuna_trials
        with self._db.transaction() as connection:
            lock(connection, study_id)
            tickets = sa.select(sa.func.count()).where(lease.c.study_id == study_id, lease.c.trial_id.is_not(None))
            if connection.execute(tickets).scalar_one() >= limit:
                return None
            enqueued = sa.select(sa.func.min(trial.c.trial_id)).where(
                trial.c.study_id == study_id, trial.c.state == TrialState.WAITING
            )
            trial_id = connection.execute(enqueued).scalar_one()
            if trial_id is None and not room(connection.execute(tickets.where(lease.c.params.is_(None))).scalar_one()):
                return None
            if trial_id is None:
                trial_id = self._db.create_new_trial(study_id)
            else:
                self._db.set_trial_state_values(trial_id, TrialState.RUNNING)
            configuration = self._db.get_trial_user_attrs(trial_id).get("configuration")
            row = {"study_id": study_id, "trial_id": trial_id, "worker": worker, "fold": fold}
            inserted = lease.insert().values(**row, configuration=configuration, held_since=utc_now())
            connection.execute(inserted)
            return self._get(connection, lease.c.trial_id == trial_id)

    def new_job(self, study_id: int, worker: str) -> Lease | None:
        """The next job of the promotion that nobody has begun."""
        lease, job = tables.leases, tables.jobs
        with self._db.transaction() as connection:
            lock(connection, study_id)
            begun = sa.select(lease.c.job_id).where(lease.c.job_id.is_not(None))
            waiting = sa.select(job).where(job.c.job_id.in_(current_jobs(study_id)), job.c.job_id.not_in(begun))
            row = connection.execute(waiting.order_by(job.c.job_id).limit(1)).one_or_none()
            if row is None:
                return None
            candidate = self._candidate(connection, study_id, row.candidate)
            values = {"study_id": study_id, "job_id": row.job_id, "worker": worker, "fold": row.fold}
            connection.execute(lease.insert().values(**values, **candidate, held_since=utc_now()))
            return self._get(connection, lease.c.job_id == row.job_id)

    def take_over(self, study_id: int, worker: str, watch: Watch) -> Lease | None:
        """A unit of work that was given back, or whose holder has stood still for the watch's grace period."""
        lease = tables.leases
        with self._db.reading() as connection:
            current = sa.or_(lease.c.job_id.is_(None), lease.c.job_id.in_(current_jobs(study_id)))
            returned = sa.select(lease.c.lease_id, lease.c.token, lease.c.beat).where(
                lease.c.study_id == study_id, lease.c.state == "returned", current
            )
            offered = [(tuple(row), False) for row in connection.execute(returned.order_by(lease.c.lease_id))]
            stale = [(row, True) for row in watch.stale(self._held(connection, study_id))]
        for (lease_id, token, beat), lost in [*offered, *stale]:
            taken = self._take(lease_id, token, beat, worker, lost)
            if taken is not None:
                return taken
        return None

    def observe(self, study_id: int, watch: Watch) -> None:
        """Look at all held leases, so that a silent one is noticed also while this worker trains."""
        with self._db.reading() as connection:
            watch.stale(self._held(connection, study_id))

    def renew(self, lease: Lease) -> bool:
        """Raise the beat; False when the lease is no longer ours."""
        table = tables.leases
        ours = (table.c.lease_id == lease.lease_id, table.c.token == lease.token, table.c.state == "held")
        with self._db.transaction() as connection:
            renewed = connection.execute(table.update().where(*ours).values(beat=table.c.beat + 1))
        return renewed.rowcount == 1

    def give_back(self, lease: Lease) -> None:
        """Return a unit of work at its last epoch boundary; anybody may go on with it at once."""
        with self._db.transaction() as connection:
            update(connection, lease, state="returned")

    def ended_by(self, workers: Sequence[str]) -> int:
        """Units of work that these workers brought to an end."""
        table = tables.leases
        query = sa.select(sa.func.count()).where(table.c.worker.in_(workers), table.c.state == "done")
        with self._db.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def give_back_lost(self, worker: str, losses: int = 1) -> int:
        """Return whatever a process held that has been seen to be dead; no loss when it was asked to end."""
        table = tables.leases
        held = (table.c.worker == worker, table.c.state == "held")
        with self._db.transaction() as connection:
            returned = table.update().where(*held).values(state="returned", losses=table.c.losses + losses)
            return connection.execute(returned).rowcount

    def open(self, study_id: int, *, trials_only: bool = False) -> int:
        """How many units of work are begun and not done."""
        table = tables.leases
        # Not `!= "done"`, for which no index would help: this is asked between any two trials.
        begun = table.c.state.in_(("held", "returned"))
        query = sa.select(sa.func.count()).where(table.c.study_id == study_id, begun)
        if trials_only:
            query = query.where(table.c.trial_id.is_not(None))
        else:
            query = query.where(sa.or_(table.c.job_id.is_(None), table.c.job_id.in_(current_jobs(study_id))))
        with self._db.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def _take(self, lease_id: int, token: int, beat: int, worker: str, lost: bool) -> Lease | None:
        table = tables.leases
        unchanged = (
            table.c.lease_id == lease_id,
            table.c.token == token,
            table.c.beat == beat,
            table.c.state != "done",
        )
        values: dict[str, Any] = {"token": token + 1, "worker": worker, "state": "held", "held_since": utc_now()}
        values["attempt"] = table.c.attempt + 1
        if lost:
            values["losses"] = table.c.losses + 1
        with self._db.transaction() as connection:
            holder = connection.execute(sa.select(table.c.worker).where(*unchanged)).scalar_one_or_none()
            taken = connection.execute(table.update().where(*unchanged).values(**values))
            if taken.rowcount == 0:
                return None
            if lost:  # nobody need wait for it; should it only have slept, its next beat says so
                workers = tables.workers
                connection.execute(workers.update().where(workers.c.name == holder).values(state="lost"))
            return self._get(connection, table.c.lease_id == lease_id)

    @staticmethod
    def _held(connection: sa.Connection, study_id: int) -> list[tuple[int, int, int]]:
        table = tables.leases
        query = sa.select(table.c.lease_id, table.c.token, table.c.beat)
        rows = connection.execute(query.where(table.c.study_id == study_id, table.c.state == "held"))
        return [(row.lease_id, row.token, row.beat) for row in rows]

    @staticmethod
    def _candidate(connection: sa.Connection, study_id: int, number: int) -> dict[str, Any]:
        lease, trial = tables.leases, tables.optuna_trials
        query = sa.select(lease.c.params, lease.c.configuration).join(trial, trial.c.trial_id == lease.c.trial_id)
        row = connection.execute(query.where(trial.c.study_id == study_id, trial.c.number == number)).one()
        return {"params": row.params, "configuration": row.configuration}

    @staticmethod
    def _get(connection: sa.Connection, where: sa.ColumnElement[bool]) -> Lease:
        lease, trial, job = tables.leases, tables.optuna_trials, tables.jobs
        query = (
            sa.select(lease, trial.c.number, job.c.candidate, job.c.seed)
            .outerjoin(trial, trial.c.trial_id == lease.c.trial_id)
            .outerjoin(job, job.c.job_id == lease.c.job_id)
            .where(where)
        )
        row = connection.execute(query).one()
        return Lease(
            lease_id=row.lease_id,
            token=row.token,
            study_id=row.study_id,
            fold=row.fold,
            attempt=row.attempt,
            losses=row.losses,
            trial_id=row.trial_id,
            number=row.number,
            job_id=row.job_id,
            candidate=row.candidate,
            seed=row.seed or 0,
            configuration=row.configuration,
            params=Params.from_flat(json.loads(row.params)) if row.params else None,
            end=row.end,
        )


def current_jobs(study_id: int) -> sa.Select[Any]:
    """Ids of the jobs of the promotion under way; those of an earlier one, before the budget grew, are history."""
    job, final = tables.jobs, tables.finals
    candidates = sa.or_(job.c.candidate == final.c.candidate, job.c.candidate == final.c.baseline)
    joined = sa.select(job.c.job_id).join(final, final.c.study_id == job.c.study_id)
    return joined.where(job.c.study_id == study_id, candidates)


def lock(connection: sa.Connection, study_id: int) -> None:
    """Serialise the claims of one study (SQLite's immediate transaction does so anyway)."""
    table = tables.studies
    connection.execute(sa.select(table.c.study_id).where(table.c.study_id == study_id).with_for_update())


def update(connection: sa.Connection, lease: Lease, **values: Any) -> None:
    """Change the lease's row."""
    connection.execute(tables.leases.update().where(tables.leases.c.lease_id == lease.lease_id).values(**values))
