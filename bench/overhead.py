"""What the service costs beside training: wall time per epoch, and the pause between two trials.

Per epoch: fixed, enqueued configurations of digits, no pruner, two workers. `hpo launch` (curves, leases, logs and
checkpoints on; by default one every 10 s, which such short trials do not reach: see --checkpoint-every) against the
same `FoldRun` under bare Optuna: two processes, ask, epochs, tell, on a database of the same kind with Optuna's own
settings. Both train the same epochs with the same numbers. A worker's time runs from the start of its first trial to
the end of its last one, as Optuna has them on record on both sides: without the start of the processes, and without a
worker's wait for the other one's last trial. The figure is the time of both workers divided by twice the number of
epochs; the total wall time is printed too. Ratios are medians of repetitions in alternating order. Must reach: at
most 1.05x.

Between trials: see `python -m bench.turnaround --help`; median over 20 pauses of one worker. Must reach: 60 ms on
SQLite and 100 ms on PostgreSQL at 1,000 finished trials, 150 and 200 ms at 10,000.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import yaml

from bench.databases import KINDS, Fresh, server
from bench.measure import REPOSITORY, Goal, alternate, arguments, conclude, ratio, table

WORKERS = 2
PER_EPOCH = 1.05
#: Finished trials -> ms.
PAUSE = {"sqlite": {1000: 60.0, 10_000: 150.0}, "postgresql": {1000: 100.0, 10_000: 200.0}}


@dataclass(frozen=True)
class Cost:
    """One run of the study, on one side."""

    worker_seconds: float  #: over all workers
    training_seconds: float  #: of these, inside `FoldRun.epoch`
    total_seconds: float
    trials: int
    epochs: int

    @property
    def per_epoch(self) -> float:
        """Wall seconds per epoch of the two workers together."""
        return self.worker_seconds / WORKERS / self.epochs

    @property
    def training_per_epoch(self) -> float:
        """The part of it inside `FoldRun.epoch`: more on one side means that something else used the cores."""
        return self.training_seconds / WORKERS / self.epochs


def main(words: list[str] | None = None) -> int:
    parser = arguments("overhead", __doc__)
    parser.add_argument("--trials", type=int, default=48, help="configurations per run (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each side (%(default)s)")
    parser.add_argument("--checkpoint-every", type=float, default=10.0, help="seconds; 0 = every epoch (%(default)s)")
    parser.add_argument("--gaps", type=int, default=20, help="pauses per measurement (%(default)s)")
    parser.add_argument("--finished", type=int, nargs="+", default=[100, 1000, 10_000], help="trials in the study")
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--only", choices=("epoch", "pause"), help="one of the two measurements")
    options = parser.parse_args(words)
    if options.quick:
        options.trials, options.repetitions, options.gaps, options.finished = 4, 1, 3, [100]
    parts: list[str] = []
    goals: list[Goal] = []
    if options.only != "pause":
        _add(parts, goals, per_epoch(options))
    if options.only != "epoch":
        _add(parts, goals, between_trials(options))
    return conclude("overhead", options, parts, goals)


def _add(parts: list[str], goals: list[Goal], found: tuple[str, list[Goal]]) -> None:
    parts.append(found[0])
    goals += found[1]


# -- per epoch


def per_epoch(options: argparse.Namespace) -> tuple[str, list[Goal]]:
    """The table and the goals of the first measurement."""
    rows: list[list[object]] = []
    goals: list[Goal] = []
    for kind in options.databases:
        with tempfile.TemporaryDirectory() as folder, server(kind, Path(folder)) as fresh:
            study = _study_file(Path(folder), options.trials)
            launch = partial(service, checkpoint_every=options.checkpoint_every)
            costs: dict[str, list[Cost]] = {"hpo launch": [], "bare ask/tell": []}
            sides = {
                "hpo launch": _measuring(costs["hpo launch"], launch, fresh, study),
                "bare ask/tell": _measuring(costs["bare ask/tell"], bare, fresh, study),
            }
            found = alternate(sides, options.repetitions)
        times = ratio(found["hpo launch"], found["bare ask/tell"])
        for side, runs in costs.items():
            total = median(run.total_seconds for run in runs)
            inside = 1e3 * median(run.training_per_epoch for run in runs)
            factor = times if side == "hpo launch" else 1.0
            rows.append([kind, side, 1e3 * median(found[side]), inside, factor, runs[0].trials, runs[0].epochs, total])
        goals.append(Goal(what=f"{kind}, time per epoch against bare ask/tell", value=times, at_most=PER_EPOCH))
    header = ["database", "side", "ms per epoch", "of which training", "ratio", "trials", "epochs", "total s"]
    return table(header, rows), goals


def _measuring(costs: list[Cost], run: Callable[[str, Path], Cost], fresh: Fresh, study: Path) -> Callable[[], float]:
    def measure() -> float:
        costs.append(run(fresh(), study))
        return costs[-1].per_epoch

    return measure


def _study_file(folder: Path, trials: int) -> Path:
    """digits.yaml without pruner and with so many fixed configurations, drawn at random from its space."""
    import optuna

    from hpo.resolve import resolve
    from hpo.study import Study

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = REPOSITORY / "studies" / "digits.yaml"
    spec = Study.read(path, resolve)
    content = yaml.safe_load(path.read_text())
    drawing = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    points = [spec.suggest(drawing.ask()).flat() for _ in range(trials)]
    content["study"] = "overhead"
    content["pruner"] = {"name": "none"}
    content["budget"]["trials"] = trials
    content["configurations"] = {
        f"c{number:02d}": _grouped({key: point[key] for key in spec.space}) for number, point in enumerate(points)
    }
    written = folder / "overhead.yaml"
    written.write_text(yaml.safe_dump(content))
    return written


def _grouped(point: dict[str, Any]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, value in point.items():
        group, _, key = name.partition(".")
        groups[group][key] = value
    return dict(groups)


def service(url: str, study: Path, checkpoint_every: float) -> Cost:
    """`hpo launch` as a user runs it."""
    from hpo.store import Store

    with tempfile.TemporaryDirectory() as runs:
        words = [sys.executable, "-P", "-m", "hpo", "launch", str(study), "--workers", str(WORKERS), "--devices", "cpu"]
        words += ["--no-promote", "--no-report", "--runs", runs, "--checkpoint-every", str(checkpoint_every)]
        started = time.perf_counter()
        environ = os.environ | {"HPO_STORAGE": url}
        done = subprocess.run(words, env=environ, capture_output=True, text=True, check=False)
        total = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"hpo launch failed:\n{done.stdout}{done.stderr}")
    store = Store(url)
    trials = store.reading.trials(store.studies.get("overhead").study_id)
    store.close()
    spans: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for trial in trials:
        assert trial.worker and trial.started and trial.finished
        spans[trial.worker].append((trial.started, trial.finished))
    epochs = sum(len(trial.epochs) for trial in trials)
    training = sum(trial.seconds for trial in trials)
    return Cost(_busy(spans), training, total, len(trials), epochs)


def _busy(spans: dict[str, list[tuple[datetime, datetime]]]) -> float:
    """Seconds from each worker's first start to its last end, summed."""
    return sum((max(e for _, e in span) - min(s for s, _ in span)).total_seconds() for span in spans.values())


