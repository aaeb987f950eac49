"""No name, whoever chose it, leads a file out of the runs folder."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.files import FolderError, RunFiles
from hpo.store import Store
from objectives.digits import Digits
from tests.acceptance.test_launch import SMALL
from tests.store.parts import facts, params, suggested

Run = Callable[..., subprocess.CompletedProcess[str]]

NAMES = ["../x", "/etc/x", "-rf", "n\0ul", "x" * 10_000, "a\u202eb", "a\nb", "\x1b[2J"]
#: What another user may write into the column that names a study's folder.
FOLDERS = ["../../victim", "..", ""]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_cannot_choose_such_a_name(hpo: Run, tmp_path: Path, name: str) -> None:
    quoted = '"' + "".join(f"\\x{ord(c):02x}" if ord(c) < 32 else c for c in name) + '"'
    (tmp_path / "study.yaml").write_text(SMALL.replace("study: small", f"study: {quoted}"))
    done = hpo("launch", "study.yaml")
    assert done.returncode == 2 and "1 to 64 letters, digits" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize("name", ["../x", "-rf", "a\u202eb"])
def test_nor_can_the_command_line(hpo: Run, tmp_path: Path, name: str) -> None:
    done = hpo("launch", "digits", "--new-name", name)
    assert done.returncode == 2 and "--new-name" in done.stderr and "1 to 64 letters" in done.stderr
    assert not list(tmp_path.iterdir())


@contextmanager
def victim(folder: Path) -> Iterator[None]:
    """A folder outside that looks like that of a study: nothing in it may be read, written or removed."""
    file = folder / "victim/checkpoints/1/1/epoch-00001-0123.pt"
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    (folder / "victim/trials").mkdir()
    (folder / "victim/trials/0000.log").write_text("2026-01-01 00:00:00 secret\n")
    before = sorted(folder.glob("victim/**/*"))
    yield
    assert sorted(folder.glob("victim/**/*")) == before and file.read_text() == "precious"
    assert [path for path in folder.glob("runs/**/epoch-*") if "precious" in path.read_text()] == []


def begun_study(url: str, folder: str) -> None:
    """A study with a trial that was given back, and a folder that another user has chosen."""
    store = Store(url, create=True)
    own = facts(text=SMALL, objective="digits", vocabulary=Digits().vocabulary(), metric="macro_f1")
    record = store.studies.create("made-up", {}, **own)
    lease = store.leases.new_trial(record.study_id, "w", 0, 9)
    assert lease is not None
    store.results.choose(lease, params(), suggested(lease))
    with store.leases.under(lease):
        store.leases.give_back(lease)
    with store.database.transaction() as connection:
        connection.execute(sa.text("UPDATE hpo_studies SET folder = :folder"), {"folder": folder})
    store.close()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_row_of_another_user_leads_nowhere(url: str, tmp_path: Path, hpo: Run, folder: str) -> None:
    begun_study(url, folder)
    commands: list[tuple[str, ...]] = [("delete", "made-up", "--yes")]
    if url.startswith("sqlite") and folder == FOLDERS[0]:
        commands = [("logs", "made-up", "0"), ("status",), ("worker", "made-up"), *commands]
    (tmp_path / "runs/studies/a").mkdir(parents=True)
    with victim(tmp_path):
        for words in commands:
            done = hpo(*words, storage=url)
            assert done.returncode == 2 and "Traceback" not in done.stderr, (words, done.stderr)
            assert "no folder that hpo makes" in done.stderr, (words, done.stderr)
            assert "secret" not in done.stdout
        assert (tmp_path / "runs/studies/a").is_dir()
        assert "made-up" in hpo("studies", storage=url).stdout, "nothing was deleted"


@pytest.mark.parametrize("folder", [*FOLDERS, ".", "/etc", "a/b", "a\\b", "a\0b", "a\n", "ä"])
def test_a_folder_is_a_name(tmp_path: Path, folder: str) -> None:
    files = RunFiles(tmp_path / "runs")
    for place in (files.study, lambda name: files.model(name, 1), lambda name: files.checkpoints(name, 1)):
        with pytest.raises(FolderError, match="no folder that hpo makes"):
            place(folder)
    with pytest.raises(FolderError, match="somebody has changed it"):
        files.adopt_checkpoints(folder, "copy-1a2b3c4d", {1: 1})
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("folder", FOLDERS[:1])
def test_an_attackers_backup_is_refused_as_a_whole(url: str, tmp_path: Path, hpo: Run, folder: str) -> None:
    begun_study(f"sqlite:///{tmp_path / 'theirs.db'}", "made-up-1a2b3c4d")
    backed_up = hpo("storage", "backup", "gift.backup", storage=f"sqlite:///{tmp_path / 'theirs.db'}")
    assert backed_up.returncode == 0, backed_up.stderr
    with closing(sqlite3.connect(tmp_path / "gift.backup")) as gift:
        gift.execute("UPDATE hpo_studies SET folder = ?", (folder,))
        gift.commit()
    with victim(tmp_path):
        done = hpo("storage", "restore", "gift.backup", storage=url)
        assert done.returncode == 2 and "no folder that hpo makes" in done.stderr, done.stderr
    assert "no study yet" in hpo("studies", storage=url).stdout
