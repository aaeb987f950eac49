"""Kill a worker at every SQL statement of its life, or let every statement fail once; a second worker then mends it.

    python -m tests.faults.sweep URL kill|takeover|error

A process of its own: it imports torch once and forks, so that a point costs a fraction of a second. Every point has a
study of its own, of one trial. Prints JSON: the number of points, and what was wrong at which.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
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


def main(url: str, kind: str) -> int:
    torch.set_num_threads(1)
    hpo.worker.grace_period = lambda: GRACE
    wrong: dict[int, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = RunFiles(Path(folder))
        _forked(lambda: Store(url, create=True).close())
        for point in itertools.count(1):
            name = f"point-{point}"
            _forked(lambda name=name: _create(url, files, name))  # type: ignore[misc]
            if kind == "takeover":
                _forked(lambda name=name: _work(url, files, name, MIDDLE, _kill))  # type: ignore[misc]
            how = _fail if kind == "error" else _kill
            code = _forked(lambda name=name, point=point: _work(url, files, name, point, how))  # type: ignore[misc]
            if code not in (0, -signal.SIGKILL) or (kind == "error" and code != 0):
                wrong[point] = f"the worker ended with {code}"
            if kind != "error":
                _forked(lambda name=name: _work(url, files, name, MOST, how))  # type: ignore[misc]
            print(point, code, file=sys.stderr, flush=True)
            trouble = _ask(lambda name=name: _trouble(url, name))  # type: ignore[misc]
            if trouble:
                wrong[point] = trouble
            if (kind != "error" and code == 0) or point == MOST or _ask(lambda point=point: _reached(point)):  # type: ignore[misc]
                break
    print(json.dumps({"points": point, "wrong": wrong}))
    return 1 if wrong else 0


_REACHED = Path(tempfile.mkdtemp()) / "statements"


def _reached(point: int) -> str:
    """Something, when the last worker made fewer statements than this."""
    made = int(_REACHED.read_text()) if _REACHED.exists() else MOST
    return "all" if made < point else ""


def _create(url: str, files: RunFiles, name: str) -> None:
    text = STUDY.format(
        objective="faulty.py", trials=1, epochs=EPOCHS, pause=0.0, pruner="{name: asha, min_resource: 1}"
    )
    text = text.replace("study: faults", f"study: {name}")
    spec = Study.from_text(text, "/faults.yaml", lambda _: Faulty())
    store = Store(url)
    create_or_resume(spec, None, store, files, Faulty(), None, lambda _: None)
    store.close()


def _work(url: str, files: RunFiles, name: str, point: int, strike: Callable[[], None]) -> None:
    """A worker that meets its fault at the given statement of the database (commits and rollbacks count)."""
    store, count = Store(url), itertools.count(1)
    seen = [0]

    def statement(*_: Any) -> None:
        seen[0] = next(count)
        if seen[0] == point:
            strike()

    record = store.studies.get(name)
    for moment in ("before_cursor_execute", "commit", "rollback"):
        event.listen(store.database.engine, moment, statement)
    options = Options(threads=1, promote=False, checkpoint_every=0.0, database_patience=1.0)
    worker = Worker(store, files, record, lambda *_: Faulty(), options, lambda text: None)
    code = worker.run()
    _REACHED.write_text(str(seen[0]))
    os._exit(code)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _fail() -> None:
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


def _ask(question: Callable[[], str]) -> str:
    """The answer of a forked process."""
    answer = Path(tempfile.mkdtemp()) / "answer"
    code = _forked(lambda: answer.write_text(question()) and None)  # type: ignore[func-returns-value]
    return answer.read_text() if answer.exists() else f"no answer ({code})"


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
