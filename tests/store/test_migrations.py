"""Databases of other versions: an older one is brought up step by step, whole or not at all; a newer one is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from hpo.store import StorageError, Store, migrations, tables
from hpo.store.migrations import STEPS, upgrade
from tests.store import parts
from tests.store.parts import emptied
from tests.store.test_database import plain_optuna, run


@pytest.fixture
def old(url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database with a study, seen by an hpo that is two versions ahead of it."""
    store = Store(url, create=True)
    parts.trial(store, store.studies.create("made-up", {}, **parts.facts()).study_id)
    store.close()
    version = tables.SCHEMA_VERSION
    monkeypatch.setattr(tables, "SCHEMA_VERSION", version + 2)
    monkeypatch.setitem(STEPS, version, lambda c: c.exec_driver_sql("ALTER TABLE hpo_leases ADD COLUMN note TEXT"))
    monkeypatch.setitem(STEPS, version + 1, lambda c: c.exec_driver_sql("UPDATE hpo_leases SET note = 'second'"))
    yield url


def state(url: str) -> tuple[int, list[str]]:
    """Version, and the columns of a table that both steps are about."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SELECT version FROM hpo_schema").scalar_one()
        columns = [column["name"] for column in sa.inspect(connection).get_columns("hpo_leases")]
    engine.dispose()
    return version, columns


def test_there_is_a_step_from_every_version() -> None:
    assert sorted(STEPS) == list(range(1, tables.SCHEMA_VERSION))


def test_an_older_database_is_refused_until_it_is_upgraded(old: str) -> None:
    before = tables.SCHEMA_VERSION - 2
    for create in (False, True):
        with pytest.raises(StorageError, match=rf"has hpo schema {before}, .*: run `hpo storage upgrade`, or another"):
            Store(old, create=create)
    assert upgrade(old) == (before, before + 2)
    store = Store(old)
    assert "'note': 'second'" in parts.contents(store)["hpo_leases"][0]
    assert store.studies.get("made-up").folder == "made-up-1a2b3c4d"
    store.close()
    assert upgrade(old) == (before + 2, before + 2)


def test_a_step_that_fails_leaves_the_version_before_it(old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    second = tables.SCHEMA_VERSION - 1

    def broken(connection: sa.Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE hpo_leases ADD COLUMN half TEXT")
        connection.exec_driver_sql("ALTER TABLE nowhere ADD COLUMN half TEXT")

    with monkeypatch.context() as patch:
        patch.setitem(migrations.STEPS, second, broken)
        with pytest.raises(StorageError, match="nowhere"):
            upgrade(old)
    version, columns = state(old)
    assert version == second
    assert "note" in columns and "half" not in columns
    assert upgrade(old) == (second, second + 1)


def test_a_newer_database_is_refused(url: str) -> None:
    Store(url, create=True).close()
    run(url, "UPDATE hpo_schema SET version = 99")
    with pytest.raises(StorageError, match="has hpo schema 99, newer than this version's 1: use the hpo version that"):
        upgrade(url)


def test_a_database_without_our_tables_is_not_given_any(url: str) -> None:
    message = "does not exist" if url.startswith("sqlite") else "has no hpo tables: run `hpo storage init`"
    with pytest.raises(StorageError, match=message):
        upgrade(emptied(url))
    with plain_optuna(url), pytest.raises(StorageError, match="has no hpo tables"):
        upgrade(url)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE version_info SET library_version = '4.8.0'", r"holds trials of Optuna 4\.8\.0, whose times are local"),
        ("UPDATE alembic_version SET version_num = 'v3.0.0.a'", r"holds an Optuna schema of another version"),
    ],
)
def test_another_optuna_is_refused_before_a_table_of_ours_is_added(url: str, change: str, message: str) -> None:
    with plain_optuna(url):
        pass
    run(url, change)
    for _ in range(2):
        with pytest.raises(StorageError, match=message) as caught:
            Store(url, create=True)
        assert "`optuna storage upgrade`" in str(caught.value)
        assert "--storage" in str(caught.value)
    engine = sa.create_engine(url)
    assert not [name for name in sa.inspect(engine).get_table_names() if name.startswith("hpo_")]
    engine.dispose()


def test_what_optuna_upgrades_is_taken(url: str) -> None:
    """The command that the refusal names helps."""
    with plain_optuna(url) as storage:
        run(url, "UPDATE version_info SET library_version = '4.8.0'")
        storage.upgrade()
    Store(url, create=True).close()
