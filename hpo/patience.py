"""Living with a database that does not answer: try again, ever more slowly, until patience ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from hpo.store import DATABASE_ERRORS, cause

Result = TypeVar("Result")

#: Seconds between two attempts: doubled from the first to the last, each varied by a quarter, so that workers that
#: lost the database together do not come back together.
FIRST_DELAY, LAST_DELAY = 0.1, 5.0


class DatabaseGone(Exception):
    """The database has not answered for longer than the worker was told to wait."""


class Patience:
    """How long the database has been away, as one worker sees it.

    Args:
        seconds: after which `DatabaseGone` is raised.
        say: tells the user, once when an outage begins and once when it ends.
        rest: waits for so many seconds, or until the worker is asked to stop.
        stopped: whether it is asked to stop: then there is no second attempt.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        seconds: float,
        say: Callable[[str], None],
        rest: Callable[[float], None] = time.sleep,
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds, self._say, self._rest, self._stopped, self._clock = seconds, say, rest, stopped, clock
        self._since: float | None = None
        self._delay = FIRST_DELAY
        self._next = 0.0

    @property
    def away(self) -> bool:
        """Whether the database did not answer the last time."""
        return self._since is not None

    @property
    def due(self) -> bool:
        """Whether it is time for another attempt."""
        return self._clock() >= self._next

    def failed(self, error: Exception) -> None:
        """Note that the database did not answer.

        Raises:
            DatabaseGone: when it has been away for too long.
        """
        now = self._clock()
        if self._since is None:
            self._since = now
            self._say(f"the database does not answer as it should: {cause(error)}; trying again")
        elif now - self._since >= self._seconds:
            raise DatabaseGone(f"the database has been away for {now - self._since:.0f} s: {cause(error)}")
        self._next = now + self._delay * random.uniform(0.75, 1.25)
        self._delay = min(2 * self._delay, LAST_DELAY)

    def answered(self) -> None:
        """Note that it does."""
        if self._since is not None:
            self._say(f"the database is back after {self._clock() - self._since:.0f} s")
        self._since, self._delay, self._next = None, FIRST_DELAY, 0.0

    def until(self, attempt: Callable[[], Result]) -> Result:
        """The result of `attempt`, repeated while the database is away; it must be safe to repeat after a lost reply.

        Raises:
            DatabaseGone: patience has ended.
            Exception: the database's, when the worker is asked to stop meanwhile.
        """
        while True:
            try:
                result = attempt()
            except DATABASE_ERRORS as error:
                self.failed(error)
                if self._stopped():
                    raise
                self._rest(max(0.0, self._next - self._clock()))
            else:
                self.answered()
                return result
