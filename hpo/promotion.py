"""From the best trials to a proven final model: candidates over all folds, then a refit on all data."""

from __future__ import annotations

import itertools
import traceback
from collections.abc import Sequence
from functools import partial
from statistics import median_low

from hpo.objective import DataError, Epoch
from hpo.out_of_fold import leave_predictions
from hpo.patience import DatabaseGone
from hpo.promoted_model import leave_fold_model, save_model
from hpo.recorder import Recorder
from hpo.records import JobRecord, StudyRecord
from hpo.store import DATABASE_ERRORS, MOST_LOSSES, Lease, LeaseLost, Store
from hpo.study import Study
from hpo.training import FoldRun, Interrupted
from hpo.work import Log, Surroundings, advance

#: The fold number of a refit on all data.
REFIT = -1


def plan(store: Store, record: StudyRecord, spec: Study) -> None:
    """Enter the jobs that the state of the study calls for; any worker may call it, at any time, again.

    The best trial and the baseline (the first configuration) are retrained on every fold; then the best one is
    refitted on all data.
    """
    study_id = record.study_id
    best = store.reading.best_trial(study_id, record.direction)
    if best is None:
        return
    planned = store.promotions.planned(study_id)
    if planned is None or planned[0] != best.number:
        store.promotions.reset(study_id, unless=best.number)  # of an earlier, smaller budget
        trials = store.reading.trials(study_id, curves=False) if spec.promotion.baseline else []
        baselines = [t.number for t in trials if t.configuration == spec.baseline and t.params]
        planned = (best.number, baselines[0] if baselines else None)
    candidate, baseline = planned
    numbers = dict.fromkeys([candidate] if baseline is None else [candidate, baseline])
    jobs = [(number, fold, 0) for number in numbers for fold in range(spec.folds.count)]
    found = {(job.candidate, job.fold, job.seed): job.state for job in store.reading.jobs(study_id, curves=False)}
    done = all(found.get((candidate, fold, 0)) == "done" for fold in range(spec.folds.count))
    # Not before the baseline's folds have ended: the model's record holds the comparison.
    if spec.promotion.refit and done and all(found.get(job) in ("done", "failed") for job in jobs):
        jobs.append((candidate, REFIT, 0))
    if not found.keys() >= set(jobs):
        store.promotions.plan(study_id, candidate, baseline, spec.promotion.refit, jobs)
        if (candidate, REFIT, 0) not in jobs:
            plan(store, record, spec)  # all folds may be done already, for an earlier budget: then the refit is next


def run_job(lease: Lease, around: Surroundings) -> None:
    """Train one candidate on one fold without a pruner, or refit it on all data and save the final model.

    Raises:
        Interrupted: the stop flag was set; the lease has been given back.
        LeaseLost: another worker has taken over; nothing more was written.
    """
    assert lease.job_id is not None and lease.params is not None
    log = Log(around.files.job_log(around.record.folder, lease.job_id))
    with around.store.leases.under(lease):
        if lease.losses >= MOST_LOSSES:
            _fail(lease, around, log, f"lost its worker {lease.losses} times in a row without a new epoch")
        else:
            _attempt(lease, around, log)
    around.patience.until(around.retire_checkpoints)


def _attempt(lease: Lease, around: Surroundings, log: Log) -> None:
    try:
        (_refit if lease.fold == REFIT else _fold)(lease, around, log)
    except Interrupted:
        around.boundary.save()
        if not around.patience.away:  # else it is taken over after the grace period, from the same checkpoint
            around.store.leases.give_back(lease)
        raise
    except LeaseLost:
        raise
    except (DatabaseGone, *DATABASE_ERRORS):
        around.boundary.save()  # what the database has not taken is nowhere else
        raise
    except DataError as error:
        _fail(lease, around, log, str(error))
    except (Exception, SystemExit):  # whatever the objective's code raises ends its job, not the worker
        _fail(lease, around, log, traceback.format_exc())


def _fold(lease: Lease, around: Surroundings, log: Log) -> None:
    assert lease.params is not None
    run = around.run(lease, lease.params)
    _train(run, lease, around, log)
    best = run.best
    if best is None:
        # No row of this fold carries the metric's label: its other scores count, and the metric is missing, not 0.
        log.say(f"{run.metric.name} could not be computed on fold {lease.fold}; the last epoch stands for it")
    scores = (best or run.epochs[-1]).validation
    leave_predictions(run, lease, around, log)
    leave_fold_model(run, lease, around, log)
    around.patience.until(lambda: around.store.results.finish_job(lease, best.number if best else None, scores))


def _refit(lease: Lease, around: Surroundings, log: Log) -> None:
    assert lease.params is not None and lease.candidate is not None
    folds = [
        job
        for job in around.store.reading.jobs(lease.study_id)
        if job.candidate == lease.candidate and job.fold >= 0 and job.state == "done"
    ]
    epochs = median_low([job.best_epoch for job in folds if job.best_epoch is not None] or [around.spec.budget.epochs])
    run = around.run(lease, lease.params, epochs=epochs, drops=_median_drops(folds))
    _train(run, lease, around, log)
    test = run.evaluate(around.split.test)
    final = around.store.reading.final(lease.study_id)
    assert final is not None
    path = save_model(run, around, lease, final, test)
    note = partial(around.store.promotions.finish, lease.study_id, lease.candidate, str(path), None)
    around.patience.until(lambda: around.store.results.finish_job(lease, epochs, test, also=note))
    log.say(f"final model {path}")


def _train(run: FoldRun, lease: Lease, around: Surroundings, log: Log) -> None:
    with Recorder(around.store, lease, None, around.patience) as recorder:
        for epoch, restored in advance(run, lease, around, log):
            recorder.record(epoch, None, restored=restored)


def _fail(lease: Lease, around: Surroundings, log: Log, error: str) -> None:
    note = partial(around.store.promotions.finish, lease.study_id, lease.candidate or 0, None, error)
    also = note if lease.fold == REFIT else None
    around.patience.until(lambda: around.store.results.finish_job(lease, None, None, error, also=also))
    log.say(error)


def _median_drops(folds: Sequence[JobRecord]) -> tuple[int, ...]:
    """The median epoch of each drop of a plateau schedule, for drops that at least half of the folds made."""
    drops = [_drops(job.epochs, job.best_epoch or 0) for job in folds]
    most = max((len(found) for found in drops), default=0)
    columns = [[found[i] for found in drops if len(found) > i] for i in range(most)]
    return tuple(median_low(column) for column in columns if 2 * len(column) >= len(folds))


def _drops(epochs: Sequence[Epoch], last: int) -> list[int]:
    """Epochs up to the best one after which the rate fell (a cosine schedule falls always and reads no drops)."""
    pairs = itertools.pairwise(epochs)
    return [before.number for before, after in pairs if after.lr < before.lr and after.number <= last]
