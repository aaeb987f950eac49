"""Where a study stands, as one plain object: for `hpo status`, the live view and scripts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from hpo.records import FinalRecord, StudyRecord, TrialRecord, WorkerRecord
from hpo.store import Store

#: Workers that have not been heard of for this long are not shown as active.
QUIET_SECONDS = 120.0


def status(store: Store, record: StudyRecord) -> dict[str, Any]:
    """The object that `hpo status --json` prints."""
    study_id = record.study_id
    best = store.reading.best_trial(study_id, record.direction)
    return {
        "study": record.name,
        "states": store.reading.states(study_id),
        "budget": {"trials": record.trials, "used": store.reading.tickets(study_id), "hours": record.hours},
        "best": None if best is None else _best(best),
        "workers": [_worker(worker) for worker in active(store.reading.workers(study_id))],
        "final": _final(store.reading.final(study_id)),
        "compute_hours": round(store.reading.compute_hours(study_id), 4),
        "stop": record.stop,
        "exhausted": record.exhausted,
    }


def active(workers: list[WorkerRecord]) -> list[WorkerRecord]:
    """Those that have not ended and were heard of lately."""
    now = time.time()
    return [w for w in workers if w.state not in ("stopped", "lost") and now - _seconds(w.seen) < QUIET_SECONDS]


def _seconds(moment: Any) -> float:
    from datetime import UTC

    return float(moment.replace(tzinfo=UTC).timestamp())


def _best(trial: TrialRecord) -> dict[str, Any]:
    return {"trial": trial.number, "value": trial.value, "params": dict(trial.params)}


def _worker(worker: WorkerRecord) -> dict[str, Any]:
    return {
        "name": worker.name,
        "host": worker.host,
        "pid": worker.pid,
        "device": worker.device,
        "state": worker.state,
        "trial": worker.trial,
        "job": worker.job,
        "epoch": worker.epoch,
        "held_since": None if worker.held_since is None else worker.held_since.isoformat() + "Z",
        "seen": worker.seen.isoformat() + "Z",
    }


def _final(final: FinalRecord | None) -> Mapping[str, Any] | None:
    if final is None:
        return None
    return {
        "status": final.status,
        "path": final.path,
        "scores": dict(final.scores),
        "baseline_scores": dict(final.baseline_scores),
        "spread": dict(final.spread),
        "baseline_spread": dict(final.baseline_spread),
        "test_scores": dict(final.test_scores),
        "error": final.end_text,
    }
