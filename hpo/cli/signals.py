"""How a command hears that it is to stop."""

from __future__ import annotations

import signal

from hpo.leaving import SIGNALS


def catch_signals() -> list[int]:
    """A list that Ctrl-C, SIGTERM and Slurm's SIGUSR1 are added to, from now on."""
    caught: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda code, _frame: caught.append(code))
    return caught
