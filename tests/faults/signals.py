"""Workers that are asked to end, put to sleep, or left without their supervisor: what must hold, at any size."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

import psutil

from hpo.options import STOPPED
from tests.faults import outages
from tests.faults.nursery import Forked
from tests.faults.parts import Field, assert_whole, finished

#: Seconds within which a worker that is asked to end has ended, and what a machine that runs other tests may add.
PROMISED, BUSY = 5.0, 2.0


def preempted(field: Field, *, trials: int, workers: int, epochs: int = 8, pause: float = 0.05) -> str:
    """SIGTERM to every worker in the middle of its trial, again and again, until the study is done."""
    field.write(trials=trials, epochs=epochs, pause=pause)
    field.create()
    rounds, slowest = 0, 0.0
    while trials * epochs - field.epochs() > 4 * workers:
        started = [field.work() for _ in range(workers)]
        field.wait_for_epochs(2 * workers)
        rounds += 1
        slowest = max(slowest, *ask_to_end(started))
    finished(field.work())
    assert_whole(field, trials, epochs)
    # The log has an epoch when it has ended: one that is there twice was not the running one.
    assert field.trained() == trials * epochs, "epochs were trained twice"
    attempts = sum(trial.attempt - 1 for trial in field.trials())
    return f"{rounds} rounds, slowest end {slowest:.1f} s, {attempts} trials given back, no epoch twice"


def ask_to_end(processes: Sequence[Forked], number: int = signal.SIGTERM) -> list[float]:
    """Seconds that each took to end after the signal, all having said that they were asked to."""
    moment = time.monotonic()
    for process in processes:
        process.send_signal(number)
    took = []
    for process in processes:
        process.wait(2 * PROMISED)
        took.append(time.monotonic() - moment)
        # One that had found nothing left to do has ended by itself.
        assert process.returncode in (STOPPED, 0), finished(process, code=None)
    assert max(took) <= PROMISED + BUSY, took
    return took


def put_to_sleep(field: Field, *, trials: int, epochs: int = 20, pause: float = 0.05) -> str:
    """SIGSTOP a worker for longer than its lease, SIGCONT it when another has taken its trial."""
    field.write(trials=trials, epochs=epochs, pause=pause)
    field.create()
    sleeper, other = field.work(), field.work()
    field.wait(lambda: field.held_by(sleeper.pid) is not None and field.epochs() >= 4, "epochs of the sleeper")
    number = _put_to_sleep(field, sleeper)
    field.wait(lambda: field.trials()[number].attempt == 2 and field.held_by(other.pid) == number, "a takeover")
    sleeper.send_signal(signal.SIGCONT)
    field.wait(lambda: field.held_by(sleeper.pid) not in (None, number) or field.ended() == trials, "another trial")
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


def all_at_once(field: Field, number: int, *, trials: int = 2, epochs: int = 30, pause: float = 0.05) -> str:
    """Launcher and workers get the same signal at the same moment, as Slurm, systemd and docker send it."""
    field.write(trials=trials, epochs=epochs, pause=pause)
    launched = field.launch("--workers", "2")
    field.wait_for_epochs(6)
    processes = [*field.workers(), psutil.Process(launched.pid)]
    for process in processes:
        process.send_signal(number)
    field.processes.remove(launched)
    finished(launched, code=128 + number)
    assert {row.state for row in field.leases().values()} <= {"returned", "done"}
    finished(field.launch("--workers", "2"))
    assert_whole(field, trials, epochs)
    assert field.trained() == trials * epochs, "epochs were trained twice"
    return f"{len(processes)} processes signalled at once, no epoch trained twice"


def without_supervisor(field: Field, *, rounds: int, workers: int, epochs: int = 40, pause: float = 0.02) -> str:
    """Kill -9 the launcher alone: its workers give their work back and end; the next launch goes on."""
    slowest = 0.0
    for number in range(rounds):
        field.write(trials=2 * (number + 1), epochs=epochs, pause=pause)
        launched = field.launch("--workers", str(workers))
        field.wait_for_epochs(3)
        field.processes.remove(launched)  # it is to fail
        orphans = field.workers()
        launched.kill()
        moment = time.monotonic()
        _, alive = psutil.wait_procs(orphans, timeout=2 * PROMISED)
        slowest = max(slowest, time.monotonic() - moment)
        assert not alive and slowest <= PROMISED + BUSY, f"workers without a supervisor ended after {slowest:.1f} s"
        finished(launched, code=-signal.SIGKILL)
        assert not [row for row in field.leases().values() if row.state == "held"]
    finished(field.launch("--workers", str(workers)))
    assert_whole(field, 2 * rounds, epochs)
    assert max(field.trained_epochs().values()) == 1, "two writers, or an epoch trained twice"
    return f"{rounds} supervisors killed, workers gone after at most {slowest:.1f} s, no epoch trained twice"
