"""Run one search trial: choose its parameters, train a fold under the pruner, tell how it ended."""

from __future__ import annotations

import time
import traceback
from dataclasses import replace
from functools import partial

import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from hpo.epoch_lines import parameter_lines
from hpo.memory import shortage
from hpo.objective import DataError, Epoch
from hpo.patience import DatabaseGone
from hpo.recorder import Recorder
from hpo.schedule import best_epoch
from hpo.search import Search, SpaceExhausted
from hpo.store import DATABASE_ERRORS, MOST_LOSSES, Lease, LeaseLost
from hpo.training import FoldRun, Interrupted, NonFiniteLoss
from hpo.work import Log, Surroundings, advance


class TooSlow(Exception):
    """The trial has used up its minutes."""


def run_trial(lease: Lease, search: Search, around: Surroundings) -> str | None:
    """Bring the trial of this lease to an end, or give it back at its last epoch boundary.

    Returns:
        The class of its end, see `records.End`; None for a completion.

    Raises:
        Interrupted: the stop flag was set; the lease has been given back.
        LeaseLost: another worker has taken over; nothing more was written.
    """
    assert lease.number is not None
    log = Log(around.files.trial_log(around.record.folder, lease.number))
    ending = _Ending(lease, search, around, log)
    with around.store.leases.under(lease):
        if lease.end == "pruned":
            ending.pruned("pruned (decided before the last worker died)")
        elif lease.losses >= MOST_LOSSES:
            ending.failed("worker_lost", f"lost its worker {lease.losses} times in a row without a new epoch")
        else:
            _attempt(lease, search, around, log, ending)
    return ending.end


def end_hung(lease: Lease, search: Search, around: Surroundings, minutes: float) -> None:
    """End a trial from outside: its own thread has not seen a batch for so long."""
    assert lease.number is not None
    log = Log(around.files.trial_log(around.record.folder, lease.number))
    with around.store.leases.under(lease):
        _Ending(lease, search, around, log).failed("hung", f"no batch for {minutes:g} minutes; its worker is replaced")


def _attempt(lease: Lease, search: Search, around: Surroundings, log: Log, ending: _Ending) -> None:
    try:
        if lease.params is not None:
            search.refresh()  # taken over: what others have reported is read here, not inside the first report
        params = lease.params or around.patience.until(lambda: search.choose(lease))
        for line in (f"trial {lease.number}, fold {lease.fold}", *parameter_lines(params)):
            log.say(line)
        limit = _Limit(around.spec.budget.max_trial_minutes)
        run = replace(around, stop=lambda: limit.check() or around.stop()).run(lease, params)
        if _train(run, limit, lease, search, around, log):
            ending.pruned(f"pruned after epoch {len(run.epochs)}", run)
        else:
            ending.complete(run)
    except Interrupted:
        around.boundary.save()
        if not around.patience.away:  # else it is taken over after the grace period, from the same checkpoint
            around.store.leases.give_back(lease)
        raise
    except NonFiniteLoss as error:
        ending.broken("nan", str(error))
    except TooSlow as error:
        ending.broken("timeout", str(error))
    except SpaceExhausted:
        around.store.studies.mark_exhausted(lease.study_id)
        ending.failed("exhausted", "every point of the search space has been evaluated")
    except DataError as error:
        ending.failed("data_error", str(error))
    except LeaseLost:
        raise
    except (DatabaseGone, *DATABASE_ERRORS):
        around.boundary.save()  # what the database has not taken is nowhere else
        raise
    except UpdateFinishedTrialError as error:
        ending.failed("told", str(error))
    except (Exception, SystemExit) as error:  # whatever the objective's code raises ends its trial, not the worker
        if (text := shortage(error, around.feed.device)) is not None:
            torch.cuda.empty_cache()
            ending.broken("out_of_memory", text)
        else:
            ending.failed("code_error", traceback.format_exc())


class _Limit:
    """A trial's minutes, over all its attempts."""

    def __init__(self, minutes: float | None) -> None:
        self._minutes, self._started = minutes, time.monotonic()
        self.before = 0.0  #: seconds of epochs restored from a checkpoint

    def check(self) -> bool:
        if self._minutes is not None and time.monotonic() - self._started + self.before >= 60 * self._minutes:
            raise TooSlow(f"still training after budget.max_trial_minutes = {self._minutes:g}")
        return False


def _train(run: FoldRun, limit: _Limit, lease: Lease, search: Search, around: Surroundings, log: Log) -> bool:
    """Train to the end; True when the pruner stopped it before."""
    pruner = search.pruning(lease) if search.prunes else None
    with Recorder(around.store, lease, pruner, around.patience) as recorder:
        for epoch, restored in advance(run, lease, around, log):
            limit.before += epoch.seconds if restored else 0.0
            value = epoch.get(run.metric.name)
            report = None if value is None else (epoch.number, value)
            if recorder.record(epoch, report, restored=restored, last=run.finished):
                return True
    return False


class _Ending:
    """How a trial ends: each way tells Optuna, closes the lease and writes the log's last line."""

    def __init__(self, lease: Lease, search: Search, around: Surroundings, log: Log) -> None:
        self._lease, self._search, self._around, self._log = lease, search, around, log
        self.end: str | None = None

    def complete(self, run: FoldRun) -> None:
        best = run.best
        value = best.get(run.metric.name) if best else None
        if value is None:
            text = f"{run.metric.name} could not be computed on fold {self._lease.fold} in any epoch"
            return self.failed("data_error", text)
        assert best is not None
        self._finish(TrialState.COMPLETE, value, text=f"complete: {run.metric.name} {value:.4g} at epoch {best.number}")

    def pruned(self, text: str, run: FoldRun | None = None) -> None:
        best = run.best if run else self._best_on_record()
        value = best.get(self._around.spec.metric.name) if best else None
        self._finish(TrialState.PRUNED, value, end="pruned", text=text)

    def _best_on_record(self) -> Epoch | None:
        """The best epoch of a trial whose last worker died after the pruner's decision."""
        assert self._lease.number is not None and self._lease.params is not None
        trial = self._around.store.reading.trials(self._lease.study_id, [self._lease.number])[0]
        return best_epoch(trial.epochs, self._around.spec.metric, self._lease.params.stopping["min_epochs"])

    def broken(self, end: str, text: str) -> None:
        """The configuration cannot be trained: the sampler shall learn from it."""
        self._finish(TrialState.PRUNED, None, end=end, text=text, broken=end)

    def failed(self, end: str, text: str) -> None:
        self._finish(TrialState.FAIL, None, end=end, text=text)

    def _finish(
        self, state: TrialState, value: float | None, *, text: str, end: str | None = None, broken: str | None = None
    ) -> None:
        lease, self.end = self._lease, end
        recorded = value if state != TrialState.FAIL else None
        tell = partial(self._search.tell, lease, state, value, broken)
        finish = partial(self._around.store.results.finish_trial, lease, tell, value=recorded, end=end)
        self._around.patience.until(partial(finish, text=text if end else None))
        self._log.say(text if end is None or end == "pruned" else f"{end}: {text}")
        self._around.patience.until(self._around.retire_checkpoints)
