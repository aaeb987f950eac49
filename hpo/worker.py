"""One process on one device: claim work, run it, record it, until nothing is left or it is asked to stop."""

from __future__ import annotations

import os
import secrets
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from hpo.arrays import Feed, open_arrays
from hpo.files import RunFiles
from hpo.heart import Heart
from hpo.objective import Objective, Split
from hpo.promotion import plan, run_job
from hpo.records import StudyRecord
from hpo.search import Search
from hpo.store import Lease, LeaseLost, Store
from hpo.stored import as_launched
from hpo.training import Interrupted
from hpo.trial import run_trial
from hpo.work import Surroundings

#: Exit code of a worker that was asked to stop and gave its work back.
STOPPED = 143


def default_grace() -> float:
    """Seconds after which a silent lease is taken over: 30, or HPO_LEASE_SECONDS (at least 2)."""
    return max(2.0, float(os.environ.get("HPO_LEASE_SECONDS", "30")))


class Worker:
    """Works on one study until its budget is spent and its promotion, if wanted, is done.

    Args:
        store: the database.
        files: the runs folder.
        record: the study.
        resolve: gives an objective by name; refuses a file that changed since the launch.
        device: `cpu` or `cuda:N`.
        threads: of torch's CPU operations.
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
        promote: bool,
        checkpoint_every: float,
        supervised: bool,
        say: Callable[[str], None] = print,
    ) -> None:
        torch.set_num_threads(threads)
        self._say = say
        self._store, self._record, self._promote, self._supervised = store, record, promote, supervised
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(2)}"
        objective = resolve(record.objective, record.objective_hash)
        self._spec = as_launched(record)
        self._search = Search(store, record, self._spec)
        store.workers.register(record.study_id, self.name, socket.gethostname(), os.getpid(), device)
        self._heart = Heart(store, record.study_id, self.name, default_grace(), self._alone)
        source = Path(record.data) if record.data else None
        arrays = open_arrays(objective, source, self._spec.fixed, files.cache)
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
        """Work; returns the exit code: 0 when nothing is left to do, STOPPED when asked to stop."""
        _on_signals(self._heart)
        patience = min(self._heart.watch.grace / 10, 0.5)
        with self._heart:
            while not self._heart.stop.is_set():
                lease = self._claim()
                if lease is not None:
                    self._work(lease)
                elif self._nothing_left():
                    break
                else:
                    self._heart.rest(patience)
        self._store.workers.gone(self.name, "stopped")
        return STOPPED if self._heart.stop.is_set() else 0

    def _claim(self) -> Lease | None:
        """Work that was given back first, then a new trial, then the promotion."""
        study_id = self._record.study_id
        lease = self._store.leases.take_over(study_id, self.name, self._heart.watch)
        if lease is None and not self._search_over():
            lease = self._store.leases.new_trial(study_id, self.name, self._spec.folds.search, self._limit)
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
        finally:
            self._heart.hold(None)

    @property
    def _limit(self) -> int:
        """Tickets of the search: the budget, or every point of a finite space."""
        points = self._spec.points()
        return self._record.trials if points is None else min(self._record.trials, points)

    def _search_over(self) -> bool:
        """Whether the hours of the budget are used up (or a finite space is)."""
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


def _on_signals(heart: Heart) -> None:
    """The first signal stops after the running batch, a second one at once (everything on record stays whole)."""

    def handle(number: int, _frame: object) -> None:
        if heart.stop.is_set():
            os._exit(128 + number)
        heart.stop.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, handle)
