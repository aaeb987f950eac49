"""Whoever promotes is killed, and the study told a false value: one final model of the true best, or none yet.

    python -m tests.faults.promotions URL statement|file [EVERY]

kills a worker at every SQL statement of a promotion, or at every change below runs/models; two others then go on at
once. It works as `tests.faults.sweep` does, and prints the same.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from hpo.files import RunFiles
from hpo.final_model import load_model
from hpo.launching import create_or_resume
from hpo.options import Options
from hpo.promotion import REFIT
from hpo.search import Search
from hpo.store import Store
from hpo.stored import as_launched
from hpo.study import Study
from tests.faults import sweep, sweeps
from tests.faults.faulty import Faulty
from tests.faults.parts import Field, finished, study

OBJECTIVE = f"{Path(__file__).parent / 'faulty.py'}:Faulty"
PROMOTE = Options(threads=1, search=False, checkpoint_every=0.0, database_patience=1.0)
#: Trial 1 was told the better value; it and trial 0, the baseline, are trained on two folds, then it is refitted.
BEST, JOBS = 1, [(1, 0), (1, 1), (0, 0), (0, 1), (1, -1)]
#: Two go on at once, and neither is to judge the other dead.
GRACE = 1.5
#: What another tool tells the study; no skill is above 1.
FORGED = 1e9
#: Configurations beside `before`: two workers are inside the first two while the study is told about the others.
MORE = ("running", "next", "last")


def killed(field: Field, *, every_statement: int, every_file: int) -> str:
    """Strides: 1 kills at each of them."""
    statements, files = _swept(field, "statement", every_statement), _swept(field, "file", every_file)
    return f"killed at {statements} statements and {files} changes of files: one final model each, of the best trial"


def _swept(field: Field, kind: str, every: int) -> int:
    return sweeps.swept("tests.faults.promotions", field.url, kind, str(every))


def forged(field: Field, *, trials: int) -> str:
    """Two workers search and promote while another tool tells the study what is not true, with Optuna's own API."""
    lines = [f"  {name}: {{optimizer: {{lr: {0.02 + 0.01 * number:.2f}}}}}\n" for number, name in enumerate(MORE)]
    field.hold(trials=trials, epochs=6, more="".join(lines))
    field.create()
    workers = [field.work(promote=True) for _ in range(2)]
    field.wait(lambda: len(field.holders()) == 2 and field.trained() >= 4, "workers inside the first two")
    with field.store() as store:
        theirs = optuna.load_study(study_name="faults", storage=store.database)
        theirs.tell(_number(field, "running"), FORGED)
        store.database.set_trial_state_values(_waiting(theirs), TrialState.COMPLETE, [FORGED])
        theirs.add_trial(optuna.create_trial(value=FORGED, params={}, distributions={}))
    field.let_go()
    for worker in workers:
        finished(worker)
    return _assert_honest(field)


def _waiting(study: optuna.Study) -> int:
    """The trial that will begin last of those that wait."""
    return study.get_trials(states=[TrialState.WAITING])[-1]._trial_id


def _number(field: Field, configuration: str) -> int:
    return next(trial.number for trial in field.trials() if trial.configuration == configuration)


def _assert_honest(field: Field) -> str:
    trials = field.trials()
    honest = [trial for trial in trials if trial.value is not None]
    best = max(honest, key=lambda trial: trial.value or 0.0)
    assert all(trial.value is not None and trial.value <= 1 for trial in honest), honest
    with field.store() as store:
        study_id = store.studies.get("faults").study_id
        final = store.reading.final(study_id)
        theirs = store.database.get_all_trials(study_id, deepcopy=False)
    assert final is not None and (final.candidate, final.status) == (best.number, "done"), final
    told = [trial.number for trial in theirs if trial.value == FORGED]
    assert told and best.number not in told
    config = load_model(final.path or "", objective=f"{field.folder / 'faulty.py'}:Faulty").params.flat()
    assert config == best.params
    return f"{len(told)} forged values of {FORGED:g}, promoted: trial {best.number} with {best.value:.3f}"


def main(url: str, kind: str, every: str = "1") -> int:
    return sweep.sweep(url, kind, int(every), _at, grace=GRACE)


def _at(url: str, files: RunFiles, kind: str, point: int) -> tuple[bool, str]:
    """Whether the first worker reached this point, and what was wrong after two others had finished."""
    name = f"{kind}-{point}"
    sweep.forked(partial(_searched, url, files, name))
    events = sweep.statements if kind == "statement" else _changes
    code, reached = sweep.victim(url, files, name, point, sweep.kill, options=PROMOTE, events=events)
    if code not in (0, -signal.SIGKILL):
        return reached, f"the worker ended with {code}"
    ended = sweep.at_once([partial(sweep.work, url, files, name, sweep.MOST, sweep.kill, options=PROMOTE)] * 2)
    if any(ended):
        return reached, f"the others ended with {ended}"
    return reached, sweep.told(files, partial(_trouble, url, files, name))


def _changes(_store: Store, files: RunFiles, counted: sweep.Act) -> None:
    """Count whatever Python opens, makes, renames or removes below the models' folder."""
    models = str(files.root / "models")

    def heard(event: str, arguments: tuple[Any, ...]) -> None:
        if event.partition(".")[0] in ("open", "os", "shutil") and arguments:
            path = arguments[0]
            if isinstance(path, str | os.PathLike) and os.fspath(path).startswith(models):
                counted()

    sys.addaudithook(heard)


def _searched(url: str, files: RunFiles, name: str) -> None:
    """A study with two trials that have been told a value."""
    text = study(objective=OBJECTIVE.removesuffix(":Faulty"), trials=2, epochs=1)
    spec = Study.from_text(text.replace("study: faults", f"study: {name}"), "/faults.yaml", lambda _: Faulty())
    store = Store(url)
    record = create_or_resume(spec, None, store, files, Faulty(), None, lambda _: None)
    search = Search(store, record, as_launched(record))
    for value in (0.5, 0.6):
        lease = store.leases.new_trial(record.study_id, "searcher", 0, 2)
        assert lease is not None
        search.choose(lease)
        tell = partial(search.tell, lease, TrialState.COMPLETE, value)
        store.results.finish_trial(lease, tell, value=value)
    store.close()


def _trouble(url: str, files: RunFiles, name: str) -> str:
    """What is wrong with the promotion; nothing when each fold and the best trial have a whole model."""
    store = Store(url)
    record = store.studies.get(name)
    final = store.reading.final(record.study_id)
    path = files.model(record.folder, BEST)
    if final is None or (final.candidate, final.status, final.path) != (BEST, "done", str(path)):
        return f"final {final}"
    jobs = [(job.candidate, job.fold, job.state) for job in store.reading.jobs(record.study_id)]
    if jobs != [(candidate, fold, "done") for candidate, fold in JOBS]:
        return f"jobs {jobs}"
    if store.leases.open(record.study_id):
        return "open leases"
    there = sorted(found.name for found in path.parent.iterdir())
    folds = [files.fold_model(record.folder, candidate, fold) for candidate, fold in JOBS if fold != REFIT]
    if there != sorted(found.name for found in (path, *folds)):
        return f"models {there}"
    for folder in folds:
        load_model(folder, objective=OBJECTIVE)
    best = store.reading.trials(record.study_id, [BEST])[0]
    if load_model(path, objective=OBJECTIVE).params.flat() != best.params:
        return "the model has other parameters than the best trial"
    return ""


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
