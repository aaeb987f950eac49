"""What can be said of a study before it runs: its data fold by fold, whether its net trains, how long it would take.

Nothing here prints and nothing touches a database. What is odd becomes a warning; what would make trials fail or
deceive becomes a problem.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from optuna.distributions import CategoricalDistribution, IntDistribution

from hpo.arrays import Arrays, Feed
from hpo.objective import DataError, Epoch, Fold, Objective, Params, Split, Sums
from hpo.study import Study
from hpo.training import VALIDATION_BATCHES, FoldRun, NonFiniteLoss, forward

#: Seconds for counting, over all folds, what the loss terms find labelled; what is not seen by then is said.
LOOK_SECONDS = 30.0
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
            seed=self.spec.seed,
        )


@dataclass(frozen=True, kw_only=True)
class FoldRows:
    """Rows of one fold, also by class."""

    fold: int
    train: int
    validation: int
    labelled: int  #: validation rows that have a class
    train_classes: dict[str, int]
    validation_classes: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class DataFindings:
    """What the prepared data hold."""

    source: str
    synthetic: bool
    rows: int
    test_rows: int
    fingerprint: str
    notes: tuple[str, ...]  #: what `prepare` did to the data
    counts: dict[str, dict[str, int]]  #: heading -> what -> rows, as the objective counts
    folds: tuple[FoldRows, ...]
    warnings: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass
class Training:
    """What a training came to, filled while it goes on."""

    epochs: list[Epoch] = field(default_factory=list)
    best: Epoch | None = None
    seconds_per_epoch: float | None = None  #: of a whole epoch of the search fold
    labelled: list[dict[str, float]] = field(default_factory=list)  #: per fold: entries each term finds in validation
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


def device_of(wanted: str) -> torch.device:
    """The device of `auto` (the first GPU, else the CPU), `cpu` or `cuda:N`.

    Raises:
        ValueError: for anything else, or a GPU that is not there.
    """
    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if wanted == "auto":
        return torch.device(gpus[0] if gpus else "cpu")
    if wanted != "cpu" and wanted not in gpus:
        raise ValueError(f"--device {wanted}: this machine has {', '.join(['cpu', *gpus])}")
    return torch.device(wanted)


def split_of(spec: Study, objective: Objective, arrays: Arrays) -> Split:
    """The folds that a launch would make.

    Raises:
        DataError: when the data do not allow them.
    """
    split = objective.split(arrays, spec.folds.count, spec.seed)
    if len(split.folds) != spec.folds.count:
        raise DataError(f"{spec.objective} made {len(split.folds)} folds where {spec.folds.count} were asked for")
    return split


# -- the data


def look_at_data(subject: Subject) -> DataFindings:
    """Count what there is to learn from, and what is missing where."""
    spec, arrays, split = subject.spec, subject.arrays, subject.split
    folds = tuple(_fold_rows(subject, fold) for fold in split.folds)
    return DataFindings(
        source=spec.data or str(arrays.info.get("source", f"the own data of {spec.objective}")),
        synthetic=bool(arrays.info.get("synthetic")),
        rows=len(arrays),
        test_rows=len(split.test),
        fingerprint=arrays.fingerprint,
        notes=tuple(map(str, arrays.info.get("notes", ()))),
        counts=subject.objective.counts(arrays),
        folds=folds,
        warnings=(*_absent_classes(folds), *_small_folds(folds, _largest_batch(spec, subject.params))),
        problems=tuple(_overlaps(split)),
    )


def _fold_rows(subject: Subject, fold: Fold) -> FoldRows:
    labels = subject.objective.labels(subject.arrays)
    names = subject.arrays.info.get("classes")
    known = dict(enumerate(map(str, names))) if names else {int(n): str(n) for n in np.unique(labels) if n >= 0}

    def by_class(rows: np.ndarray) -> dict[str, int]:
        return {name: int((labels[rows] == number).sum()) for number, name in known.items()}

    return FoldRows(
        fold=fold.index,
        train=len(fold.train),
        validation=len(fold.validation),
        labelled=int((labels[fold.validation] >= 0).sum()),
        train_classes=by_class(fold.train),
        validation_classes=by_class(fold.validation),
    )


def _absent_classes(folds: tuple[FoldRows, ...]) -> Iterator[str]:
    for name in folds[0].train_classes:
        untrained = [f.fold for f in folds if not f.train_classes[name]]
        unseen = [f.fold for f in folds if not f.validation_classes[name]]
        if len(untrained) == len(unseen) == len(folds):
            yield f"class '{name}' has no row in any fold"
            continue
        if untrained:
            yield f"class '{name}' has no row in the training part of {_folds(untrained)}: it cannot be learned there"
        if unseen:
            yield f"class '{name}' has no row in the validation part of {_folds(unseen)}: its score is missing there"


def _small_folds(folds: tuple[FoldRows, ...], batch: int) -> Iterator[str]:
    few = [f.fold for f in folds if f.train < batch]
    if few:
        rows = min(f.train for f in folds)
        yield f"{_folds(few)}: {rows} training rows are fewer than a batch of {batch}; lower data.batch_size"


def _largest_batch(spec: Study, params: Params) -> int:
    searched = spec.space.get("data.batch_size")
    if isinstance(searched, IntDistribution):
        return searched.high
    if isinstance(searched, CategoricalDistribution):
        return max(int(choice) for choice in searched.choices if choice is not None)
    return int(params.data["batch_size"])


def _overlaps(split: Split) -> Iterator[str]:
    """A row on two sides would be remembered, not recognised: scores would be too good."""
    for fold in split.folds:
        for side, rows, other in (
            ("training and validation", fold.train, fold.validation),
            ("training and test", fold.train, split.test),
            ("validation and test", fold.validation, split.test),
        ):
            if shared := len(np.intersect1d(rows, other)):
                yield f"fold {fold.index}: {shared} rows are both {side} rows; mend the objective's split"


def _folds(numbers: Iterable[int]) -> str:
    listed = [str(number) for number in numbers]
    return f"fold{'s' * (len(listed) > 1)} {', '.join(listed)}"


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
    if result.epochs:
        steady = result.epochs[1:] or result.epochs  # the first one warms up
        result.seconds_per_epoch = sum(epoch.seconds for epoch in steady) / len(steady)
    return result


def train_two_batches(subject: Subject) -> Training:
    """Train two batches of the search fold twice: first to see what goes wrong, then to see how long a step takes."""
    result = Training()
    fold = subject.split.folds[subject.spec.folds.search]
    with result.catching():
        run = subject.run(_sample(subject, fold), 2)
        result.problems += _wrong_terms(subject, run)
        if result.problems:
            return result
        result.epochs += [run.epoch(), run.epoch()]
        result.problems += _unreached(run)
        result.warnings += _zero_gradients(run)
        result.seconds_per_epoch = _seconds_per_epoch(run, fold)
        looks = [_look(subject, run, other) for other in subject.split.folds]
        result.labelled = [look.counts for look in looks]
        result.problems += _not_finite(looks)
        result.warnings += _nothing_labelled(subject, looks)
    return result


def _sample(subject: Subject, fold: Fold) -> Fold:
    """Two training batches with a row of every class (class weights may divide by its number), one to validate on."""
    size = subject.params.data["batch_size"]
    generator = np.random.default_rng(subject.spec.seed)
    rows = generator.permutation(fold.train)
    labels = subject.objective.labels(subject.arrays)[rows]
    _, first = np.unique(labels, return_index=True)
    rows = np.concatenate([rows[first], np.delete(rows, first)])[: 2 * size]
    return Fold(fold.index, rows, generator.permutation(fold.validation)[: VALIDATION_BATCHES * size])


def _seconds_per_epoch(run: FoldRun, fold: Fold) -> float:
    """From the second round over the sample: the first one warms up."""
    size = run.params.data["batch_size"]
    started = time.perf_counter()
    run.evaluate(run.fold.validation)
    evaluation = time.perf_counter() - started
    training = max(run.epochs[-1].seconds - evaluation, 0.0)

    def times(rows: np.ndarray, sample: np.ndarray, batch: int) -> float:
        return math.ceil(len(rows) / batch) / max(math.ceil(len(sample) / batch), 1)

    whole = evaluation * times(fold.validation, run.fold.validation, VALIDATION_BATCHES * size)
    return training * times(fold.train, run.fold.train, size) + whole


def _wrong_terms(subject: Subject, run: FoldRun) -> list[str]:
    """The sums of terms are told apart by their order."""
    look = _look(subject, run, Fold(run.fold.index, run.fold.train, run.fold.train[:2]))
    given, named = list(look.counts), list(subject.objective.terms)
    if given == named:
        return []
    return [f"losses() returns {', '.join(given)} where terms says {', '.join(named)}: the same names in the same order"]


def _unreached(run: FoldRun) -> list[str]:
    names = [name for name, p in run.model.named_parameters() if p.requires_grad and p.grad is None]
    why = "no loss term depends on them; use them, remove them or freeze them (requires_grad_(False))"
    return [f"no gradient reaches {_some(names)}: {why}"] if names else []


def _zero_gradients(run: FoldRun) -> list[str]:
    reached = [(name, p.grad) for name, p in run.model.named_parameters() if p.grad is not None]
    names = [name for name, gradient in reached if not bool(gradient.any())]
    why = "nothing was labelled for them, or their loss term has weight 0"
    return [f"in the two batches the gradient of {_some(names)} is 0: {why}"] if names else []


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
            yield f"loss term '{term}' is not finite on the validation rows of {_folds(folds)}"


def _nothing_labelled(subject: Subject, looks: list[_Look]) -> Iterator[str]:
    part = "the validation part" if all(look.whole for look in looks) else "the rows looked at in the validation part"
    for term in subject.objective.terms:
        folds = [look.fold for look in looks if look.counts[term] == 0]
        if folds:
            yield f"loss term '{term}' finds nothing labelled in {part} of {_folds(folds)}"
    metric = subject.spec.metric.name
    missing = [look.fold for look in looks if not metric.startswith("loss") and metric not in look.scores]
    if missing:
        yield f"{metric} could not be computed in {part} of {_folds(missing)}: without it a trial has no value"


# -- how long


def estimate(spec: Study, seconds_per_epoch: float, workers: int) -> Estimate:
    """The time for the budget if every training used all its epochs."""
    training = spec.budget.epochs * seconds_per_epoch
    proof = (spec.promotion.finalists + spec.promotion.baseline) * spec.folds.count
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


def space_warnings(spec: Study) -> Iterator[str]:
    """A finite space that is smaller than the budget."""
    points = spec.points()
    if points is not None and points < spec.budget.trials:
        yield f"the space has {points} points, fewer than budget.trials {spec.budget.trials}: the search ends early"


def first_params(spec: Study, configuration: str) -> Params:
    """The values of a configuration, as its trial would have them."""
    values: Mapping[str, object] = spec.configurations[configuration]
    return spec.params({key: values[key] for key in spec.space}, configuration)
