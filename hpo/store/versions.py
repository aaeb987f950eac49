"""Which hpo and which Optuna made the tables of a database."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic.script import ScriptDirectory
from optuna.storages._rdb import models

from hpo.store import tables

#: The first Optuna that stores UTC. Older ones stored local times, unmarked, in tables that look the same.
_FIRST_IN_UTC = 5

#: `PRAGMA application_id` of a backup ("hpo"), by which it is told from a database to work in.
BACKUP = 0x68706F


def is_backup(engine: sa.Engine) -> bool:
    """Whether a SQLite file was written by `hpo storage backup`."""
    with engine.connect() as connection:
        return connection.exec_driver_sql("PRAGMA application_id").scalar_one() == BACKUP


def hpo_version(engine: sa.Engine) -> int | None:
    """Of our tables; None where they are missing or not all made."""
    if not sa.inspect(engine).has_table("hpo_schema"):
        return None
    with engine.connect() as connection:
        return connection.execute(sa.select(tables.schema.c.version)).scalar_one_or_none()


def other_optuna(engine: sa.Engine) -> str | None:
    """What is wrong with Optuna's tables, as the end of "URL holds ..."; None where nothing is."""
    library = _only_value(engine, "version_info", "library_version")
    if library is not None and int(library.split(".")[0]) < _FIRST_IN_UTC:
        return (
            f"trials of Optuna {library}, whose times are local and unmarked, where this version stores UTC: name "
            "another database with --storage; or back it up and run `optuna storage upgrade`, which leaves the old "
            "times as they are"
        )
    revision = _only_value(engine, "alembic_version", "version_num")
    if revision is not None and revision != optuna_head():
        return (
            "an Optuna schema of another version; back it up and run `optuna storage upgrade`, or name another "
            "database with --storage"
        )
    return None


def optuna_head() -> str | None:
    """The revision of Optuna's tables that the installed Optuna works with."""
    return ScriptDirectory(str(Path(models.__file__).parent / "alembic")).get_current_head()


def _only_value(engine: sa.Engine, table: str, column: str) -> str | None:
    if not sa.inspect(engine).has_table(table):
        return None
    with engine.connect() as connection:
        column_of = sa.column(column, sa.String)
        return connection.execute(sa.select(column_of).select_from(sa.table(table))).scalars().first()
