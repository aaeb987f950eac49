"""`hpo logs`: one trial as it was written, several in columns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.cli.logs import Columns
from hpo.files import RunFiles
from hpo.store import Store
from hpo.work import Log
from tests.store.parts import epoch, facts

Run = Callable[..., subprocess.CompletedProcess[str]]


def written(path: Path, epochs: Sequence[int], scale: float = 0.1, last: str = "pruned after an epoch") -> list[str]:
    """A log as a worker writes it: parameters, epochs, end."""
    log = Log(path)
    log.say(f"trial {path.name.lstrip('0').removesuffix('.log')}, fold 0: {{'optimizer.lr': 0.1}}")
    for number in epochs:
        log.epoch(epoch(number, scale * number), 9)
    log.say(last)
    return path.read_text().splitlines()


def test_epochs_stand_side_by_side(tmp_path: Path) -> None:
    long, short = written(tmp_path / "7", [1, 2, 3]), written(tmp_path / "12", [1, 2], 0.2)
    columns = Columns([7, 12], "f1", None)
    head, names, *rows = columns.lines({7: long, 12: short})
    assert head.split() == ["--", "trial", "7", head.split()[3], "--", "trial", "12", head.split()[7]]
    assert names.split() == ["epoch", *["f1", "loss", "train.loss", "train.f1", "lr", "gradient", "seconds"] * 2]
    assert rows[0].split()[:3] == ["1", "0.1", "2"] and rows[0].split()[8:10] == ["0.2", "2"]
    assert rows[2].split() == ["3", "0.3", "0.6667", "0.3333", "0.4", "0.001", "0.7", "2.00"]
    assert rows[2].index("0.3 ") + 3 == names.index("f1") + 2, "values end where their names end"
    assert rows[3:] == [
        "trial 7: pruned after an epoch",
        "trial 12: pruned after an epoch",
    ]


@pytest.mark.parametrize(("width", "beside", "values"), [(200, 3, 6), (110, 3, 3), (80, 3, 2), (60, 2, 2), (20, 1, 2)])
def test_no_line_is_wider_than_the_terminal_while_two_values_fit(
    tmp_path: Path, width: int, beside: int, values: int
) -> None:
    columns = Columns([1, 2, 3], "f1", width)
    lines = list(columns.lines({n: written(tmp_path / str(n), range(1, 4)) for n in (1, 2, 3)}))
    assert f"{values} of 7 values fit" in lines[0]
    assert lines[1].count("trial") == beside and lines[2].split() == ["epoch", *names(values) * beside]
    table = [line for line in lines[1:] if not line.startswith("trial")]
    assert max(map(len, table)) <= max(width, 29)


def names(count: int) -> list[str]:
    return ["f1", "loss", "train.loss", "train.f1", "lr", "gradient"][:count]


def test_a_fast_validation_is_marked_and_details_are_left_to_the_log_of_one_trial(tmp_path: Path) -> None:
    log = Log(tmp_path / "1")
    log.epoch(replace(epoch(1), full=False, weights={"class": 0.5}, report={"a": {"recall": 1.0}}), 9)
    (_, _, row) = Columns([1, 2], "f1", None).lines({1: log.path.read_text().splitlines(), 2: []})
    assert row.split() == ["1", "~0.5", "~2", "1", "0.6", "0.001", "0.7", "2.00"]


def test_lines_that_come_later_go_on_under_the_same_heading(tmp_path: Path) -> None:
    first, second = written(tmp_path / "1", [1, 2, 3]), written(tmp_path / "2", [1, 2])
    columns = Columns([1, 2], "f1", None)
    assert [line[:1] for line in columns.lines({1: first[:3], 2: []})] == [" ", "e", "1", "2"]
    (late,) = columns.lines({1: [], 2: second[1:2]})
    assert late.startswith("1  ") and len(late.split()) == 8, "the other trial's columns stay empty"
    assert [line[:1] for line in columns.lines({1: first[3:4], 2: second[2:3]})] == ["2", "3"]
    assert list(columns.lines({1: [], 2: []})) == []


def test_one_trial_is_printed_as_it_was_written_and_followed(tmp_path: Path, hpo: Run) -> None:
    files = RunFiles(tmp_path / "runs")
    store = Store(files.database_url, create=True)
    record = store.studies.create("made-up", {}, **facts())
    store.close()
    path = files.trial_log(record.folder, 7)
    lines = written(path, [1, 2])
    assert hpo("logs", "made-up", "7").stdout.splitlines() == lines
    missing = hpo("logs", "made-up", "7", "8")
    assert missing.returncode == 2 and "no log of trial 8" in missing.stderr
    command = [sys.executable, "-P", "-m", "hpo", "logs", "made-up", "7", "--follow"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert [following.stdout.readline().rstrip() for _ in lines] == lines
        Log(path).say("one more")
        assert following.stdout.readline().rstrip().endswith("one more")
        following.kill()
