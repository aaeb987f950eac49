"""Promotions: the candidates of a study, their jobs over all folds, and the final model."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from hpo.store import tables
from hpo.store.database import Database


class Promotions:
    """Planned by any number of workers at once, there once."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def plan(
        self, study_id: int, candidate: int, baseline: int | None, refit: bool, jobs: Iterable[tuple[int, int, int]]
    ) -> None:
        """Enter the promotion and its jobs (candidate, fold, seed); what is there already stays as it is."""
        with self._db.transaction() as connection:
            final = {"study_id": study_id, "candidate": candidate, "baseline": baseline, "refit": refit}
            connection.execute(self._db.insert(tables.finals).values(**final).on_conflict_do_nothing())
            # Another worker may have planned with another candidate a moment ago: its plan stands.
            planned = connection.execute(sa.select(tables.finals).where(tables.finals.c.study_id == study_id)).one()
            if (planned.candidate, planned.baseline) != (candidate, baseline):
                return
            for number, fold, seed in jobs:
                row = {"study_id": study_id, "candidate": number, "fold": fold, "seed": seed}
                connection.execute(self._db.insert(tables.jobs).values(**row).on_conflict_do_nothing())

    def planned(self, study_id: int) -> tuple[int, int | None] | None:
        """(candidate, baseline) as trial numbers, None before the promotion."""
        final = tables.finals
        query = sa.select(final.c.candidate, final.c.baseline).where(final.c.study_id == study_id)
        with self._db.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.candidate, row.baseline)

    def reset(self, study_id: int, unless: int = -1) -> None:
        """Forget the promotion, unless its candidate is this trial: with a larger budget another one may have won.

        Results of folds are kept, for a candidate that may win again; a refit belongs to one promotion.
        """
        job, final = tables.jobs, tables.finals
        with self._db.transaction() as connection:
            forgotten = final.delete().where(final.c.study_id == study_id, final.c.candidate != unless)
            if connection.execute(forgotten).rowcount:
                connection.execute(job.delete().where(job.c.study_id == study_id, job.c.fold < 0))

    def retry_failed(self, study_id: int) -> int:
        """Open the jobs that failed for another attempt; returns their number."""
        lease, final = tables.leases, tables.finals
        failed = (lease.c.study_id == study_id, lease.c.job_id.is_not(None), lease.c.end.is_not(None))
        with self._db.transaction() as connection:
            connection.execute(final.update().where(final.c.study_id == study_id).values(end_text=None))
            return connection.execute(lease.delete().where(*failed)).rowcount

    def finish(self, study_id: int, candidate: int, path: str | None, error: str | None) -> None:
        """Note where the final model of this candidate lies, or why there is none."""
        final = tables.finals
        with self._db.transaction() as connection:
            values = {"path": path, "end_text": error}
            connection.execute(
                final.update().where(final.c.study_id == study_id, final.c.candidate == candidate).values(**values)
            )
