"""One measurement of `bench.overhead`: the time between two trainings in a study that holds many finished trials.

    python -m bench.turnaround URL --trials 1000

An empty database gets the digits study and so many finished trials, with parameters, curves, rungs and leases as a real
study would have them. Then a real worker runs trials (TPE, ASHA, real training). Measured from the return of the last
epoch of a trial to the call of the first epoch of the next: recording that epoch, the pruner's decision, telling,
claiming, asking and writing the parameters, building the net. Prints JSON: all times and where they go, in ms.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from statistics import median
from typing import Any

from bench.fabricate import fabricate
from bench.measure import REPOSITORY
from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.options import Options
from hpo.resolve import resolve
from hpo.search import Pruning, Search
from hpo.store import Store
from hpo.store.leases import Leases
from hpo.store.results import Results
from hpo.study import Study
from hpo.training import FoldRun
from hpo.work import Surroundings
from hpo.worker import Worker

#: What is timed inside the gap, in the order in which it happens; "of which" is a part of the line above.
PHASES = {
    "record the last epoch": (Results, "record"),
    "of which the pruner": (Pruning, "__call__"),
    "finish: close the lease": (Results, "finish_trial"),
    "of which tell": (Search, "tell"),
    "look for returned work": (Leases, "take_over"),
    "new trial with its lease": (Leases, "new_trial"),
    "choose: read all trials": (Search, "choose"),
    "of which the sampler": (Study, "suggest"),
    "of which writing": (Results, "choose"),
    "build the net": (Surroundings, "run"),
}


class Gaps:
    """Watches trainings and what happens between them, by wrapping the functions of `PHASES`."""

    def __init__(self) -> None:
        self.gaps: list[dict[str, float]] = []
        self._ended: float | None = None
        self._spent: dict[str, float] = defaultdict(float)
        for name, (owner, method) in PHASES.items():
            setattr(owner, method, self._timed(name, getattr(owner, method)))
        self._watch_epochs()

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self._spent[name] += 1e3 * (time.perf_counter() - started)

        return timed

    def _watch_epochs(self) -> None:
        train = FoldRun.epoch

        def epoch(run: FoldRun) -> Any:
            if not run.epochs and self._ended is not None:
                whole = 1e3 * (time.perf_counter() - self._ended)
                self.gaps.append({"whole": whole, **{name: self._spent[name] for name in PHASES}})
            result = train(run)
            self._ended, self._spent = time.perf_counter(), defaultdict(float)
            return result

        setattr(FoldRun, "epoch", epoch)  # noqa: B010 - a type checker refuses the plain assignment


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.turnaround", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", help="of an empty database")
    parser.add_argument("--trials", type=int, default=1000, help="finished ones (%(default)s)")
    parser.add_argument("--gaps", type=int, default=20, help="to measure (%(default)s)")
    parser.add_argument("--profile", action="store_true", help="print where the worker's time goes, training left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as runs:
        gaps = measure(options.url, RunFiles(Path(runs)), options.trials, options.gaps, options.profile)
    parts = {name: median(gap[name] for gap in gaps) for name in gaps[0]}
    print(json.dumps({"whole_ms": [gap["whole"] for gap in gaps], "parts_ms": parts}))


def measure(url: str, files: RunFiles, trials: int, gaps: int, profile: bool) -> list[dict[str, float]]:
    """The gaps of a worker in a study of so many finished trials."""
    spec = Study.read(REPOSITORY / "studies" / "digits.yaml", resolve)
    spec = replace(spec, configurations={})  # enqueued trials would not be asked for
    store = Store(url, create=True)
    objective = resolve(spec.objective)
    record = create_or_resume(spec, trials + gaps + 1, store, files, objective, None, lambda _: None)
    fabricate(store, record.study_id, spec, trials)
    worker = Worker(store, files, record, resolve, Options(threads=1, promote=False))
    watch = Gaps()
    if profile:
        _profiled(worker.run)
    else:
        worker.run()
    return watch.gaps


def _profiled(work: Callable[[], object]) -> None:
    import cProfile
    import pstats

    profile = cProfile.Profile()
    # Training is not what is looked for, and would fill the table.
    train = FoldRun.epoch

    def epoch(run: FoldRun) -> Any:
        profile.disable()
        try:
            return train(run)
        finally:
            profile.enable()

    setattr(FoldRun, "epoch", epoch)  # noqa: B010
    profile.enable()
    work()
    profile.disable()
    pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats(70)


if __name__ == "__main__":
    main()
