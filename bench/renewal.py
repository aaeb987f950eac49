"""What a worker pays for holding its lease: the beats of the heart while it trains.

Eight processes on one database, each with the real heart and the real recorder, and a made-up training of epochs of
half a second: a tenth of it busy in Python, the rest waiting, as for a device; every epoch is written at once. The
heart renews the lease, looks at everybody's, says that the worker lives and hears requests to stop. Two figures per
worker, as shares of its wall time: the wall time that its heart's thread spends in beats, part of it waiting for the
lock of the database; and the CPU time of that thread, which is what it can take from training. Medians over the
workers, and the worst of them.

With and without the heart: the median time of an epoch, with the same work in it. Must reach: at most 1 % of the wall
time in beats, on SQLite with eight workers and the grace period of 30 s.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.databases import KINDS, server
from bench.fabricate import epoch
from bench.measure import Goal, arguments, conclude, table
from hpo.heart import Heart
from hpo.leaving import Leaving
from hpo.patience import Patience
from hpo.recorder import Recorder
from hpo.store import Lease, Store

MOST_PER_CENT = 1.0
#: Seconds of an epoch that it waits, as for a device.
WAITING = 0.45


@dataclass(frozen=True)
class Cost:
    """One worker's, over its training."""

    seconds: float
    beats: int
    beating_seconds: float
    beating_cpu_seconds: float
    longest_beat: float
    epoch_seconds: float  #: median


def main(words: list[str] | None = None) -> int:
    parser = arguments("renewal", __doc__)
    parser.add_argument("--workers", type=int, default=8, help="processes (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of training per row and side (%(default)s)")
    parser.add_argument("--grace", type=float, nargs="+", default=[30.0, 2.0], help="seconds (default: 30 2)")
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    options = parser.parse_args(words)
    if options.quick:
        options.workers, options.seconds, options.grace, options.databases = 2, 1.0, [2.0], ["sqlite"]
    rows: list[list[object]] = []
    goals: list[Goal] = []
    for kind in options.databases:
        workers = measure(kind, options)
        for grace in options.grace:
            costs, without = ([worker[grace, heart] for worker in workers] for heart in (True, False))
            wall = [100 * cost.beating_seconds / cost.seconds for cost in costs]
            cpu = [100 * cost.beating_cpu_seconds / cost.seconds for cost in costs]
            beat = 1e3 * sum(cost.beating_seconds for cost in costs) / max(1, sum(cost.beats for cost in costs))
            longest = 1e3 * max(cost.longest_beat for cost in costs)
            epochs = [1e3 * median(cost.epoch_seconds for cost in side) for side in (costs, without)]
            rows.append([kind, grace, median(wall), max(wall), median(cpu), beat, longest, *epochs])
            if kind == "sqlite" and grace == 30:
                what = f"sqlite, {options.workers} workers, grace 30 s, the worst worker's time in beats"
                goals.append(Goal(what=what, value=max(wall), at_most=MOST_PER_CENT, unit=" %"))
    header = ["database", "grace s", "beats %", "worst %", "CPU %", "ms per beat", "longest ms", "epoch ms", "without"]
    return conclude("renewal", options, [table(header, rows)], goals)


#: What a worker paid, by grace period and with or without a heart.
Costs = dict[tuple[float, bool], Cost]


def measure(kind: str, options: argparse.Namespace) -> list[Costs]:
    """So many workers of one study that train at the same time."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, server(kind, Path(folder)) as fresh:
        url = fresh()
        store = Store(url, create=True)
        study_id = store.studies.create("renewal", {}, **_facts()).study_id
        store.close()
        barrier, results = context.Barrier(options.workers), context.SimpleQueue()
        settings = (url, study_id, options.grace, options.seconds, barrier, results)
        processes = [context.Process(target=_work, args=(f"w{n}", *settings)) for n in range(options.workers)]
        for process in processes:
            process.start()
        costs = [results.get() for _ in processes]
        for process in processes:
            process.join()
    return costs


def _facts() -> dict[str, Any]:
    """What a launch knows of a study; nobody looks at it here."""
    names = ("text", "text_hash", "source", "folder", "objective", "fingerprint", "metric")
    mappings: dict[str, Any] = {name: {} for name in ("split", "info", "vocabulary", "versions")}
    nothing = dict.fromkeys(("objective_hash", "data", "hours"))
    return dict.fromkeys(names, "renewal") | mappings | nothing | {"direction": "maximize", "trials": 10**6}


def _work(
    name: str, url: str, study_id: int, graces: Sequence[float], seconds: float, barrier: Any, results: Any
) -> None:
    """Hold a lease and record epochs, for so many seconds with and without a heart; puts `Costs` into `results`."""
    beats: list[tuple[float, float]] = []
    _watch_beats(beats)
    costs: Costs = {}
    for grace in graces:
        os.environ["HPO_LEASE_SECONDS"] = str(grace)  # the store's own waits depend on it
        store = Store(url)
        worker = f"{name}, {grace:g} s"
        store.workers.register(study_id, worker, "here", os.getpid(), "cpu")
        lease = store.leases.new_trial(study_id, worker, 0, 10**6)
        assert lease is not None
        first = 1
        for heart in (True, False):
            barrier.wait()
            beats.clear()
            started = time.perf_counter()
            with _beating(store, study_id, worker, grace, lease) if heart else nullcontext():
                epochs = list(_epochs(store, lease, first, started + seconds))
            took = time.perf_counter() - started
            first += len(epochs)
            wall, cpu = (sum(beat[k] for beat in beats) for k in (0, 1))
            longest = max((beat[0] for beat in beats), default=0.0)
            costs[grace, heart] = Cost(took, len(beats), wall, cpu, longest, median(epochs))
        store.close()
    results.put(costs)


def _watch_beats(beats: list[tuple[float, float]]) -> None:
    """Note the wall and the CPU time of every beat of this process, also of one that fails."""
    beat = Heart._beat

    def watched(heart: Heart) -> None:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            beat(heart)
        finally:
            beats.append((time.perf_counter() - wall, time.thread_time() - cpu))

    setattr(Heart, "_beat", watched)  # noqa: B010 - a type checker refuses the plain assignment


@contextmanager
def _beating(store: Store, study_id: int, name: str, grace: float, lease: Lease) -> Iterator[None]:
    leaving = Leaving(lambda: None, supervised=False)
    with Heart(store, study_id, name, grace, leaving, lambda _: None, 1e9, print) as heart:
        heart.hold(lease)
        yield


def _epochs(store: Store, lease: Lease, first: int, until: float) -> Iterator[float]:
    """Train from epoch `first` on; yields the seconds of every epoch."""
    with Recorder(store, lease, _Keep(), Patience(60.0, print)) as recorder:
        for number in itertools.count(first):
            started = time.perf_counter()
            _compute()
            time.sleep(WAITING)
            recorder.record(epoch(number, 0.5), (number, 0.5))
            yield time.perf_counter() - started
            if time.perf_counter() >= until:
                return


class _Keep:
    """A pruner that keeps every trial: each epoch is written at once, in a transaction of its own."""

    def __call__(self, step: int, value: float, /) -> bool:
        return False

    def forget(self) -> None:
        pass


def _compute() -> None:
    """The same work in every epoch, under the interpreter's lock: some 50 ms."""
    total = 0
    for number in range(1_000_000):
        total += number


if __name__ == "__main__":
    raise SystemExit(main())
