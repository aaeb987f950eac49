"""A symptom, the training that it is looked for in, and the parameters that a remedy names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.evidence import DirectionOf
from hpo.objective import Epoch, Metric
from hpo.wording import number

#: "F1 scores remaining at 0.0 after epoch 5".
LEARNED_BY = 5
#: Said of a training of no more epochs: the absence of a symptom says little of it.
TOO_SHORT = f"most symptoms can be seen after more than {LEARNED_BY} epochs only"


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """What was seen, with numbers, and what to try."""

    name: str
    evidence: str
    remedy: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training as a doctor sees it."""

    epochs: Sequence[Epoch]
    metric: Metric
    params: Mapping[str, Any]  #: flat, as in a record
    budget: int  #: epochs it could have trained for
    direction_of: DirectionOf  #: of every measure
    cut: bool = False  #: by a pruner, a limit or a signal, so that its length says nothing


def of_classes(score: str) -> bool:
    """Whether a score is one of right and wrong answers, by its name."""
    return any(word in score for word in ("f1", "accuracy", "precision", "recall"))


def terms_of(epochs: Sequence[Epoch]) -> list[str]:
    """Loss terms in the order of the objective."""
    names = (name for epoch in epochs for name in epoch.train if name.startswith("loss."))
    return [name.removeprefix("loss.") for name in dict.fromkeys(names)]


def ways_of(training: Training, *ways: tuple[str, str]) -> str:
    """Those of the parameters that the study has, each with its present value."""
    known = dict.fromkeys((verb, name) for verb, name in ways if name in training.params)
    return (
        ", ".join(f"{verb} {name} (now {number(training.params[name])})" for verb, name in known)
        or "no parameter of the study is known to bear on it"
    )


def rules_off(training: Training) -> Iterator[tuple[str, str]]:
    """Rules of a loss for uneven classes, such as `loss.class_weights`, that the training goes without."""
    rules = (name for name in training.params if name.startswith("loss.") and name.endswith("_weights"))
    yield from (("set", name) for name in rules if training.params[name] == "none")


def against_overfitting(training: Training) -> Iterator[tuple[str, str]]:
    """What makes a training keep to what new rows have, too."""
    yield from (("raise", "model.dropout"), ("raise", "optimizer.weight_decay"))
    yield from (("raise", name) for name in training.params if name.startswith("augment."))
    yield "lower", "model.width"
