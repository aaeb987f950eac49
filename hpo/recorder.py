"""Writes a trial's epochs to the database in order, each once, also when it is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from hpo.objective import Epoch
from hpo.patience import Patience
from hpo.store import DATABASE_ERRORS, Lease, Store

#: Seconds for which epochs are collected when no pruner waits for them.
EVERY = 1.0


class Recorder:
    """Epochs on their way to the database, under a lease.

    A pruner decides on every report, so each is written at once. Without one, the epochs of a second are written in
    one transaction: a transaction each costs an epoch of 50 ms some 4 %. While the database does not answer, training
    goes on and the epochs wait; the pruner is asked again with the next one that is written. Leaving the `with` block
    writes what is left, also when training was interrupted.

    Args:
        store: of this process.
        lease: under which everything is written.
        prune: the pruner's decision, asked inside the transaction of the report; None for no pruner.
        patience: with the database.
    """

    def __init__(
        self, store: Store, lease: Lease, prune: Callable[[int, float], bool] | None, patience: Patience
    ) -> None:
        self._store, self._lease, self._prune, self._patience = store, lease, prune, patience
        self._waiting: list[tuple[Epoch, tuple[int, float] | None]] = []
        self._written = time.monotonic()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._patience.until(self._write)
            return
        try:
            if self._patience.due:
                self._write()
        except Exception:
            pass  # what ended the training counts; its checkpoint holds the epochs

    def record(self, epoch: Epoch, report: tuple[int, float] | None, *, restored: bool = False) -> bool:
        """Take an epoch and its report; True when the pruner stops the trial, which restored epochs have survived.

        Raises:
            LeaseLost: another worker has taken over.
            DatabaseGone: the database has been away for too long.
        """
        self._waiting.append((epoch, report))
        asked = None if restored else self._prune
        if asked is None and time.monotonic() - self._written < EVERY:
            return False
        if not self._patience.due:
            return False
        try:
            decision = self._write(asked)
        except DATABASE_ERRORS as error:
            self._patience.failed(error)
            return False
        self._patience.answered()
        return decision

    def _write(self, prune: Callable[[int, float], bool] | None = None) -> bool:
        """Write what waits in one transaction, and ask the pruner about the last report."""
        decision = False
        if self._waiting:
            newest = self._waiting[-1][0]
            with self._store.leases.under(self._lease), self._store.database.transaction():
                for epoch, report in self._waiting:
                    asked = prune if epoch is newest else None
                    decision = self._store.results.record(self._lease, [epoch], report, asked or _keep)
        self._waiting, self._written = [], time.monotonic()
        return decision


def _keep(_step: int, _value: float) -> bool:
    return False
