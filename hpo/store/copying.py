"""Copies of a database: a backup is one SQLite file with the rows of one moment; restoring fills an empty database."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from hpo.files import RunFiles, make_folder, sync_folder
from hpo.store import tables
from hpo.store.bare import bare, explained, moment, patient
from hpo.store.database import Database
from hpo.store.errors import StorageError
from hpo.store.url import redacted
from hpo.store.versions import BACKUP, hpo_version, is_backup, other_optuna

#: Called with (rows copied, rows in all).
Progress = Callable[[int, int], object]
#: Rows per table.
Counts = dict[str, int]

#: Rows that go over at once.
_CHUNK = 1000
_OPTUNA = {*tables.optuna_metadata.tables, "alembic_version"}
#: What belongs to the tables and not to a study: a new database has its own.
_VERSIONS = {"hpo_schema", "version_info"}


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A restored study: it has a folder of its own, so that it never meets the one it was copied from."""

    name: str
    old: str  #: folder of the original
    new: str
    #: Begun work, by lease, with the fencing token up to which the original's checkpoints are its own as well.
    begun: Mapping[int, int]


def back_up(url: str, file: Path, progress: Progress) -> Counts:
    """Write every row of Optuna's tables and ours to a new SQLite file, while workers write to the database.

    The file appears when it is whole: compared with the database row count by row count, and checked by SQLite.

    Raises:
        StorageError: the file exists, the database cannot be read, or the copy is not what it should be.
    """
    if file.exists():
        raise StorageError(f"{file} exists: name another file, or a folder")
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with explained(f"cannot back up {redacted(url)} to {file}"):
        make_folder(file.absolute().parent)
        try:
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            counts = _write(url, f"sqlite:///{beside.absolute()}", progress)
            with beside.open("rb") as written:
                os.fsync(written.fileno())
            os.replace(beside, file)
            sync_folder(file.absolute().parent)
        finally:
            beside.unlink(missing_ok=True)
    return counts


