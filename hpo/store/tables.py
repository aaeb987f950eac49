"""Our tables beside Optuna's, in one database. Each constraint names the rule it enforces."""

from __future__ import annotations

from optuna.storages._rdb import models
from sqlalchemy import (
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: Raise it with every change of a table; a database of another version is refused.
SCHEMA_VERSION = 1

#: Optuna's own tables, for foreign keys and for the few columns of theirs that we read.
optuna_metadata: MetaData = models.BaseModel.metadata
optuna_studies = optuna_metadata.tables["studies"]
optuna_trials = optuna_metadata.tables["trials"]
optuna_params = optuna_metadata.tables["trial_params"]
optuna_reports = optuna_metadata.tables["trial_intermediate_values"]

#: Ours apart from Optuna's: its RDBStorage makes every table of its metadata in whatever database it opens.
metadata = MetaData()


def _study() -> Column[int]:
    # A study deleted elsewhere (the dashboard) takes its rows with it.
    return Column("study_id", _of_study(), nullable=False, index=True)


def _of_study() -> ForeignKey:
    return ForeignKey(optuna_studies.c.study_id, ondelete="CASCADE")


schema = Table("hpo_schema", metadata, Column("version", Integer, primary_key=True))

studies = Table(
    "hpo_studies",
    metadata,
    Column("study_id", _of_study(), primary_key=True),
    Column("text", Text, nullable=False),
    Column("text_hash", String(64), nullable=False),
    Column("source", Text, nullable=False),
    #: Name of its folder under the runs folder, unique over databases.
    Column("folder", String(96), nullable=False),
    Column("objective", Text, nullable=False),
    Column("objective_hash", String(64)),
    Column("data", Text),
    Column("fingerprint", String(64), nullable=False),
    Column("split", Text, nullable=False),
    Column("info", Text, nullable=False),
    Column("vocabulary", Text, nullable=False),
    Column("versions", Text, nullable=False),
    Column("metric", Text, nullable=False),
    Column("direction", String(8), nullable=False),
    Column("trials", Integer, nullable=False),
    Column("hours", Float),
    Column("created", DateTime, nullable=False),
    Column("stop", String(16)),
    Column("exhausted", Boolean, nullable=False, default=False),
)

jobs = Table(
    "hpo_jobs",
    metadata,
    Column("job_id", Integer, primary_key=True),
    _study(),
    Column("candidate", Integer, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("best_epoch", Integer),
    Column("scores", Text),
    # Whoever plans a promotion inserts its jobs; planned twice they are still there once.
    UniqueConstraint("study_id", "candidate", "fold", "seed"),
    sqlite_autoincrement=True,  # SQLite would give the number of a deleted job, or lease, to the next one
)

#: One row per unit of work. A search trial's lease is also its ticket: the budget counts these rows.
leases = Table(
    "hpo_leases",
    metadata,
    Column("lease_id", Integer, primary_key=True),
    _study(),
    Column("trial_id", ForeignKey(optuna_trials.c.trial_id, ondelete="CASCADE"), unique=True),
    Column("job_id", ForeignKey("hpo_jobs.job_id", ondelete="CASCADE"), unique=True),
    Column("worker", Text, nullable=False),
    #: Fencing token: every write of a holder carries the one it was given; a takeover raises it.
    Column("token", Integer, nullable=False, default=1),
    Column("beat", Integer, nullable=False, default=0),
    Column("attempt", Integer, nullable=False, default=1),
    #: Losses in a row without a new epoch.
    Column("losses", Integer, nullable=False, default=0),
    Column("state", String(8), nullable=False, default="held"),  # held, returned, done
    Column("held_since", DateTime, nullable=False),
    Column("fold", Integer, nullable=False),
    Column("configuration", Text),
    Column("params", Text),
    Column("params_key", String(32)),
    Column("value", Float),
    #: Class and text of an end that is not a completion; `pruned` is written with the pruner's own record.
    Column("end", String(16)),
    Column("end_text", Text),
    # Two workers never evaluate the same parameters by accident.
    UniqueConstraint("study_id", "params_key"),
    # Work that was given back is looked for before every new trial.
    Index("ix_hpo_leases_state", "study_id", "state"),
    sqlite_autoincrement=True,
)

epochs = Table(
    "hpo_epochs",
    metadata,
    Column("lease_id", ForeignKey("hpo_leases.lease_id", ondelete="CASCADE"), primary_key=True),
    Column("epoch", Integer, primary_key=True),
    Column("seconds", Float, nullable=False),
    Column("record", Text, nullable=False),
)

workers = Table(
    "hpo_workers",
    metadata,
    Column("name", String(128), primary_key=True),
    _study(),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("device", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("seen", DateTime, nullable=False),
)

finals = Table(
    "hpo_finals",
    metadata,
    # One promotion per study.
    Column("study_id", _of_study(), primary_key=True),
    Column("candidate", Integer, nullable=False),
    Column("baseline", Integer),
    Column("refit", Boolean, nullable=False),
    Column("path", Text),
    Column("end_text", Text),
)

OURS = (schema, studies, jobs, leases, epochs, workers, finals)
