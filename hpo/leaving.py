"""How a worker is asked to end: by a signal, by `hpo stop`, by the end of its supervisor; and that it does, in time."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn

import psutil

from hpo.options import STOPPED

#: Seconds that the running batch and what follows it may take; then the worker leaves without it.
BATCH = 3.5
#: Seconds after the first signal from which on another one is a second wish: `timeout` and schedulers signal a process
#: and its group, which is one wish.
TWICE = 1.0
#: Seconds for what is done then, which a disk or a database may hold up. Slurm and Kubernetes give more than both.
LAST_WORDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)  # SIGUSR1: what Slurm can send ahead of a time limit


class Leaving:
    """Listens from a thread of its own: a batch may hold the main thread for long inside one call of torch.

    The first request sets `asked`, at which training stops after the running batch. Whatever holds that up, the
    process has ended after 5 s. A second signal ends it at once; everything on record stays whole.

    Args:
        last_words: saves and returns what the worker holds, from another thread than the one that trains.
        supervised: standard input is a pipe that closes when the supervisor ends.
    """

    def __init__(self, last_words: Callable[[], None], *, supervised: bool) -> None:
        self._last_words, self._supervised = last_words, supervised
        self.asked = threading.Event()
        self.signals: list[int] = []  #: that have come
        self._first = 0.0  #: when the first came
        self._left = threading.Event()
        self._hears, self._heard = os.pipe()
        os.set_blocking(self._heard, False)

    def __enter__(self) -> Leaving:
        signal.set_wakeup_fd(self._heard, warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        for name, work in (("ears", self._listen), ("deadline", self._see_to_it)):
            threading.Thread(target=work, name=name, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        os.write(self._heard, b"\0")  # lets the listener end
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def at_once(self) -> None:
        """End without waiting for the running batch (`hpo stop --now`)."""
        self._last_chance(0.0)

    def _listen(self) -> None:
        sources = [self._hears, *([sys.stdin.fileno()] if self._supervised else [])]
        while not self._left.is_set():
            for source in select.select(sources, [], [])[0]:
                said = os.read(source, 1)
                if source == self._hears:
                    self._hear(said[0])
                elif not said:  # the supervisor's end was closed
                    self.asked.set()
                    sources.remove(source)

    def _hear(self, number: int) -> None:
        if number not in SIGNALS:
            return
        now = time.monotonic()
        if not self.signals:
            self._first = now
        elif now - self._first >= TWICE:
            end_process(STOPPED)
        self.signals.append(number)
        self.asked.set()

    def _see_to_it(self) -> None:
        self.asked.wait()
        self._last_chance(BATCH)

    def _last_chance(self, seconds: float) -> None:
        if self._left.wait(seconds):
            return
        code = STOPPED if self.signals else 0
        threading.Timer(LAST_WORDS, end_process, (code,)).start()
        self._last_words()
        end_process(code)


def end_process(code: int) -> NoReturn:
    """End this process and all it has started, without taking apart the interpreter, which with torch takes a second.

    Everything of value is on disk before this is called.
    """
    try:
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.Error):  # gone, or of another user's rights
                child.kill()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
