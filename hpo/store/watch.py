"""When a lease counts as silent: by observed change on the observer's own clock."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable

from hpo.store.errors import StorageError


def grace_period() -> float:
    """Seconds after which a silent lease is taken over: 30, or HPO_LEASE_SECONDS.

    Raises:
        StorageError: the variable is no number of at least 2.
    """
    text = os.environ.get("HPO_LEASE_SECONDS", "30")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 2 <= seconds < math.inf:
        raise StorageError(f"HPO_LEASE_SECONDS={text}: give seconds, at least 2")
    return seconds


class Watch:
    """Which leases have not moved for `grace` seconds of our own clock (the rule of client-go's leader election).

    Wall clocks of other machines play no part. `forget` after the database did not answer: nobody could beat then.
    """

    def __init__(self, grace: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.grace, self._clock = grace, clock
        self._seen: dict[int, tuple[tuple[int, int], float]] = {}

    def stale(self, leases: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Those of (lease_id, token, beat) that have stood still for the grace period."""
        now, still = self._clock(), []
        current: dict[int, tuple[tuple[int, int], float]] = {}
        for lease_id, token, beat in leases:
            state, since = self._seen.get(lease_id, (None, now))
            if state != (token, beat):
                since = now
            current[lease_id] = ((token, beat), since)
            if now - since >= self.grace:
                still.append((lease_id, token, beat))
        self._seen = current
        return still

    def forget(self) -> None:
        self._seen.clear()
