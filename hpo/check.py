"""Whether the net of a study trains, and how long the study would take: what `hpo check` tries out.

Nothing here prints and nothing touches a database. What is odd becomes a warning; what would make trials fail or
deceive becomes a problem.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from hpo.check_gradients import look_at_gradients
from hpo.check_labels import look, no_value, not_finite, nothing_labelled, nothing_to_learn
from hpo.check_subject import Subject
from hpo.measure import NonFiniteLoss
from hpo.objective import DataError, Epoch, Fold
from hpo.study import Study
from hpo.training import VALIDATION_BATCHES, FoldRun

#: Most rounds over the two batches, and seconds after which there are no more.
ROUNDS, STEADY_SECONDS = 10, 0.5
#: Whole epochs that are timed after one that warms up, where all of them take about that many seconds.
TIMED, TIMED_SECONDS = 5, 5.0


@dataclass
class Training:
    """What a training came to, filled while it goes on."""

    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    untrained: dict[str, float] = field(default_factory=dict)  #: of the validation rows, before the first step
    seconds_per_epoch: float | None = None  #: of a whole epoch of one fold
    #: Per fold: weight of the labelled entries that each term finds in validation, their number where nothing weighs.
    label_weights: list[dict[str, float]] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)  #: parameters whose gradient is missing or 0
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @contextmanager
    def catching(self) -> Iterator[None]:
        """Turn what the objective's code raises into a problem."""
        try:
            yield
        except DataError:
            raise
        except NonFiniteLoss as error:
            self.problems.append(str(error))
        except Exception as error:  # a user's own objective may raise anything
            text = traceback.format_exc()
            self.problems.append(f"the objective raised {type(error).__name__}: {error}\n{text.rstrip()}")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Upper bounds in seconds: no trial is pruned, no training stops early."""

    workers: int
    trials: int
    epochs: int  #: of each training
    seconds_per_epoch: float
    search: float
    trainings: int  #: of the promotion
    promotion: float


# -- training


def train_fold(subject: Subject, fold: int, epochs: int, tell: Callable[[Epoch], None]) -> Training:
    """Train one fold; `tell` hears of each epoch as it ends."""
    result = Training()
    with result.catching():
        run = subject.run(subject.split.folds[fold], epochs)
        result.untrained |= run.evaluate(run.fold.validation)
        while not run.finished:
            result.epochs.append(run.epoch())
            tell(result.epochs[-1])
        result.best = run.best
        if run.best is None:
            result.problems.append(f"{subject.spec.metric.name} could not be computed: such a trial has no value")
        result.problems += nothing_to_learn(subject, run, run.fold)
        for term in subject.objective.terms:
            if f"loss.{term}" not in result.epochs[-1].validation:
                why = "nothing is labelled there, or it is not finite"
                result.warnings.append(f"loss term '{term}' has no value in the validation part: {why}")
    if result.epochs:
        result.seconds_per_epoch = _steady(result.epochs)
    return result


def train_two_batches(subject: Subject) -> Training:
    """Train two batches of the search fold: once to see what goes wrong, then again to see how long a step takes."""
    result = Training()
    fold = subject.split.folds[subject.spec.folds.search]
    with result.catching():
        run = subject.run(_sample(subject, fold), ROUNDS)
        result.problems += _wrong_terms(subject, run)
        if result.problems:
            return result
        result.untrained |= run.evaluate(run.fold.validation)
        _train_until_steady(run, result.epochs)
        reach = look_at_gradients(run)
        result.unreached += reach.unreached
        result.problems += reach.problems
        result.warnings += reach.warnings
        result.notes += reach.notes
        result.seconds_per_epoch = _seconds_per_epoch(subject, run, fold)
        looks = [look(subject, run, other.index, other.validation) for other in subject.split.folds]
        result.label_weights = [found.weights for found in looks]
        result.problems += (*not_finite(looks), *nothing_to_learn(subject, run, fold), *no_value(subject, looks))
        result.warnings += nothing_labelled(subject, looks)
    return result


def _train_until_steady(run: FoldRun, epochs: list[Epoch]) -> None:
    """Twice at least, since the first round warms up; a fast net more often, since its times scatter."""
    while len(epochs) < 2 or (len(epochs) < ROUNDS and sum(epoch.seconds for epoch in epochs[1:]) < STEADY_SECONDS):
        epochs.append(run.epoch())


def _sample(subject: Subject, fold: Fold) -> Fold:
    """Two training batches with a row of every class (class weights may divide by its number), one to validate on."""
    size = subject.params.data["batch_size"]
    generator = np.random.default_rng(subject.spec.seed)
    rows = generator.permutation(fold.train)
    held = subject.objective.class_counts(subject.arrays)[rows] > 0
    kinds = np.column_stack([~held.any(axis=1), held])
    first = list(dict.fromkeys(kinds[:, kinds.any(axis=0)].argmax(axis=0).tolist()))  # a row may hold several
    rows = np.concatenate([rows[first], np.delete(rows, first)])[: 2 * size]
    held_out = generator.permutation(fold.validation)[: VALIDATION_BATCHES * size]
    return Fold(fold.index, np.sort(rows), np.sort(held_out))


def _seconds_per_epoch(subject: Subject, run: FoldRun, fold: Fold) -> float:
    """Of whole epochs where they are short: what an epoch costs once would count with every pair of its batches."""
    seconds = _extrapolated(run, fold)
    if (1 + TIMED) * seconds > TIMED_SECONDS:
        return seconds
    whole = subject.run(fold, 1 + TIMED)
    while len(whole.epochs) <= TIMED and sum(epoch.seconds for epoch in whole.epochs) < TIMED_SECONDS:
        whole.epoch()
    return _steady(whole.epochs)


def _extrapolated(run: FoldRun, fold: Fold) -> float:
    """From the rounds over the sample."""
    size = run.params.data["batch_size"]
    evaluations = []
    for _ in range(3):
        started = time.perf_counter()
        run.evaluate(run.fold.validation)
        evaluations.append(time.perf_counter() - started)
    evaluation = median(evaluations)
    training = max(_steady(run.epochs) - evaluation, 0.0)

    def times(rows: np.ndarray, sample: np.ndarray, batch: int) -> float:
        return math.ceil(len(rows) / batch) / max(math.ceil(len(sample) / batch), 1)

    whole = evaluation * times(fold.validation, run.fold.validation, VALIDATION_BATCHES * size)
    return training * times(fold.train, run.fold.train, size) + whole


def _steady(epochs: Sequence[Epoch]) -> float:
    """Seconds of a typical epoch: the first one warms up, and one that another process disturbed does not count."""
    return median(epoch.seconds for epoch in epochs[1:] or epochs)


def _wrong_terms(subject: Subject, run: FoldRun) -> list[str]:
    """The training loop tells the sums of the terms apart by their order."""
    found = look(subject, run, run.fold.index, run.fold.train[:2])
    given, named = list(found.weights), list(subject.objective.terms)
    if given == named:
        return []
    return [f"losses() returns {', '.join(given)}, but `terms` is {', '.join(named)}: make names and order equal"]


# -- how long


def estimate(spec: Study, seconds_per_epoch: float, workers: int) -> Estimate:
    """The time for the budget if every training used all its epochs."""
    training = spec.budget.epochs * seconds_per_epoch
    proof = (1 + spec.promotion.baseline) * spec.folds.count
    # A refit has the validation rows to train on, too.
    refit = spec.promotion.refit * spec.folds.count / (spec.folds.count - 1)
    return Estimate(
        workers=workers,
        trials=spec.budget.trials,
        epochs=spec.budget.epochs,
        seconds_per_epoch=seconds_per_epoch,
        search=spec.budget.trials * training / workers,
        trainings=proof + spec.promotion.refit,
        promotion=(proof + refit) * training / workers,
    )