def bare(url: str, study: Path) -> Cost:
    """Two processes that ask, train and tell, and nothing else."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    spec = yaml.safe_load(study.read_text())
    context = multiprocessing.get_context("spawn")
    trials, barrier, results = len(spec["configurations"]), context.Barrier(WORKERS), context.SimpleQueue()
    tickets = context.Semaphore(trials)
    started = time.perf_counter()
    storage = optuna.storages.RDBStorage(url)
    made = optuna.create_study(study_name="overhead", storage=storage, direction="maximize")
    for name, point in spec["configurations"].items():
        flat = {f"{group}.{key}": value for group, values in point.items() for key, value in values.items()}
        made.enqueue_trial(flat, user_attrs={"configuration": name})
    with tempfile.TemporaryDirectory() as cache:
        arguments = (url, str(study), cache, tickets, barrier, results)
        processes = [context.Process(target=_bare_worker, args=arguments) for _ in range(WORKERS)]
        for process in processes:
            process.start()
        reports = [results.get() for _ in processes]
        for process in processes:
            process.join()
    total = time.perf_counter() - started
    told = {trial.number: trial for trial in made.get_trials(deepcopy=False)}
    spans = {
        str(number): [(told[n].datetime_start, told[n].datetime_complete) for n in numbers]
        for number, (numbers, _) in enumerate(reports)
    }
    seconds = [second for _, epochs in reports for second in epochs]
    return Cost(_busy(spans), sum(seconds), total, trials, len(seconds))  # type: ignore[arg-type]


def _bare_worker(url: str, study: str, cache: str, tickets: Any, barrier: Any, results: Any) -> None:
    """Ask, train, tell, until the tickets are used up; puts (trial numbers, seconds of each epoch) into `results`."""
    import optuna
    import torch

    from hpo.arrays import Feed, open_arrays
    from hpo.resolve import resolve
    from hpo.study import Study
    from hpo.training import FoldRun

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // WORKERS))  # as `hpo launch` does
    spec = Study.read(Path(study), resolve)
    objective = resolve(spec.objective)
    arrays = open_arrays(objective, None, spec.fixed, Path(cache))
    feed = Feed(arrays, torch.device("cpu"))
    fold = objective.split(arrays, spec.folds.count, spec.seed).folds[spec.folds.search]
    asked = optuna.load_study(study_name="overhead", storage=url, sampler=spec.sampler(os.getpid()))
    numbers: list[int] = []
    seconds: list[float] = []
    barrier.wait()
    while tickets.acquire(block=False):
        trial = asked.ask()
        params = spec.suggest(trial)
        run = FoldRun(objective, arrays, feed, fold, params, spec.metric, epochs=spec.budget.epochs, seed=spec.seed)
        while not run.finished:
            run.epoch()
        assert run.best is not None
        # Two processes may be given the same enqueued trial on SQLite: the second one's tell is dropped.
        asked.tell(trial, run.best.get(spec.metric.name), skip_if_finished=True)
        numbers.append(trial.number)
        seconds += [epoch.seconds for epoch in run.epochs]
    results.put((numbers, seconds))


# -- between trials


def between_trials(options: argparse.Namespace) -> tuple[str, list[Goal]]:
    """The table and the goals of the second measurement."""
    rows: list[list[object]] = []
    goals: list[Goal] = []
    parts: dict[str, dict[str, float]] = {}
    for kind in options.databases:
        with tempfile.TemporaryDirectory() as folder, server(kind, Path(folder)) as fresh:
            for finished in options.finished:
                found = _turnaround(fresh, finished, options.gaps)
                value = median(found["whole_ms"])
                parts[f"{kind} {finished}"] = found["parts_ms"]
                rows.append([kind, finished, value, min(found["whole_ms"]), max(found["whole_ms"])])
                if bound := PAUSE[kind].get(finished):
                    what = f"{kind}, pause between trials at {finished} finished ones"
                    goals.append(Goal(what=what, value=value, at_most=bound, unit=" ms"))
    whole = table(["database", "finished trials", "median ms", "smallest", "largest"], rows)
    names = list(next(iter(parts.values())))
    where = [[name, *(times[name] for times in parts.values())] for name in names]
    return f"{whole}\n\nWhere it goes, medians in ms:\n\n{table(['part', *parts], where)}", goals


def _turnaround(fresh: Fresh, finished: int, gaps: int) -> dict[str, Any]:
    """One measurement, in a process of its own."""
    words = [sys.executable, "-m", "bench.turnaround", fresh(), "--trials", str(finished), "--gaps", str(gaps)]
    print(f"  pause at {finished} trials", file=sys.stderr, flush=True)
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench.turnaround failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    raise SystemExit(main())
