"""A store without rows, once per back end, and eight processes for the races.

Tables are made once per session: a database for each test, as `url` gives, costs half a second on PostgreSQL.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.records import StudyRecord
from hpo.store import Store
from tests.store.parts import facts
from tests.store.racers import Racers

#: What belongs to the tables and not to a study.
VERSIONS = {"hpo_schema", "alembic_version", "version_info"}


@pytest.fixture(scope="session")
def race() -> Iterator[Racers]:
    racers = Racers()
    yield racers
    racers.close()


@pytest.fixture(scope="session")
def sqlite_tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tables") / "hpo.db"
    Store(f"sqlite:///{path}", create=True).close()
    return path


@pytest.fixture(scope="session")
def postgres_tables(postgres_server: str) -> Iterator[sa.Engine]:
    server = sa.create_engine(postgres_server, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE tables"))
    server.dispose()
    url = sa.make_url(postgres_server).set(database="tables")
    Store(url.render_as_string(hide_password=False), create=True).close()
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with tables and no rows, once per back end."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_tables"), tmp_path / "hpo.db")
        return f"sqlite:///{tmp_path / 'hpo.db'}"
    engine: sa.Engine = request.getfixturevalue("postgres_tables")
    names = [name for name in sa.inspect(engine).get_table_names() if name not in VERSIONS]
    with engine.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE {', '.join(names)} RESTART IDENTITY CASCADE"))
    return engine.url.render_as_string(hide_password=False)


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    made = Store(database)
    yield made
    made.close()


@pytest.fixture
def study(store: Store) -> StudyRecord:
    return store.studies.create("made-up", {}, **facts())
