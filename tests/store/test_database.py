"""One database for Optuna's tables and ours: opening, refusing, transactions that are whole or nothing, secrets."""

from __future__ import annotations

import os
import re
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
import pytest
import sqlalchemy as sa
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from hpo.records import StudyRecord
from hpo.store import StorageError, Store, Watch, parse_url, redacted, tables
from tests.store import parts

#: A password with everything that formatting, quoting and parsing could trip over.
SECRET = "s3{0}!r}%(x)s@:/?#[]$ecret"
QUOTED = "s3%7B0%7D%21r%7D%25%28x%29s%40%3A%2F%3F%23%5B%5D%24ecret"


def run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Of a database of its own, of which little may be left."""
    made = Store(url, create=True)
    yield made
    made.close()


# ---- opening


def test_opening_again_changes_nothing(store: Store, study: StudyRecord, url: str) -> None:
    before = parts.contents(store)
    Store(url, create=True).close()
    Store(url).close()
    assert parts.contents(store) == before


def test_sqlite_has_a_log_ahead_and_keeps_foreign_keys(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'deep' / 'hpo.db'}", create=True)
    for _ in range(2):  # of every connection, not of the first alone
        with store.database.engine.connect() as connection:
            pragmas = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys")
            }
        assert pragmas == {"journal_mode": "wal", "foreign_keys": 1}
        store.close()
    assert (tmp_path / "deep").stat().st_mode & 0o077 == 0


def test_postgres_clients_work_in_utc_and_never_wait_for_ever(url: str) -> None:
    if not url.startswith("postgresql"):
        pytest.skip("settings of PostgreSQL")
    store = Store(url, create=True)
    names = ("TimeZone", "lock_timeout", "idle_in_transaction_session_timeout")
    with store.database.engine.connect() as connection:
        assert [connection.exec_driver_sql(f"SHOW {name}").scalar() for name in names] == ["UTC", "8s", "6s"]
    store.close()


def test_a_missing_database_is_not_made_by_looking(url: str, tmp_path: Path) -> None:
    if url.startswith("sqlite"):
        message = r"hpo\.db does not exist: `hpo launch` makes it, or name the database with --storage"
    else:
        message = r"has no hpo tables: run `hpo storage init`, or `hpo launch`, which does it"
    with pytest.raises(StorageError, match=message):
        Store(url)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=rf"{tmp_path} is a folder: name a file, e\.g\. sqlite:///{tmp_path}/hpo\.db"
    ):
        Store(f"sqlite:///{tmp_path}", create=True)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database" * 100)
    for create in (False, True):
        with pytest.raises(StorageError, match=r"cannot use sqlite:///.*notes\.txt: file is not a database"):
            Store(f"sqlite:///{tmp_path / 'notes.txt'}", create=create)
    assert (tmp_path / "notes.txt").read_text() == "not a database" * 100


@pytest.mark.parametrize("create", [False, True])
def test_a_schema_of_another_version_is_refused(store: Store, study: StudyRecord, url: str, create: bool) -> None:
    run(url, "UPDATE hpo_schema SET version = 99")
    before = parts.contents(store)
    message = (
        rf"has hpo schema 99, this is schema {tables.SCHEMA_VERSION}: use the hpo version that made it, "
        "or another database with --storage"
    )
    with pytest.raises(StorageError, match=message):
        Store(url, create=create)
    assert parts.contents(store) == before


def test_an_optuna_schema_of_another_version_is_refused(store: Store, study: StudyRecord, url: str) -> None:
    run(url, "UPDATE alembic_version SET version_num = 'v3.0.0.a'")
    before = parts.contents(store)
    with pytest.raises(
        StorageError, match="holds an Optuna schema of another version; back it up and run `optuna stor"
    ):
        Store(url)
    assert parts.contents(store) == before


@contextmanager
def plain_optuna(url: str) -> Iterator[RDBStorage]:
    """What another tool opens the database with."""
    storage = RDBStorage(url)
    yield storage
    storage.remove_session()
    storage.engine.dispose()


def test_an_old_database_of_optuna_is_refused(url: str) -> None:
    with plain_optuna(url):
        pass
    run(url, "UPDATE alembic_version SET version_num = 'v3.0.0.a'")
    for _ in range(2):
        with pytest.raises(StorageError, match="holds an Optuna schema of another version"):
            Store(url, create=True)


def test_optuna_makes_no_tables_of_ours_elsewhere(url: str) -> None:
    """In a notebook that imports hpo and works with a database of its own."""
    with plain_optuna(url) as storage:
        assert not [name for name in sa.inspect(storage.engine).get_table_names() if name.startswith("hpo_")]


@pytest.mark.parametrize("left", [0, 1, 5])
def test_tables_half_made_by_a_killed_process_are_completed(store: Store, url: str, left: int) -> None:
    names = ["hpo_finals", "hpo_workers", "hpo_epochs", "hpo_leases", "hpo_jobs", "hpo_studies"]
    run(url, "DELETE FROM hpo_schema", *(f"DROP TABLE {name}" for name in names[: len(names) - left]))
    with pytest.raises(StorageError, match="has no hpo tables: run `hpo storage init`, or `hpo launch`"):
        Store(url)
    again = Store(url, create=True)
    parts.trial(again, again.studies.create("made-up", {}, **parts.facts()).study_id)
    again.close()


def test_a_study_of_another_tool_is_refused_and_untouched(url: str) -> None:
    with plain_optuna(url) as storage:
        theirs = optuna.create_study(study_name="theirs", storage=storage)
        theirs.enqueue_trial({"x": 1.0})
        running = theirs.ask()
        running.suggest_float("x", 0, 2)
        theirs.enqueue_trial({"x": 2.0})
        refuse_theirs(url)
        theirs.tell(running, 1.0)


def refuse_theirs(url: str) -> None:
    store = Store(url, create=True)
    before = parts.contents(store)
    for call in (
        lambda: store.studies.get("theirs"),
        lambda: store.studies.create("theirs", {"before": {"x": 1}}, **parts.facts()),
    ):
        with pytest.raises(
            StorageError, match="study 'theirs' in this database was made by another tool; hpo leaves it"
        ):
            call()
    assert store.studies.all() == []
    assert parts.contents(store) == before
    ours = store.studies.create("ours", {}, **parts.facts())
    assert store.leases.take_over(ours.study_id, "w", Watch(0.0)) is None  # their running trial is no lease of ours
    parts.trial(store, ours.study_id)
    store.studies.delete(ours.study_id)
    assert parts.contents(store) == before
    store.close()


# ---- transactions


def test_a_transaction_holds_optuna_s_writes_and_ours_or_none(store: Store, study: StudyRecord) -> None:
    trial_id = parts.trial(store, study.study_id).trial_id or 0
    before = parts.contents(store)

    def write() -> None:
        store.studies.mark_exhausted(study.study_id)
        store.database.set_trial_intermediate_value(trial_id, 1, 0.5)
        store.database.set_trial_user_attr(trial_id, "note", "x")
        store.database.set_trial_state_values(trial_id, TrialState.COMPLETE, [0.5])
        store.database.create_new_trial(study.study_id)
        store.database.set_study_user_attr(study.study_id, "note", "y")

    with pytest.raises(ZeroDivisionError), store.database.transaction():
        write()
        1 / 0  # noqa: B018
    assert parts.contents(store) == before
    with store.database.transaction():
        write()
    after = parts.contents(store)
    assert {name for name in after if after[name] != before[name]} == {
        *("hpo_studies", "trials", "trial_values", "trial_intermediate_values", "trial_user_attributes"),
        "study_user_attributes",
    }


def test_what_was_written_is_seen_within_the_transaction_and_only_there(
    store: Store, study: StudyRecord, url: str
) -> None:
    other = Store(url)
    with store.database.transaction():
        store.studies.request_stop(study.study_id, "now")
        number = store.database.create_new_trial(study.study_id)
        assert store.studies.stop_requested(study.study_id) == "now"
        assert store.database.get_trial(number).state == TrialState.RUNNING
        assert other.studies.stop_requested(study.study_id) is None
        assert other.reading.states(study.study_id)["RUNNING"] == 0
    assert other.studies.stop_requested(study.study_id) == "now"
    other.close()


def test_an_error_within_optuna_ends_the_whole_transaction(store: Store, study: StudyRecord) -> None:
    """Its session rolls back what is ours, too; going on as if nothing had happened must not work."""
    before = parts.contents(store)
    with pytest.raises(sa.exc.InvalidRequestError), store.database.transaction() as connection:
        store.studies.mark_exhausted(study.study_id)
        with pytest.raises(optuna.exceptions.DuplicatedStudyError):
            store.database.create_new_study([optuna.study.StudyDirection.MAXIMIZE], "made-up")
        connection.execute(tables.schema.select())
    assert parts.contents(store) == before


def test_a_reader_does_not_wait_for_a_writer(store: Store, study: StudyRecord, url: str) -> None:
    other = Store(url)
    with store.database.transaction():
        store.studies.mark_exhausted(study.study_id)
        assert not other.studies.get("made-up").exhausted
    other.close()


# ---- addresses and secrets


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "hpo.db",
            r"the storage URL cannot be read: use sqlite:///runs/hpo\.db or postgresql://user:password@host/name",
        ),
        ("", "the storage URL cannot be read"),
        ("mysql://u:p@host/db", r"mysql:// in --storage or HPO_STORAGE is not supported: use sqlite:///FILE"),
        ("sqlite://", r"sqlite:// needs a file: sqlite:///runs/hpo\.db"),
        ("postgresql://u:p@host:port/db", "the storage URL cannot be read"),
    ],
)
def test_an_address_that_is_none_is_refused_with_an_example(url: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        parse_url(url)


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg2", "postgresql+psycopg"])
def test_any_postgres_address_gets_our_driver(driver: str) -> None:
    assert parse_url(f"{driver}://u:{QUOTED}@host/db").drivername == "postgresql+psycopg"
    assert parse_url(f"{driver}://u:{QUOTED}@host/db").password == SECRET


#: What a user may have typed; the secret is not always where it belongs.
ADDRESSES = [
    f"postgresql://u:{QUOTED}@127.0.0.1:1/db",
    f"postgresql://u:{QUOTED}@127.0.0.1:1/db?sslmode=nonsense",
    f"postgresql://u@127.0.0.1:1/db?password={QUOTED}",
    "postgresql://u:se{cr}et@127.0.0.1:1/db",
    "postgresql://u:100%secret@127.0.0.1:1/db",
    "postgresql://u:p@secret@127.0.0.1:1/db",
    "postgresql://u:p@ss:secret@127.0.0.1/db",
    "postgresql://u:p/secret@127.0.0.1/db",
    "postgresql://u:p@ss/secret@127.0.0.1/db",
    "postgresql://u:secret@127.0.0.1:54e2/db",
    "postgresql:/u:secret@127.0.0.1/db",
    "mysql://u:secret@127.0.0.1/db",
    f"sqlite://u:{QUOTED}@/tmp/x.db",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize("create", [False, True])
def test_no_error_holds_a_password(address: str, create: bool) -> None:
    with pytest.raises(StorageError) as caught:
        Store(address, create=create)
    shown = "".join(traceback.format_exception(caught.value))
    assert "ecret" not in shown.replace(__file__, ""), shown
    assert "ecret" not in redacted(address)


def test_a_password_works_and_is_never_shown(url: str) -> None:
    if not url.startswith("postgresql"):
        pytest.skip("SQLite has no passwords")
    secret = sa.make_url(url).set(password=SECRET).render_as_string(hide_password=False)
    assert QUOTED.lower() in secret.lower()
    store = Store(secret, create=True)
    for shown in (
        repr(store),
        repr(store.database),
        str(store.database.engine.url),
        repr(store.database.engine),
        repr(vars(store)),
    ):
        assert "ecret" not in shown
    run(url, "UPDATE hpo_schema SET version = 99")
    nowhere = sa.make_url(secret).set(database="nowhere").render_as_string(hide_password=False)
    for address in (secret, nowhere):
        with pytest.raises(StorageError) as caught:
            Store(address)
        assert "ecret" not in "".join(traceback.format_exception(caught.value))
    assert re.search(r"nowhere: .*database \"nowhere\" does not exist", str(caught.value))
    store.close()


def test_another_time_zone_of_the_machine_plays_no_part(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTZ", "Asia/Tokyo")
    store = Store(url, create=True)
    record = store.studies.create("made-up", {}, **parts.facts())
    lease = parts.trial(store, record.study_id)
    trial = store.reading.trials(record.study_id)[0]
    frozen = store.database.get_trial(lease.trial_id or 0)
    assert os.environ["TZ"] == "UTC"
    assert frozen.datetime_start is not None
    assert abs((frozen.datetime_start - record.created).total_seconds()) < 60
    assert trial.started == frozen.datetime_start
    store.close()


def test_looking_on_disturbs_no_one_who_makes_the_tables(tmp_path: Path) -> None:
    """`hpo status` beside the first launch: opening a database that was half made used to break the launch."""
    for number in range(4):
        url, made = f"sqlite:///{tmp_path / f'{number}.db'}", threading.Event()

        def look(url: str = url, made: threading.Event = made) -> None:
            while not made.is_set():
                with suppress(StorageError):
                    Store(url).close()

        looking = [threading.Thread(target=look) for _ in range(3)]
        for thread in looking:
            thread.start()
        try:
            Store(url, create=True).close()
        finally:
            made.set()
            for thread in looking:
                thread.join()
