"""Writes a trial's epochs to the database in order, each once."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from hpo.objective import Epoch
from hpo.store import Lease, Store

#: Seconds for which epochs are collected when no pruner waits for them.
EVERY = 1.0


class Recorder:
    """Epochs on their way to the database, under a lease.

    A pruner decides on every report, so each is written at once. Without one, the epochs of a second are written in
    one transaction: a transaction each costs an epoch of 50 ms some 4 %. Leaving the `with` block writes what is left,
    also when training was interrupted.

    Args:
        store: of this process.
        lease: under which everything is written.
        prune: the pruner's decision, asked inside the transaction of the report; None for no pruner.
    """

    def __init__(self, store: Store, lease: Lease, prune: Callable[[int, float], bool] | None) -> None:
        self._store, self._lease, self._prune = store, lease, prune
        self._waiting: list[tuple[Epoch, tuple[int, float] | None]] = []
        self._written = time.monotonic()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._write()
        except Exception:
            if error is None:
                raise  # otherwise what ended the training counts; its checkpoint holds the epochs

    def record(self, epoch: Epoch, report: tuple[int, float] | None, *, restored: bool = False) -> bool:
        """Take an epoch and its report; True when the pruner stops the trial, which restored epochs have survived.

        Raises:
            LeaseLost: another worker has taken over.
        """
        if self._prune is not None and not restored:
            self._write()
            with self._store.leases.under(self._lease):
                return self._store.leases.record(self._lease, [epoch], report, self._prune)
        self._waiting.append((epoch, report))
        if time.monotonic() - self._written >= EVERY:
            self._write()
        return False

    def _write(self) -> None:
        if self._waiting:
            with self._store.leases.under(self._lease), self._store.database.transaction():
                for epoch, report in self._waiting:
                    self._store.leases.record(self._lease, [epoch], report, lambda _step, _value: False)
        self._waiting, self._written = [], time.monotonic()
