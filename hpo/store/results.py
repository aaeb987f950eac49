"""What the holder of a lease writes: the parameters chosen, epochs, the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from hpo.harmless import harmless
from hpo.objective import Epoch, Params
from hpo.store import tables
from hpo.store.database import Database
from hpo.store.errors import LeaseLost
from hpo.store.leases import Lease, lock, update


class Results:
    """Choose, record, finish; every write is fenced by the lease that the thread works under."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def chosen(self, lease: Lease) -> Params | None:
        """The parameters of a trial whose choice is on record, e.g. because only the reply to it was lost."""
        query = sa.select(tables.leases.c.params).where(tables.leases.c.lease_id == lease.lease_id)
        with self._db.reading() as connection:
            text = connection.execute(query).scalar_one_or_none()
        return Params.from_flat(json.loads(text)) if text else None

    def choose(self, lease: Lease, params: Params, suggested: list[tuple[Any, ...]]) -> bool:
        """Write the parameters of a new trial, all at once; False when the study has had them already."""
        table, key = tables.leases, params.key()
        with self._db.transaction() as connection:
            lock(connection, lease.study_id)
            same = sa.select(table.c.lease_id).where(table.c.study_id == lease.study_id, table.c.params_key == key)
            if connection.execute(same).first() is not None:
                if lease.configuration is None:
                    return False
                key = f"{key[:20]}-{lease.lease_id}"[:32]  # a named configuration is evaluated in any case
            self._db.write_params(suggested)
            values = {"params": json.dumps(params.flat()), "params_key": key}
            connection.execute(table.update().where(table.c.lease_id == lease.lease_id).values(**values))
        return True

    def record(
        self,
        lease: Lease,
        epochs: Iterable[Epoch],
        report: tuple[int, float] | None,
        prune: Callable[[int, float], bool],
    ) -> bool:
        """Write epochs, the report to the pruner and the pruner's decision together; returns the decision.

        Epochs that are there already are overwritten with the same numbers: a resumed run replays what it has. Only
        an epoch that is new ends a series of losses, or a trial that kills its worker after each checkpoint would
        go on for ever.
        """
        with self._db.transaction() as connection:
            known = self._last_epoch(connection, lease) if lease.losses else 0
            for epoch in epochs:
                self._write_epoch(connection, lease, epoch)
                if lease.losses and epoch.number > known:
                    update(connection, lease, losses=0)
            if report is None or lease.trial_id is None:
                return False
            self._db.report(lease.trial_id, *report)
            decision = prune(*report)
            if decision:
                # With the pruner's own record in one transaction: a kill in between cannot promote the loser.
                update(connection, lease, end="pruned", end_text=f"pruned after epoch {report[0]}")
            return decision

    def finish_trial(
        self,
        lease: Lease,
        tell: Callable[[], None],
        *,
        value: float | None,
        end: str | None = None,
        text: str | None = None,
    ) -> None:
        """Tell Optuna and close the lease in one transaction; may be repeated when the reply was lost."""

        def write(connection: sa.Connection) -> None:
            tell()
            update(connection, lease, state="done", value=value, end=end, end_text=_plain(text))

        self._close(lease, write)

    def finish_job(
        self,
        lease: Lease,
        best_epoch: int | None,
        scores: Mapping[str, float] | None,
        error: str | None = None,
        also: Callable[[], None] | None = None,
    ) -> None:
        """Store a job's result, do what `also` does and close the lease; may be repeated when the reply was lost."""
        job = tables.jobs

        def write(connection: sa.Connection) -> None:
            result = {"best_epoch": best_epoch, "scores": None if scores is None else json.dumps(dict(scores))}
            connection.execute(job.update().where(job.c.job_id == lease.job_id).values(**result))
            if also is not None:
                also()
            update(connection, lease, state="done", end="code_error" if error else None, end_text=_plain(error))

        self._close(lease, write)

    def _close(self, lease: Lease, write: Callable[[sa.Connection], None]) -> None:
        try:
            with self._db.transaction() as connection:
                write(connection)
        except LeaseLost:
            if not self._closed(lease):
                raise

    def _closed(self, lease: Lease) -> bool:
        """Whether this very holder has closed it: then the reply to its commit was lost, and all is written."""
        table = tables.leases
        ours = (table.c.lease_id == lease.lease_id, table.c.token == lease.token, table.c.state == "done")
        with self._db.reading() as connection:
            return connection.execute(sa.select(table.c.lease_id).where(*ours)).first() is not None

    def used_params(self, study_id: int) -> set[str]:
        """Digests of every point the study has had."""
        table = tables.leases
        query = sa.select(table.c.params_key).where(table.c.study_id == study_id, table.c.params_key.is_not(None))
        with self._db.reading() as connection:
            return set(connection.execute(query).scalars())

    @staticmethod
    def _last_epoch(connection: sa.Connection, lease: Lease) -> int:
        epoch = tables.epochs.c.epoch
        query = sa.select(sa.func.coalesce(sa.func.max(epoch), 0)).where(tables.epochs.c.lease_id == lease.lease_id)
        return int(connection.execute(query).scalar_one())

    def _write_epoch(self, connection: sa.Connection, lease: Lease, epoch: Epoch) -> None:
        record = {"seconds": epoch.seconds, "record": json.dumps(epoch.to_json())}
        insert = self._db.insert(tables.epochs).values(lease_id=lease.lease_id, epoch=epoch.number, **record)
        connection.execute(insert.on_conflict_do_update(index_elements=["lease_id", "epoch"], set_=record))


def _plain(text: str | None) -> str | None:
    """No database takes every text that an error of the objective may hold: null characters, halves of surrogates."""
    return None if text is None else harmless(text)
