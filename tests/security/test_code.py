"""The only code that runs is what the user names, and it is on screen with its hash before it does."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import py_compile
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from hpo.resolve import file_hash, resolve
from tests.conftest import REPOSITORY
from tests.faults.parts import study
from tests.security.parts import hostile_study, in_a_terminal
from tests.store.test_database import run

Run = Callable[..., subprocess.CompletedProcess[str]]

#: An objective of the user's own that says when it runs, wherever standard error goes.
OWN = """
import sys
from tests.faults.faulty import Faulty as Base

print("RUNNING", file=sys.stderr)


class Faulty(Base):
    pass
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    (tmp_path / "own.yaml").write_text(study(objective="own.py", trials=2, epochs=2))
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


@pytest.mark.slow
def test_every_command_names_the_users_code_with_its_hash_before_it_runs(own: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o755)
    named = f"runs your code: {own}:Faulty (sha256 {hashlib.sha256(own.read_bytes()).hexdigest()[:16]})"

    def command(*words: str, code: int = 0) -> str:
        ended, printed = in_a_terminal(tmp_path, {"PYTHONPATH": str(REPOSITORY)}, *words)
        assert ended == code, printed
        return printed

    cpu = ("--devices", "cpu")
    commands: list[tuple[str, ...]] = [
        ("check", "own.yaml"),
        ("launch", "own.yaml", "--no-promote", "--no-report", *cpu),
        ("worker", "faults", "--no-promote"),
    ]
    for words in commands:
        before, _, after = command(*words).partition("RUNNING")
        assert before.count(named) == 1 and named not in after, (words, before, after)
    # The workers of a promotion write to their logs, and so the command itself names what they run.
    before, _, after = command("promote", "faults", *cpu).partition("study faults")
    assert named in before and after and "RUNNING" not in before + after
    ran = [text for log in (tmp_path / "runs/workers").glob("*.log") if "RUNNING" in (text := log.read_text())]
    assert ran and all(text.index(named) < text.index("RUNNING") for text in ran)
    model = str(next((tmp_path / "runs/models").glob("*/trial-*")))
    objective = ("--objective", "own.py:Faulty")
    for words in (("evaluate", model, *objective), ("predict", model, *objective, "-o", "predicted.csv")):
        before, _, after = command(*words).partition("RUNNING")
        assert before.count(named) == 1 and after, (words, before)
    # A runs folder that was there before, open to everybody: what hpo makes in it is not.
    made = [path for path in (tmp_path / "runs").iterdir() if path.is_dir() or path.name == "hpo.db"]
    assert {path.name for path in made} == {"cache", "hpo.db", "models", "studies", "workers"}
    assert [path.name for path in made if path.stat().st_mode & 0o077] == []
    own.write_text("raise RuntimeError('RUNNING')")
    looking = [("status",), ("report",), ("export", "faults", "-o", "-"), ("logs", "faults", "0"), ("studies",)]
    for words in [*looking, ("storage", "backup", "all.backup"), ("delete", "faults", "--yes")]:
        assert "RUNNING" not in command(*words), "what only looks needs no code"
    refused = command("evaluate", model, code=2)
    assert "RUNNING" not in refused and "which is code and not run because a folder names it" in refused


def test_a_file_that_only_a_database_names_is_not_run(hpo: Run, url: str, tmp_path: Path) -> None:
    """Without a hash of a launch: a row that another user has written."""
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    hostile_study(url, objective=f"{tmp_path / 'evil.py'}:Evil")
    run(url, "UPDATE studies SET study_name = 'made-up'", "UPDATE hpo_studies SET stop = NULL")
    done = hpo("worker", "made-up", storage=url, PYTHONPATH=str(REPOSITORY))
    assert done.returncode == 2 and "has changed since the study was launched" in done.stderr, done.stderr
    assert "runs your code" not in done.stderr
    assert not (tmp_path / "owned").exists()


def test_what_is_hashed_is_what_runs(own: Path) -> None:
    """Python would run byte code that lies beside a file and names its time and size, whatever the file holds."""
    stat, honest = own.stat(), own.read_bytes()
    own.write_bytes(b"raise SystemExit('byte code of somebody else')".ljust(len(honest)))
    os.utime(own, (stat.st_atime, stat.st_mtime))
    beside = Path(importlib.util.cache_from_source(str(own)))
    py_compile.compile(str(own), cfile=str(beside), doraise=True)
    own.write_bytes(honest)
    os.utime(own, (stat.st_atime, stat.st_mtime))
    said: list[str] = []
    assert resolve(f"{own}:Faulty", say=said.append).name == "faulty"
    assert said == [f"runs your code: {own}:Faulty (sha256 {(file_hash(f'{own}:Faulty') or '')[:16]})"]
    resolve(f"{own}:Faulty", say=said.append)
    assert len(said) == 1, "it runs once"


def test_a_changed_file_is_neither_named_nor_run(own: Path) -> None:
    own.write_text("raise SystemExit('changed code')")
    said: list[str] = []
    with pytest.raises(LookupError, match="has changed since the study was launched"):
        resolve(f"{own}:Faulty", "0" * 64, said.append)
    assert said == []


#: Reads an attacker's checkpoint and weights in a process whose environment asks torch to run what is in them.
READ = """
import hashlib, sys
from pathlib import Path
from hpo.checkpoint import Checkpoints
from hpo.final_model import ModelError, _read_tensors

content = Path("evil.pt").read_bytes()
place = Path("checkpoints/1/2")
place.mkdir(parents=True)
(place / f"epoch-00001-{hashlib.sha256(content).hexdigest()[:32]}.pt").write_bytes(content)
said = []
assert Checkpoints(Path("checkpoints/1"), 2).load(said.append) is None
assert len(said) == 1 and "unreadable here" in said[0], said
try:
    _read_tensors(Path("evil.pt"))
except ModelError as error:
    print(error)
"""


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._file}",)


def test_no_environment_makes_torch_run_what_is_in_a_file(tmp_path: Path) -> None:
    torch.save({"epochs": [], "evil": Evil(tmp_path / "owned")}, tmp_path / "evil.pt")
    environ = os.environ | {"TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", READ], cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "evil.pt cannot be read as weights" in done.stdout
    assert not (tmp_path / "owned").exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert (tmp_path / "owned").exists(), "the file is as evil as it should be"
