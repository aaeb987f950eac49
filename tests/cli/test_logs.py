"""`hpo logs`: one trial as it was written, several in columns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.cli.logs import Columns
from hpo.epoch import Epoch
from hpo.epoch_lines import parameter_lines
from hpo.files import RunFiles
from hpo.store import Store
from hpo.work import Log
from tests.store.parts import epoch, facts, params, trial

Run = Callable[..., subprocess.CompletedProcess[str]]


def written(path: Path, epochs: Sequence[int], last: str = "pruned after an epoch") -> list[str]:
    """A log as a worker writes it: parameters, epochs, end."""
    log = Log(path)
    for line in ("trial 7, fold 0", *parameter_lines(params())):
        log.say(line)
    for number in epochs:
        log.epoch(epoch(number, 0.1 * number), 9)
    log.say(last)
    return path.read_text().splitlines()


def epochs(numbers: Iterable[int], scale: float = 0.1) -> list[Epoch]:
    return [epoch(number, scale * number) for number in numbers]


def test_epochs_stand_side_by_side() -> None:
    columns = Columns([7, 12], "f1", None)
    head, names, *rows = columns.lines({7: epochs([1, 2, 3]), 12: epochs([1, 2], 0.2)}, ["trial 7: pruned"])
    assert head.split() == ["--", "trial", "7", head.split()[3], "--", "trial", "12", head.split()[7]]
    assert names.split() == ["epoch", *["f1", "loss", "train.loss", "train.f1", "lr", "gradient", "seconds"] * 2]
    assert rows[0].split()[:3] == ["1", "0.1", "2"] and rows[0].split()[8:10] == ["0.2", "2"]
    assert rows[2].split() == ["3", "0.3", "0.6667", "0.3333", "0.4", "0.001", "0.7", "2.00"]
    assert rows[2].index("0.3 ") + 3 == names.index("f1") + 2, "values end where their names end"
    assert rows[3:] == ["trial 7: pruned"]


def test_names_with_blanks_and_numbers_stay_whole() -> None:
    """Classes of `abr` are called `0-10 dB` and `below threshold`."""
    scores = {"f1.below threshold": 0.25, "f1.0-10 dB": 0.5, "f1.class 2": 0.75}
    one = replace(epoch(1), validation=scores)
    _, names, row = Columns([1, 2], "f1.0-10 dB", None).lines({1: [one], 2: [one]})
    for name, value in scores.items():
        end = names.index(name) + len(name)
        assert row[:end].endswith(f" {value}"), f"{name} stands over its value"


@pytest.mark.parametrize(("width", "beside", "values"), [(200, 3, 6), (110, 3, 3), (80, 3, 2), (60, 2, 2), (20, 1, 2)])
def test_no_line_is_wider_than_the_terminal_while_two_values_fit(width: int, beside: int, values: int) -> None:
    columns = Columns([1, 2, 3], "f1", width)
    lines = list(columns.lines({n: epochs(range(1, 4)) for n in (1, 2, 3)}))
    assert f"{values} of 7 values fit" in lines[0]
    assert lines[1].count("trial") == beside and lines[2].split() == ["epoch", *names(values) * beside]
    assert max(map(len, lines[1:])) <= max(width, 29)


def names(count: int) -> list[str]:
    return ["f1", "loss", "train.loss", "train.f1", "lr", "gradient"][:count]


def test_a_fast_validation_is_marked() -> None:
    (_, _, row) = Columns([1, 2], "f1", None).lines({1: [replace(epoch(1), full=False)], 2: []})
    assert row.split() == ["1", "~0.5", "~2", "1", "0.6", "0.001", "0.7", "2.00"]


def test_epochs_that_come_later_go_on_under_the_same_heading() -> None:
    columns = Columns([1, 2], "f1", None)
    assert [line[:1] for line in columns.lines({1: epochs([1, 2]), 2: []})] == [" ", "e", "1", "2"]
    (late,) = columns.lines({1: [], 2: epochs([1])})
    assert late.startswith("1  ") and len(late.split()) == 8, "the other trial's columns stay empty"
    assert [line[:1] for line in columns.lines({1: epochs([3]), 2: epochs([2])})] == ["2", "3"]
    assert list(columns.lines({1: [], 2: []})) == []


def test_several_trials_are_read_from_the_record_and_their_ends_from_the_logs(tmp_path: Path, hpo: Run) -> None:
    files = RunFiles(tmp_path / "runs")
    store = Store(files.database_url, create=True)
    record = store.studies.create("made-up", {}, **facts())
    for number in range(3):
        lease = trial(store, record.study_id)
        store.results.choose(lease, params(), [])
        for one in epochs(range(1, number + 1)):
            store.results.record(lease, [one], None, lambda *_: False)
    store.close()
    written(files.trial_log(record.folder, 1), [1])
    written(files.trial_log(record.folder, 2), [1, 2])
    _, _, *rows = hpo("logs", "made-up", "1", "2").stdout.splitlines()
    assert [row.split()[:2] for row in rows[:2]] == [["1", "0.1"], ["2", "0.2"]]
    assert rows[2:] == ["trial 1: pruned after an epoch", "trial 2: pruned after an epoch"]
    none = hpo("logs", "made-up", "99")
    assert none.returncode == 2 and "study made-up has no trial 99; it has 3, counted from 0" in none.stderr


def test_one_trial_is_printed_as_it_was_written_and_followed(tmp_path: Path, hpo: Run) -> None:
    files = RunFiles(tmp_path / "runs")
    store = Store(files.database_url, create=True)
    record = store.studies.create("made-up", {"before": {"optimizer.lr": 0.1}}, **facts())
    store.close()
    path = files.trial_log(record.folder, 7)
    lines = written(path, [1, 2])
    assert hpo("logs", "made-up", "7").stdout.splitlines() == lines
    waiting = hpo("logs", "made-up", "0")
    assert waiting.returncode == 2 and "trial 0 of study made-up has not begun, so there is no log" in waiting.stderr
    command = [sys.executable, "-P", "-m", "hpo", "logs", "made-up", "7", "--follow"]
    with subprocess.Popen(command, cwd=tmp_path, env=os.environ, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert [following.stdout.readline().rstrip() for _ in lines] == lines
        Log(path).say("one more")
        assert following.stdout.readline().rstrip().endswith("one more")
        following.kill()
