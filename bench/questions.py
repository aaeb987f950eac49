"""The named configurations of a study over all its folds, the best of a search, and who has learned nothing.

    python -m bench.questions abr --data recordings/ --trials 20

Every configuration of a study that ships with hpo is trained on every fold, as a promotion would train it; the best of
`--trials` trials is that of the real command, `hpo launch`, whose finalist is retrained on every fold. Beside the
scores stands the majority predictor: the commonest class of a fold's training part, said of all its validation part; or
the predictors that the objective itself names, by the loss of each configuration. `--at` adds what measures come to
after some epochs.

A configuration's row holds the study's metric over the folds, mean and standard deviation, and the scores of its
targets; the metric on the training rows; what the first loss term weighs against the second, at its worst and in the
last epoch; the seconds that an epoch takes on one thread, `--workers` trainings going on side by side; and for every
fold the epoch that is kept, of how many.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median, stdev
from types import MappingProxyType

import torch
import yaml

from bench.measure import REPOSITORY, arguments, conclude, table
from hpo.arrays import Arrays, Feed, open_arrays
from hpo.objective import Epoch, Fold, Objective, Value
from hpo.resolve import resolve
from hpo.study import Study
from hpo.training import FoldRun

#: Arguments of `asked`.
Asking = tuple[str, Path | None, Path, int | None, int | None, Mapping[str, Value]]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A study with its data, ready to be trained."""

    study: Study
    objective: Objective
    arrays: Arrays
    folds: tuple[Fold, ...]

    def train(self, configuration: str, fold: Fold, repeat: int) -> FoldRun:
        """One training to its end; repeats differ in their random numbers alone."""
        values = self.study.configurations[configuration]
        params = self.study.params({key: values[key] for key in self.study.space}, configuration)
        feed, budget = Feed(self.arrays, torch.device("cpu")), self.study.budget
        run = FoldRun(
            self.objective,
            self.arrays,
            feed,
            fold,
            params,
            self.study.metric,
            epochs=budget.epochs,
            validation=self.study.validation,
            seed=self.study.seed,
            repeat=repeat,
        )
        while not run.finished:
            run.epoch()
        return run

    def majority(self, fold: Fold) -> float | None:
        """Macro F1 of saying the commonest class of the training part all over; None without labels.

        Of the classes that occur in the truth, only that one has an F1 above 0.
        """
        counts = self.objective.class_counts(self.arrays)
        trained, truth = counts[fold.train].sum(axis=0), counts[fold.validation].sum(axis=0)
        if not trained.any() or not truth.any():
            return None
        hits = float(truth[trained.argmax()] / truth.sum())
        return 2 * hits / (1 + hits) / int((truth > 0).sum())


def asked(
    name: str, data: Path | None, cache: Path, epochs: int | None, folds: int | None, fixed: Mapping[str, Value]
) -> Question:
    """A study that ships with hpo; `epochs` shortens its trainings, `folds` and `fixed` replace what it says."""
    study = Study.read(REPOSITORY / "studies" / f"{name}.yaml", resolve)
    named = {name: MappingProxyType({**values, **fixed}) for name, values in study.configurations.items()}
    study = replace(study, fixed=MappingProxyType({**study.fixed, **fixed}), configurations=MappingProxyType(named))
    if folds is not None:
        study = replace(study, folds=replace(study.folds, count=folds))
    if epochs is not None:
        study = replace(study, budget=replace(study.budget, epochs=epochs))
    objective = resolve(study.objective)
    arrays = open_arrays(objective, data, study.fixed, cache)
    dealt = objective.split(arrays, study.folds.count, study.seed).folds
    return Question(study=study, objective=objective, arrays=arrays, folds=dealt)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What one training came to, of its best epoch."""

    best: Epoch | None  #: None where none has the metric
    epochs: tuple[Epoch, ...]
    ratios: tuple[float, float] | None  #: first term against second: worst, last

    def get(self, measure: str) -> float | None:
        """Of the best epoch."""
        return self.best.get(measure) if self.best else None


def trained(asking: Asking, configuration: str, fold: int, repeat: int) -> Trained:
    """One training in a process of its own, on one thread; `asking` are the arguments of `asked`."""
    torch.set_num_threads(1)
    question = asked(*asking)
    run = question.train(configuration, question.folds[fold], repeat)
    return Trained(best=run.best, epochs=tuple(run.epochs), ratios=_ratios(run.epochs, question.objective.terms))


def row_of(name: str, runs: Sequence[Trained], question: Question) -> list[object]:
    """A configuration's row of the table."""
    metric = question.study.metric.name
    scores = [mean_and_spread([run.get(score) for run in runs]) for score in scores_of(question.study)]
    train = mean_and_spread([run.get(f"train.{metric}") for run in runs if run.best])
    worst, last = (_mean([run.ratios[k] for run in runs if run.ratios]) for k in (0, 1))
    kept = ", ".join(f"{run.best.number if run.best else 0}/{len(run.epochs)}" for run in runs)
    seconds = median(epoch.seconds for epoch in chain.from_iterable(run.epochs for run in runs))
    return [name, *scores, train, worst, last, seconds, kept]


