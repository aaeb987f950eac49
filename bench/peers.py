"""The digits study by several tools on the same two cores: wall time, best score, epochs trained.

TPE with ASHA (first look at epoch 3, reduction factor 3), 48 trials of at most 12 epochs, two workers; the same net,
space, first configurations, batch size, loss, AdamW, schedule and early stopping:

  hpo          `hpo launch digits --workers 2`, search only, without the report
  Optuna       a plain script: DataLoader over a Dataset, study.optimize in two processes, default SQLite storage
  Ray Tune     OptunaSearch and ASHAScheduler, two trials at a time with one core each (bench/peer/with_ray.py);
               and once more with reuse_actors=True, which saves it a process per trial
  Syne Tune    BOHB (its ASHA with a TPE-like model), LocalBackend, two workers, looked at every 0.1 s

The time is that of the whole command, from the start of the process to its end. The tools sample and stop differently,
so they train different numbers of epochs: both are printed. hpo and Optuna run several times, in alternating order,
each time with another seed (of folds and sampler), the others once, with the first seed. The first run makes an
environment for Ray Tune and Syne Tune outside the repository, which borrows torch from this interpreter's.
Must reach: at most 0.8x the wall time of the Optuna script; 4x as fast as Ray Tune, 3x as fast as Syne Tune.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from sysconfig import get_path

import numpy as np
import yaml

from bench.measure import REPOSITORY, Goal, alternate, arguments, conclude, table

PEERS = ("ray[tune]==2.60.0", "syne-tune==0.16.0")
DEFAULT_VENV = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hpo-bench" / "peers"
#: Of each process that trains: two workers, two cores.
THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One run of the study by one tool."""

    seconds: float
    trials: int
    epochs: int
    best: float


def main(words: list[str] | None = None) -> int:
    parser = arguments("peers", __doc__)
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--repetitions", type=int, default=3, help="of hpo and Optuna (%(default)s)")
    parser.add_argument("--peers-venv", type=Path, default=DEFAULT_VENV, help="used, or made (%(default)s)")
    parser.add_argument("--skip", nargs="*", default=[], choices=("ray", "syne-tune"))
    options = parser.parse_args(words)
    if options.quick:
        options.trials, options.repetitions = 6, 1
    python = environment(options.peers_venv) if len(options.skip) < 2 else ""
    with tempfile.TemporaryDirectory() as folder:
        outcomes = _run_all(options, python, Path(folder))
    return conclude("peers", options, [_table(outcomes), _versions(python)], _goals(outcomes))


def _run_all(options: argparse.Namespace, python: str, folder: Path) -> dict[str, list[Outcome]]:
    """Every tool; the slow ones once."""
    digits = [_write_digits(folder, seed) for seed in range(options.repetitions)]
    outcomes: dict[str, list[Outcome]] = {"hpo": [], "Optuna script": []}

    def hpo() -> float:
        return _note(outcomes["hpo"], service(options.trials, seed=len(outcomes["hpo"])))

    def script() -> float:
        seed = len(outcomes["Optuna script"])
        return _note(outcomes["Optuna script"], peer(sys.executable, "with_optuna", options.trials, seed, digits[seed]))

    alternate({"hpo": hpo, "Optuna script": script}, options.repetitions)
    others: dict[str, Callable[[], Outcome]] = {}
    if "ray" not in options.skip:
        others["Ray Tune"] = lambda: peer(python, "with_ray", options.trials, 0, digits[0])
        reuse = "--reuse-actors"
        others["Ray Tune, reuse_actors"] = lambda: peer(python, "with_ray", options.trials, 0, digits[0], reuse)
    if "syne-tune" not in options.skip:
        others["Syne Tune"] = lambda: peer(python, "with_syne_tune", options.trials, 0, digits[0])
    for name, run in others.items():
        outcomes[name] = [run()]
        print(f"  {name}: {outcomes[name][0].seconds:.4g}", file=sys.stderr, flush=True)
    return outcomes


def _note(outcomes: list[Outcome], outcome: Outcome) -> float:
    outcomes.append(outcome)
    return outcome.seconds


