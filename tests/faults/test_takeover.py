"""Takeovers among workers that nobody supervises, as the one who watches sees them."""

from __future__ import annotations

import subprocess
import time

from tests.faults.parts import GRACE, Field, assert_whole, finished

#: Seconds after the grace period within which a free worker that watches goes on with a dead one's trial, and what a
#: busy machine may add.
PROMISED, BUSY = 5.0, 60.0
EPOCHS = 30


def test_a_free_worker_takes_over_in_time_and_status_tells_it(field: Field) -> None:
    """A lone `hpo worker` dies inside the only trial of the budget while another one is free."""
    field.lease(GRACE)
    field.hold(trials=1, epochs=EPOCHS, more="checkpoints: {keep: 1}\n")
    field.create()
    watching = field.start("status", "faults", "--watch", COLUMNS="120")
    lone = [field.work("--checkpoint-every", "0") for _ in range(2)]
    with field.store() as store:
        study_id = store.studies.get("faults").study_id
        field.wait(lambda: field.epochs() >= 8 and len(store.reading.workers(study_id)) == 2, "two workers")
        (before,) = store.reading.work(study_id)
        shown = _shown(watching, before.worker)
        pids = {worker.name: worker.pid for worker in store.reading.workers(study_id)}
        holder, free = sorted(lone, key=lambda process: process.pid != pids[before.worker])
        killed = time.monotonic()
        holder.kill()
        field.wait(lambda: store.reading.work(study_id)[0].attempt == 2, "a takeover")
        took = time.monotonic() - killed
        (now,) = store.reading.work(study_id)
    assert now.held and pids[now.worker] == free.pid
    assert took <= GRACE + PROMISED + BUSY, f"taken over after {took:.1f} s"

    takeover = f"trial 0: taken over from {before.worker} by {now.worker} at {now.held_since:%H:%M:%S} UTC"
    shown += _shown(watching, takeover)
    assert shown.count(f"{takeover} (attempt 2, ") == 1 and shown.endswith(" epochs on record)\n")
    assert "of checkpoints: those of work under way and of the best trial (checkpoints.keep: 1)" in shown
    field.processes.remove(watching)
    watching.terminate()
    watching.communicate()
    field.let_go()
    finished(free)
    assert_whole(field, 1, epochs=EPOCHS)
    assert "resumed after epoch" in field.logs()


def _shown(watching: subprocess.Popen[str], text: str) -> str:
    """What is printed from now on up to a line with this text."""
    lines: list[str] = []
    assert watching.stdout is not None
    while not lines or text not in lines[-1]:
        lines.append(watching.stdout.readline())
        assert lines[-1], f"no {text!r} in {''.join(lines)}"
    return "".join(lines)