def references_of(name: str, runs: Sequence[Trained], study: Study) -> list[list[object]]:
    """Rows of the predictors that have learned nothing, by the loss of this configuration."""
    first = [run.epochs[0].references for run in runs]
    return [
        [f"{kind}, by the loss of {name}", *_known([one[kind] for one in first], scores_of(study)), *["-"] * 5]
        for kind in first[0]
    ]


def _known(found: Sequence[Mapping[str, float]], scores: Sequence[str]) -> list[str]:
    return [mean_and_spread([one.get(score) for one in found]) for score in scores]


def curves(name: str, runs: Sequence[Trained], measures: Sequence[str], at: Sequence[int]) -> list[list[object]]:
    """Rows of measures after some epochs, the mean over the trainings that have got so far."""
    rows: list[list[object]] = []
    for measure in measures:
        reached = [[run.epochs[n - 1].get(measure) for run in runs if len(run.epochs) >= n] for n in at]
        means = [_mean([value for value in values if value is not None]) for values in reached]
        rows.append([f"{name}: {measure}", *means])
    return rows


def scores_of(study: Study) -> list[str]:
    """The metric, and every other score that a target of the study names."""
    named = [t.measure for t in study.targets if t.kind == "score" and not t.measure.startswith("train.")]
    return list(dict.fromkeys([study.metric.name, *named]))


def _ratios(epochs: Sequence[Epoch], terms: Sequence[str]) -> tuple[float, float] | None:
    """First term against second, weighted: the largest of all epochs and that of the last; None for a single term."""
    if len(terms) < 2:
        return None
    found = [value for epoch in epochs if (value := epoch.ratios().get(f"{terms[0]}/{terms[1]}")) is not None]
    return (max(found), found[-1]) if found else None


def _mean(values: Sequence[float]) -> object:
    return fmean(values) if values else "-"


def mean_and_spread(scores: Sequence[float | None]) -> str:
    """`0.612 ± 0.04`, and of how many trainings where some have no score."""
    known = [score for score in scores if score is not None]
    if not known:
        return "cannot be scored"
    spread = f" ± {stdev(known):.3f}" if len(known) > 1 else ""
    return f"{fmean(known):.3f}{spread}" + (f" ({len(known)} of {len(scores)})" if len(known) < len(scores) else "")


def searched(options: argparse.Namespace) -> list[list[object]]:
    """What `hpo launch` comes to: rows of the winner and of the baseline as it retrained them on every fold."""
    name, data, trials = options.study, options.data, options.trials
    source = REPOSITORY / "studies" / f"{name}.yaml"
    scores = scores_of(Study.read(source, resolve))
    with tempfile.TemporaryDirectory() as runs:
        said = yaml.safe_load(source.read_text())
        for key, value in options.fixed.items():
            group, _, short = key.partition(".")
            said["fixed"].setdefault(group, {})[short] = value
        if options.epochs is not None:
            said["budget"]["epochs"] = options.epochs
        changed = Path(runs) / f"{name}.yaml"
        changed.write_text(yaml.safe_dump(said, sort_keys=False))
        words = ["launch", str(changed), "--trials", str(trials), "--workers", str(options.workers)]
        words += ["--devices", "cpu", "--no-report"]
        _hpo([*words, *([] if data is None else ["--data", str(data.absolute())])], Path(runs))
        final = json.loads(_hpo(["status", name, "--json"], Path(runs)))["final"]
    rows: list[list[object]] = []
    for kind, prefix in ((f"best of {trials} trials", ""), ("its baseline", "baseline_")):
        values, spread = final[f"{prefix}scores"], final[f"{prefix}spread"]
        shown = [
            f"{values[s]:.3f} ± {spread[s]:.3f}" if s in values and s in spread else mean_and_spread([]) for s in scores
        ]
        rows.append([kind, *shown, "-", "-", "-", "-", "-"])
    return rows


