"""Backups: every row of one moment, exact on both databases, restored whole or not at all, and apart from the original.

The promise about checkpoints (RELIABILITY T25) is in two halves: here, that a restored study has a folder of its own;
in `tests/acceptance/test_storage.py`, that the real workers of a copy leave the original's folder alone.
"""

from __future__ import annotations

import sqlite3
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.files import RunFiles, write_whole
from hpo.records import StudyRecord
from hpo.store import Lease, StorageError, Store, Watch, copying, tables
from hpo.store.checking import check
from hpo.store.copying import back_up, restore
from tests.store import parts
from tests.store.parts import emptied
from tests.store.racers import RACERS, Racers, work
from tests.store.test_database import plain_optuna, run


def quiet(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.fixture
def empty(url: str, tmp_path: Path) -> str:
    """Where to restore: nothing is there."""
    return url if url.startswith("postgres") else f"sqlite:///{tmp_path / 'deep' / 'restored.db'}"


@pytest.fixture
def begun(store: Store, study: StudyRecord) -> list[Lease]:
    """A study with a trial that is done, one under way, one taken over, one without parameters; odd values."""
    leases = [parts.trial(store, study.study_id, f"w{k}") for k in range(4)]
    for lease in leases[:3]:
        with store.leases.under(lease):
            lr = 1e-3 * lease.lease_id
            store.results.choose(lease, parts.params(lr), parts.suggested(lease, lr))
            store.results.record(lease, [parts.epoch(1, 0.1 + 0.2)], (1, float("inf")), lambda *_: False)
    with store.leases.under(leases[0]):
        tell = parts.tells(store, leases[0], 0.1 + 0.2)
        store.results.finish_trial(leases[0], tell, value=0.1 + 0.2, text="ü\n\t'quoted' \x1b[31m 😀")
    store.leases.give_back(leases[2])
    taken = store.leases.take_over(study.study_id, "w9", Watch(1e9))
    assert taken is not None and taken.token == 2
    store.database.set_trial_user_attr(leases[1].trial_id or 0, "note", {"nested": [1, None, 1e-300, 2**60]})
    store.workers.register(study.study_id, "w1", "host", 77, "cpu")
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0), (0, 1, 0)])
    return leases


