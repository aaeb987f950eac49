"""A store without rows, once per back end, and eight processes for the races.

Tables are made once per session: a database of its own for each test, as `url` gives, costs PostgreSQL half a second.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.records import StudyRecord
from hpo.store import Store, tables
from tests.store.parts import facts
from tests.store.racers import Racers, racers

#: What belongs to the tables and not to a study.
VERSIONS = {"hpo_schema", "alembic_version", "version_info"}


@pytest.fixture(scope="session")
def race() -> Racers:
    return racers()


@pytest.fixture(scope="session")
def sqlite_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path: Path = tmp_path_factory.mktemp("tables") / "hpo.db"
    return Store(f"sqlite:///{path}", create=True)


@pytest.fixture(scope="session")
def postgres_store(postgres_server: str) -> Store:
    server = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE tables"))
    server.dispose()
    url = sa.make_url(postgres_server).set(database="tables")
    return Store(url.render_as_string(hide_password=False), create=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Without rows; its numbers begin at 1."""
    made: Store = request.getfixturevalue(f"{request.param}_store")
    ours, theirs = tables.metadata.sorted_tables, tables.optuna_metadata.sorted_tables
    names = [table.name for table in reversed([*theirs, *ours]) if table.name not in VERSIONS]
    with made.database.transaction() as connection:
        if request.param == "sqlite":
            for name in [*names, "sqlite_sequence"]:
                connection.execute(sa.text(f"DELETE FROM {name}"))
        else:
            connection.execute(sa.text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
    yield made
    made.close()


@pytest.fixture
def database(store: Store) -> str:
    """The URL by which another process opens the database of `store`."""
    return store.database.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def study(store: Store) -> StudyRecord:
    return store.studies.create("made-up", {}, **facts())
