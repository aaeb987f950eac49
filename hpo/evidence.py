"""What a study's records say: the best trial, the baseline, their best epochs and the differences between them.

Pure functions over records, shared by the figures and the page, so that both speak of the same trial and epoch.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hpo import schedule
from hpo.objective import GROUPS, Direction, Epoch, Metric
from hpo.records import JobRecord, TrialRecord

#: Where a training value is meant, `train.NAME`; the same spelling as in `Epoch.get`.
TRAIN = "train."
#: Which way a measure is better; None for a name that the objective does not have.
DirectionOf = Callable[[str], Direction | None]


def family_of(score: str, direction_of: DirectionOf) -> str:
    """`f1` of the score `f1.rare` where the objective has the pattern `f1.*`, a score per class.

    Nothing for a score of its own, whatever its name holds: `macro_f1`, `segment_f1@0.3`.
    """
    parts = score.split(".")
    heads = (".".join(parts[:count]) for count in range(1, len(parts)))
    return next((head for head in heads if direction_of(f"{head}.*") is not None), "")


def finite(value: object) -> float | None:
    """The value as a number, None for anything that must not enter a table or an average."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def value_of(trial: TrialRecord, metric: Metric) -> float | None:
    """The recorded value; of a trial pruned before `min_epochs`, which has none, the best of its epochs."""
    value = finite(trial.value)
    if value is None and trial.end == "pruned" and (epoch := best_epoch(trial, metric)) is not None:
        return finite(epoch.get(metric.name))
    return value


def best_trial(trials: Iterable[TrialRecord], metric: Metric) -> TrialRecord | None:
    """The complete trial with the best value, the earlier one among equals; pruned trials cannot win."""
    valued = [(value, t) for t in trials if t.state == "COMPLETE" and (value := value_of(t, metric)) is not None]
    sign = 1.0 if metric.direction == "minimize" else -1.0
    return min(valued, key=lambda pair: (sign * pair[0], pair[1].number), default=(0.0, None))[1]


def baseline_trial(trials: Iterable[TrialRecord]) -> TrialRecord | None:
    """The trial of the first configuration of the study; None when none was enqueued."""
    return min((t for t in trials if t.configuration is not None), key=lambda t: t.number, default=None)


def min_epochs(trial: TrialRecord) -> int:
    """No model is kept before this epoch."""
    return int(finite(trial.params.get("stopping.min_epochs")) or 1)


def best_epoch(trial: TrialRecord, metric: Metric) -> Epoch | None:
    """The epoch that gave a trial its value; the best of all where none got as far as `min_epochs`."""
    return schedule.best_epoch(trial.epochs, metric, min_epochs(trial)) or schedule.best_epoch(trial.epochs, metric, 1)


def ordered_names(names: Iterable[str], metric: str) -> list[str]:
    """Measures as a reader looks for them: the metric, other scores, the loss, its terms; AU2 before AU10."""

    def rank(name: str) -> tuple[bool, bool, bool, list[str | int]]:
        parts: list[str | int] = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
        return name != metric, name == "loss" or name.startswith("loss."), name != "loss", parts

    return sorted(set(names), key=rank)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One measure before and after."""

    name: str
    direction: Direction | None
    before: float | None
    after: float | None
    train_before: float | None = None
    train_after: float | None = None

    @property
    def difference(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before

    @property
    def verdict(self) -> Literal["better", "worse", "equal", "not measurable", "no direction"]:
        """In words, because colour alone does not reach every reader or printer."""
        if self.difference is None:
            return "not measurable"
        if self.difference == 0:
            return "equal"
        if self.direction is None:
            return "no direction"
        return "better" if (self.difference > 0) == (self.direction == "maximize") else "worse"


def compare_epochs(
    before: Epoch | None, after: Epoch | None, metric: str, direction_of: DirectionOf
) -> list[Comparison]:
    """Every validation measure that at least one of two epochs has, training values beside it."""
    names = ordered_names([*(before.validation if before else ()), *(after.validation if after else ())], metric)

    def get(epoch: Epoch | None, name: str) -> float | None:
        return finite(epoch.get(name)) if epoch else None

    return [
        Comparison(
            name=name,
            direction=direction_of(name),
            before=get(before, name),
            after=get(after, name),
            train_before=get(before, TRAIN + name),
            train_after=get(after, TRAIN + name),
        )
        for name in names
    ]


def changed_params(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Parameters that differ as (name, before, after), in the order of the groups; a missing value is None."""

    def rank(name: str) -> tuple[int, str]:
        group = name.partition(".")[0]
        return (GROUPS.index(group) if group in GROUPS else len(GROUPS)), name

    names = sorted({*before, *after}, key=rank)
    return [(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


@dataclass(frozen=True, kw_only=True)
class FoldPair:
    """The metric of baseline and best on one fold of a promotion, trained with the same seed."""

    fold: int
    seed: int
    before: float | None
    after: float | None

    @property
    def difference(self) -> float | None:
        return None if self.before is None or self.after is None else self.after - self.before


def fold_pairs(jobs: Sequence[JobRecord], candidate: int | None, measure: str) -> list[FoldPair]:
    """Scores of finished fold jobs of the baseline and of `candidate`, side by side."""
    scores: dict[tuple[int, int], dict[str, float | None]] = {}
    for job in jobs:
        if job.fold < 0 or (job.role == "best" and candidate is not None and job.candidate != candidate):
            continue
        value = finite((job.scores or {}).get(measure)) if job.state == "done" else None
        scores.setdefault((job.fold, job.seed), {})[job.role] = value
    return [
        FoldPair(fold=fold, seed=seed, before=pair.get("baseline"), after=pair.get("best"))
        for (fold, seed), pair in sorted(scores.items())
    ]


def paired_difference(pairs: Sequence[FoldPair]) -> tuple[float, float | None, int] | None:
    """Mean and sample standard deviation of the differences per fold, and their number; None without any.

    Paired, because folds differ far more from each other than two configurations do on the same fold.
    """
    differences = [pair.difference for pair in pairs if pair.difference is not None]
    if not differences:
        return None
    spread = statistics.stdev(differences) if len(differences) > 1 else None
    return statistics.fmean(differences), spread, len(differences)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """What a study cost."""

    trial_hours: float
    job_hours: float
    trial_epochs: int
    job_epochs: int
    #: Epochs that pruned trials did not train, counted up to the median complete trial; None without one.
    saved_epochs: int | None
    complete_epochs: int | None  #: that median


def compute(trials: Sequence[TrialRecord], jobs: Sequence[JobRecord]) -> Compute:
    complete = [len(t.epochs) for t in trials if t.state == "COMPLETE"]
    typical = round(statistics.median(complete)) if complete else None
    pruned = [len(t.epochs) for t in trials if t.end == "pruned"]
    return Compute(
        trial_hours=sum(t.seconds for t in trials) / 3600,
        job_hours=sum(e.seconds for j in jobs for e in j.epochs) / 3600,
        trial_epochs=sum(len(t.epochs) for t in trials),
        job_epochs=sum(len(j.epochs) for j in jobs),
        saved_epochs=None if typical is None else sum(max(0, typical - trained) for trained in pruned),
        complete_epochs=typical,
    )