def service(trials: int, seed: int) -> Outcome:
    """`hpo launch` as a user runs it, on digits.yaml with this seed (of folds, weights, order and sampler)."""
    from hpo.store import Store

    with tempfile.TemporaryDirectory() as folder:
        content = yaml.safe_load((REPOSITORY / "studies" / "digits.yaml").read_text())
        study = Path(folder) / "digits.yaml"
        study.write_text(yaml.safe_dump(content | {"seed": seed}))
        words = ["launch", str(study), "--workers", "2", "--trials", str(trials), "--devices", "cpu", "--runs", folder]
        command = [sys.executable, "-P", "-m", "hpo", *words, "--no-promote", "--no-report"]
        seconds = _run(command, Path(folder), os.environ | THREADS)[0]
        store = Store(f"sqlite:///{folder}/hpo.db")
        found = store.reading.trials(store.studies.get("digits").study_id)
        store.close()
    best = max(trial.value for trial in found if trial.value is not None)
    return Outcome(seconds=seconds, trials=len(found), epochs=sum(len(t.epochs) for t in found), best=best)


def peer(python: str, script: str, trials: int, seed: int, digits: Path, *more: str) -> Outcome:
    """A script of `bench/peer`, in an empty folder."""
    environ = os.environ | THREADS | {"BENCH_DIGITS": str(digits), "PYTHONPATH": str(REPOSITORY)}
    with tempfile.TemporaryDirectory() as folder:
        environ["SYNETUNE_FOLDER"] = folder
        command = [python, "-m", f"bench.peer.{script}", str(trials), str(seed), *more]
        seconds, output = _run(command, Path(folder), environ)
    return Outcome(seconds=seconds, **json.loads(output.splitlines()[-1]))


def _run(command: list[str], folder: Path, environ: dict[str, str]) -> tuple[float, str]:
    """Wall time and standard output of a command."""
    started = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return seconds, done.stdout


def _write_digits(folder: Path, seed: int) -> Path:
    """The first fold of digits as a study of this seed trains it, for the other tools."""
    from bench.tasks import FOLDS, digits

    task = digits(folder)
    fold = task.objective.split(task.arrays, FOLDS, seed).folds[0]
    parts = {"train": fold.train, "validation": fold.validation}
    arrays = {f"{part}_{name}": task.arrays[name][rows] for part, rows in parts.items() for name in task.arrays}
    path = folder / f"digits-{seed}.npz"
    np.savez(path, **arrays)
    return path


def environment(folder: Path) -> str:
    """The interpreter of an environment with the peers, made if it is not there."""
    python = folder / "bin" / "python"
    done = folder / "peers.txt"
    if done.is_file() and done.read_text() == " ".join(PEERS):
        return str(python)
    print(f"making {folder} for {' and '.join(PEERS)}", file=sys.stderr, flush=True)
    venv.create(folder, with_pip=True, clear=True)
    packages = _output([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
    # Five gigabytes of torch are not installed twice: what is missing there is found where this interpreter has it.
    (Path(packages) / "borrowed.pth").write_text(get_path("purelib") + "\n")
    subprocess.run([python, "-m", "pip", "install", "-qq", "--only-binary=:all:", *PEERS], check=True)
    done.write_text(" ".join(PEERS))
    return str(python)


def _versions(python: str) -> str:
    if not python:
        return ""
    code = "from importlib.metadata import version as v; print(*(f'{n} {v(n)}' for n in ('ray', 'syne-tune', 'torch')))"
    return f"Environment of the peers: {_output([python, '-c', code])}"


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _table(outcomes: dict[str, list[Outcome]]) -> str:
    ours = _seconds(outcomes["hpo"])
    header = ["tool", "runs", "wall s", "hpo / tool", "best macro F1", "trials", "epochs", "ms per epoch"]
    rows: list[list[object]] = []
    for name, runs in outcomes.items():
        seconds, epochs = _seconds(runs), median(run.epochs for run in runs)
        best = median(run.best for run in runs)
        trials = int(median(run.trials for run in runs))
        rows.append([name, len(runs), seconds, ours / seconds, best, trials, int(epochs), 1e3 * seconds / epochs])
    return table(header, rows) + "\n\nMedians over the runs; ms per epoch is the wall time divided by the epochs."


def _goals(outcomes: dict[str, list[Outcome]]) -> list[Goal]:
    ours = _seconds(outcomes["hpo"])
    script = ours / _seconds(outcomes["Optuna script"])
    goals = [Goal(what="wall time against the Optuna script", value=script, at_most=0.8)]
    for name, bound in (("Ray Tune", 4.0), ("Syne Tune", 3.0)):
        if name in outcomes:
            goals.append(Goal(what=f"speed against {name}", value=_seconds(outcomes[name]) / ours, at_least=bound))
    return goals


def _seconds(runs: list[Outcome]) -> float:
    return median(run.seconds for run in runs)


if __name__ == "__main__":
    raise SystemExit(main())
