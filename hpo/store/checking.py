"""Is a database whole? Its file, its versions, and the rules between rows that no constraint enforces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from optuna.trial import TrialState

from hpo.store import tables
from hpo.store.bare import bare, explained, moment
from hpo.store.errors import UNUSABLE
from hpo.store.url import redacted
from hpo.store.versions import hpo_version, other_optuna

#: Rows named in one problem.
_SHOWN = 5


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""

    kind: str  #: file, version, orphans, leases, epochs
    text: str


def check(url: str) -> list[Problem]:
    """Everything that is wrong with a database; reads only, and may run while workers write.

    Raises:
        StorageError: it cannot be opened at all.
    """
    where = redacted(url)
    with explained(f"cannot check {where}"), bare(url) as engine:
        if engine.name == "sqlite" and (damage := _damage(engine)):
            return damage  # whatever else is read from it means nothing
        version = hpo_version(engine)
        if version is None:
            return [Problem("version", f"{where} has no hpo tables: `hpo storage init` makes them")]
        if version != tables.SCHEMA_VERSION:
            way_out = "run `hpo storage upgrade`" if version < tables.SCHEMA_VERSION else "use the hpo that made it"
            text = f"hpo schema {version}, this is schema {tables.SCHEMA_VERSION}: {way_out}"
            return [Problem("version", text)]
        if trouble := other_optuna(engine):
            return [Problem("version", f"{where} holds {trouble}")]
        with moment(engine) as connection:
            return [*_orphans(connection), *_leases(connection), *_epochs(connection)]


def _damage(engine: sa.Engine) -> list[Problem]:
    try:
        with engine.connect() as connection:
            lines = connection.exec_driver_sql("PRAGMA integrity_check(20)").scalars().all()
    except UNUSABLE as error:
        lines = [str(getattr(error, "orig", error))]
    found = [line for text in lines for line in text.splitlines() if line != "ok"]
    return [Problem("file", f"the file is damaged: {line}; restore a backup") for line in found]


def _orphans(connection: sa.Connection) -> Iterator[Problem]:
    """Rows whose parent is gone: SQLite keeps foreign keys only for those who ask it to, and other tools do not."""
    for table in [*tables.optuna_metadata.sorted_tables, *tables.metadata.sorted_tables]:
        for key in table.foreign_keys:
            child, parent = key.parent, key.column.table.alias()
            gone = sa.select(child).where(child.is_not(None), ~sa.exists().where(parent.c[key.column.name] == child))
            if rows := connection.execute(gone.order_by(child)).scalars().all():
                text = f"{len(rows)} rows of {table.name} belong to {key.column.table.name} that are gone"
                yield Problem("orphans", f"{text}: {child.name} {_some(rows)}")


def _leases(connection: sa.Connection) -> Iterator[Problem]:
    """Trials and leases must agree on who works and what is over."""
    lease, trial, ours = tables.leases, tables.optuna_trials, tables.studies.c.study_id
    joined = trial.outerjoin(lease, lease.c.trial_id == trial.c.trial_id).join(
        tables.optuna_studies, tables.optuna_studies.c.study_id == trial.c.study_id
    )
    name = tables.optuna_studies.c.study_name
    query = sa.select(name, trial.c.number).select_from(joined).where(trial.c.study_id.in_(sa.select(ours)))
    running, waiting = trial.c.state == TrialState.RUNNING, trial.c.state == TrialState.WAITING
    complete, done = trial.c.state == TrialState.COMPLETE, lease.c.state == "done"
    rules = {
        "is running without a lease: nobody will go on with it": sa.and_(running, lease.c.lease_id.is_(None)),
        "is running although its lease is done": sa.and_(running, done),
        "is waiting although it has a lease": sa.and_(waiting, lease.c.lease_id.is_not(None)),
        "is complete without a value": sa.and_(complete, done, lease.c.value.is_(None)),
        "was ended by another tool; its lease is not done": sa.and_(~running, ~waiting, ~done),
    }
    for text, rule in rules.items():
        for row in connection.execute(query.where(rule).order_by(name, trial.c.number)):
            yield Problem("leases", f"trial {row.number} of {row.study_name} {text}")


def _epochs(connection: sa.Connection) -> Iterator[Problem]:
    """Work that is done has epochs 1, 2, 3, ... without a gap."""
    lease, epoch = tables.leases, tables.epochs.c.epoch
    first, last, count = sa.func.min(epoch), sa.func.max(epoch), sa.func.count(epoch)
    query = (
        sa.select(lease.c.lease_id, first.label("first"), last.label("last"), count.label("found"))
        .join(tables.epochs)
        .where(lease.c.state == "done")
        .group_by(lease.c.lease_id)
        .having(sa.or_(first != 1, last != count))
        .order_by(lease.c.lease_id)
    )
    for row in connection.execute(query):
        text = f"{row.found} epochs from {row.first} to {row.last}: some are missing"
        yield Problem("epochs", f"lease {row.lease_id} is done with {text}")


def _some(rows: object) -> str:
    shown = sorted(set(rows))  # type: ignore[call-overload]
    return ", ".join(map(str, shown[:_SHOWN])) + (", ..." if len(shown) > _SHOWN else "")
