"""The database's password is nowhere but in the environment: a whole study with an outage and errors, then a search."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from tests.faults.parts import Field, finished
from tests.security.parts import OBEYED, hostile_study
from tests.test_compose import password_required

pytestmark = pytest.mark.postgres
Run = Callable[..., subprocess.CompletedProcess[str]]

#: With everything that a URL or a format string could trip over; its end is not quoted in any writing of it.
PASSWORD, NEEDLE = "s{x}%20@/: 'Z9kq7", "Z9kq7"
QUOTED = "'" + PASSWORD.replace("'", "''").replace(":", r"\:") + "'"

#: Configurations after the first: one whose objective raises an error, one that runs out of memory.
FAULTY = """
  broken: {optimizer: {lr: 2e-2}, loss: {fault: exception}}
  large: {optimizer: {lr: 3e-2}, loss: {fault: oom}}
"""


class Guarded:
    """A database that asks for `PASSWORD`, and that can be away."""

    def __init__(self, server: sa.Engine, name: str, url: str) -> None:
        self._server, self.name, self.url = server, name, url

    @contextmanager
    def away(self) -> Iterator[None]:
        self._allow("false")
        with self._server.connect() as connection:
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
            connection.execute(sa.text(end), {"name": self.name})
        try:
            yield
        finally:
            self._allow("true")

    @contextmanager
    def reader(self) -> Iterator[None]:
        """A role of the same password that may SELECT."""
        role, tables = f"{self.name}_reader", "ALL TABLES IN SCHEMA public"
        owner = sa.create_engine(self.url, isolation_level="AUTOCOMMIT")
        with self._server.connect() as server, owner.connect() as inside:
            server.execute(sa.text(f"CREATE ROLE {role} LOGIN PASSWORD {QUOTED}"))
            inside.execute(sa.text(f"GRANT SELECT ON {tables} TO {role}"))
            try:
                yield
            finally:
                inside.execute(sa.text(f"REVOKE ALL ON {tables} FROM {role}"))
                server.execute(sa.text(f"DROP ROLE {role}"))
        owner.dispose()

    def _allow(self, connections: str) -> None:
        with self._server.connect() as connection:
            connection.execute(sa.text(f"ALTER DATABASE {self.name} WITH ALLOW_CONNECTIONS {connections}"))


@pytest.fixture
def guarded(postgres_server: str) -> Iterator[Guarded]:
    name, server = f"t{uuid4().hex[:12]}", sa.make_url(postgres_server)
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE ROLE {name} LOGIN PASSWORD {QUOTED}"))
        connection.execute(sa.text(f"CREATE DATABASE {name} OWNER {name}"))
    url = server.set(username=name, password=PASSWORD, database=name).render_as_string(hide_password=False)
    with password_required(engine, name):
        yield Guarded(engine, name, url)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
        connection.execute(sa.text(f"DROP ROLE {name}"))
    engine.dispose()


@contextmanager
def every_process() -> Iterator[set[str]]:
    """What `ps` shows to everybody, again and again."""
    seen: set[str] = set()
    end = threading.Event()

    def look() -> None:
        while not end.wait(0.05):
            shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
            seen.update(line for line in shown.splitlines() if "hpo" in line)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        end.set()
        thread.join()


@pytest.mark.slow
def test_a_password_is_in_no_file_no_output_and_no_process_title(guarded: Guarded, tmp_path: Path, hpo: Run) -> None:
    field = Field(tmp_path, guarded.url)
    field.hold(trials=4, epochs=60, more=FAULTY.lstrip("\n"))
    printed = []
    try:
        with every_process() as processes:
            launched = field.start("launch", "faults.yaml", "--workers", "2", "--devices", "cpu")
            field.wait(lambda: field.epochs() >= 4, "some epochs")
            with guarded.away():
                field.wait(lambda: "database" in logs(tmp_path), "a word about the outage")
                field.let_go()
                printed.append(finished(field.start("status"), code=2))
            printed.append(finished(launched))
            for words in [("worker", "faults"), ("status", "--json"), ("report",), ("storage", "backup", "a.backup")]:
                printed.append(finished(field.start(*words)))
            printed.append(finished(field.start("storage", "check", "--json")))
            served = field.start("dashboard", "--port", "0")
            assert served.stdout is not None
            printed.append(served.stdout.readline())
    finally:
        field.end()
    assert "dashboard  http" in printed[-1] and any(" worker " in line for line in processes)
    assert [line for line in processes if NEEDLE in line] == []
    assert [text for text in printed if NEEDLE in text] == []
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {".safetensors", ".log", ".html", ".backup", ".yaml", ".json"} <= {path.suffix for path in files}
    assert [str(path) for path in files if NEEDLE.encode() in path.read_bytes()] == []
    assert "exception" in (tmp_path / "faults.yaml").read_text() and "the objective has a bug" in field.logs()


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("runs/workers/*.log"))


@pytest.mark.parametrize("joined", [False, True])
def test_an_argument_with_a_password_leaves_the_process_list_at_once_and_is_warned_of(
    guarded: Guarded, tmp_path: Path, hpo: Run, joined: bool
) -> None:
    assert hpo("storage", "init", storage=guarded.url).returncode == 0
    command = [sys.executable, "-P", "-m", "hpo", "dashboard", "--port", "0"]
    command += [f"--storage={guarded.url}"] if joined else ["--storage", guarded.url]
    served = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert served.stdout is not None and served.stderr is not None
        said, ready = served.stderr.readline(), served.stdout.readline()
        shown = subprocess.run(["ps", "-o", "args=", "-p", str(served.pid)], capture_output=True, text=True)
    finally:
        served.terminate()
        served.communicate()
    assert ready.startswith("dashboard  http"), said
    assert "`ps` has shown it" in said and "HPO_STORAGE" in said and NEEDLE not in said
    assert "dashboard --port 0" in shown.stdout and NEEDLE not in shown.stdout


@pytest.mark.parametrize("where", ["postgresql://me:{}@127.0.0.1:1/hpo", "postgresql://me@127.0.0.1:1/hpo?password={}"])
def test_no_error_repeats_it(hpo: Run, where: str) -> None:
    """Neither of a server that is not there, nor of a URL in which something is not quoted."""
    for words, password in [
        (("status",), "Z9kq7{x}"),
        (("dashboard",), "a@Z9kq7"),
        (("storage", "check"), "a/Z9kq7"),
        (("storage", "backup", "x.backup"), "Z9kq7:%40%zz"),
    ]:
        done = hpo(*words, storage=where.format(password))
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert NEEDLE not in done.stdout + done.stderr, done.stderr


@pytest.mark.parametrize("url", ["postgresql://me@db/hpo", "sqlite:///me:you.db", "postgresql://db:5432/hpo"])
def test_a_url_without_a_password_needs_no_warning(hpo: Run, url: str) -> None:
    assert "`ps`" not in hpo("status", "--help", "--storage", url).stderr


def test_who_only_looks_needs_no_more_than_select(guarded: Guarded, tmp_path: Path, hpo: Run) -> None:
    hostile_study(guarded.url, folder="made-up-1a2b3c4d")
    reader = sa.make_url(guarded.url).set(username=f"{guarded.name}_reader").render_as_string(hide_password=False)
    with guarded.reader():
        for words in [("status",), ("studies",), ("report",), ("storage", "backup", "x.backup")]:
            done = hpo(*words, storage=reader)
            assert done.returncode == 0, done.stderr
        done = hpo("stop", OBEYED, storage=reader)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("Error: the database refused: permission denied"), done.stderr
