"""A connection to a database of any version, for the commands that mend or copy what `Database` refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from hpo.store.database import _configure_sqlite, _engine_options
from hpo.store.errors import UNUSABLE, StorageError
from hpo.store.url import parse_url, redacted


@contextmanager
def bare(url: str) -> Iterator[sa.Engine]:
    """An engine with our settings and no table touched.

    Raises:
        StorageError: there is no such database.
    """
    parsed = parse_url(url)
    engine = sa.create_engine(parsed, **_engine_options(parsed))
    if engine.name == "sqlite":
        if not Path(parsed.database or "").is_file():
            raise StorageError(f"{redacted(url)} does not exist")
        _configure_sqlite(engine)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def explained(failed: str) -> Iterator[None]:
    """Turn the errors of databases and disks into StorageError, "`failed`: cause"."""
    try:
        yield
    except (*UNUSABLE, OSError) as error:
        cause = str(getattr(error, "orig", None) or error.__cause__ or error).splitlines()[0]
        raise StorageError(f"{failed}: {cause}") from None


@contextmanager
def moment(engine: sa.Engine) -> Iterator[sa.Connection]:
    """All tables as they are at one moment, while others write."""
    connection = engine.connect()
    if engine.name == "postgresql":
        connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with connection, connection.begin():
        patient(connection)
        yield connection


def patient(connection: sa.Connection) -> None:
    """Let this transaction be idle: a copy waits for the other database, whose disk may be slow."""
    if connection.engine.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
