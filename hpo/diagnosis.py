"""Symptoms in curves: what researchers look for by eye, as pure functions over epochs, each with its numbers.

A symptom is no verdict: it says what was seen, by how much, and which parameter of the study bears on it. Thresholds
are those of the notes that the service was built for, or where they name none, of common practice.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from hpo import schedule
from hpo.evidence import DirectionOf, finite
from hpo.learned_nothing import learns_nothing, loss_of_nothing
from hpo.low_score import score_is_low
from hpo.objective import Epoch, Metric
from hpo.records import TrialRecord
from hpo.symptom import LEARNED_BY, Symptom, Training, against_overfitting, terms_of, ways_of
from hpo.wording import number

#: A weighted term that is so many times another one in so large a share of the epochs leaves it nothing to teach.
DOMINANT, CONSISTENT = 10.0, 0.75
#: A training loss that has fallen by less than this share has not fallen.
FALLEN = 0.02
#: Standard deviation of a term's batch means, as a share of their mean.
NOISY = 0.5
#: Gap of the metric between training and validation, and rise of a validation loss over its lowest value.
GAP, RISEN = 0.2, 0.1
#: A training that ends in this share of its budget has stopped at its beginning.
EARLY = 0.2
#: Gradient norm of an epoch against the median one, and of the last quarter against the first.
SPIKE, GROWN = 10.0, 5.0


def symptoms(training: Training) -> list[Symptom]:
    """Every symptom of one training, in the order of `CHECKS`."""
    return [found for check in CHECKS if (found := check(training)) is not None]


def term_does_not_fall(training: Training) -> Symptom | None:
    """A training loss that ends where it began, counted from the epoch in which its weight is above 0."""
    flat: dict[str, str] = {}
    for term in terms_of(training.epochs):
        weighed = [e for e in training.epochs if e.weights.get(term, 1.0) > 0]
        values = [v for e in weighed if (v := e.train.get(f"loss.{term}")) is not None]
        if len(values) < LEARNED_BY + 1:
            continue
        first, last = values[0], statistics.median(values[-max(2, len(values) // 4) :])
        if first - last < FALLEN * abs(first):
            flat[term] = f"{term} {number(first)} in epoch {weighed[0].number}, {number(last)} at the end"
    if not flat:
        return None
    # One rate drives all terms, the weights divide them.
    most = 2 * len(flat) > len(terms_of(training.epochs)) > 1
    weights = [] if most else [("raise", f"loss.{term}_weight") for term in flat]
    return Symptom(
        name="a loss term does not fall",
        evidence="training loss of " + "; ".join(flat.values()),
        remedy=ways_of(training, *weights, ("change", "optimizer.lr"), ("raise", "model.width")),
    )


def term_dominates(training: Training) -> Symptom | None:
    """One weighted term is over ten times another one, consistently."""
    pairs: dict[str, list[float]] = {}
    for epoch in training.epochs:
        for pair, ratio in epoch.ratios().items():
            pairs.setdefault(pair, []).append(ratio)
    found: list[tuple[float, str, str, str]] = []
    for pair, ratios in pairs.items():
        first, _, second = pair.partition("/")
        for above, below, values in ((first, second, ratios), (second, first, [1 / r for r in ratios])):
            often = sum(value > DOMINANT for value in values)
            if len(values) >= 3 and often >= CONSISTENT * len(values):
                middle = statistics.median(values)
                seen = f"{above} is {number(middle)} times {below} (median; over {DOMINANT:g} in {often} of "
                found.append((middle, above, below, f"{seen}{len(values)} epochs)"))
    if not found:
        return None
    worst = sorted(found, reverse=True)[:3]
    more = f"; and {len(found) - 3} other pairs" if len(found) > 3 else ""
    lower = [("lower", f"loss.{above}_weight") for _, above, _, _ in worst]
    higher = [("raise", f"loss.{below}_weight") for _, _, below, _ in worst]
    return Symptom(
        name="one weighted loss term dominates",
        evidence="; ".join(text for *_, text in worst) + more,
        remedy=ways_of(training, *lower, *higher),
    )


def epochs_are_noisy(training: Training) -> Symptom | None:
    """A term's batches differ by more than half their mean, in the second half of the training."""
    late = training.epochs[len(training.epochs) // 2 :]
    noisy: dict[str, float] = {}
    for term in terms_of(late):
        shares = [
            e.spread[term]["sd"] / abs(mean)
            for e in late
            if term in e.spread and (mean := e.train.get(f"loss.{term}")) and e.weights.get(term, 1.0) > 0
        ]
        if shares and (middle := statistics.median(shares)) > NOISY:
            noisy[term] = middle
    if not noisy:
        return None
    return Symptom(
        name="losses vary widely within epochs",
        evidence="standard deviation of the batches' means, as a share of the mean: "
        + ", ".join(f"{term} {share:.0%}" for term, share in sorted(noisy.items(), key=lambda pair: -pair[1])),
        remedy=ways_of(training, ("raise", "data.batch_size"), ("lower", "optimizer.lr"))
        + "; few labels of a term per batch do the same",
    )


def overfits(training: Training) -> Symptom | None:
    """Training is far better than validation, or a validation loss rises again while its training loss falls."""
    seen = [text for text in (_gap(training), *_rises(training)) if text is not None]
    if not seen:
        return None
    remedy = ways_of(training, *against_overfitting(training))
    return Symptom(name="overfitting", evidence="; ".join(seen), remedy=remedy)


def _gap(training: Training) -> str | None:
    best = schedule.best_epoch(training.epochs, training.metric, 1)
    if best is None or training.metric.direction != "maximize":
        return None
    train, validation = (finite(best.get(prefix + training.metric.name)) for prefix in ("train.", ""))
    if train is None or validation is None or not 0 <= validation <= train <= 1 or train - validation < GAP:
        return None
    return (
        f"{training.metric.name} {number(train)} in training, {number(validation)} on validation (epoch {best.number})"
    )


def _rises(training: Training) -> list[str]:
    """Terms whose validation loss, at the end of the training, is over its lowest value."""
    full = [e for e in training.epochs if e.full]
    found = []
    for term in terms_of(full):
        name = f"loss.{term}"
        pairs = [(e, v) for e in full if (v := e.validation.get(name)) is not None and name in e.train]
        if len(pairs) < LEARNED_BY:
            continue
        (low, least), (last, end) = min(pairs, key=lambda pair: pair[1]), pairs[-1]
        if least > 0 and end > (1 + RISEN) * least and last.train[name] < low.train[name]:
            found.append(f"validation loss of {term} {number(least)} in epoch {low.number}, {number(end)} at the end")
    return found


def stops_at_the_start(training: Training) -> Symptom | None:
    """Early stopping leaves most of the budget untouched, or the metric is best at the start.

    That is the first two epochs, or the first full validation where that comes later.
    """
    trained, best = len(training.epochs), schedule.best_epoch(training.epochs, training.metric, 1)
    short = not training.cut and trained < training.budget and trained <= max(3, EARLY * training.budget)
    first = next((epoch.number for epoch in training.epochs if epoch.full), 1)
    at_once = best is not None and best.number <= max(2, first) and trained >= LEARNED_BY and _sinks(training, best)
    if not trained or not (short or at_once):
        return None
    where = f"the best of {trained} epochs is epoch {best.number}" if best else f"{trained} epochs trained"
    return Symptom(
        name="stopped at the first epochs",
        evidence=f"{where}, of a budget of {training.budget}",
        remedy=ways_of(
            training,
            ("lower", "optimizer.lr"),
            ("raise", "schedule.warmup_epochs"),
            ("raise", "stopping.patience"),
            ("raise", "stopping.min_epochs"),
        ),
    )


def _sinks(training: Training, best: Epoch) -> bool:
    """Whether every later epoch is worse than the best one; a metric that never moves does not sink."""
    top = best.get(training.metric.name)
    later = [v for e in training.epochs if e.number > best.number and (v := e.get(training.metric.name)) is not None]
    return top is not None and bool(later) and all(training.metric.better(top, than=value) for value in later)


def gradient_is_unstable(training: Training) -> Symptom | None:
    """The gradient's norm jumps or grows; the first epoch, which is always odd, does not count."""
    norms = [(e.gradient_norm, e.number) for e in training.epochs[1:]]
    if len(norms) < LEARNED_BY:
        return None
    middle, (highest, where) = statistics.median(n for n, _ in norms), max(norms)
    quarter = max(2, len(norms) // 4)
    first, last = (statistics.median(n for n, _ in part) for part in (norms[:quarter], norms[-quarter:]))
    seen = []
    if highest > SPIKE * middle:
        seen.append(f"{number(highest)} in epoch {where}, median {number(middle)}")
    if first > 0 and last > GROWN * first:
        seen.append(f"{number(first)} at first, {number(last)} at the end")
    if not seen:
        return None
    clip = ("set", "optimizer.gradient_clip") if not training.params.get("optimizer.gradient_clip") else None
    ways = (
        ("lower", "optimizer.lr"),
        clip or ("lower", "optimizer.gradient_clip"),
        ("raise", "schedule.warmup_epochs"),
    )
    return Symptom(
        name="the gradient norm is unstable", evidence="norm " + "; ".join(seen), remedy=ways_of(training, *ways)
    )


#: Applied in this order.
CHECKS: tuple[Callable[[Training], Symptom | None], ...] = (
    loss_of_nothing,
    learns_nothing,
    score_is_low,
    term_does_not_fall,
    term_dominates,
    overfits,
    stops_at_the_start,
    epochs_are_noisy,
    gradient_is_unstable,
)


def of_trial(trial: TrialRecord, metric: Metric, direction_of: DirectionOf, budget: int | None) -> list[Symptom]:
    """Symptoms of a search trial; without a known budget its length is taken for whole."""
    cut = trial.state != "COMPLETE"
    training = Training(
        epochs=trial.epochs,
        metric=metric,
        params=trial.params,
        budget=budget or len(trial.epochs),
        direction_of=direction_of,
        cut=cut,
    )
    return symptoms(training)
