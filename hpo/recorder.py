"""Writes a trial's epochs to the database in order, each once, also when it is away for a while."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from hpo.objective import Epoch
from hpo.patience import DatabaseGone, Patience
from hpo.store import DATABASE_ERRORS, Lease, LeaseLost, Store
from hpo.training import Interrupted

#: Seconds for which epochs are collected when no pruner waits for them.
EVERY = 1.0


#: What ends a training without ending its trial: somebody goes on with it from the checkpoint.
_LEAVING = (Interrupted, LeaseLost, DatabaseGone, *DATABASE_ERRORS)


class Pruner(Protocol):
    """Decides on a report; `forget` when the report and the decision may not be on record."""

    def __call__(self, step: int, value: float, /) -> bool: ...

    def forget(self) -> None: ...


class Recorder:
    """Epochs on their way to the database, under a lease.

    A pruner decides on every report, so each is written at once. Without one, the epochs of a second are written in
    one transaction: a transaction each costs an epoch of 50 ms some 4 %. While the database does not answer, training
    goes on between two attempts and the epochs wait; the pruner is asked again with the next one that is written.
    Leaving the `with` block writes what is left, also when training was interrupted.

    Args:
        store: of this process.
        lease: under which everything is written.
        pruner: asked inside the transaction of the report; None for no pruner.
        patience: with the database.
    """

    def __init__(self, store: Store, lease: Lease, pruner: Pruner | None, patience: Patience) -> None:
        self._store, self._lease, self._pruner, self._patience = store, lease, pruner, patience
        self._waiting: list[tuple[Epoch, tuple[int, float] | None]] = []
        self._written = time.monotonic()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, _LEAVING):
            self._patience.until(self._write)  # the trial ends here, and with it its checkpoint
            return
        with contextlib.suppress(LeaseLost, *DATABASE_ERRORS):  # the checkpoint holds the epochs
            if not self._patience.away:
                self._write()

    def record(
        self, epoch: Epoch, report: tuple[int, float] | None, *, restored: bool = False, last: bool = False
    ) -> bool:
        """Take an epoch and its report; True when the pruner stops the trial.

        Restored epochs have survived its decision. After the `last` one there is nothing left to stop: the pruner is
        asked all the same, since ASHA compares later trials with what it hears, but its answer does not count.

        Raises:
            LeaseLost: another worker has taken over.
            DatabaseGone: the database has been away for too long.
        """
        self._waiting.append((epoch, report))
        asked = None if restored else self._pruner
        if asked is None and time.monotonic() - self._written < EVERY:
            return False
        if not self._patience.due:
            return False
        try:
            decision = self._write(_overruled(asked) if asked is not None and last else asked)
        except DATABASE_ERRORS as error:
            if self._pruner is not None:
                self._pruner.forget()
            self._patience.failed(error)
            return False
        self._patience.answered()
        return decision

    def _write(self, pruner: Callable[[int, float], bool] | None = None) -> bool:
        """Write what waits in one transaction, and ask the pruner about the last report."""
        decision = False
        if self._waiting:
            newest = self._waiting[-1][0]
            with self._store.leases.under(self._lease), self._store.database.transaction():
                for epoch, report in self._waiting:
                    asked = pruner if epoch is newest else None
                    decision = self._store.results.record(self._lease, [epoch], report, asked or _keep)
        self._waiting, self._written = [], time.monotonic()
        return decision


def _keep(_step: int, _value: float) -> bool:
    return False


def _overruled(pruner: Pruner) -> Callable[[int, float], bool]:
    """Asks the pruner, and keeps the trial whatever it says."""

    def keep(step: int, value: float) -> bool:
        pruner(step, value)
        return False

    return keep
