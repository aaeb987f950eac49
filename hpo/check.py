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
import torch

from hpo.arrays import Arrays, Feed
from hpo.check_data import fold_list
from hpo.measure import NonFiniteLoss, forward
from hpo.objective import DataError, Epoch, Fold, Objective, Params, Split, Sums
from hpo.study import Study
from hpo.training import VALIDATION_BATCHES, FoldRun

#: Seconds for counting, over all folds, what the loss terms find labelled; what is not seen by then is said.
LOOK_SECONDS = 30.0
#: Most rounds over the two batches, and seconds after which there are no more.
ROUNDS, STEADY_SECONDS = 10, 0.5
#: Whole epochs that are timed after one that warms up, where all of them take about that many seconds.
TIMED, TIMED_SECONDS = 5, 5.0
#: Names listed in a message before it says how many more there are.
NAMES = 6


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One configuration of a study with the data and the device it would train on."""

    spec: Study
    objective: Objective
    arrays: Arrays
    split: Split
    feed: Feed
    params: Params

    def run(self, fold: Fold, epochs: int) -> FoldRun:
        """A training as a trial of the study would do it, for the given number of epochs."""
        return FoldRun(
            self.objective,
            self.arrays,
            self.feed,
            fold,
            self.params,
            self.spec.metric,
            epochs=epochs,
            schedule_epochs=max(epochs, self.spec.budget.epochs),
            validation=self.spec.validation,
            seed=self.spec.seed,
        )


@dataclass
class Training:
    """What a training came to, filled while it goes on."""

    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    seconds_per_epoch: float | None = None  #: of a whole epoch of one fold
    labelled: list[dict[str, float]] = field(default_factory=list)  #: per fold: entries each term finds in validation
    unreached: list[str] = field(default_factory=list)  #: parameters whose gradient is missing or 0
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
        while not run.finished:
            result.epochs.append(run.epoch())
            tell(result.epochs[-1])
        result.best = run.best
        if run.best is None:
            result.problems.append(f"{subject.spec.metric.name} could not be computed: such a trial has no value")
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
        _train_until_steady(run, result.epochs)
        _look_at_gradients(run, result)
        result.seconds_per_epoch = _seconds_per_epoch(subject, run, fold)
        looks = [_look(subject, run, other) for other in subject.split.folds]
        result.labelled = [look.counts for look in looks]
        result.problems += _not_finite(looks)
        result.warnings += _nothing_labelled(subject, looks)
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
    labels = subject.objective.labels(subject.arrays)[rows]
    _, first = np.unique(labels, return_index=True)
    rows = np.concatenate([rows[first], np.delete(rows, first)])[: 2 * size]
    return Fold(fold.index, rows, generator.permutation(fold.validation)[: VALIDATION_BATCHES * size])


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
    look = _look(subject, run, Fold(run.fold.index, run.fold.train, run.fold.train[:2]))
    given, named = list(look.counts), list(subject.objective.terms)
    if given == named:
        return []
    return [f"losses() returns {', '.join(given)}, but `terms` is {', '.join(named)}: make names and order equal"]


def _look_at_gradients(run: FoldRun, result: Training) -> None:
    """A parameter without a gradient is none of the loss; one with a gradient of 0 may be for want of labels."""
    gradients = {name: p.grad for name, p in run.model.named_parameters() if p.requires_grad}
    missing = [name for name, gradient in gradients.items() if gradient is None]
    zero = [name for name, gradient in gradients.items() if gradient is not None and not bool(gradient.any())]
    result.unreached += missing + zero
    if missing:
        why = "no loss term depends on them; use them, remove them or freeze them (requires_grad_(False))"
        result.problems.append(f"no gradient reaches {_some(missing)}: {why}")
    if zero:
        why = "nothing was labelled for them, or their loss term has weight 0"
        result.warnings.append(f"in the two batches the gradient of {_some(zero)} is 0: {why}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
    return ", ".join(names[:NAMES]) + more


@dataclass(frozen=True, kw_only=True)
class _Look:
    """What the losses and scores of one fold's validation rows could be computed from."""

    fold: int
    whole: bool  #: every row was looked at
    counts: dict[str, float]  #: term -> labelled entries
    bad: tuple[str, ...]  #: terms that are not finite
    scores: frozenset[str]


def _look(subject: Subject, run: FoldRun, fold: Fold) -> _Look:
    """Pass over validation rows, in random order, until the time for one fold is over."""
    deadline = time.monotonic() + LOOK_SECONDS / len(subject.split.folds)
    rows = torch.from_numpy(np.random.default_rng(subject.spec.seed).permutation(fold.validation))
    size = VALIDATION_BATCHES * subject.params.data["batch_size"]
    parts = torch.tensor_split(rows.to(run.device) if run.feed.resident else rows, max(math.ceil(len(rows) / size), 1))
    values: dict[str, float] = {}
    counts: dict[str, float] = {}
    sums: Sums = {}
    seen = 0
    run.model.eval()
    with torch.inference_mode():
        for batch in run.feed.batches(parts):
            outputs = forward(run.model, batch)
            for name, (value, count) in run.objective.losses(outputs, batch, run.params, run.statistics).items():
                values[name] = values.get(name, 0.0) + float(value)
                counts[name] = counts.get(name, 0.0) + float(count)
            fresh = run.objective.sums(outputs, batch)
            sums = {name: sums[name] + value if name in sums else value for name, value in fresh.items()}
            seen += 1
            if time.monotonic() > deadline:
                break
    scores = run.objective.score({name: value.cpu().numpy() for name, value in sums.items()}, run.arrays.info)
    bad = tuple(name for name, value in values.items() if not math.isfinite(value + counts[name]))
    return _Look(fold=fold.index, whole=seen == len(parts), counts=counts, bad=bad, scores=frozenset(scores))


def _not_finite(looks: list[_Look]) -> Iterator[str]:
    for term in looks[0].counts:
        folds = [look.fold for look in looks if term in look.bad]
        if folds:
            yield f"loss term '{term}' is not finite on the validation rows of {fold_list(folds)}"


def _nothing_labelled(subject: Subject, looks: list[_Look]) -> Iterator[str]:
    part = "the validation part" if all(look.whole for look in looks) else "the rows looked at in the validation part"
    for term in subject.objective.terms:
        folds = [look.fold for look in looks if look.counts[term] == 0]
        if folds:
            yield f"loss term '{term}' finds nothing labelled in {part} of {fold_list(folds)}"
    metric = subject.spec.metric.name
    is_loss = metric == "loss" or metric.startswith("loss.")  # told by the terms above
    missing = [look.fold for look in looks if metric not in look.scores and not is_loss]
    if missing:
        yield f"{metric} could not be computed in {part} of {fold_list(missing)}: without it a trial has no value"


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
