"""Steps from one version of our tables to the next.

A change of a table in `tables.py` raises `SCHEMA_VERSION` by one and adds the step that changes existing databases in
the same way, under the version it starts from.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

from hpo.store import tables
from hpo.store.bare import bare, explained
from hpo.store.database import _locked
from hpo.store.errors import StorageError
from hpo.store.url import redacted
from hpo.store.versions import hpo_version, other_optuna

#: From version N to N + 1, e.g. `{1: lambda c: c.exec_driver_sql("ALTER TABLE hpo_leases ADD COLUMN note TEXT")}`.
STEPS: dict[int, Callable[[sa.Connection], object]] = {}


def upgrade(url: str) -> tuple[int, int]:
    """Bring our tables to this version, each step whole or not at all; returns the versions before and after.

    Workers of the older version must have ended: they would go on writing as they know it.

    Raises:
        StorageError: no tables, tables of a newer hpo, or tables of an Optuna that we cannot use.
    """
    where = redacted(url)
    with explained(f"cannot upgrade {where}"), bare(url) as engine, _locked(engine):
        before = hpo_version(engine)
        if before is None:
            raise StorageError(f"{where} has no hpo tables: run `hpo storage init`, or `hpo launch`, which does it")
        if before > tables.SCHEMA_VERSION:
            raise StorageError(
                f"{where} has hpo schema {before}, newer than this version's {tables.SCHEMA_VERSION}: "
                "use the hpo version that made it"
            )
        if trouble := other_optuna(engine):
            raise StorageError(f"{where} holds {trouble}")
        for version in range(before, tables.SCHEMA_VERSION):
            with engine.connect().execution_options(write=True) as connection, connection.begin():
                STEPS[version](connection)
                connection.execute(tables.schema.update().values(version=version + 1))
    return before, tables.SCHEMA_VERSION
