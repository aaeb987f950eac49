"""What can be measured only on a GPU: how far several workers share one card.

Epochs per second of digits, abr (synthetic, or --data), behaviour and grimace (made-up clips, the latter by a
resnet18), surface (made-up volumes, 32 filters) and expression (drawn faces, resnet18, 96 pixels) with 1, 2, 4 and 8
processes on one card. Each trains with `FoldRun` as a worker does, in mixed precision with the data on the card, one
training of the length that its study has after the other; counted are the epochs that end within a common time span,
after two that warm up. No database is involved.

Takes at most --minutes; what does not fit is left out and named. Needs torch and numpy only (without scikit-learn,
random images take the place of the digits; what needs another module that is missing is left out). Without a GPU: one
line and exit code 2.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from threading import BrokenBarrierError
from typing import Any

import torch

from bench import tasks
from bench.measure import arguments, conclude, table
from hpo.arrays import Feed
from hpo.training import FoldRun

COUNTS = (1, 2, 4, 8)
WARMUP_EPOCHS = 2
#: Longest wait for the other processes to be ready: an import of torch each, on a machine with few cores.
READY_SECONDS = 120.0


@dataclass(frozen=True, kw_only=True)
class Rate:
    """What one process measured."""

    epochs_per_second: float
    peak_memory_mb: float


def main(words: list[str] | None = None) -> int:
    parser = arguments("gpu", __doc__)
    parser.add_argument("--data", type=Path, help="recordings for abr; synthetic ones without")
    parser.add_argument("--seconds", type=float, default=12.0, help="of counting per measurement (%(default)s)")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which nothing new begins (%(default)s)")
    parser.add_argument("--device", default="cuda:0", help="(%(default)s)")
    options = parser.parse_args(words)
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        print("bench.gpu measures on a GPU, and torch finds none here", file=sys.stderr)
        return 2
    counts, seconds = ((1, 2), 2.0) if options.quick else (COUNTS, options.seconds)
    deadline = time.monotonic() + 60 * options.minutes
    rows: list[list[object]] = []
    left_out: list[str] = []
    longest = 0.0
    with tempfile.TemporaryDirectory() as cache:
        for name in ("digits", "abr", "behaviour", "grimace", "surface", "expression"):
            try:
                _task(name, Path(cache), options.data)  # the data are prepared once, before anyone needs them
            except ModuleNotFoundError as error:
                print(f"  {name} is left out: {error}", file=sys.stderr, flush=True)
                continue
            single = 0.0
            for count in counts:
                began = time.monotonic()
                if began + longest > deadline:
                    left_out.append(f"{name} with {count}")
                    continue
                rates = measure(name, count, Path(cache), options.data, options.device, seconds)
                longest = max(longest, time.monotonic() - began)
                total = sum(rate.epochs_per_second for rate in rates)
                single = single or total
                memory = max(rate.peak_memory_mb for rate in rates)
                rows.append([name, count, total, total / single, total / count / single, memory])
                print(f"  {name}, {count}: {total:.4g} epochs/s", file=sys.stderr, flush=True)
    header = ["objective", "workers", "epochs/s", "speed-up", "per worker", "peak MB per worker"]
    parts = [table(header, rows)]
    if left_out:
        parts.append(f"Left out, {options.minutes:g} minutes were over: {', '.join(left_out)}.")
    return conclude("gpu", options, parts, device=_name(options.device))


def measure(name: str, count: int, cache: Path, data: Path | None, device: str, seconds: float) -> list[Rate]:
    """The rates of so many processes that train at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(count), context.Queue()
    words = (name, cache, data, device, seconds, barrier, results)
    processes = [context.Process(target=_worker, args=words) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        return [_next(results, processes) for _ in processes]
    finally:
        for process in processes:
            process.join(timeout=10)
            process.kill()


def _next(results: Any, processes: Sequence[Any]) -> Rate:
    """The next result; ends the benchmark when a process has died instead."""
    while True:
        try:
            rate: Rate = results.get(timeout=1)
            return rate
        except Empty:
            if any(process.exitcode for process in processes):
                raise SystemExit("a process of the measurement has died, see above") from None


def _worker(name: str, cache: Path, data: Path | None, device: str, seconds: float, barrier: Any, results: Any) -> None:
    """Train until the time is over; puts a `Rate` into `results`."""
    torch.set_num_threads(1)
    task = _task(name, cache, data)
    feed = Feed(task.arrays, torch.device(device))
    advance = _endless(task, feed)
    for _ in range(WARMUP_EPOCHS):
        advance()
    try:
        barrier.wait(READY_SECONDS)
    except BrokenBarrierError:
        raise SystemExit("another process was not ready in time") from None
    # An epoch ends with reading its sums back, so that the clock sees finished work.
    began, epochs = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        memory = advance()
        epochs += 1
    rate = epochs / (time.perf_counter() - began)
    barrier.wait(READY_SECONDS)  # nobody measures beside processes that have ended
    results.put(Rate(epochs_per_second=rate, peak_memory_mb=memory))


def _endless(task: tasks.Task, feed: Feed) -> Callable[[], float]:
    """Trains one epoch per call, a new training whenever one is finished; gives the peak memory in MB."""
    runs: list[FoldRun] = []

    def advance() -> float:
        if not runs or runs[-1].finished:
            runs[:] = [_run(task, feed)]
        return runs[-1].epoch().peak_memory_mb

    return advance


def _run(task: tasks.Task, feed: Feed) -> FoldRun:
    return FoldRun(task.objective, task.arrays, feed, task.fold, task.params, task.metric, epochs=task.epochs, seed=0)


def _task(name: str, cache: Path, data: Path | None) -> tasks.Task:
    if name == "abr":
        return tasks.abr(cache, data)
    others = {"digits": tasks.digits, "behaviour": tasks.behaviour}
    others |= {"grimace": tasks.grimace, "surface": tasks.surface, "expression": tasks.expression}
    return others[name](cache)


def _name(device: str) -> str:
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else device


if __name__ == "__main__":
    raise SystemExit(main())
