"""Made-up rows and a look at all tables, for the tests of the store; no torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from hpo.objective import LOOP_DEFAULTS, Epoch, Params
from hpo.store import Lease, Store

#: Every row of every table, as text, so that NULL, numbers and times of both back ends compare.
Contents = dict[str, list[str]]


def emptied(url: str) -> str:
    """The same database, without any table."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        for suffix in ("", "-wal", "-shm"):
            Path(f"{parsed.database}{suffix}").unlink(missing_ok=True)
        return url
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))
    engine.dispose()
    return url


def facts(**changes: Any) -> dict[str, Any]:
    """What a launch knows of a study; the store looks at none of it."""
    known: dict[str, Any] = {
        "text": "study: made up",
        "text_hash": "3f" * 32,
        "source": "/studies/made_up.yaml",
        "folder": "made-up-1a2b3c4d",
        "objective": "toy",
        "objective_hash": None,
        "data": None,
        "fingerprint": "9c" * 32,
        "split": {"folds": [{"train": [0, 1], "validation": [2]}], "test": [3]},
        "info": {"rows": 4, "classes": ["ü", "b"]},
        "vocabulary": {"name": "toy"},
        "versions": {"torch": "2.15"},
        "metric": "f1",
        "direction": "maximize",
        "trials": 20,
        "hours": None,
    }
    return known | changes


def params(lr: float = 1e-3, **changes: Any) -> Params:
    changed = {name.replace("__", "."): value for name, value in changes.items()}
    return Params.from_flat({**LOOP_DEFAULTS, "optimizer.lr": lr, **changed})


def epoch(number: int, f1: float = 0.5, seconds: float = 2.0) -> Epoch:
    return Epoch(
        number=number,
        train={"loss": 1.0 / number, "f1": f1 + 0.1},
        validation={"loss": 2.0 / number, "f1": f1},
        lr=1e-3,
        gradient_norm=0.7,
        seconds=seconds,
        samples=64,
        peak_memory_mb=100.0,
    )


def suggested(lease: Lease, lr: float = 1e-3) -> list[tuple[Any, ...]]:
    """What a sampler has chosen for one parameter, as the storage is told."""
    return [(lease.trial_id, "optimizer.lr", lr, FloatDistribution(1e-5, 1.0, log=True), None)]


def tells(store: Store, lease: Lease, value: float | None, state: TrialState | None = None) -> Callable[[], None]:
    """Tells Optuna how the trial of the lease ended."""

    def tell() -> None:
        done = TrialState.COMPLETE if state is None else state
        store.database.set_trial_state_values(lease.trial_id or 0, done, None if value is None else [value])

    return tell


def contents(store: Store) -> Contents:
    """Read past the store's own queries."""
    engine = store.database.engine
    with engine.connect() as connection:
        names = sa.inspect(connection).get_table_names()
        rows = {name: connection.execute(sa.text(f'SELECT * FROM "{name}"')).mappings().all() for name in names}
    return {name: sorted(repr(dict(row)) for row in found) for name, found in rows.items()}


def ours(found: Contents) -> Contents:
    return {name: rows for name, rows in found.items() if name.startswith("hpo_")}


def theirs(found: Contents) -> Contents:
    return {name: rows for name, rows in found.items() if not name.startswith("hpo_")}


def trial(store: Store, study_id: int, worker: str = "w", limit: int = 10**6) -> Lease:
    lease = store.leases.new_trial(study_id, worker, 0, limit)
    assert lease is not None
    return lease
