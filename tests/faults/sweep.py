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
from collections.abc import Callable, Sequence
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
from tests.faults.parts import study

EPOCHS = 2
#: Nobody else is alive to beat: a dead worker's lease may be taken at once.
GRACE = 0.3
#: More statements than a worker makes for one trial, or for a promotion.
MOST = 1000
#: The statement in the middle of a trial at which the first of two victims dies.
MIDDLE = 40


#: What a victim does.
Act = Callable[[], object]
#: What strikes at a certain point of it, and may strike again: called with how many events ago that was.
Strike = Callable[[int], object]
#: Calls its last argument at every event that is counted.
Events = Callable[[Store, RunFiles, Act], None]
SEARCH = Options(threads=1, promote=False, checkpoint_every=0.0, database_patience=1.0)


def main(url: str, kind: str, every: str = "1", seconds: str = "0") -> int:
    return sweep(url, kind, int(every), partial(_at, float(seconds)))


def sweep(
    url: str, kind: str, every: int, at: Callable[[str, RunFiles, str, int], tuple[bool, str]], *, grace: float = GRACE
) -> int:
    """Strike at every such point until none is reached any more; `at` is `_at`, or does the like."""
    torch.set_num_threads(1)
    vars(hpo.worker)["grace_period"] = lambda: grace
    wrong: dict[int, str] = {}
    points = 0
    with tempfile.TemporaryDirectory() as folder:
        files = RunFiles(Path(folder))
        forked(partial(_make, url))
        for point in range(1, MOST, every):
            reached, trouble = at(url, files, kind, point)
            if trouble:
                wrong[point] = trouble
            if not reached:
                break
            points += 1
            print(f"{kind} at {point}: {trouble or 'mended'}", file=sys.stderr, flush=True)
    print(json.dumps({"points": points, "wrong": wrong}))
    return 1 if wrong else 0


def _at(seconds: float, url: str, files: RunFiles, kind: str, point: int) -> tuple[bool, str]:
    """Whether the worker reached this statement, and what was wrong afterwards."""
    name = f"point-{point}"
    forked(partial(_create, url, files, name))
    if kind == "takeover":
        forked(partial(work, url, files, name, MIDDLE, kill))
    code, reached = victim(url, files, name, point, _Fail(seconds) if kind == "error" else kill)
    if code == 0:
        return reached, told(files, partial(_trouble, url, name))
    if kind == "error" or code != -signal.SIGKILL:
        return True, f"the worker ended with {code}"
    second = forked(partial(work, url, files, name, MOST, kill))
    if second != 0:
        return True, f"the second worker ended with {second}"
    return True, told(files, partial(_trouble, url, name))


def victim(url: str, files: RunFiles, name: str, point: int, strike: Strike, **options: Any) -> tuple[int, bool]:
    """The exit code of a worker that is struck at this point, and whether there was such a point."""
    code = forked(partial(work, url, files, name, point, strike, **options))
    return code, code != 0 or int((files.root / "counted").read_text()) >= point


def told(files: RunFiles, trouble: Callable[[], str]) -> str:
    """What `trouble` says in a process of its own."""
    path = files.root / "trouble"
    checked = forked(lambda: path.write_text(trouble()))
    return path.read_text() if checked == 0 else "could not be checked"


def _make(url: str) -> None:
    Store(url, create=True).close()


def _create(url: str, files: RunFiles, name: str) -> None:
    text = study(trials=1, epochs=EPOCHS, pruner="{name: asha, min_resource: 1}")
    text = text.replace("study: faults", f"study: {name}")
    spec = Study.from_text(text, "/faults.yaml", lambda _: Faulty())
    store = Store(url)
    create_or_resume(spec, None, store, files, Faulty(), None, lambda _: None)
    store.close()


def work(
    url: str,
    files: RunFiles,
    name: str,
    point: int,
    strike: Strike,
    *,
    options: Options = SEARCH,
    events: Events | None = None,
) -> None:
    """A worker that meets its fault at the given event: by default, a statement, commit or rollback."""
    store, count = Store(url), itertools.count(1)
    seen = [0]

    def counted() -> None:
        seen[0] = next(count)
        if seen[0] >= point:
            strike(seen[0] - point)

    record = store.studies.get(name)
    (events or statements)(store, files, counted)
    made = partial(Worker, store, files, record, lambda *_: Faulty(), options, lambda text: None)
    worker = Patience(60.0, lambda text: None).until(made)
    code = worker.run()
    (files.root / "counted").write_text(str(seen[0]))
    os._exit(code)


def statements(store: Store, _files: RunFiles, counted: Act) -> None:
    for moment in ("before_cursor_execute", "commit", "rollback"):
        event.listen(store.database.engine, moment, lambda *_: counted())


def kill(_ago: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class _Fail:
    """One statement fails, or all from it on for so many seconds, those of the heart included."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, 0.0

    def __call__(self, ago: int) -> None:
        if ago == 0:
            self._until = time.monotonic() + self._seconds
        if ago == 0 or time.monotonic() < self._until:
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


def forked(action: Act) -> int:
    """Do something in a forked process; its exit code, negative for a signal."""
    return at_once([action])[0]


def at_once(actions: Sequence[Act]) -> list[int]:
    """Do all of them in a forked process each, at the same time."""
    children = [_fork(action) for action in actions]
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _fork(action: Act) -> int:
    child = os.fork()
    if child == 0:
        try:
            action()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    return child


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
