"""A symptom beside the metric: another score, of a task that the metric does not see, is near 0 in the kept model."""

from __future__ import annotations

from collections.abc import Iterator

from hpo import schedule
from hpo.evidence import TRAIN, family_of, finite
from hpo.objective import Epoch
from hpo.symptom import LEARNED_BY, Symptom, Training, of_classes, rules_off, terms_of, ways_of
from hpo.wording import number

#: What counts as near 0.
LOW = 0.05


def score_is_low(training: Training) -> Symptom | None:
    """A headline score (of no family such as `f1.*`) that should rise is at most 0.05 in the epoch that is kept.

    Only that epoch counts: a correlation begins near 0 in every training. A training of up to five epochs is not
    looked at, nor is one without an epoch to keep.
    """
    first = finite(training.params.get("stopping.min_epochs")) or 1
    kept = schedule.best_epoch(training.epochs, training.metric, min(int(first), training.budget))
    if kept is None or len(training.epochs) <= LEARNED_BY:
        return None
    low = [name for name in kept.validation if _should_rise(name, training) and _is_low(kept, name)]
    if not low:
        return None
    return Symptom(
        name="a score is near 0",
        evidence=f"in epoch {kept.number}, which is kept: " + "; ".join(_seen(name, kept, training) for name in low),
        remedy=_remedy(low, training),
    )


def _should_rise(name: str, training: Training) -> bool:
    of_its_own = name != training.metric.name and not family_of(name, training.direction_of)
    return of_its_own and training.direction_of(name) == "maximize"


def _is_low(epoch: Epoch, name: str) -> bool:
    value = _value(epoch, name)
    return value is not None and value <= LOW


def _value(epoch: Epoch, name: str) -> float | None:
    return finite(epoch.get(name))


def _seen(name: str, kept: Epoch, training: Training) -> str:
    """The score with its training value and its highest one, which tell three causes apart."""
    top, where = max((v, -e.number) for e in training.epochs if (v := _value(e, name)) is not None)
    text = f"{name} {number(_value(kept, name))}"
    if (train := _value(kept, TRAIN + name)) is not None:
        cause = "not learned" if train <= LOW else "learned, but not for new rows"
        text += f", {number(train)} in training ({cause})"
    return text + (f", and {number(top)} in epoch {-where}" if top > LOW else "")


def _remedy(low: list[str], training: Training) -> str:
    """Parameters that the scores' names lead to; where they lead to none, the weights of all terms to choose from."""
    labels = ["look first at whether missing labels are read as negative"] if any(map(of_classes, low)) else []
    ways = [(verb, name) for verb, name in _teach(low, training) if name in training.params]
    weights = [name for term in terms_of(training.epochs) if (name := f"loss.{term}_weight") in training.params]
    if ways:
        steps = [*labels, ways_of(training, *ways)]
    elif len(weights) > 1:  # that of a single term changes nothing that the rate does not
        present = ", ".join(f"{name} (now {number(training.params[name])})" for name in weights)
        steps = [*labels, f"raise the weight of the loss term that comes nearest to it, of {present}"]
    else:
        steps = labels or [ways_of(training)]
    return "; then ".join(steps)


def _teach(low: list[str], training: Training) -> Iterator[tuple[str, str]]:
    """Weights of the terms that a score is named after, and rules for rare classes that are off."""
    for score in low:
        for term in terms_of(training.epochs):
            if f"_{term}_" in f"_{score}_":
                yield "raise", f"loss.{term}_weight"
    if any(map(of_classes, low)):
        yield from rules_off(training)
