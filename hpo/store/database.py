"""One database for Optuna's tables and ours: connections, transactions, fencing.

`Database` is an Optuna storage. Inside `transaction()` every call of Optuna's storage on this thread joins our
transaction, so that a report and its curve, or a tell and its lease, are written together or not at all.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from filelock import FileLock
from optuna.distributions import check_distribution_compatibility, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite

from hpo.files import make_folder
from hpo.store import tables
from hpo.store.errors import DATABASE_ERRORS, UNUSABLE, LeaseLost, StorageError, Unreachable, cause
from hpo.store.url import parse_url, redacted
from hpo.store.versions import hpo_version, is_backup, other_optuna
from hpo.store.watch import grace_period

optuna.logging.set_verbosity(optuna.logging.WARNING)  # "A new study created in RDB" is not our voice

#: Key of the advisory lock under which PostgreSQL tables are made.
_INIT_LOCK = 0x68706F

WRITES = (
    "create_new_study",
    "delete_study",
    "set_study_user_attr",
    "set_study_system_attr",
    "_create_new_trial",
    "set_trial_state_values",
    "set_trial_intermediate_value",
    "set_trial_user_attr",
    "set_trial_system_attr",
)


class Database(RDBStorage):
    """Optuna's storage with immediate write transactions, fencing, and parameters written all at once.

    Args:
        url: `sqlite:///path/to.db` or `postgresql://user:password@host/name`.
        create: make the tables when they are missing (under a lock); otherwise a missing table is an error.

    Raises:
        StorageError: unreachable, malformed URL, tables missing, or tables of another version.
    """

    def __init__(self, url: str, *, create: bool = False) -> None:
        self._local = threading.local()
        parsed = parse_url(url)
        options = _engine_options(parsed)
        engine = sa.create_engine(parsed, **options)
        try:
            with _locked(engine) if create else nullcontext():
                made = create and _make_tables(engine)
                if not made:
                    _check_version(engine)
                super().__init__(  # notes Optuna's version in new tables
                    parsed.render_as_string(hide_password=False),
                    options,
                    skip_compatibility_check=True,
                    skip_table_creation=True,
                )
                if made:
                    _note_version(engine)
        except (*UNUSABLE, OSError) as error:
            away = isinstance(error, DATABASE_ERRORS)
            raise (Unreachable if away else StorageError)(f"cannot use {redacted(url)}: {cause(error)}") from None
        finally:
            engine.dispose()
        if parsed.get_backend_name() == "sqlite":
            _configure_sqlite(self.engine)

    @staticmethod
    def _fill_storage_url_template(template: str) -> str:
        # Optuna would run str.format over it: a password with braces raised KeyError with the password in it.
        return template

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One write transaction; Optuna's own storage calls on this thread take part in it.

        Raises:
            LeaseLost: when this thread works under a lease (`under`) that is no longer its own.
        """
        if self._connection is not None:
            yield self._connection
            return
        with self.engine.connect().execution_options(write=True) as connection, connection.begin():
            self._local.connection = connection
            self.scoped_session.remove()
            # Its commits become ours; its rollbacks end the whole transaction.
            self.scoped_session(bind=connection, join_transaction_mode="rollback_only")
            try:
                self._check_lease(connection)
                yield connection
            finally:
                self.scoped_session.remove()
                self._local.connection = None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A read-only look, inside the running transaction of this thread if there is one."""
        if self._connection is not None:
            yield self._connection
            return
        with self.engine.connect() as connection:
            yield connection

    @contextmanager
    def under(self, lease_id: int, token: int) -> Iterator[None]:
        """Check this lease at the start of every transaction of this thread."""
        outer, self._local.lease = getattr(self._local, "lease", None), (lease_id, token)
        try:
            yield
        finally:
            self._local.lease = outer

    @contextmanager
    def deferred_params(self) -> Iterator[list[tuple[Any, ...]]]:
        """Collect the parameters a sampler chooses instead of writing each in a transaction of its own."""
        self._local.params = []
        try:
            yield self._local.params
        finally:
            self._local.params = None

    def write_params(self, params: list[tuple[Any, ...]]) -> None:
        """Write what `deferred_params` collected in one statement; Optuna would make three for each."""
        rows = []
        for trial_id, name, value, distribution, previous in params:
            if previous is not None:
                check_distribution_compatibility(previous, distribution)
            text = distribution_to_json(distribution)
            rows.append({"trial_id": trial_id, "param_name": name, "param_value": value, "distribution_json": text})
        if rows:  # SQLAlchemy would insert a row of defaults for none
            with self.transaction() as connection:
                connection.execute(tables.optuna_params.insert(), rows)

    def report(self, trial_id: int, step: int, value: float) -> None:
        """Optuna's `set_trial_intermediate_value` in one statement instead of four; replaces a value that is there.

        Raises:
            UpdateFinishedTrialError: another tool has told the trial.
        """
        stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        trial = tables.optuna_trials
        key: dict[str, Any] = {"trial_id": trial_id, "step": step}
        values = {"intermediate_value": stored, "intermediate_value_type": kind}
        columns = tables.optuna_reports.c
        literals = [sa.literal(part, columns[name].type) for name, part in (key | values).items()]
        running = sa.select(*literals).where(trial.c.trial_id == trial_id, trial.c.state == TrialState.RUNNING)
        insert = self.insert(tables.optuna_reports).from_select(list(key | values), running)
        with self.transaction() as connection:
            written = connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=values))
        if written.rowcount == 0:
            raise UpdateFinishedTrialError("it has already finished: another tool has told it")

    def insert(self, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that knows ON CONFLICT, which SQLAlchemy's general one does not."""
        return sqlite.insert(table) if self.engine.name == "sqlite" else postgresql.insert(table)

    def _set_trial_param(self, *arguments: Any) -> None:
        deferred = getattr(self._local, "params", None)
        if deferred is not None:
            deferred.append(arguments)
            return
        self.write_params([arguments])

    @property
    def _connection(self) -> sa.Connection | None:
        return getattr(self._local, "connection", None)

    def _check_lease(self, connection: sa.Connection) -> None:
        lease = getattr(self._local, "lease", None)
        if lease is None:
            return
        table = tables.leases
        held = sa.select(table.c.token, table.c.state).where(table.c.lease_id == lease[0]).with_for_update(read=True)
        row = connection.execute(held).one_or_none()
        if row is None or row.token != lease[1] or row.state != "held":
            raise LeaseLost(f"lease {lease[0]} was taken over by another worker")


