"""Files of a run: where they lie, who may read them, and that each is whole or as it was before."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo.files import RunFiles, write_whole

OLD, NEW = b"old" * 1000, b"new" * 5000

#: A process that kills itself with SIGKILL at one moment of `write_whole`.
KILLED = """
import os, pathlib, signal, sys
from hpo import files
moment, path = sys.argv[1], pathlib.Path(sys.argv[2])

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

class Half:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): self.file.close()
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        die()

opened = pathlib.Path.open
if moment == "half written":
    pathlib.Path.open = lambda self, mode: Half(opened(self, mode))
elif moment == "not synced":
    os.fsync = die
elif moment == "not renamed":
    os.replace = die
else:
    files.sync_folder = die
files.write_whole(path, b"new" * 5000)
"""


@pytest.mark.parametrize("moment", ["half written", "not synced", "not renamed", "renamed"])
def test_a_killed_writer_leaves_the_old_or_the_new_file(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(OLD)
    ended = subprocess.run([sys.executable, "-c", KILLED, moment, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == (NEW if moment == "renamed" else OLD)
    assert [other.name for other in tmp_path.glob("[!.]*")] == ["file"]  # what is left has a hidden name


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    path = tmp_path / "file"
    write_whole(path, OLD)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, full)
        with pytest.raises(OSError, match="No space left on device"):
            write_whole(path, NEW)
    assert path.read_bytes() == OLD
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, end, seen = tmp_path / "file", threading.Event(), set()
    write_whole(path, OLD)

    def read() -> None:
        while not end.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for round_ in range(60):
        write_whole(path, NEW if round_ % 2 else OLD)
    end.set()
    reader.join()
    assert seen <= {OLD, NEW}


def test_contents_are_on_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power loss: a rename may reach the disk before the content, unless the content was synced first."""
    calls: list[str] = []

    def noted(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(*arguments: Any) -> Any:
            calls.append(name)
            return original(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name))
    write_whole(tmp_path / "deep" / "file", NEW)
    assert calls == ["fsync", "replace", "fsync"]
    assert (tmp_path / "deep" / "file").read_bytes() == NEW


# ---- places


PLACES: list[Callable[[RunFiles], Path]] = [
    lambda files: files.trial_log("study-1a2b", 12),
    lambda files: files.job_log("study-1a2b", 3),
    lambda files: files.worker_log("study", 0),
    lambda files: files.report("study-1a2b"),
    lambda files: files.checkpoints("study-1a2b", 4),
    lambda files: files.model("study-1a2b", 12),
    lambda files: files.fold_model("study-1a2b", 12, 3),
    lambda files: files.cache,
    lambda files: files.study("study-1a2b"),
]


def test_every_path_lies_under_the_root_and_no_two_are_equal(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "runs")
    paths = [place(files) for place in PLACES]
    assert all(path.is_relative_to(tmp_path / "runs") for path in paths)
    assert len(set(paths)) == len(paths)
    assert files.trial_log("study-1a2b", 12).relative_to(files.root).as_posix() == "studies/study-1a2b/trials/0012.log"


def test_a_relative_root_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = RunFiles(Path("runs"))
    monkeypatch.chdir("/")
    assert files.root == tmp_path / "runs"
    assert files.database_url == f"sqlite:///{tmp_path}/runs/hpo.db"


@pytest.mark.parametrize("place", PLACES[:4])
def test_the_runs_folder_is_for_its_owner_alone(tmp_path: Path, place: Callable[[RunFiles], Path]) -> None:
    """Recordings are personal data; their cache and the database lie here."""
    mask = os.umask(0o022)
    try:
        path = place(RunFiles(tmp_path / "runs"))
    finally:
        os.umask(mask)
    assert path.parent.is_dir()
    assert (tmp_path / "runs").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "name", ["digits", "../../etc/passwd", "a/b", "..", "", "/root", "naïve study", "x" * 300, "a\x00b", "-rf"]
)
def test_no_name_of_a_study_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    files = RunFiles(tmp_path)
    folder = files.new_folder(name)
    assert re.fullmatch(r"[A-Za-z0-9_-]{0,64}-[0-9a-f]{8}", folder)
    assert files.study(folder).resolve().parent == tmp_path / "studies"
    assert files.worker_log(name, 1).resolve().parent == tmp_path / "workers"


def test_two_launches_of_one_study_do_not_write_to_the_same_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logs() -> set[Path]:
        return {RunFiles(tmp_path).worker_log("digits", worker) for worker in (0, 1)}

    ours = logs()
    assert len(ours) == 2 and logs() == ours
    monkeypatch.setattr(os, "getpid", lambda: 7)
    assert not logs() & ours


def test_two_studies_of_one_name_have_two_folders(tmp_path: Path) -> None:
    assert len({RunFiles(tmp_path).new_folder("digits") for _ in range(50)}) == 50


def test_checkpoints_are_removed_once_or_twice(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    write_whole(files.checkpoints("s", 1) / "3" / "epoch", b"x")
    write_whole(files.checkpoints("s", 2) / "1" / "epoch", b"x")
    for _ in range(2):
        files.remove_checkpoints("s", 1)
    assert not files.checkpoints("s", 1).exists()
    assert files.checkpoints("s", 2).exists()
