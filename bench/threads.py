"""How long threads of one training may spin while they wait for each other: alone, and beside other work.

    python -m bench.threads

Epochs of `abr` (synthetic) on two cores, in processes of their own: with one thread; with two and OpenMP's default,
which spins for milliseconds; with two that spin shortly (GOMP_SPINCOUNT as `hpo` sets it) or hardly at all
(OMP_WAIT_POLICY PASSIVE). Each alone on the cores, and beside two processes that do nothing but compute.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from bench.measure import REPOSITORY, Goal, alternate, arguments, conclude, ratio, spread, table

CORES, EPOCHS = 2, 4
ALONE, DEFAULT, OURS, PASSIVE = ("1 thread", "2 threads, OpenMP's default", "2 threads, as hpo", "2 threads, PASSIVE")


def main(words: list[str] | None = None) -> int:
    parser = arguments("threads", __doc__)
    parser.add_argument("--child", type=int, help="measure here with so many threads")
    options = parser.parse_args(words)
    if options.child:
        print(json.dumps(_epochs(options.child)))
        return 0
    from hpo.cli import SPIN_COUNT  # whose import sets it: not in the children

    repetitions = 1 if options.quick else 3
    sides = {
        ALONE: partial(_measured, 1, {}),
        DEFAULT: partial(_measured, 2, {}),
        OURS: partial(_measured, 2, {"GOMP_SPINCOUNT": SPIN_COUNT}),
        PASSIVE: partial(_measured, 2, {"OMP_WAIT_POLICY": "PASSIVE"}),
    }
    alone = alternate(sides, repetitions)
    with _busy(CORES):
        beside = alternate(sides, repetitions)
    both = [(name, alone[name], beside[name]) for name in sides]
    rows = [[name, median(one), spread(one), median(two), spread(two)] for name, one, two in both]
    heads = ["side", "s per epoch, alone", "range", "beside other work", "range"]
    goals = [
        Goal(what="as hpo / default, alone", value=ratio(alone[OURS], alone[DEFAULT]), at_most=1.1),
        # The slowest counts: what is to be prevented are trainings that seem to hang.
        Goal(
            what="slowest beside other work, as hpo / default",
            value=max(beside[OURS]) / max(beside[DEFAULT]),
            at_most=1.0,
        ),
    ]
    return conclude("threads", options, [table(heads, rows)], goals)


def _measured(threads: int, environ: dict[str, str]) -> float:
    """Mean seconds per epoch: a single long one is what hurts, so no median."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    command = [sys.executable, "-m", "bench.threads", "--child", str(threads)]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=unset | environ, capture_output=True, text=True, check=True, preexec_fn=_pin
    )
    seconds: list[float] = json.loads(done.stdout)
    return sum(seconds) / len(seconds)


def _pin() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


@contextmanager
def _busy(count: int) -> Iterator[None]:
    processes = [multiprocessing.Process(target=_compute, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.kill()
        process.join()


def _compute() -> None:
    _pin()
    while True:
        pass


def _epochs(threads: int) -> list[float]:
    """Seconds of each epoch after the first."""
    import torch

    from bench import tasks
    from hpo.arrays import Feed
    from hpo.training import FoldRun

    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as cache:
        task = tasks.abr(Path(cache))
        feed = Feed(task.arrays, torch.device("cpu"))
        run = FoldRun(task.objective, task.arrays, feed, task.fold, task.params, task.metric, epochs=EPOCHS, seed=0)
        return [run.epoch().seconds for _ in range(EPOCHS)][1:]


if __name__ == "__main__":
    sys.exit(main())
