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
from tests.faults.parts import Field, assert_whole, finished

SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
#: The fifth batch of training, once, takes longer than anybody waits for; an epoch has two.
SLEEP = """\
Path(f"batch-{len(list(Path().glob('batch-*')))}").touch()
            if Path("batch-4").exists() and not Path("slow").exists():
                Path("slow").touch()
                time.sleep(100)"""


def in_a_slow_batch(field: Field) -> Forked:
    """A worker in the third of four epochs, at a batch that does not end."""
    field.write(trials=1, epochs=4)
    path = field.folder / "faulty.py"
    path.write_text(path.read_text().replace('time.sleep(params.loss["pause"])', SLEEP))
    field.create()
    worker = field.work()
    field.wait(lambda: (field.folder / "slow").exists(), "the slow batch")
    return worker


def test_preemption(field: Field) -> None:
    signals.preempted(field, trials=4, workers=2)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_launcher_and_workers_get_the_same_signal(field: Field, number: signal.Signals) -> None:
    signals.all_at_once(field, number)


def test_a_sleeper_writes_nothing_and_works_on(field: Field) -> None:
    signals.put_to_sleep(field, trials=6)


def test_workers_do_not_outlive_their_supervisor(field: Field) -> None:
    signals.without_supervisor(field, rounds=2, workers=2)


@SQLITE
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR1])
def test_other_signals_do_the_same(field: Field, number: signal.Signals) -> None:
    field.write(trials=1, epochs=40, pause=0.02)
    field.create()
    worker = field.work()
    field.wait(lambda: field.epochs() >= 3, "epochs")
    signals.ask_to_end([worker], number)
    assert field.leases()[0].state == "returned"
    finished(field.work())
    assert_whole(field, trials=1, epochs=40)
    assert field.trained() == 40


def test_a_batch_that_takes_long_is_not_waited_for(field: Field) -> None:
    """The epochs before it are saved, though no checkpoint was due, and the trial is anybody's at once."""
    worker = in_a_slow_batch(field)
    signals.ask_to_end([worker])
    assert "leaves without waiting for its running batch" in finished(worker, code=None)
    assert field.leases()[0].state == "returned" and "left after epoch 2" in field.logs()
    finished(field.work())
    assert_whole(field, trials=1, epochs=4)
    assert "resumed after epoch 2" in field.logs() and field.trained() == 4


@pytest.mark.parametrize("now", [False, True])
def test_a_stop_reaches_workers_in_a_long_batch(field: Field, now: bool) -> None:
    worker = in_a_slow_batch(field)
    assert "asked 1 worker of faults to stop" in finished(field.start("stop", "faults", *(["--now"] * now)))
    worker.wait(signals.PROMISED)  # it has said that it ended
    assert "left after epoch 2" in field.logs() and field.leases()[0].state == "returned"


@SQLITE
def test_a_second_signal_ends_at_once_and_loses_nothing(field: Field) -> None:
    worker = in_a_slow_batch(field)
    moment = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    worker.send_signal(signal.SIGUSR1)  # the same wish, as of `timeout`
    field.wait(lambda: time.monotonic() - moment > leaving.TWICE, "the time for a second wish")
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    worker.wait(signals.PROMISED)
    assert time.monotonic() - moment < leaving.BATCH, "before the deadline of the first one"
    assert field.leases()[0].state == "held"
    finished(field.work())
    assert_whole(field, trials=1, epochs=4)


@SQLITE
def test_what_an_objective_has_started_ends_with_its_worker(field: Field) -> None:
    field.write(trials=1, epochs=100, pause=0.05)
    text = (field.folder / "faults.yaml").read_text()
    (field.folder / "faults.yaml").write_text(text.replace("loss: {pause", "loss: {fault: child, pause"))
    launched = field.launch("--workers", "1")
    for strike in (signal.SIGKILL, signal.SIGTERM):
        field.wait(lambda: any(worker.children() for worker in field.workers()), "a child")
        worker = field.workers()[0]
        worker.send_signal(strike)
        worker.wait(2 * signals.PROMISED)
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
