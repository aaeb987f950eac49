"""Worker processes as the database knows them."""

from __future__ import annotations

import sqlalchemy as sa

from hpo.store import tables
from hpo.store.clock import utc_now
from hpo.store.database import Database


class Workers:
    """Who is there, on which machine and device, seen when."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def register(self, study_id: int, name: str, host: str, pid: int, device: str) -> None:
        """Enter a new worker."""
        row = {"name": name, "study_id": study_id, "host": host, "pid": pid, "device": device}
        with self._db.transaction() as connection:
            connection.execute(tables.workers.insert().values(**row, state="starting", seen=utc_now()))

    def seen(self, name: str, state: str) -> None:
        """Note that the worker lives, and what it does."""
        with self._db.transaction() as connection:
            values = {"state": state, "seen": utc_now()}
            # The heart beats until its process ends: a beat under way must not revive who has said that it stopped.
            living = (tables.workers.c.name == name, tables.workers.c.state != "stopped")
            connection.execute(tables.workers.update().where(*living).values(**values))

    def gone(self, name: str, state: str) -> None:
        """Note the end of a worker: `stopped` when it said so itself, `lost` when its supervisor found it dead."""
        active = tables.workers.c.state.not_in(("stopped", "lost"))
        with self._db.transaction() as connection:
            ended = tables.workers.update().where(tables.workers.c.name == name, active)
            connection.execute(ended.values(state=state, seen=utc_now()))

    def names(self, study_id: int, host: str, pid: int) -> list[str]:
        """The names a process has registered under."""
        table = tables.workers
        query = sa.select(table.c.name).where(table.c.study_id == study_id, table.c.host == host, table.c.pid == pid)
        with self._db.reading() as connection:
            return list(connection.execute(query).scalars())
