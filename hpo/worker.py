"""One process on one device: claim work, run it, record it, until nothing is left or it is asked to stop."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from hpo.arrays import Feed, open_arrays
from hpo.files import RunFiles
from hpo.heart import Heart
from hpo.objective import DataError, Objective, Split
from hpo.promotion import plan, run_job
from hpo.records import StudyRecord
from hpo.search import Search
from hpo.store import DATABASE_ERRORS, Lease, LeaseLost, Store
from hpo.stored import as_launched
from hpo.training import Interrupted
from hpo.trial import run_trial
from hpo.wording import last_line
from hpo.work import Surroundings

#: Exit code of a worker that was asked to stop and gave its work back.
STOPPED = 143


def default_grace() -> float:
    """Seconds after which a silent lease is taken over: 30, or HPO_LEASE_SECONDS (at least 2)."""
    text = os.environ.get("HPO_LEASE_SECONDS", "30")
    try:
        return max(2.0, float(text))
    except ValueError:
        raise DataError(f"HPO_LEASE_SECONDS={text}: give seconds, at least 2") from None


def require_device(device: str) -> None:
    """Raise DataError when there is no such GPU on this machine."""
    if device != "cpu" and torch.device(device).index not in range(torch.cuda.device_count()):
        raise DataError(f"--device {device}: PyTorch finds {torch.cuda.device_count()} GPUs here")


class Worker:
    """Works on one study until its budget is spent and its promotion, if wanted, is done.

    Args:
        store: the database.
        files: the runs folder.
        record: the study.
        resolve: gives an objective by name; refuses a file that changed since the launch.
        device: `cpu` or `cuda:N`.
        threads: of torch's CPU operations.
        search: whether to begin new trials.
        promote: whether to work on the promotion, too.
        checkpoint_every: seconds between checkpoints; 0 = every epoch.
        supervised: standard input is a pipe whose end means that the supervisor is gone.
        say: tells whoever started the process about something out of the ordinary.
    """

    def __init__(
        self,
        store: Store,
        files: RunFiles,
        record: StudyRecord,
        resolve: Callable[[str, str | None], Objective],
        *,
        device: str,
        threads: int,
        search: bool,
        promote: bool,
        checkpoint_every: float,
        supervised: bool,
        say: Callable[[str], None] = print,
    ) -> None:
        require_device(device)
        torch.set_num_threads(threads)
        self._say = say
        self._store, self._record, self._supervised = store, record, supervised
        self._searches, self._promote = search, promote
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        objective = resolve(record.objective, record.objective_hash)
        self._spec = as_launched(record)
        self._search = Search(store, record, self._spec)
        store.workers.register(record.study_id, self.name, socket.gethostname(), os.getpid(), device)
        self._heart = Heart(store, record.study_id, self.name, default_grace(), self._alone)
        source = Path(record.data) if record.data else None
        arrays = open_arrays(objective, source, self._spec.fixed, files.cache, record.fingerprint)
        self._around = Surroundings(
            store=store,
            files=files,
            record=record,
            spec=self._spec,
            objective=objective,
            arrays=arrays,
            feed=Feed(arrays, torch.device(device)),
            split=Split.from_json(record.split),
            checkpoint_every=checkpoint_every,
            stop=self._heart.should_stop,
        )

    def run(self) -> int:
        """Work; returns the exit code: 0 when nothing is left to do or the study was stopped, STOPPED for a signal."""
        signals = _on_signals(self._heart)
        patience = min(self._heart.watch.grace / 10, 0.5)
        with self._heart:
            while not self._heart.stop.is_set() and not self._store.studies.stop_requested(self._record.study_id):
                try:
                    self._reload()
                    lease = self._claim()
                except DATABASE_ERRORS as error:
                    self._wait_for_database(error)
                    continue
                if lease is not None:
                    self._work(lease)
                elif self._nothing_left():
                    break
                else:
                    self._heart.rest(patience)
        self._store.workers.gone(self.name, "stopped")
        return STOPPED if signals else 0

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
        if lease is None and self._searches and not self._hours_used():
            trials, fold = self._record.trials, self._spec.folds.search
            lease = self._store.leases.new_trial(study_id, self.name, fold, trials, self._search.has_room)
            if lease is None and not self._record.exhausted and not self._search.has_room(0):
                self._store.studies.mark_exhausted(study_id)
        if lease is None and self._promote and not self._store.leases.open(study_id, trials_only=True):
            plan(self._store, self._record, self._spec)
            lease = self._store.leases.new_job(study_id, self.name)
        return lease

    def _work(self, lease: Lease) -> None:
        self._heart.hold(lease)
        try:
            if lease.job_id is None:
                run_trial(lease, self._search, self._around)
            else:
                run_job(lease, self._around)
        except Interrupted:
            pass  # given back; the loop looks at why
        except LeaseLost as error:
            self._say(f"{self.name}: {error}; going on with other work")
        except DATABASE_ERRORS as error:
            self._wait_for_database(error)
            self._give_back(lease)
        finally:
            self._heart.hold(None)

    def _wait_for_database(self, error: Exception) -> None:
        self._say(f"{self.name}: the database does not answer as it should: {last_line(str(error))}")
        self._heart.watch.forget()
        self._heart.rest(1.0)

    def _give_back(self, lease: Lease) -> None:
        """Return work that the database's trouble interrupted; silent, it would be taken over after the grace."""
        try:
            with self._store.leases.under(lease):
                self._store.leases.give_back(lease)
        except (LeaseLost, *DATABASE_ERRORS) as error:
            self._say(f"{self.name}: could not give trial or job back, others will take it over: {error}")

    def _hours_used(self) -> bool:
        if self._record.hours is not None:
            return self._store.reading.compute_hours(self._record.study_id) >= self._record.hours
        return False

    def _nothing_left(self) -> bool:
        return self._store.leases.open(self._record.study_id) == 0

    def _alone(self) -> bool:
        """Whether the supervisor's end of our standard input was closed."""
        if not self._supervised:
            return False
        readable, _, _ = select.select([sys.stdin], [], [], 0)
        return bool(readable) and not os.read(sys.stdin.fileno(), 1)


def _on_signals(heart: Heart) -> list[int]:
    """The first signal stops after the running batch, a second one at once (everything on record stays whole).

    Returns:
        The signals that have come, added as they come.
    """
    caught: list[int] = []

    def handle(number: int, _frame: object) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)
        heart.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, handle)
    return caught
