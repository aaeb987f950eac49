"""Symptoms of a training that has learned nothing: its loss or its metric is what one answer to everything comes to.

What that is has been measured where the objective names predictors that have learned nothing (`Objective.references`),
once per training, on its own validation rows and with its own weights of the loss. "Loss 0.40" says nothing by itself;
beside a majority that gives 0.41 it says that nothing was learned.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping

from hpo import schedule
from hpo.class_report import majority, uneven
from hpo.objective import Epoch, Metric
from hpo.symptom import LEARNED_BY, Symptom, Training, against_overfitting, of_classes, rules_off, ways_of
from hpo.wording import counted, number

#: What counts as 0.
TINY = 1e-3
LOSS = Metric("loss", "minimize")
#: Share of the way from a reference to a perfect value by which the lowest loss must be better. It lies between the 5 %
#: by which a stuck training moved around the majority's loss (0.39 to 0.42) and the 25 % of one that learns (to 0.30).
LOWEST = 0.1
#: The same for the median of the metric, which luck in single epochs does not better.
MEDIAN = 0.05


def references(epochs: Iterable[Epoch]) -> Mapping[str, Mapping[str, float]]:
    """`majority` and the like -> what they come to on the validation rows; empty where none were measured."""
    return next((epoch.references for epoch in epochs if epoch.references), {})


def loss_of_nothing(training: Training) -> Symptom | None:
    """The lowest validation loss is not clearly below those of the references, in a training of more than 5 epochs."""
    best = schedule.best_epoch(training.epochs, LOSS, 1)
    given = _given(training, LOSS.name)
    if best is None or not given or len(training.epochs) <= LEARNED_BY:
        return None
    lowest, least = best.validation[LOSS.name], min(given.values())
    if _clearly(lowest, least, LOSS, LOWEST):
        return None
    evidence = f"loss {number(lowest)} in epoch {best.number}, the lowest of {len(training.epochs)}; {_told(given)}"
    trained = min((value for e in training.epochs if (value := e.train.get(LOSS.name)) is not None), default=least)
    if _clearly(trained, least, LOSS, LOWEST):
        evidence += f"; {number(trained)} in training (learned, but not for new rows)"
        ways = list(against_overfitting(training))
    else:
        ways = [*_larger_steps(training), ("raise", "schedule.warmup_epochs"), *rules_off(training), *_even(training)]
    name = "the loss is that of a predictor that has learned nothing"
    return Symptom(name=name, evidence=evidence, remedy=ways_of(training, *ways))


def learns_nothing(training: Training) -> Symptom | None:
    """The metric in most epochs after the fifth is no better than that of the references.

    Without references: it is 0, or no better than always saying the most frequent class; of a metric that should be
    small nothing is said then. A metric that is the whole loss is left to `loss_of_nothing`.
    """
    metric = training.metric
    late = [(v, e) for e in training.epochs if e.number > LEARNED_BY and (v := e.get(metric.name)) is not None]
    given, rising = _given(training, metric.name), metric.direction == "maximize"
    if not late or metric.name == LOSS.name or not (rising or given):
        return None
    best, epoch = (max if rising else min)(late, key=lambda pair: pair[0])
    middle = statistics.median(v for v, _ in late)
    report = next((e.report for e in reversed(training.epochs) if e.full and e.report), None)
    why = _why(metric, middle, given, majority(report, metric.name))
    if why is None and len(late) > 2 and len({v for v, _ in late}) == 1:
        why = "it never moves, as when one answer is given to everything"
    if why is None:
        return None
    rare = [("raise", "sampling.rare_boost_cap")] if uneven(report) else []
    ways = (*_larger_steps(training), *rare, *(_even(training) if given else ()), ("raise", "loss.focal_gamma"))
    return Symptom(
        name="the metric learns nothing",
        evidence=f"{metric.name} in {counted(len(late), 'epoch')} after epoch {LEARNED_BY}: median {number(middle)}, "
        f"at {'most' if rising else 'least'} {number(best)} (epoch {epoch.number}); {why}",
        remedy=f"look at labels and predictions first; then {ways_of(training, *ways)}, and the weight of the metric's "
        "own loss term",
    )


def _larger_steps(training: Training) -> Iterator[tuple[str, str]]:
    """A higher rate; where the steps shrink with the gradient, as on a plateau, an optimizer whose steps do not."""
    yield "raise", "optimizer.lr"
    if training.params.get("optimizer.name") == "sgd":
        yield "change", "optimizer.name"


def _why(metric: Metric, middle: float, given: Mapping[str, float], frequent: float | None) -> str | None:
    """Why a median of the metric shows nothing learned, by what was measured or else by the class report."""
    if given:
        best = max(given.values()) if metric.direction == "maximize" else min(given.values())
        return None if _clearly(middle, best, metric, MEDIAN) else _told(given)
    if middle <= TINY:
        same = "no better than one answer to everything, such as the mean"  # what an R2 or a correlation of 0 says
        return "nothing is predicted right" if of_classes(metric.name) else same
    if frequent is not None and middle <= frequent + TINY:
        return f"always the most frequent class gives {number(frequent)}"
    return None


def _clearly(value: float, reference: float, metric: Metric, share: float) -> bool:
    """Whether a value has gone that share of the way from the reference to a perfect one: a loss of 0, a score of 1.

    A reference that is beyond these, as a likelihood may be, must be passed at all.
    """
    way = 1 - reference if metric.direction == "maximize" else reference
    return metric.better(value, than=reference, by=share * max(way, 0.0))


def _given(training: Training, name: str) -> dict[str, float]:
    found = {which: values.get(name) for which, values in references(training.epochs).items()}
    return {which: value for which, value in found.items() if value is not None}


def _told(given: Mapping[str, float]) -> str:
    return "without learning, " + ", ".join(f"{which} gives {number(value)}" for which, value in given.items())


def _even(training: Training) -> list[tuple[str, str]]:
    return [("set", "sampling.balanced")] if training.params.get("sampling.balanced") is False else []
