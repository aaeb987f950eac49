"""The table of workers: one line each, whatever the terminal's width."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import pytest
from rich.console import Console

from hpo.cli.view import workers_table
from hpo.records import WorkerRecord
from tests.store.parts import epoch

LAST = replace(epoch(13, 0.12345), validation={"loss": 2.345, "loss.class": 0.739, "loss.peak": 0.34, "f1": 0.1234})
WORKER = WorkerRecord(
    name="node-17-13879-ec06",
    host="node-17",
    pid=13879,
    device="cuda:0",
    state="training",
    trial=None,
    job="trial 12, fold 3",
    epoch=13,
    last=LAST,
    held_since=datetime(2026, 1, 2, 3, 4, 5),
    seen=datetime(2026, 1, 2, 3, 4, 6),
)


@pytest.mark.parametrize("width", [80, 200])
def test_a_worker_is_one_line_with_everything_that_fits(width: int) -> None:
    idle = replace(WORKER, name="w2", job=None, epoch=None, last=None, held_since=None, state="waiting")
    text = io.StringIO()
    Console(file=text, width=width).print(workers_table([WORKER, idle], "f1", width))
    head, busy, waiting, *below = text.getvalue().splitlines()
    assert head.split() == [
        *("worker", "device", "work", "epoch", "loss", "f1", "since,", "UTC"),
        *(["validation", "losses"] if width == 200 else []),
    ]
    shown = "node-17-13879-ec06 cuda:0 trial 12, fold 3 13 2.345 0.1234 03:04:05"
    assert " ".join(busy.split()) == shown + (" class 0.739 peak 0.34" if width == 200 else "")
    assert waiting.split() == ["w2", "cuda:0", "waiting"]
    assert [line.strip() for line in below] == ([] if width == 200 else [f"{WORKER.name}: class 0.739 peak 0.34"])