def _joining(name: str) -> Callable[..., Any]:
    original = getattr(RDBStorage, name)

    def write(self: Database, *args: Any, **kwargs: Any) -> Any:
        with self.transaction():
            return original(self, *args, **kwargs)

    write.__name__, write.__doc__ = name, original.__doc__
    return write


# Optuna's writers, each inside `transaction()`: immediate on SQLite, fenced where a lease is held.
for _name in WRITES:
    setattr(Database, _name, _joining(_name))


def _engine_options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        # A writer waits for the lock for less than a third of the grace period: the lease must be renewed in time.
        return {"connect_args": {"timeout": min(8.0, 0.27 * grace_period())}}
    options = "-c TimeZone=UTC -c lock_timeout=8000 -c idle_in_transaction_session_timeout=6000"
    return {"pool_pre_ping": True, "pool_size": 2, "connect_args": {"options": options, "connect_timeout": 10}}


def _configure_sqlite(engine: sa.Engine) -> None:
    engine.dispose()  # of the connection that Optuna has opened: it would stay in the pool without these settings

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A deferred transaction that reads before it writes lets two workers pop the same trial.
        write = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


@contextmanager
def _locked(engine: sa.Engine) -> Iterator[None]:
    """One process at a time makes the tables; eight that start at once on an empty database wait for it."""
    if engine.name == "sqlite":
        database = Path(engine.url.database or "")
        if database.is_dir():
            raise StorageError(f"{database} is a folder: name a file, e.g. sqlite:///{database / 'hpo.db'}")
        make_folder(database.absolute().parent)
        # For its owner alone, as backups and the runs folder are; SQLite gives its other files the same mode.
        os.close(os.open(database, os.O_CREAT, 0o600))
        with FileLock(database.with_name(database.name + ".init.lock")):
            yield
        return
    # Outside a transaction, which would be ended for idling while the tables are made.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET lock_timeout = 0"))
        connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _INIT_LOCK})
        yield  # released with the connection, also when this process dies


def _make_tables(engine: sa.Engine) -> bool:
    """Whether there was anything to make."""
    if hpo_version(engine) is not None:
        return False
    _refuse_other_optuna(engine)  # before anything is added to it
    if engine.name == "sqlite":
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")  # readers and one writer at a time; it lasts
    with engine.begin() as connection:
        tables.optuna_metadata.create_all(connection)
        tables.metadata.create_all(connection)
    return True


def _note_version(engine: sa.Engine) -> None:
    """Last of all: until then nobody opens the database, and after a kill the next one makes what is missing."""
    with engine.begin() as connection:
        connection.execute(tables.schema.insert().values(version=tables.SCHEMA_VERSION))


def _check_version(engine: sa.Engine) -> None:
    where = redacted(str(engine.url))
    if engine.name == "sqlite" and not Path(engine.url.database or "").is_file():
        raise StorageError(f"{where} does not exist: `hpo launch` makes it, or name the database with --storage")
    if engine.name == "sqlite" and is_backup(engine):
        raise StorageError(
            f"{where} is a backup and stays as it is: `hpo storage restore {engine.url.database} --storage URL` "
            "makes a database of it"
        )
    version = hpo_version(engine)
    if version is None:
        raise StorageError(f"{where} has no hpo tables: run `hpo storage init`, or `hpo launch`, which does it")
    if version != tables.SCHEMA_VERSION:
        way_out = "run `hpo storage upgrade`" if version < tables.SCHEMA_VERSION else "use the hpo version that made it"
        raise StorageError(
            f"{where} has hpo schema {version}, this is schema {tables.SCHEMA_VERSION}: "
            f"{way_out}, or another database with --storage"
        )
    _refuse_other_optuna(engine)


def _refuse_other_optuna(engine: sa.Engine) -> None:
    trouble = other_optuna(engine)
    if trouble is not None:
        raise StorageError(f"{redacted(str(engine.url))} holds {trouble}")