def _hpo(words: Sequence[str], folder: Path) -> str:
    command = [sys.executable, "-P", "-m", "hpo", *words, "--runs", str(folder)]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def main(words: list[str] | None = None) -> int:
    parser = arguments("questions", __doc__)
    parser.add_argument("study", help="that ships with hpo: abr, behaviour, digits, expression, grimace, surface")
    parser.add_argument("--data", type=Path, help="recordings; those that the objective makes up without")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="configurations to train; all without")
    parser.add_argument("--folds", type=int, help="of the configurations; those of the study without")
    parser.add_argument("--epochs", type=int, help="most of a training; those of the study without")
    parser.add_argument("--at", type=int, nargs="+", default=[], metavar="EPOCH", help="of the measures of --curve")
    parser.add_argument("--curve", nargs="+", default=["loss"], metavar="MEASURE", help="shown with --at (loss)")
    parser.add_argument(
        "--fixed",
        type=yaml.safe_load,
        default={},
        help='replaces what the study and its configurations say, as "{data.max_frames: 8}"',
    )
    parser.add_argument("--repeats", type=int, default=1, help="trainings per configuration and fold (%(default)s)")
    parser.add_argument("--trials", type=int, default=0, help="of the search; 0 = none (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="trainings at a time, one thread each (%(default)s)")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as cache:
        epochs = 1 if options.quick else options.epochs
        asking = (options.study, options.data, Path(cache), epochs, options.folds, options.fixed)
        question = asked(*asking)
        rows, differences, after = measured(question, asking, options)
    if options.trials:
        rows += searched(options)
    scores, terms = scores_of(question.study), [*question.objective.terms, "-", "-"]
    shares = [f"{terms[0]}/{terms[1]}, worst", "last"]
    header = ["configuration", *scores, f"training {scores[0]}", *shares, "s per epoch", "kept/trained"]
    parts = [_data(question, options), table(header, rows), "\n".join(differences)]
    parts += [table(["after epoch", *map(str, options.at)], after)] if after else []
    return conclude("questions", options, parts)


def measured(
    question: Question, asking: Asking, options: argparse.Namespace
) -> tuple[list[list[object]], list[str], list[list[object]]]:
    """Rows of who has learned nothing and of every configuration; how these differ from the first; `curves`."""
    rows: list[list[object]] = []
    after: list[list[object]] = []
    runs: dict[str, list[Trained]] = {}
    scores = scores_of(question.study)
    if question.study.metric.name == "macro_f1":
        said = mean_and_spread([question.majority(fold) for fold in question.folds])
        rows.append(["majority predictor", said, *["-"] * (len(scores) + 4)])
    names = options.only or list(question.study.configurations)
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        cases = [(fold.index, repeat) for repeat in range(options.repeats) for fold in question.folds]
        trainings = {name: [pool.submit(trained, asking, name, *case) for case in cases] for name in names}
        for name, futures in trainings.items():
            runs[name] = [future.result() for future in futures]
            rows += [*references_of(name, runs[name], question.study), row_of(name, runs[name], question)]
            after += curves(name, runs[name], options.curve, options.at) if options.at else []
            print(f"  {name}: {rows[-1][1:]}", file=sys.stderr, flush=True)
    first, *others = names
    differences = [line for name in others for line in paired(name, runs[name], first, runs[first], scores)]
    return rows, differences, after


def paired(
    name: str, runs: Sequence[Trained], other: str, others: Sequence[Trained], scores: Sequence[str]
) -> Iterator[str]:
    """Differences training by training, of the same fold and repeat: what the folds have in common cancels."""
    for score in scores:
        pairs = [(run.get(score), than.get(score)) for run, than in zip(runs, others, strict=True)]
        found = [a - b for a, b in pairs if a is not None and b is not None]
        if len(found) > 1:
            better = sum(value > 0 for value in found)
            text = f"{fmean(found):+.3f} ± {stdev(found):.3f}, larger in {better} of {len(found)} pairs"
            yield f"- {score}, {name} minus {other}: {text}"


def _data(question: Question, options: argparse.Namespace) -> str:
    made_up = "made-up data" if options.data is None else f"recordings in {options.data.name}"
    rows = ", ".join(f"{len(fold.train)} + {len(fold.validation)}" for fold in question.folds)
    changed = f"; {options.fixed}" if options.fixed else ""
    return f"{made_up}{changed}; rows for training + validation per fold: {rows}"


if __name__ == "__main__":
    raise SystemExit(main())
