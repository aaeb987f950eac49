"""A user's mistake ends in one clear message and exit code 2, and loses nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

FIVE = """study: five
objective: digits
metric: macro_f2
folds: {count: 5, search: 7}
budget: {trials: 0, epochs: 4}
space:
  optimizer:
    lr: {float: [1e-2, 1e-3], log: true}
    wieght_decay: {float: [1e-4, 1e-1]}
"""


def refused(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    for text in texts:
        assert text in done.stderr, f"{text!r} not in {done.stderr!r}"


def test_five_mistakes_in_one_message(hpo: Run, tmp_path: Path) -> None:
    (tmp_path / "five.yaml").write_text(FIVE)
    texts = ("5 mistakes", "line 3", "macro_f2", "line 4", "line 5", "line 8", "line 9", "weight_decay")
    refused(hpo("launch", "five.yaml"), *texts)
    assert not (tmp_path / "runs" / "hpo.db").exists()


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (("launch", "nosuch"), ("no study 'nosuch'", "abr, behaviour, digits, expression, grimace, surface")),
        (("launch", "nosuch.yaml"), ("nosuch.yaml: no such file",)),
        (("launch", "digits", "--devices", "tpu"), ("--devices tpu", "auto, cpu or cuda:N")),
        (("status",), ("does not exist", "hpo launch")),
        (("lunch",), ("no command 'lunch'; did you mean launch?",)),
        (("evaluate", "nowhere"), ("nowhere is not a model folder",)),
        (("status", "--storage", "mysql://a:secret@b/c"), ("use sqlite:///FILE or postgresql://",)),
        (("status", "--storage", "sqlite://"), ("sqlite:///runs/hpo.db",)),
        (("status", "--storage", "postgresql://me:secret@127.0.0.1:1/hpo"), ("cannot use postgresql", "me:***@")),
    ],
)
def test_typical_mistakes(hpo: Run, words: tuple[str, ...], texts: tuple[str, ...]) -> None:
    done = hpo(*words)
    refused(done, *texts)
    assert "secret" not in done.stdout + done.stderr


def test_broken_data_names_file_line_and_column(hpo: Run, tmp_path: Path, shared_data: Path) -> None:
    lines = (shared_data / "abr" / "waveforms.csv").read_text().splitlines()
    column = lines[0].split(",").index("hearing_class")

    def launch(name: str, content: list[str]) -> subprocess.CompletedProcess[str]:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "waveforms.csv").write_text("\n".join(content) + ("\n" if content else ""))
        return hpo("launch", "abr", "--data", str(folder))

    without = [",".join(c for i, c in enumerate(line.split(",")) if i != column) for line in lines]
    refused(launch("column", without), "waveforms.csv, line 1: no column hearing_class; label columns may be empty")
    cells = lines[3].split(",")
    cells[column] = "nan"
    refused(
        launch("label", [*lines[:3], ",".join(cells), *lines[4:]]), "waveforms.csv", "line 4", "hearing_class", "nan"
    )
    refused(launch("empty", []), "waveforms.csv", "empty")
    refused(hpo("launch", "abr", "--data", "nowhere"), "nowhere", "no such file or folder")


def test_a_password_is_neither_in_ps_nor_in_output(hpo: Run, tmp_path: Path) -> None:
    done = hpo("storage", "init", "--storage", "postgresql://me:pa{ss}word@127.0.0.1:1/hpo")
    refused(done, "cannot use postgresql")
    assert "pa{ss}word" not in done.stdout + done.stderr
