"""Kill a worker at every SQL statement of its life, or let the database fail from there on; a second one mends it.

    python -m tests.faults.sweep URL kill|takeover|error [EVERY [SECONDS]]

`error` lets a statement fail once, or, given SECONDS, all statements from it on for so long.

A process of its own: it imports torch once and forks, so that a point costs a second. Every point has a study of its
own, of one trial; EVERY 5 takes every fifth statement. Prints JSON: the number of points, and what was wrong at which.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # what the first optimizer of every fork would import
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

import hpo.worker
from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.options import Options
from hpo.patience import Patience
from hpo.store import Store
from hpo.study import Study
from hpo.worker import Worker
from tests.faults.faulty import Faulty
from tests.faults.parts import STUDY

EPOCHS = 2
#: Nobody else is alive to beat: a dead worker's lease may be taken at once.
GRACE = 0.3
#: More statements than a worker makes for one trial.
MOST = 400
#: The statement in the middle of a trial at which the first of two victims dies.
MIDDLE = 40


#: How a fault strikes: called with the number of every statement. Raises, or kills, or does nothing.
Strike = Callable[[int], None]


def main(url: str, kind: str, every: str = "1", seconds: str = "0") -> int:
    torch.set_num_threads(1)
    vars(hpo.worker)["grace_period"] = lambda: GRACE
    wrong: dict[int, str] = {}
    points = 0
    with tempfile.TemporaryDirectory() as folder:
        files = RunFiles(Path(folder))
        _forked(partial(_make, url))
        for point in range(1, MOST, int(every)):
            reached, trouble = _at(url, files, kind, point, float(seconds))
            if trouble:
                wrong[point] = trouble
            if not reached:
                break
            points += 1
            print(f"{kind} at statement {point}: {trouble or 'mended'}", file=sys.stderr, flush=True)
    print(json.dumps({"points": points, "wrong": wrong}))
    return 1 if wrong else 0


def _at(url: str, files: RunFiles, kind: str, point: int, seconds: float) -> tuple[bool, str]:
    """Whether the worker reached this statement, and what was wrong afterwards."""
    name = f"point-{point}"
    _forked(partial(_create, url, files, name))
    if kind == "takeover":
        _forked(partial(_work, url, files, name, _Kill(MIDDLE)))
    made = files.root / "statements"
    made.unlink(missing_ok=True)
    strike = _Fail(point, seconds) if kind == "error" else _Kill(point)
    code = _forked(partial(_work, url, files, name, strike))
    if code == 0:
        trouble = files.root / "trouble"
        checked = _forked(partial(_write_trouble, url, name, trouble))
        return int(made.read_text()) >= point, trouble.read_text() if checked == 0 else "could not be checked"
    if kind == "error" or code != -signal.SIGKILL:
        return True, f"the worker ended with {code}"
    second = _forked(partial(_work, url, files, name, _Kill(MOST)))
    if second != 0:
        return True, f"the second worker ended with {second}"
    trouble = files.root / "trouble"
    checked = _forked(partial(_write_trouble, url, name, trouble))
    return True, trouble.read_text() if checked == 0 else "could not be checked"


def _make(url: str) -> None:
    Store(url, create=True).close()


def _write_trouble(url: str, name: str, path: Path) -> None:
    path.write_text(_trouble(url, name))


def _create(url: str, files: RunFiles, name: str) -> None:
    text = STUDY.format(
        objective="faulty.py", trials=1, epochs=EPOCHS, pause=0.0, pruner="{name: asha, min_resource: 1}"
    )
    text = text.replace("study: faults", f"study: {name}")
    spec = Study.from_text(text, "/faults.yaml", lambda _: Faulty())
    store = Store(url)
    create_or_resume(spec, None, store, files, Faulty(), None, lambda _: None)
    store.close()


def _work(url: str, files: RunFiles, name: str, strike: Strike) -> None:
    """A worker that meets its fault at a statement of the database (commits and rollbacks count)."""
    store, count = Store(url), itertools.count(1)
    seen = [0]

    def statement(*_: Any) -> None:
        seen[0] = next(count)
        strike(seen[0])

    record = store.studies.get(name)
    for moment in ("before_cursor_execute", "commit", "rollback"):
        event.listen(store.database.engine, moment, statement)
    options = Options(threads=1, promote=False, checkpoint_every=0.0, database_patience=1.0)
    made = partial(Worker, store, files, record, lambda *_: Faulty(), options, lambda text: None)
    worker = Patience(60.0, lambda text: None).until(made)
    code = worker.run()
    event.remove(store.database.engine, "before_cursor_execute", statement)
    (files.root / "statements").write_text(str(seen[0]))
    os._exit(code)


class _Kill:
    """Kill -9 at one statement."""

    def __init__(self, point: int) -> None:
        self._point = point

    def __call__(self, number: int) -> None:
        if number == self._point:
            os.kill(os.getpid(), signal.SIGKILL)


class _Fail:
    """One statement fails, or all from it on for so many seconds, also those of the heart."""

    def __init__(self, point: int, seconds: float) -> None:
        self._point, self._seconds = point, seconds
        self._until = 0.0

    def __call__(self, number: int) -> None:
        if number == self._point:
            self._until = time.monotonic() + self._seconds
        elif time.monotonic() >= self._until:
            return
        raise OperationalError("a statement", {}, Exception("made to fail"))


def _trouble(url: str, name: str) -> str:
    """What is wrong with the study's records; nothing when its trial is complete and all is there once."""
    store = Store(url)
    record = store.studies.get(name)
    trials = store.reading.trials(record.study_id)
    if [trial.state for trial in trials] != ["COMPLETE"]:
        return f"states {[(trial.state, trial.end, trial.end_text) for trial in trials]}"
    epochs = [epoch.number for epoch in trials[0].epochs]
    if epochs != list(range(1, EPOCHS + 1)):
        return f"epochs {epochs}"
    theirs = store.database.get_trial(trials[0].trial_id)
    if theirs.intermediate_values != {epoch.number: epoch.validation["skill"] for epoch in trials[0].epochs}:
        return f"reports {theirs.intermediate_values}"
    if theirs.value != trials[0].value:
        return f"value {theirs.value} of Optuna, {trials[0].value} of ours"
    return f"{store.leases.open(record.study_id)} open leases" if store.leases.open(record.study_id) else ""


def _forked(action: Callable[[], None]) -> int:
    """Do something in a forked process; its exit code, negative for a signal."""
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
