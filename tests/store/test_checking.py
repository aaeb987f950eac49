"""`check`: nothing to say about a sound database, one clear line for each thing that is wrong."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from hpo.records import StudyRecord
from hpo.store import Lease, StorageError, Store, tables
from hpo.store.checking import Problem, check
from tests.store import parts
from tests.store.test_database import plain_optuna, run


@pytest.fixture
def done(store: Store, study: StudyRecord) -> list[Lease]:
    """Three trials of three epochs that are complete, and one under way."""
    leases = [parts.trial(store, study.study_id) for _ in range(4)]
    for lease in leases:
        with store.leases.under(lease):
            lr = 1e-3 * lease.lease_id
            store.results.choose(lease, parts.params(lr), parts.suggested(lease, lr))
            store.results.record(lease, [parts.epoch(k) for k in (1, 2, 3)], (3, 0.5), lambda *_: False)
    for lease in leases[:3]:
        with store.leases.under(lease):
            store.results.finish_trial(lease, parts.tells(store, lease, 0.5), value=0.5)
    return leases


def problems(url: str) -> list[tuple[str, str]]:
    return [(problem.kind, problem.text) for problem in check(url)]


def test_a_sound_database_has_no_problems(database: str, done: list[Lease], store: Store) -> None:
    assert check(database) == []
    before = parts.contents(store)
    check(database)
    assert parts.contents(store) == before


RUNNING = "INSERT INTO trials (trial_id, number, study_id, state) VALUES (900, 9, 1, 'RUNNING')"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (RUNNING, ("leases", "trial 9 of made-up is running without a lease: nobody will go on with it")),
        (
            "UPDATE trials SET state = 'RUNNING' WHERE number = 1",
            ("leases", "trial 1 of made-up is running although its lease is done"),
        ),
        (
            "UPDATE trials SET state = 'WAITING' WHERE number = 3",
            ("leases", "trial 3 of made-up is waiting although it has a lease"),
        ),
        (
            "UPDATE hpo_leases SET value = NULL WHERE lease_id = 2",
            ("leases", "trial 1 of made-up is complete without a value"),
        ),
        (
            "UPDATE trials SET state = 'FAIL' WHERE number = 3",
            ("leases", "trial 3 of made-up was ended by another tool; its lease is not done"),
        ),
        (
            "DELETE FROM hpo_epochs WHERE lease_id = 2 AND epoch = 2",
            ("epochs", "lease 2 is done with 2 epochs from 1 to 3: some are missing"),
        ),
        (
            "DELETE FROM hpo_epochs WHERE lease_id = 2 AND epoch = 1",
            ("epochs", "lease 2 is done with 2 epochs from 2 to 3: some are missing"),
        ),
    ],
)
def test_what_does_not_fit_is_named(
    database: str, done: list[Lease], statement: str, expected: tuple[str, str]
) -> None:
    run(database, statement)
    assert problems(database) == [expected]


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (
            "DELETE FROM hpo_leases WHERE lease_id = 1",
            ["3 rows of hpo_epochs belong to hpo_leases that are gone: lease_id 1"],
        ),
        (
            "DELETE FROM trials WHERE number = 1",
            [
                "1 rows of trial_intermediate_values belong to trials that are gone: trial_id 2",
                "1 rows of trial_params belong to trials that are gone: trial_id 2",
                "1 rows of trial_values belong to trials that are gone: trial_id 2",
                "1 rows of hpo_leases belong to trials that are gone: trial_id 2",
            ],
        ),
    ],
)
def test_rows_without_their_parent_are_named(
    database: str, done: list[Lease], statement: str, expected: list[str]
) -> None:
    """Only tools that keep no foreign keys leave them, so on SQLite alone, or where PostgreSQL was told to."""
    run(database, *([] if database.startswith("sqlite") else ["SET session_replication_role = replica"]), statement)
    found = problems(database)
    assert sorted(text for kind, text in found if kind == "orphans") == sorted(expected)


def test_a_trial_of_another_tool_is_none_of_our_business(url: str) -> None:
    with plain_optuna(url) as storage:
        storage.create_new_trial(storage.create_new_study([], "theirs"))
        Store(url, create=True).close()
        assert check(url) == []


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE hpo_schema SET version = 99", "hpo schema 99, this is schema 1: use the hpo that made it"),
        ("UPDATE hpo_schema SET version = 0", "hpo schema 0, this is schema 1: run `hpo storage upgrade`"),
        ("DROP TABLE hpo_schema", "has no hpo tables: `hpo storage init` makes them"),
        ("UPDATE version_info SET library_version = '4.8.0'", "holds trials of Optuna 4.8.0, whose times are local"),
        ("UPDATE alembic_version SET version_num = 'x'", "holds an Optuna schema of another version"),
    ],
)
def test_other_versions_are_named(url: str, statement: str, text: str) -> None:
    assert tables.SCHEMA_VERSION == 1, "the texts above name it"
    Store(url, create=True).close()
    run(url, statement)
    found = check(url)
    assert [problem.kind for problem in found] == ["version"]
    assert text in found[0].text


def test_a_missing_database_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"nowhere\.db does not exist"):
        check(f"sqlite:///{tmp_path / 'nowhere.db'}")
    with pytest.raises(StorageError, match=r"cannot check postgresql\+psycopg://u:\*\*\*@127"):
        check("postgresql://u:p@127.0.0.1:1/db")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hpo.db"
    store = Store(f"sqlite:///{path}", create=True)
    study = store.studies.create("made-up", {}, **parts.facts())
    for _ in range(50):
        parts.trial(store, study.study_id)
    store.close()
    journal = sqlite3.connect(path)
    journal.execute("PRAGMA journal_mode=DELETE")
    journal.close()
    content = bytearray(path.read_bytes())
    for page in range(8, len(content) // 4096):
        content[page * 4096 : page * 4096 + 200] = b"\xff" * 200
    path.write_bytes(content)
    found = check(f"sqlite:///{path}")
    assert found
    assert {problem.kind for problem in found} == {"file"}
    assert all(p.text.startswith("the file is damaged: ") and p.text.endswith("; restore a backup") for p in found)
    path.write_bytes(b"no database" * 1000)
    not_one = "the file is damaged: file is not a database; restore a backup"
    assert check(f"sqlite:///{path}") == [Problem("file", not_one)]
