"""A process that is frozen inside a write transaction: the others go on, and what it was about to write is not there.

`python -m tests.faults.locks URL claim|takeover` is that process; it stops itself in the middle.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import psutil

from hpo.store import DATABASE_ERRORS, Store, Watch
from tests.conftest import REPOSITORY
from tests.faults.outages import worker_logs
from tests.faults.parts import PATIENCE, Field
from tests.faults.signals import ask_to_end

#: What it holds: the study's row, under which trials begin and get their parameters; or the lease of a living worker,
#: which can then neither renew it nor write under it.
KINDS = ("claim", "takeover")
#: Seconds that a worker may need until something new of it is on record: PostgreSQL ends a transaction that has idled
#: for 6 s, and whoever waited for its lock then writes. SQLite knows no such thing: from the end of the process.
#: `bench.soak` demands it; tests allow what the busiest machine may need.
PROMISED, MOST = 10.0, 90.0
#: Workers wait for a quarter of it for SQLite's lock before they notice, and nobody is judged dead in the 6 s.
LEASE = 12


def frozen_holders(field: Field, *, rounds: int, workers: int = 2, most: float = MOST) -> str:
    """Freeze one of each kind in every round beside workers; on SQLite it is killed once they have noticed."""
    field.lease(LEASE)
    field.write(trials=10**6, epochs=5, pause=0.05)  # more than they come to
    field.create()
    started = [field.work() for _ in range(workers)]
    field.wait(lambda: len(_recorded(field)) >= workers, "a trial of every worker")
    pauses = {kind: [_pause(field, kind) for _ in range(rounds)] for kind in KINDS}
    ask_to_end(started)
    complete = [trial for trial in field.trials() if trial.state == "COMPLETE"]
    assert {trial.attempt for trial in complete} == {1}, "the takeover was undone, and nobody else made one"
    assert "frozen" not in {trial.worker for trial in field.trials()}
    said = ", ".join(f"{kind} {max(found):.1f} s" for kind, found in pauses.items())
    assert max(map(max, pauses.values())) <= most, said
    return f"{rounds} rounds, longest pause of a worker: {said}"


def _pause(field: Field, kind: str) -> float:
    """How long the worker that waited longest had nothing on record."""
    holder = _frozen(field, kind)
    if field.url.startswith("sqlite"):
        noticed = _notices(field)
        field.wait(lambda: _notices(field) > noticed, "a worker that notices")
        holder.kill()
        holder.wait()
        field.processes.remove(holder)
        return _longest_pause(field)
    pause = _longest_pause(field)
    holder.send_signal(signal.SIGCONT)
    assert holder.wait(MOST) == 0, "the frozen process wrote as if nothing had happened"
    return pause


def _frozen(field: Field, kind: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.faults.locks", field.url, kind]
    process = subprocess.Popen(command, cwd=REPOSITORY, text=True)
    field.processes.append(process)
    field.wait(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, "a frozen process")
    return process


def _longest_pause(field: Field) -> float:
    """Until every worker has recorded more than a trial."""
    began, longest = time.monotonic(), 0.0
    first = known = _recorded(field)
    since = dict.fromkeys(first, began)
    while any(known[worker] <= first[worker] + 5 for worker in first):
        now, found = time.monotonic(), _recorded(field)
        assert now - began < PATIENCE, f"a worker does not go on: {first}, {found}"
        for worker in first:
            longest = max(longest, now - since[worker])
            if found[worker] > known[worker]:
                since[worker] = now
        known = found
        time.sleep(0.05)
    return longest


def _recorded(field: Field) -> Counter[str]:
    """Epochs on record by worker."""
    return Counter(trial.worker or "" for trial in field.trials() for _ in trial.epochs)


def _notices(field: Field) -> int:
    """How often workers have said that the database does not answer."""
    return worker_logs(field).count("does not answer")


def main(url: str, kind: str) -> int:
    """Freeze; 0 when, thawed, nothing can be written any more."""
    store = Store(url)
    study_id = store.studies.get("faults").study_id
    try:
        if kind == "claim":
            store.leases.new_trial(study_id, "frozen", 0, 10**6, room=_freeze)
        else:
            taken = None
            while taken is None:  # a beat between look and takeover, or nobody at work just then
                with store.database.transaction():
                    taken = store.leases.take_over(study_id, "frozen", Watch(0.0))
                    if taken is not None:
                        _freeze()
    except DATABASE_ERRORS:
        return 0
    return 1


def _freeze(*_: object) -> bool:
    os.kill(os.getpid(), signal.SIGSTOP)
    return True


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
