"""Signals: given back at the last epoch boundary, out in time, no process left behind, no second writer."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial

import psutil
import pytest

from hpo import leaving
from tests.faults import signals
from tests.faults.nursery import Forked
from tests.faults.parts import LEAST, Field, assert_whole, finished

SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


def in_a_slow_batch(field: Field, batch_seconds: float | None = None) -> Forked:
    """A worker in the third of four epochs, at a batch that does not end."""
    field.hold(trials=1, epochs=4, pause=0.0, hold=2)
    field.create()
    worker = field.work(batch_seconds=batch_seconds)
    field.wait(lambda: field.waits(worker.pid), "the slow batch")
    return worker


def test_the_deadlines_of_a_worker_add_up_to_less_than_what_is_promised() -> None:
    assert leaving.BATCH + leaving.LAST_WORDS < signals.PROMISED


def test_preemption(field: Field) -> None:
    signals.preempted(field, trials=4, workers=2)


def test_launcher_and_workers_get_the_same_signal(field: Field) -> None:
    signals.all_at_once(field, signal.SIGTERM)


@SQLITE
def test_which_signal_plays_no_part(field: Field) -> None:
    """SIGUSR1 is what Slurm sends ahead of a time limit."""
    signals.all_at_once(field, signal.SIGUSR1)


def test_a_sleeper_writes_nothing_and_works_on(field: Field) -> None:
    signals.put_to_sleep(field, trials=3)


def test_workers_do_not_outlive_their_supervisor(field: Field) -> None:
    signals.without_supervisor(field, rounds=1, workers=2)


@SQLITE
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_other_signals_do_the_same(field: Field, number: signal.Signals) -> None:
    field.hold(trials=1, epochs=40)
    field.create()
    worker = field.work()
    field.wait(lambda: field.epochs() >= 3, "epochs")
    signals.ask_to_end([worker], number)
    assert field.leases()[0].state == "returned"
    field.let_go()
    finished(field.work())
    assert_whole(field, trials=1, epochs=40)
    assert field.trained() == 40


def test_a_batch_that_takes_long_is_not_waited_for(field: Field) -> None:
    """The epochs before it are saved, though no checkpoint was due, and the trial is anybody's at once."""
    worker = in_a_slow_batch(field)
    signals.ask_to_end([worker])
    assert "leaves without waiting for its running batch" in finished(worker, code=None)
    assert field.leases()[0].state == "returned" and "left after epoch 2" in field.logs()
    field.let_go()
    finished(field.work())
    assert_whole(field, trials=1, epochs=4)
    assert "resumed after epoch 2" in field.logs() and field.trained() == 4


@pytest.mark.parametrize("now", [False, True])
def test_a_stop_reaches_workers_in_a_long_batch(field: Field, now: bool) -> None:
    worker = in_a_slow_batch(field)
    assert "asked 1 worker of faults to stop" in finished(field.start("stop", "faults", *(["--now"] * now)))
    worker.wait(signals.WITHIN)  # it has said that it ended
    assert "left after epoch 2" in field.logs() and field.leases()[0].state == "returned"


@SQLITE
def test_a_second_signal_ends_at_once_and_loses_nothing(field: Field) -> None:
    # It would wait for its batch for longer than the test for it.
    field.lease(LEAST)
    worker = in_a_slow_batch(field, batch_seconds=10 * signals.WITHIN)
    # As of `timeout`, and at one moment however busy the machine: they come when it goes on.
    for number in (signal.SIGSTOP, signal.SIGTERM, signal.SIGUSR1, signal.SIGCONT):
        worker.send_signal(number)
    moment = time.monotonic()
    field.wait(lambda: time.monotonic() - moment > 2 * leaving.TWICE, "the time for a second wish")
    assert worker.poll() is None, "two signals at once are one wish"
    field.wait(partial(_asked_again, worker), "its end")
    assert field.leases()[0].state == "held"
    field.let_go()
    finished(field.work())
    assert_whole(field, trials=1, epochs=4)


def _asked_again(worker: Forked) -> bool:
    worker.send_signal(signal.SIGTERM)  # until it has heard one late enough after the first
    return worker.poll() is not None


@SQLITE
def test_what_an_objective_has_started_ends_with_its_worker(field: Field) -> None:
    field.hold(trials=1, epochs=10, fault="child")
    launched = field.launch("--workers", "1")
    for strike in (signal.SIGKILL, signal.SIGTERM):
        field.wait(lambda: any(worker.children() for worker in field.workers()), "a child")
        worker = field.workers()[0]
        worker.send_signal(strike)
        worker.wait(signals.WITHIN)
        field.wait(partial(_ended, worker.pid), "the end of its children")
    field.processes.remove(launched)
    assert "was asked to end by a signal" in finished(launched, code=1)
    launched = field.launch("--workers", "1")
    field.wait(lambda: any(worker.children() for worker in field.workers()), "a child")
    pid = field.workers()[0].pid
    launched.send_signal(signal.SIGINT)
    launched.send_signal(signal.SIGTERM)
    field.wait(partial(_ended, pid), "the end of a worker and its children after a second signal")


def _ended(group: int) -> bool:
    """Whether no process is left of the group that a worker led."""
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if process.info["status"] != psutil.STATUS_ZOMBIE and os.getpgid(process.pid) == group:
                return False
    return True
