"""Workers whose clocks and time zones differ: nobody is judged by them."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import Any

from tests.faults.parts import Field, assert_whole, finished

HOUR = 3600.0
#: Ten seconds later New York's clocks go from 2 to 3 in the morning.
SPRING = datetime(2026, 3, 8, 6, 59, 50, tzinfo=UTC).timestamp()
EPOCHS = 20

#: Python runs a module of this name when it starts. The monotonic clock stays as it is: no machine's ever jumps.
SITECUSTOMIZE = """\
import datetime, os, time

SHIFT = float(os.environ["FALSE_CLOCK"])
true, true_time = datetime.datetime, time.time

class Kind(type):
    def __instancecheck__(self, thing):
        return isinstance(thing, true)

class Shifted(true, metaclass=Kind):
    @classmethod
    def now(cls, tz=None):
        return true.fromtimestamp(true_time() + SHIFT, tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.UTC).replace(tzinfo=None)

datetime.datetime = Shifted
time.time = lambda: true_time() + SHIFT
time.time_ns = lambda: int(time.time() * 1e9)
"""


def false_clocks(field: Field, *, trials: int) -> str:
    """A worker for each clock beside one with the right clock: whoever begins a trial brings it to its end."""
    clocks = {
        "an hour late": {"FALSE_CLOCK": str(-HOUR), "TZ": "America/New_York", "PGTZ": "Asia/Tokyo"},
        "an hour early": {"FALSE_CLOCK": str(HOUR), "TZ": "Asia/Tokyo", "PGTZ": "America/New_York"},
        "in March": {"FALSE_CLOCK": str(SPRING - time.time()), "TZ": "America/New_York"},
    }
    (field.folder / "clock").mkdir()
    (field.folder / "clock" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(field.folder / "clock"), os.environ.get("PYTHONPATH", "")])
    # Each begins a trial, and nobody another one before all have.
    field.hold(trials=trials, epochs=EPOCHS)
    launched = field.launch("--workers", "1")
    field.wait(lambda: len(_holders(field)) == 1, "a study and its first trial")
    false = [field.start("worker", "faults", "--no-promote", **clock, PYTHONPATH=path) for clock in clocks.values()]
    field.wait(lambda: len(_holders(field)) > len(clocks), "a trial of every worker")
    holders = _holders(field)
    _assert_sensible(json.loads(finished(field.start("status", "faults", "--json"))), trials, holders)
    field.let_go()
    for process in (launched, *false):
        finished(process)
    found = assert_whole(field, trials=trials, epochs=EPOCHS)
    assert all(trial.attempt == 1 for trial in found), [(trial.number, trial.attempt, trial.worker) for trial in found]
    begun = [trial.started.timestamp() for trial in found if trial.started is not None]
    hours = {round((moment - begun[0]) / HOUR) for moment in begun}
    assert {-1, 0, 1} < hours, f"the clocks were not false: {hours}"
    return f"{trials} trials by workers whose clocks are right, {', '.join(clocks)}: no takeover"


def _holders(field: Field) -> set[str]:
    """Every worker that has begun a trial."""
    return {trial.worker for trial in field.trials() if trial.worker}


def _assert_sensible(shown: Any, trials: int, holders: set[str]) -> None:
    """What `hpo status --json` says."""
    names = [worker["name"] for worker in shown["workers"]]
    assert sorted(names) == sorted(holders), (shown["workers"], holders)
    assert shown["states"]["RUNNING"] == shown["budget"]["used"] == len(holders) < trials, shown
    assert 0 <= shown["compute_hours"] < 1, shown
