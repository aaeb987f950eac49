"""What a worker is told when it starts."""

from __future__ import annotations

import os
from dataclasses import dataclass

#: Exit codes of a worker: of one that was asked to stop and gave its work back, of one that cannot work whatever is
#: tried again (its log says why), of one whose database has gone, and of one that hung.
STOPPED, MISTAKE, GONE, HUNG = 143, 2, 75, 70


@dataclass(frozen=True, kw_only=True)
class Options:
    """Of one process that trains; the command line has an option for each."""

    device: str = "cpu"  #: `cpu` or `cuda:N`
    threads: int | None = None  #: of torch's CPU operations; None = OMP_NUM_THREADS or all cores
    search: bool = True  #: whether to begin new trials
    promote: bool = True  #: whether to work on the promotion, too
    checkpoint_every: float = 10.0  #: seconds; 0 = every epoch
    database_patience: float = 30.0  #: minutes without the database after which the worker ends
    tensorboard: bool = False  #: whether to write event files for TensorBoard
    gradient_norms: bool = False  #: whether to measure the gradient of each loss term
    hung_minutes: float = 10.0  #: without a batch, after which a trial ends and its worker is replaced
    supervised: bool = False  #: standard input is a pipe whose end means that the supervisor is gone


def threads_per_worker(workers: int) -> int:
    """CPU threads for each of so many workers: OMP_NUM_THREADS where the user has set it, else a share of the cores.

    Threads of one training wait for each other by spinning: 4 on 2 cores took twice as long, beside other work more.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    return max(1, len(os.sched_getaffinity(0)) // workers)
