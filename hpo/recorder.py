"""Writes a trial's epochs to the database in order, each once, while the next one trains."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

from hpo.objective import Epoch
from hpo.store import Lease, Store


class Recorder:
    """One thread between training and database: a round trip of some milliseconds costs a short epoch 5 to 10 %.

    Where a pruner decides, the decision is waited for; without one the write of an epoch overlaps with the next.
    Leaving the `with` block waits for everything and raises what went wrong.

    Args:
        store: of this process.
        lease: under which everything is written.
        prune: the pruner's decision, asked inside the transaction of the report; None for no pruner.
    """

    def __init__(self, store: Store, lease: Lease, prune: Callable[[], bool] | None) -> None:
        self._store, self._lease, self._prune = store, lease, prune
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="recorder")
        self._last: Future[bool] | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if error is None:
            self._settle()

    def record(self, epoch: Epoch, report: tuple[int, float] | None, *, restored: bool = False) -> bool:
        """Write an epoch and its report; True when the pruner stops the trial, which restored epochs have survived.

        Raises:
            LeaseLost: another worker has taken over, seen at this write or the one before.
        """
        self._settle()
        prune = None if restored else self._prune
        self._last = self._pool.submit(self._write, epoch, report, prune)
        return self._last.result() if prune is not None else False

    def _settle(self) -> None:
        if self._last is not None:
            self._last.result()

    def _write(self, epoch: Epoch, report: tuple[int, float] | None, prune: Callable[[], bool] | None) -> bool:
        with self._store.leases.under(self._lease):
            return self._store.leases.record(self._lease, [epoch], report, prune or (lambda: False))
