"""Where a study stands, as one plain object: for `hpo status`, the live view and scripts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hpo.records import FinalRecord, StudyRecord, TrialRecord, WorkerRecord, WorkRecord
from hpo.store import Store, grace_period

#: Workers that have not been heard of for this long are not shown as active.
QUIET_SECONDS = 120.0


def status(store: Store, record: StudyRecord) -> dict[str, Any]:
    """The object that `hpo status --json` prints."""
    study_id = record.study_id
    best = store.reading.best_trial(study_id, record.direction)
    return {
        "study": record.name,
        "quick": record.quick,
        "states": store.reading.states(study_id),
        "budget": {"trials": record.trials, "used": store.reading.tickets(study_id), "hours": record.hours},
        "best": None if best is None else _best(best),
        "workers": [_worker(worker) for worker in active(store.reading.workers(study_id))],
        "work": [_work(work) for work in store.reading.work(study_id)],
        "final": _final(store.reading.final(study_id)),
        "compute_hours": round(store.reading.compute_hours(study_id), 4),
        "stop": record.stop,
        "exhausted": record.exhausted,
    }


def active(workers: list[WorkerRecord]) -> list[WorkerRecord]:
    """Those that have not ended and were heard of lately, by the database's clock."""
    return [w for w in workers if w.state not in ("stopped", "lost") and w.silent_seconds < QUIET_SECONDS]


def silent(seconds: float | None) -> bool:
    """Whether a worker has missed a beat: dead, frozen or cut off. None is a worker that nobody knows any more."""
    return seconds is None or seconds > grace_period() / 3


class Takeovers:
    """What of the work under way has changed hands between two looks at it."""

    def __init__(self) -> None:
        self._before: dict[int, WorkRecord] = {}

    def seen(self, work: list[WorkRecord]) -> list[str]:
        """A line per unit of work that another attempt goes on with since the last look."""
        lines = [
            _takeover(self._before[now.lease_id], now)
            for now in work
            if now.lease_id in self._before and now.attempt > self._before[now.lease_id].attempt
        ]
        self._before = {now.lease_id: now for now in work}
        return lines


def _takeover(before: WorkRecord, now: WorkRecord) -> str:
    # Not what it goes on from: that is its last checkpoint, which the trial's log names.
    recorded = f"{before.epoch} epochs on record" if before.epoch else "no epoch on record"
    who = f"taken over from {before.worker} by {now.worker} at {now.held_since:%H:%M:%S} UTC"
    return f"{now.name}: {who} (attempt {now.attempt}, {recorded})"


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
        "held_since": None if worker.held_since is None else _utc(worker.held_since),
        "seen": _utc(worker.seen),
        "silent_seconds": worker.silent_seconds,
    }


def _work(work: WorkRecord) -> dict[str, Any]:
    return {
        "trial": work.trial,
        "job": work.job,
        "held": work.held,
        "worker": work.worker,
        "host": work.host,
        "device": work.device,
        "attempt": work.attempt,
        "epoch": work.epoch,
        "held_since": _utc(work.held_since),
        "held_seconds": work.held_seconds,
        "silent_seconds": work.silent_seconds,
    }


def _utc(moment: datetime) -> str:
    return moment.isoformat() + "Z"


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
