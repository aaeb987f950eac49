"""A worker's heartbeat: renews its lease, watches the others', hears requests to stop.

One thread beside the training loop. It survives whatever goes wrong in a beat. When training makes no progress it ends
the trial and has the worker replaced.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hpo.leaving import Leaving
from hpo.store import DATABASE_ERRORS, Lease, Store, Watch


class Heart:
    """Beats every fifth of the lease's grace period, at most every 5 s.

    Args:
        store: of this process.
        study_id: whose leases are watched and whose stop request is heard.
        worker: this worker's name.
        grace: seconds without a change of its beat after which a lease is taken over.
        leaving: is told of a request to stop the study.
        hung: ends a unit of work, and this process, when no batch has been seen for `hung_seconds`.
        hung_seconds: see `hung`.
        say: tells the user, once, of an error that is no trouble of the database.
    """

    def __init__(
        self,
        store: Store,
        study_id: int,
        worker: str,
        grace: float,
        leaving: Leaving,
        hung: Callable[[Lease], None],
        hung_seconds: float,
        say: Callable[[str], None],
    ) -> None:
        self._store, self._study_id, self._worker, self._leaving = store, study_id, worker, leaving
        self._say, self._said = say, ""
        self._hung, self._hung_seconds = hung, hung_seconds
        self.watch = Watch(grace)
        self._interval = min(grace / 5, 5.0)
        self._lease: Lease | None = None
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._progress = time.monotonic()
        self.lost = threading.Event()  #: the lease held now belongs to someone else
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self._thread.start()

    def __enter__(self) -> Heart:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def hold(self, lease: Lease | None) -> None:
        """Renew this lease from now on; None for none."""
        with self._guard:
            self._lease = lease
            self._progress = time.monotonic()
            self.lost.clear()

    @property
    def held(self) -> Lease | None:
        """The lease that is renewed."""
        return self._lease

    def should_stop(self) -> bool:
        """Asked by training between batches, which proves that it makes progress."""
        self._progress = time.monotonic()
        return self._leaving.asked.is_set() or self.lost.is_set()

    def rest(self, seconds: float) -> None:
        """Wait for work or for the database, or until asked to stop; a worker that waits does not hang."""
        self._progress = time.monotonic()
        self._leaving.asked.wait(seconds)
        self._progress = time.monotonic()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._end.wait(self._interval):
            # A process that was paused has not hung, and neither has one that waited for the database.
            if time.monotonic() - last > 3 * self._interval:
                self._progress = time.monotonic()
            try:
                self._beat()
            except Exception as error:  # whatever it is: a worker whose heart has stopped loses its work
                # Nobody could beat while the database was away: judge no one by that time.
                self.watch.forget()
                self._progress = time.monotonic()
                self._tell(error)
            last = time.monotonic()

    def _tell(self, error: Exception) -> None:
        text = f"a beat failed, the next one is tried: {error!r}"
        if not isinstance(error, DATABASE_ERRORS) and text != self._said:  # of the others the training thread tells
            self._said = text
            self._say(text)

    def _beat(self) -> None:
        with self._guard:
            lease = self._lease
            if lease is not None and not self._store.leases.renew(lease):
                self.lost.set()
        if lease is not None and time.monotonic() - self._progress >= self._hung_seconds:
            self._hung(lease)
        self._store.leases.observe(self._study_id, self.watch)
        self._store.workers.seen(self._worker, "waiting" if lease is None else "training")
        stop = self._store.studies.stop_requested(self._study_id)
        if stop:
            self._leaving.asked.set()
        if stop == "now":
            self._leaving.at_once()
