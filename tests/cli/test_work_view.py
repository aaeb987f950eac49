"""The table of who works on what: one line each, whatever the terminal's width."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import pytest
from rich.console import Console

from hpo.cli.work_view import work_table
from hpo.records import WorkerRecord, WorkRecord
from tests.store.parts import epoch

LAST = replace(epoch(13, 0.12345), validation={"loss": 2.345, "loss.class": 0.739, "loss.peak": 0.34, "f1": 0.1234})
IDLE = WorkerRecord(
    name="w2",
    host="node-17",
    pid=13880,
    device="cuda:1",
    state="waiting",
    trial=None,
    job=None,
    epoch=None,
    last=None,
    held_since=None,
    seen=datetime(2026, 1, 2, 3, 4, 6),
    silent_seconds=1.0,
)
JOB = WorkRecord(
    lease_id=1,
    trial=None,
    job="trial 12, fold 3",
    held=True,
    worker="node-17-13879-ec06",
    host="node-17",
    device="cuda:0",
    attempt=1,
    epoch=13,
    last=LAST,
    held_since=datetime(2026, 1, 2, 3, 4, 5),
    held_seconds=184.0,
    silent_seconds=1.0,
)
TRIAL = replace(JOB, trial=7, job=None)


def shown(work: list[WorkRecord], workers: list[WorkerRecord], width: int) -> list[str]:
    text = io.StringIO()
    Console(file=text, width=width).print(work_table(work, workers, "f1", width))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def words(line: str) -> str:
    return " ".join(line.split())


@pytest.mark.parametrize(
    ("width", "since", "held", "terms"),
    [(80, "held for", "3 min", ""), (200, "since, UTC", "03:04:05, 3 min", " class 0.739 peak 0.34")],
)
def test_work_is_one_line_with_everything_that_fits(width: int, since: str, held: str, terms: str) -> None:
    head, busy, waiting, *below = shown([JOB], [replace(IDLE, name=JOB.worker), IDLE], width)
    assert words(head) == f"work worker device epoch loss f1 {since}" + (" validation losses" if terms else "")
    assert words(busy) == f"trial 12, fold 3 node-17-13879-ec06 cuda:0 13 2.345 0.1234 {held}{terms}"
    assert words(waiting) == "waiting w2 cuda:1"
    assert [words(line) for line in below] == ([] if terms else ["trial 12, fold 3: class 0.739 peak 0.34"])


def test_the_values_of_a_fast_validation_are_told_from_others() -> None:
    row = shown([replace(JOB, last=replace(LAST, full=False))], [], 80)[1]
    assert words(row) == "trial 12, fold 3 node-17-13879-ec06 cuda:0 13 fast 2.345 0.1234 3 min"


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"attempt": 2}, "trial 7 node-17-13879-ec06 cuda:0 13 2.345 0.1234 3 min, attempt 2"),
        ({"silent_seconds": 12.4}, "trial 7 node-17-13879-ec06 cuda:0 13 2.345 0.1234 silent for 12 s"),
        ({"held": False}, "trial 7 waits for a worker 13 2.345 0.1234 given back"),
        # Of a restored database, which knows no workers.
        ({"silent_seconds": None, "device": None}, "trial 7 node-17-13879-ec06 13 2.345 0.1234 silent"),
    ],
)
def test_the_stages_of_a_takeover_are_seen(width: int, change: dict[str, object], row: str) -> None:
    lines = shown([replace(TRIAL, **change)], [], width)  # type: ignore[arg-type]
    found = words(lines[1]).replace("03:04:05, ", "").removesuffix(" class 0.739 peak 0.34")
    assert found == row
    silence = "the work of a silent worker is taken over after 30 s"
    assert (silence in map(str.strip, lines)) is ("silent" in row)
    assert max(map(len, lines)) <= width


def test_a_long_name_loses_its_beginning_and_nothing_else_is_cut() -> None:
    long = replace(JOB, worker="ip-10-0-3-17.eu-central-1.compute.internal-13879-ec06", attempt=2)
    row = shown([long], [], 80)[1]
    assert row == "trial 12, fold 3  …al-13879-ec06  cuda:0  13     2.345  0.1234  3 min, attempt 2"
    assert len(row) == 80


def test_a_dead_worker_without_work_says_so() -> None:
    assert words(shown([], [replace(IDLE, silent_seconds=70)], 80)[1]) == "waiting w2 cuda:1 silent for 70 s"