def _write(url: str, file_url: str, progress: Progress) -> Counts:
    with bare(url) as source, moment(source) as original, bare(file_url) as target:
        found = _reflected(original)
        if not found.tables:
            raise StorageError(f"{redacted(url)} has no tables to back up")
        # A row whose parent is gone is copied as it is; `hpo storage check` names it.
        sa.event.listen(target, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = OFF"))
        with target.connect().execution_options(write=True) as copy, copy.begin():
            copy.exec_driver_sql(f"PRAGMA application_id = {BACKUP}")
            found.create_all(copy)
            counts = _copy(original, copy, found.sorted_tables, progress)
        _verify(target, found.sorted_tables, counts)
    return counts


def restore(file: Path, url: str, progress: Progress) -> tuple[Counts, list[Moved]]:
    """Fill an empty database from a backup, all of it or, after an error or a kill, nothing.

    Work that was under way is given back, with its fencing token as it was, and every study gets a new folder.

    Raises:
        StorageError: no backup, one of another version, or the database holds studies.
        FolderError: the backup names a folder that hpo did not make.
    """
    with explained(f"cannot restore {file} into {redacted(url)}"), bare(f"sqlite:///{file.absolute()}") as source:
        _refuse_source(source, file)
        database = Database(url, create=True)
        try:
            with moment(source) as original, database.transaction() as copy:
                patient(copy)
                if copy.execute(sa.select(tables.optuna_studies.c.study_id).limit(1)).first() is not None:
                    raise StorageError(f"{redacted(url)} holds studies: restore into an empty database")
                both = [*tables.optuna_metadata.sorted_tables, *tables.metadata.sorted_tables]
                wanted = [table for table in both if table.name not in _VERSIONS]
                counts = _copy(original, copy, wanted, progress)
                _set_sequences(copy, wanted)
                moved = _move(copy)
            _verify(database.engine, wanted, counts)
        except sa.exc.IntegrityError as error:
            cause = str(error.orig).splitlines()[0]
            raise StorageError(
                f"{file} has rows that do not fit together ({cause}): "
                f"`hpo storage check --storage sqlite:///{file.absolute()}` names them"
            ) from None
        finally:
            database.engine.dispose()
    return counts, moved


def _refuse_source(source: sa.Engine, file: Path) -> None:
    if not is_backup(source):
        raise StorageError(f"{file} was not written by `hpo storage backup`")
    version = hpo_version(source)
    if version != tables.SCHEMA_VERSION:
        raise StorageError(
            f"{file} has hpo schema {version}, this is schema {tables.SCHEMA_VERSION}: "
            f"`hpo storage upgrade --storage sqlite:///{file.absolute()}`, or use the hpo version that made it"
        )
    if trouble := other_optuna(source):
        raise StorageError(f"{file} holds {trouble}")


def _reflected(connection: sa.Connection) -> sa.MetaData:
    """The tables as they are there, of whatever version, with types that SQLite has as well."""
    found = sa.MetaData()
    found.reflect(connection, only=lambda name, _: name in _OPTUNA or name.startswith("hpo_"))
    for table in found.tables.values():
        for column in table.columns:
            column.type = column.type.as_generic()
            column.server_default = None  # of PostgreSQL's sequences; rows come with their numbers
    return found


def _copy(original: sa.Connection, copy: sa.Connection, wanted: Iterable[sa.Table], progress: Progress) -> Counts:
    counts = {table.name: _count(original, table) for table in wanted}
    done, total = 0, sum(counts.values())
    for table in wanted:
        rows = original.execute(sa.select(table).execution_options(yield_per=_CHUNK))
        for chunk in rows.partitions():
            copy.execute(table.insert(), [dict(row._mapping) for row in chunk])
            done += len(chunk)
            progress(done, total)
    return counts


def _count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def _verify(engine: sa.Engine, wanted: Iterable[sa.Table], counts: Counts) -> None:
    """Read back what was committed."""
    with engine.connect() as connection:
        different = [name for name, table in ((t.name, t) for t in wanted) if _count(connection, table) != counts[name]]
        sound = engine.name != "sqlite" or connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    if different or not sound:
        raise StorageError(f"the copy is not whole ({', '.join(different) or 'integrity check'}): do not use it")


def _set_sequences(copy: sa.Connection, wanted: Iterable[sa.Table]) -> None:
    """Let PostgreSQL number new rows after those that came with their numbers; SQLite does so by itself."""
    if copy.engine.name != "postgresql":
        return
    for table in wanted:
        column = table.autoincrement_column
        if column is not None:
            sequence = sa.func.pg_get_serial_sequence(table.name, column.name)
            last = sa.select(sa.func.coalesce(sa.func.max(column), 0) + 1).scalar_subquery()
            copy.execute(sa.select(sa.func.setval(sequence, last, False)))


def _move(copy: sa.Connection) -> list[Moved]:
    study, lease, worker = tables.studies, tables.leases, tables.workers
    begun = sa.select(lease.c.lease_id, lease.c.token).where(lease.c.state != "done", lease.c.params.is_not(None))
    named = sa.select(study.c.study_id, study.c.folder, tables.optuna_studies.c.study_name.label("name"))
    moved = []
    for row in copy.execute(named.join(tables.optuna_studies).order_by(study.c.study_id)).all():
        tokens = copy.execute(begun.where(lease.c.study_id == row.study_id)).all()
        RunFiles.require(row.folder)
        new = RunFiles.new_folder(row.name)
        copy.execute(study.update().where(study.c.study_id == row.study_id).values(folder=new))
        moved.append(Moved(name=row.name, old=row.folder, new=new, begun={t.lease_id: t.token for t in tokens}))
    # Their holders work on the original: here nobody has lost anything, and anybody may go on at once.
    copy.execute(lease.update().where(lease.c.state == "held").values(state="returned"))
    copy.execute(worker.update().where(worker.c.state != "stopped").values(state="lost"))
    return moved
