"""What training one epoch came to, and the measures in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Any, Literal

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True)
class Metric:
    """A named loss or score and which way is better."""

    name: str
    direction: Direction

    def better(self, value: float, than: float, by: float = 0.0) -> bool:
        """Whether `value` improves on `than` by more than `by`."""
        return value > than + by if self.direction == "maximize" else value < than - by

    @property
    def worst(self) -> float:
        return float("-inf") if self.direction == "maximize" else float("inf")


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What one epoch of one fold came to.

    `train` and `validation` map `loss` (the sum of all terms at their full weights, so that epochs of a curriculum can
    be compared), `loss.TERM` (unweighted means) and every score that could be computed to finite numbers; what
    could not (class absent, nothing labelled) is missing, the losses too.
    """

    number: int  #: counted from 1
    train: Mapping[str, float]
    validation: Mapping[str, float]
    lr: float  #: learning rate of the last step
    gradient_norm: float  #: mean over the steps, before clipping
    seconds: float
    samples: int  #: rows trained on
    peak_memory_mb: float  #: of the device; resident memory of the process on a CPU
    #: Whether all validation rows were used, not only the part for fast validation.
    full: bool = True
    #: Weight of each term in this epoch, curriculum included.
    weights: Mapping[str, float] = field(default_factory=dict)
    #: Term -> `sd`, `min` and `max` of its means over the training batches.
    spread: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: Term -> mean norm of the gradient of the weighted term, before clipping; empty unless asked for.
    gradient_norms: Mapping[str, float] = field(default_factory=dict)
    #: `Objective.references` -> their losses and scores on the validation rows; in the first epoch alone.
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    #: Of the validation rows, see `Objective.report`; None where it was not due.
    report: Mapping[str, Mapping[str, float]] | None = None

    def get(self, name: str) -> float | None:
        """A validation value by name, a training value as `train.NAME`; None where it is missing.

        Values of a fast validation are missing, too: they stand in `validation`, but are not comparable.
        """
        if name.startswith("train."):
            return self.train.get(name.removeprefix("train."))
        return self.validation.get(name) if self.full else None

    def ratios(self) -> dict[str, float]:
        """`FIRST/SECOND` -> how many times as large the first weighted training term is as the second."""
        weighted = {term: weight * self.train.get(f"loss.{term}", 0.0) for term, weight in self.weights.items()}
        present = {term: value for term, value in weighted.items() if value > 0}
        return {f"{a}/{b}": present[a] / present[b] for a, b in combinations(present, 2)}

    def to_json(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Epoch:
        return cls(**record)
