"""One process on one device: claim work, run it, record it, until nothing is left or it is asked to stop."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hpo.arrays import Feed, open_arrays
from hpo.circuit import BROKEN, IN_A_ROW, broken_objective
from hpo.files import RunFiles
from hpo.heart import Heart
from hpo.leaving import Leaving, end_process
from hpo.objective import DataError, Objective, Split
from hpo.options import GONE, HUNG, STOPPED, Options, threads_per_worker
from hpo.patience import DatabaseGone, Patience
from hpo.promotion import plan, run_job
from hpo.records import StudyRecord
from hpo.search import Search
from hpo.store import DATABASE_ERRORS, Lease, LeaseLost, Store, cause, grace_period
from hpo.stored import as_launched
from hpo.study_weights import require_launched_weights
from hpo.training import Interrupted
from hpo.trial import end_hung, run_trial
from hpo.work import Boundary, Surroundings


def require_device(device: str) -> None:
    """Raise DataError when there is no such GPU on this machine."""
    if device != "cpu" and torch.device(device).index not in range(torch.cuda.device_count()):
        found = torch.cuda.device_count()
        raise DataError(f"{device}: PyTorch finds {found} GPUs here; leave the device out, or say cpu")


class Worker:
    """Works on one study until its budget is spent and its promotion, if wanted, is done.

    Args:
        store: the database.
        files: the runs folder.
        record: the study.
        resolve: gives an objective by name; refuses a file that changed since the launch.
        options: see there.
        say: tells whoever started the process about something out of the ordinary.
    """

    def __init__(
        self,
        store: Store,
        files: RunFiles,
        record: StudyRecord,
        resolve: Callable[[str, str | None], Objective],
        options: Options,
        say: Callable[[str], None] = print,
    ) -> None:
        require_device(options.device)
        torch.set_num_threads(options.threads or threads_per_worker(1))
        self._store, self._record, self._options = store, record, options
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        self._tell = say
        objective = resolve(record.objective, record.objective_hash)
        self._spec = as_launched(record)
        require_launched_weights(self._spec, record)
        self._search = Search(store, record, self._spec)
        store.workers.register(record.study_id, self.name, socket.gethostname(), os.getpid(), options.device)
        hung = 60 * options.hung_minutes
        self._leaving = Leaving(self._leave, supervised=options.supervised)
        beat = (grace_period(), self._leaving, self._on_hang, hung, self._say)
        self._heart = Heart(store, record.study_id, self.name, *beat)
        stopped = self._leaving.asked.is_set
        self._patience = Patience(60 * options.database_patience, self._say, self._heart.rest, stopped)
        source = Path(record.data) if record.data else None
        arrays = open_arrays(objective, source, self._spec.fixed, files.cache, record.fingerprint)
        self._around = Surroundings(
            store=store,
            files=files,
            record=record,
            spec=self._spec,
            objective=objective,
            arrays=arrays,
            feed=Feed(arrays, torch.device(options.device)),
            split=Split.from_json(record.split),
            checkpoint_every=options.checkpoint_every,
            patience=self._patience,
            stop=self._heart.should_stop,
            boundary=Boundary(),
            tensorboard=options.tensorboard,
            gradient_norms=options.gradient_norms,
        )

    def run(self) -> int:
        """Work; returns the exit code.

        0 when nothing is left to do or the study was stopped, STOPPED for a signal, GONE when the database has been
        away for too long.
        """
        with self._leaving, self._heart:
            try:
                self._work_on()
                if not self._patience.away:
                    self._store.workers.gone(self.name, "stopped")
            except DatabaseGone as error:
                self._say(f"{error}; what was trained is in the checkpoint, another launch goes on from there")
                return GONE
            except DATABASE_ERRORS:
                pass  # asked to stop while the database is away
        return STOPPED if self._leaving.signals else 0

    def _work_on(self) -> None:
        patience = min(self._heart.watch.grace / 10, 0.5)
        while not self._leaving.asked.is_set():
            if self._patience.until(self._stop_requested):
                return
            # Asked first: the last trial may end elsewhere in between, and the promotion is still to be planned.
            nothing_left = self._patience.until(self._nothing_left)
            lease = self._patience.until(self._next)
            if lease is not None:
                self._work(lease)
            # And again: another worker may have begun the last trial meanwhile, and may die over it.
            elif nothing_left and self._patience.until(self._nothing_left):
                return
            else:
                self._heart.rest(patience)

    def _next(self) -> Lease | None:
        try:
            self._reload()
            return self._claim()
        except DATABASE_ERRORS:
            self._heart.watch.forget()  # nobody could beat while it was away
            raise

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the work
            self._tell(f"{self.name}: {text}")

    def _stop_requested(self) -> str | None:
        return self._store.studies.stop_requested(self._record.study_id)

    def _reload(self) -> None:
        """See what another launch has changed meanwhile: a larger budget, further configurations."""
        record = self._store.studies.get(self._record.name)
        if record.text_hash != self._record.text_hash:
            self._spec = as_launched(record)
            self._search = Search(self._store, record, self._spec)
            self._around = replace(self._around, record=record, spec=self._spec)
        self._record = record

    def _claim(self) -> Lease | None:
        """Work that was given back first, then a new trial, then the promotion."""
        study_id = self._record.study_id
        lease = self._store.leases.take_over(study_id, self.name, self._heart.watch)
        if lease is None and self._options.search and not self._hours_used():
            trials, fold = self._record.trials, self._spec.folds.search
            lease = self._store.leases.new_trial(study_id, self.name, fold, trials, self._search.has_room)
            if lease is None and not self._record.exhausted and not self._search.has_room(0):
                self._store.studies.mark_exhausted(study_id)
        if lease is None and self._options.promote and not self._store.leases.open(study_id, trials_only=True):
            plan(self._store, self._record, self._spec)
            lease = self._store.leases.new_job(study_id, self.name)
        return lease

    def _work(self, lease: Lease) -> None:
        self._heart.hold(lease)
        try:
            if lease.job_id is None:
                if run_trial(lease, self._search, self._around) in BROKEN:
                    self._patience.until(self._break_circuit)
            else:
                run_job(lease, self._around)
        except Interrupted:
            pass  # given back; the loop looks at why
        except LeaseLost as error:
            self._say(f"{error}; going on with other work")
        except DATABASE_ERRORS as error:
            self._heart.watch.forget()
            self._patience.failed(error)
            if not self._leaving.asked.is_set():
                self._give_back(lease)
        finally:
            self._around.boundary.reached(None)
            self._heart.hold(None)

    def _break_circuit(self) -> None:
        """Stop the study when its objective is broken rather than spend the budget on it."""
        error = broken_objective(self._store.reading.last_ends(self._record.study_id, IN_A_ROW))
        if error is not None:
            self._store.studies.request_stop(self._record.study_id, "broken")
            self._say(f"the same error again and again, the study stops: {error}")

    def _on_hang(self, lease: Lease) -> None:
        """Called by the heart; ends this process, whose training stands still."""
        self._say(f"no batch for {self._options.hung_minutes:g} minutes: this worker hangs and is replaced")
        try:
            if lease.job_id is None:
                end_hung(lease, self._search, self._around, self._options.hung_minutes)
        except Exception as error:  # it goes on elsewhere, or will be taken over
            self._say(f"could not end its trial: {error}")
        end_process(HUNG)

    def _leave(self) -> None:
        """Save and return what the main thread trains, which does not come to do it in time."""
        lease = self._heart.held
        self._say("leaves without waiting for its running batch")
        if lease is not None:
            self._around.boundary.save()
            self._give_back(lease)
        with contextlib.suppress(*DATABASE_ERRORS):
            self._store.workers.gone(self.name, "stopped")

    def _give_back(self, lease: Lease) -> None:
        """Return work that cannot be brought to an end here; silent, it would be taken over after the grace."""
        try:
            with self._store.leases.under(lease):
                self._store.leases.give_back(lease)
        except LeaseLost:
            pass  # done, or others are at it
        except DATABASE_ERRORS as error:
            self._say(f"could not give trial or job back, others will take it over: {cause(error)}")

    def _hours_used(self) -> bool:
        if self._record.hours is not None:
            return self._store.reading.compute_hours(self._record.study_id) >= self._record.hours
        return False

    def _nothing_left(self) -> bool:
        return self._store.leases.open(self._record.study_id) == 0
