"""Workers that are asked to end, put to sleep, or left without their supervisor: what must hold, at any size."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from functools import partial

import psutil

from hpo.options import STOPPED
from tests.faults import outages
from tests.faults.nursery import Forked
from tests.faults.parts import GRACE, Field, assert_whole, finished

#: Seconds within which a worker that is asked to end has ended, which `bench.soak` demands with a second or two for
#: what else the machine does. Tests wait for `WITHIN`, which no machine is too busy for; what would hold such a worker
#: up lasts longer than both.
PROMISED, BUSY, WITHIN = 5.0, 2.0, 90.0


def preempted(
    field: Field, *, trials: int, workers: int, epochs: int = 8, pause: float = 0.05, within: float = WITHIN
) -> str:
    """SIGTERM to every worker in the middle of its trial, again and again, until the study is done."""
    field.write(trials=trials, epochs=epochs, pause=pause)
    field.create()
    rounds, slowest = 0, 0.0
    while trials * epochs - field.epochs() > 4 * workers:
        started = [field.work() for _ in range(workers)]
        field.wait_for_epochs(2 * workers)
        # Also the last of them hears signals by now.
        field.wait(partial(_begun, field, started), "a trial of every worker")
        rounds += 1
        slowest = max(slowest, *ask_to_end(started, within=within))
    finished(field.work())
    assert_whole(field, trials, epochs)
    # The log has an epoch when it has ended: one that is there twice was not the running one.
    assert field.trained() == trials * epochs, "epochs were trained twice"
    attempts = sum(trial.attempt - 1 for trial in field.trials())
    return f"{rounds} rounds, slowest end {slowest:.1f} s, {attempts} trials given back, no epoch twice"


def _begun(field: Field, workers: Sequence[Forked]) -> bool:
    """Whether each has had a trial, or found none left."""
    known = {row.pid for row in field.leases().values()}
    return all(worker.pid in known or worker.poll() is not None for worker in workers)


def ask_to_end(processes: Sequence[Forked], number: int = signal.SIGTERM, *, within: float = WITHIN) -> list[float]:
    """Seconds that each took to end after the signal, all having said that they were asked to."""
    moment = time.monotonic()
    for process in processes:
        process.send_signal(number)
    took = []
    for process in processes:
        process.wait(WITHIN)
        took.append(time.monotonic() - moment)
        # One that had found nothing left to do has ended by itself.
        assert process.returncode in (STOPPED, 0), finished(process, code=None)
    assert max(took) <= within, took
    return took


def put_to_sleep(field: Field, *, trials: int, epochs: int = 60) -> str:
    """SIGSTOP a worker for longer than its lease, SIGCONT it when another has taken its trial.

    At first the budget is that one trial, so that the other worker is free; then it is `trials`, so that the sleeper
    finds another one when it wakes up.
    """
    field.lease(GRACE)
    field.hold(trials=1, epochs=epochs)
    field.create()
    sleeper = field.work()
    field.wait(lambda: field.held_by(sleeper.pid) is not None and field.epochs() >= 4, "epochs of the sleeper")
    number = _put_to_sleep(field, sleeper)
    other = field.work()
    field.wait(lambda: field.held_by(other.pid) == number, "a takeover")
    field.hold(trials=trials, epochs=epochs)
    field.create()
    sleeper.send_signal(signal.SIGCONT)
    field.wait(lambda: field.held_by(sleeper.pid) not in (None, number), "another trial of the sleeper")
    field.let_go()
    outputs = [finished(process) for process in (sleeper, other)]
    assert "was taken over by another worker; going on" in outputs[0]
    found = assert_whole(field, trials, epochs)
    assert [trial.number for trial in found if trial.attempt > 1] == [number]
    assert found[number].attempt == 2
    by_sleeper = field.done_by(sleeper.pid)
    assert by_sleeper and number not in by_sleeper
    return f"trial {number} taken over once; the sleeper brought {len(by_sleeper)} others to an end"


def _put_to_sleep(field: Field, sleeper: Forked) -> int:
    """Stop it inside a trial, not inside a transaction of SQLite, which would stop everybody; the trial's number."""
    while True:
        sleeper.send_signal(signal.SIGSTOP)
        number = field.held_by(sleeper.pid)
        if number is not None and not outages.locked(field):
            return number
        sleeper.send_signal(signal.SIGCONT)
        time.sleep(0.02)


def all_at_once(field: Field, number: int, *, trials: int = 2, epochs: int = 30) -> str:
    """Launcher and workers get the same signal at the same moment, as Slurm, systemd and docker send it."""
    field.hold(trials=trials, epochs=epochs)
    launched = field.launch("--workers", "2")
    field.wait(lambda: field.epochs() >= 6 and len(field.holders()) == 2, "epochs, and a trial of each worker")
    processes = [*field.workers(), psutil.Process(launched.pid)]
    for process in processes:
        process.send_signal(number)
    field.processes.remove(launched)
    finished(launched, code=128 + number)
    assert [row.state for row in field.leases().values()] == ["returned"] * 2
    field.let_go()
    finished(field.work())
    assert_whole(field, trials, epochs)
    assert field.trained() == trials * epochs, "epochs were trained twice"
    return f"{len(processes)} processes signalled at once, no epoch trained twice"


def without_supervisor(field: Field, *, rounds: int, workers: int, epochs: int = 40, within: float = WITHIN) -> str:
    """Kill -9 the launcher alone: its workers give their work back and end; others go on."""
    slowest = 0.0
    for number in range(rounds):
        field.hold(trials=workers * (number + 1), epochs=epochs)
        launched = field.launch("--workers", str(workers))
        field.wait(lambda: len(field.holders()) == workers and field.epochs() >= 3, "a trial of every worker")
        field.processes.remove(launched)  # it is to fail
        orphans = field.workers()
        launched.kill()
        moment = time.monotonic()
        _, alive = psutil.wait_procs(orphans, timeout=WITHIN)
        slowest = max(slowest, time.monotonic() - moment)
        assert not alive and slowest <= within, f"workers without a supervisor ended after {slowest:.1f} s"
        finished(launched, code=-signal.SIGKILL)
        assert not [row for row in field.leases().values() if row.state == "held"]
    field.let_go()
    finished(field.work())
    assert_whole(field, workers * rounds, epochs)
    assert max(field.trained_epochs().values()) == 1, "two writers, or an epoch trained twice"
    return f"{rounds} supervisors killed, workers gone after at most {slowest:.1f} s, no epoch trained twice"