def rows(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row, by the types that the code gives the tables: equal values of both back ends are equal here."""
    engine = sa.create_engine(url)
    both = [*tables.optuna_metadata.sorted_tables, *tables.metadata.sorted_tables]
    with engine.connect() as connection:
        found = {
            table.name: [
                dict(row._mapping) for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in both
        }
    engine.dispose()
    return found


# ---- a backup


def test_a_backup_holds_every_row(database: str, begun: list[Lease], tmp_path: Path) -> None:
    file = tmp_path / "backups" / "a.backup"
    seen: list[tuple[int, int]] = []
    counts = back_up(database, file, lambda *progress: seen.append(progress))
    found = rows(f"sqlite:///{file}")
    assert found == rows(database)
    assert {name: counts[name] for name in found} == {name: len(of_table) for name, of_table in found.items()}
    assert seen[-1] == (sum(counts.values()),) * 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["a.backup"]


def test_a_backup_has_the_keys_and_indexes_of_a_database(database: str, begun: list[Lease], tmp_path: Path) -> None:
    back_up(database, tmp_path / "a.backup", quiet)
    Store(f"sqlite:///{tmp_path / 'fresh.db'}", create=True).close()

    def structure(path: Path) -> dict[str, Any]:
        inspector = sa.inspect(sa.create_engine(f"sqlite:///{path}"))
        return {
            name: (
                {column["name"]: column["nullable"] for column in inspector.get_columns(name)},
                inspector.get_pk_constraint(name)["constrained_columns"],
                sorted(str(sorted(key["constrained_columns"])) for key in inspector.get_foreign_keys(name)),
                sorted(str(key["options"]) for key in inspector.get_foreign_keys(name)),
                sorted(str(sorted(key["column_names"])) for key in inspector.get_unique_constraints(name)),
                sorted(str(index["column_names"]) for index in inspector.get_indexes(name)),
            )
            for name in inspector.get_table_names()
        }

    assert structure(tmp_path / "a.backup") == structure(tmp_path / "fresh.db")


def test_a_backup_is_one_moment_of_a_database_that_eight_workers_write_to(
    store: Store, study: StudyRecord, database: str, race: Racers, tmp_path: Path, wait_until: Callable[..., None]
) -> None:
    told: list[list[tuple[int, float, float]]] = []
    enough = tmp_path / "enough"
    workers = threading.Thread(target=lambda: told.extend(race(work, database, study.study_id, 10**6, str(enough))))
    workers.start()
    try:
        wait_until(lambda: store.reading.states(study.study_id)["COMPLETE"] >= 20, "some trials")
        began = time.monotonic()
        back_up(database, tmp_path / "a.backup", quiet)
    finally:
        enough.touch()
        workers.join()
    assert len(told) == RACERS and all(told), "each has brought a trial to its end, the last one after the backup"
    assert check(f"sqlite:///{tmp_path / 'a.backup'}") == []
    found = rows(f"sqlite:///{tmp_path / 'a.backup'}")
    values = {row["trial_id"]: row["value"] for row in found["hpo_leases"]}
    complete = {row["number"]: row["trial_id"] for row in found["trials"] if row["state"] == TrialState.COMPLETE}
    for number, value, moment in (one for each in told for one in each):
        if moment < began:
            assert values[complete[number]] == value
    assert 20 <= len(complete) < sum(map(len, told))


def test_an_existing_file_is_kept(database: str, study: StudyRecord, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(StorageError, match="a exists: name another file, or a folder"):
        back_up(database, tmp_path / "a", quiet)
    assert (tmp_path / "a").read_text() == "mine"


def test_what_is_no_database_is_no_backup(tmp_path: Path, url: str) -> None:
    message = "hpo.db does not exist" if url.startswith("sqlite") else "has no tables to back up"
    with pytest.raises(StorageError, match=message):
        back_up(url, tmp_path / "a", quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_nothing(database: str, begun: list[Lease], small_disk: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot back up .* to .*: (database or disk is full|.*No space left)"):
        back_up(database, small_disk / "a.backup", quiet)
    assert list(small_disk.iterdir()) == []


def test_a_copy_that_lost_a_row_is_not_kept(
    database: str, begun: list[Lease], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = copying._copy

    def lossy(original_rows: sa.Connection, copy: sa.Connection, *rest: Any) -> Any:
        counts = original(original_rows, copy, *rest)
        copy.execute(sa.text("DELETE FROM trial_params WHERE param_id = 1"))
        return counts

    monkeypatch.setattr(copying, "_copy", lossy)
    with pytest.raises(StorageError, match=r"the copy is not whole \(trial_params\): do not use it"):
        back_up(database, tmp_path / "a.backup", quiet)
    assert not (tmp_path / "a.backup").exists()


def test_a_backup_is_not_worked_in(database: str, begun: list[Lease], tmp_path: Path) -> None:
    back_up(database, tmp_path / "a.backup", quiet)
    before = (tmp_path / "a.backup").read_bytes()
    for create in (False, True):
        with pytest.raises(StorageError, match=r"is a backup and stays as it is: `hpo storage restore .*a\.backup"):
            Store(f"sqlite:///{tmp_path / 'a.backup'}", create=create)
    assert (tmp_path / "a.backup").read_bytes() == before


# ---- restored


def test_a_restored_database_holds_every_row_and_goes_on(
    store: Store, study: StudyRecord, database: str, begun: list[Lease], empty: str, tmp_path: Path
) -> None:
    back_up(database, tmp_path / "a.backup", quiet)
    counts, moved = restore(tmp_path / "a.backup", empty, quiet)
    copy = Store(empty)
    record = copy.studies.get("made-up")
    assert [(one.name, one.old, one.new) for one in moved] == [("made-up", study.folder, record.folder)]
    assert record.folder != study.folder
    assert moved[0].begun == {begun[1].lease_id: 1, begun[2].lease_id: 2}  # the fourth has no parameters yet

    expected, found = rows(database), rows(empty)
    assert counts == {name: len(of_table) for name, of_table in expected.items() if name in counts}
    for row in expected["hpo_studies"]:
        row["folder"] = record.folder
    for row in expected["hpo_leases"]:
        row["state"] = "returned" if row["state"] == "held" else row["state"]
    expected["hpo_workers"][0]["state"] = "lost"
    expected["version_info"] = found["version_info"]
    assert found == expected

    assert check(empty) == []
    taken = [copy.leases.take_over(record.study_id, "new", Watch(1e9)) for _ in range(4)]
    assert [(lease.token, lease.losses, lease.number) for lease in taken if lease] == [(2, 0, 1), (3, 0, 2), (2, 0, 3)]
    fresh = parts.trial(copy, record.study_id)  # numbers of new rows follow those that came along
    assert fresh.number == 4
    assert fresh.lease_id == max(lease.lease_id for lease in begun) + 1
    with copy.leases.under(fresh):
        assert copy.results.choose(fresh, parts.params(0.77), parts.suggested(fresh, 0.77))
        copy.results.record(fresh, [parts.epoch(1)], (1, 0.5), lambda *_: False)
    copy.studies.create("second", {"a": {"x": 1}}, **parts.facts())
    copy.close()


def test_two_restored_copies_have_two_folders(database: str, begun: list[Lease], tmp_path: Path) -> None:
    back_up(database, tmp_path / "a.backup", quiet)
    before = (tmp_path / "a.backup").read_bytes()
    found = {restore(tmp_path / "a.backup", f"sqlite:///{tmp_path / f'{n}.db'}", quiet)[1][0].new for n in range(3)}
    assert len(found) == 3
    assert (tmp_path / "a.backup").read_bytes() == before


def test_only_an_empty_database_is_filled(
    store: Store, study: StudyRecord, database: str, tmp_path: Path, url: str
) -> None:
    back_up(database, tmp_path / "a.backup", quiet)
    before = parts.contents(store)
    with pytest.raises(StorageError, match="holds studies: restore into an empty database"):
        restore(tmp_path / "a.backup", database, quiet)
    assert parts.contents(store) == before
    with plain_optuna(url) as storage:
        storage.create_new_study([], "theirs")
        with pytest.raises(StorageError, match="holds studies"):
            restore(tmp_path / "a.backup", url, quiet)


def test_tables_that_are_there_already_are_filled(
    database: str, begun: list[Lease], empty: str, tmp_path: Path
) -> None:
    """As with containers, whose first step is `hpo storage init`."""
    back_up(database, tmp_path / "a.backup", quiet)
    Store(empty, create=True).close()
    restore(tmp_path / "a.backup", empty, quiet)
    assert len(rows(empty)["hpo_leases"]) == 4


def test_an_error_in_the_middle_leaves_an_empty_database(
    database: str, begun: list[Lease], empty: str, tmp_path: Path
) -> None:
    back_up(database, tmp_path / "a.backup", quiet)

    def fails(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        restore(tmp_path / "a.backup", empty, fails)
    assert rows(empty)["studies"] == rows(empty)["hpo_epochs"] == []
    restore(tmp_path / "a.backup", empty, quiet)
    assert check(empty) == []


def test_rows_that_do_not_fit_are_backed_up_and_named(
    store: Store, database: str, begun: list[Lease], empty: str, tmp_path: Path
) -> None:
    """SQLite's other users keep no foreign keys."""
    if not database.startswith("sqlite"):
        pytest.skip("PostgreSQL keeps its foreign keys")
    run(database, "DELETE FROM trials WHERE number = 1")
    back_up(database, tmp_path / "a.backup", quiet)
    assert rows(f"sqlite:///{tmp_path / 'a.backup'}") == rows(database)
    with pytest.raises(StorageError, match=r"rows that do not fit together .*hpo storage check --storage sqlite:///"):
        restore(tmp_path / "a.backup", empty, quiet)
    assert rows(empty)["studies"] == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE hpo_schema SET version = 0", r"has hpo schema 0, this is schema .*`hpo storage upgrade --storage sql"),
        ("UPDATE version_info SET library_version = '4.8.0'", r"holds trials of Optuna 4\.8\.0"),
        ("PRAGMA application_id = 0", "was not written by `hpo storage backup`"),
    ],
)
def test_a_backup_of_another_version_is_refused(
    database: str, study: StudyRecord, empty: str, tmp_path: Path, statement: str, message: str
) -> None:
    back_up(database, tmp_path / "a.backup", quiet)
    changed = sqlite3.connect(tmp_path / "a.backup")
    changed.execute(statement)
    changed.commit()
    changed.close()
    with pytest.raises(StorageError, match=message):
        restore(tmp_path / "a.backup", emptied(empty), quiet)


# ---- checkpoints of a copy


def test_a_copy_gets_the_checkpoints_up_to_its_token(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for lease, token, name in [(1, 1, "epoch-1"), (1, 2, "epoch-2"), (1, 3, "epoch-3"), (2, 1, "epoch-1"), (5, 1, "x")]:
        write_whole(files.checkpoints("old", lease) / str(token) / name, f"{lease} {token}".encode())
    (files.checkpoints("old", 1) / "1" / "epoch-9").symlink_to("/etc/passwd")
    assert files.adopt_checkpoints("old", "new", {1: 2, 2: 1, 5: 1, 9: 1}) == 2
    copied = {str(path.relative_to(files.study("new") / "checkpoints")) for path in files.study("new").rglob("*/*/*")}
    assert {path for path in copied if path.count("/") == 2} == {"1/1/epoch-1", "1/2/epoch-2", "2/1/epoch-1"}
    files.remove_checkpoints("new", 1)
    assert (files.checkpoints("old", 1) / "2" / "epoch-2").read_bytes() == b"1 2"
