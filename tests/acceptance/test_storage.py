"""storage backup, restore, check, upgrade: the real commands; a copy and its original both go on, apart."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from pathlib import Path

import pytest

from tests.acceptance.test_launch import Run, exported
from tests.faults.parts import Field, finished
from tests.store.test_database import run


def tree(folder: Path) -> dict[str, str]:
    """Every file with its content's hash."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_backup_of_a_running_study_is_restored_and_goes_on_beside_the_original(
    hpo: Run, field: Field, tmp_path: Path
) -> None:
    field.hold(trials=3, epochs=100)
    url, studies = field.url, tmp_path / "runs/studies"
    launched = field.launch("--workers", "2", "--checkpoint-every", "0")
    field.wait(lambda: field.training() == 2, "an epoch of both trials")
    (tmp_path / "backups").mkdir()
    backed_up = hpo("storage", "backup", "backups", storage=url)
    assert backed_up.returncode == 0, backed_up.stderr
    assert re.search(r"backups/hpo-\d{8}-\d{6}\.backup: 1 studies, \d trials, \d+ epochs", backed_up.stdout)
    launched.send_signal(signal.SIGINT)
    field.processes.remove(launched)
    finished(launched, code=130)
    field.let_go()

    original = next(studies.iterdir())
    before = tree(original)
    file, copy = next((tmp_path / "backups").iterdir()), f"sqlite:///{tmp_path / 'copy.db'}"
    restored = hpo("storage", "restore", str(file), storage=copy)
    assert restored.returncode == 0, restored.stderr
    assert "faults: " in restored.stdout and "2 of 2 begun trainings have a checkpoint here" in restored.stdout
    finished(field.launch("--workers", "2", HPO_STORAGE=copy))
    assert [row["state"] for row in exported(hpo, copy, "faults")] == ["COMPLETE"] * 3
    ours = next(folder for folder in studies.iterdir() if folder != original)
    assert all("resumed after epoch" in (ours / f"trials/{n:04d}.log").read_text() for n in (0, 1))
    assert tree(original) == before, "the copy has written to the original's folder"

    finished(field.launch("--workers", "2"))
    values = [[row["value"] for row in exported(hpo, storage, "faults")] for storage in (url, copy)]
    assert values[0][:2] == values[1][:2]
    for storage in (url, copy):
        checked = hpo("storage", "check", storage=storage)
        assert checked.returncode == 0 and checked.stdout.endswith(": no problems\n"), checked.stdout


def test_check_says_what_is_wrong(hpo: Run, url: str) -> None:
    assert hpo("storage", "init", storage=url).returncode == 0
    sound = hpo("storage", "check", "--json", storage=url)
    assert sound.returncode == 0
    assert json.loads(sound.stdout)["ok"] is True
    run(url, "UPDATE hpo_schema SET version = 99")
    checked = hpo("storage", "check", storage=url)
    assert checked.returncode == 1
    assert "version: hpo schema 99, this is schema" in checked.stdout and checked.stdout.endswith(": 1 problems\n")
    found = json.loads(hpo("storage", "check", "--json", storage=url).stdout)
    assert found["ok"] is False and [problem["kind"] for problem in found["problems"]] == ["version"]
    refused = hpo("storage", "upgrade", storage=url)
    assert refused.returncode == 2 and "newer than this version's" in refused.stderr


def test_upgrade_says_what_it_did(hpo: Run, url: str) -> None:
    hpo("storage", "init", storage=url)
    done = hpo("storage", "upgrade", storage=url)
    assert done.returncode == 0 and "is at schema" in done.stdout, done.stderr


def test_mistakes_end_with_one_message(hpo: Run, url: str, tmp_path: Path) -> None:
    hpo("storage", "init", storage=url)
    assert hpo("storage", "backup", "a.backup", storage=url).returncode == 0
    for words, message in {
        ("backup", "a.backup"): "a.backup exists: name another file, or a folder",
        ("restore", "nowhere"): "'nowhere' does not exist",
        ("restore", "runs.txt"): "runs.txt was not written by `hpo storage backup`",
    }.items():
        (tmp_path / "runs.txt").write_bytes(b"")
        refused = hpo("storage", *words, storage=url)
        assert refused.returncode == 2 and message in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
