"""Targets of a study: what its researcher hopes for, as something that a training reaches or misses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from hpo.epoch import Direction, Epoch, Metric
from hpo.schedule import best_epoch

Kind = Literal["score", "gap", "improvement", "balance", "epochs"]
_BOUNDS, _EPOCHS = ("at_least", "at_most"), ("by_epoch", "over_epochs")


@dataclass(frozen=True, kw_only=True)
class Target:
    """A hope of the researcher, made measurable.

    `score`: a loss or score of the model that is kept, or its best value up to `by_epoch`. `gap`: by how much that
    model is better on the training rows than on the validation rows. `improvement`: from the first full validation to
    the best one of the first `over_epochs` epochs. `balance`: how many times as large the larger of two weighted
    training terms is as the smaller, in the epoch whose model is kept. `epochs`: for how many that model has trained;
    of several folds the worst one counts, where all other kinds are told as a mean.
    """

    kind: Kind
    #: Name of a loss or score; of a balance `FIRST/SECOND`, two terms in the objective's order; of epochs `kept`.
    measure: str
    direction: Direction  #: of the measure
    at_least: float | None = None  #: exactly one of the two bounds is set
    at_most: float | None = None
    by_epoch: int | None = None
    over_epochs: int | None = None

    @property
    def of_every_fold(self) -> bool:
        """Whether each fold has to reach it: one fold that trained too short is no better for others that did not."""
        return self.kind == "epochs"

    def reached(self, epochs: Sequence[Epoch], metric: Metric, min_epochs: int = 1) -> tuple[float | None, bool | None]:
        """What one training came to, and whether that reaches the target.

        Args:
            epochs: all epochs of the training; those that are still to come are taken as not reached.
            metric: of the study; decides which epoch's model is kept.
            min_epochs: no model is kept before this epoch.

        Returns:
            The value and the verdict; None twice where it cannot be measured (score missing, too few epochs, a term
            that is 0 or off).
        """
        value = self._value(epochs, metric, min_epochs)
        if value is None:
            return None, None
        return value, self.reached_by(value)

    def reached_by(self, value: float) -> bool:
        """Whether a value of the measure reaches the target."""
        if self.at_least is not None:
            return value >= self.at_least
        return self.at_most is not None and value <= self.at_most

    def _value(self, epochs: Sequence[Epoch], metric: Metric, min_epochs: int) -> float | None:
        sign = 1.0 if self.direction == "maximize" else -1.0
        if self.kind == "improvement":
            within = [e for e in epochs if self.over_epochs is None or e.number <= self.over_epochs]
            values = [v for e in within if (v := e.get(self.measure)) is not None]
            return max(sign * (v - values[0]) for v in values[1:]) if len(values) > 1 else None
        if self.by_epoch is not None:
            early = [v for e in epochs if e.number <= self.by_epoch and (v := e.get(self.measure)) is not None]
            return max(early, key=lambda v: sign * v, default=None)
        kept = best_epoch(epochs, metric, min_epochs)
        if self.kind == "epochs":
            return None if kept is None else float(kept.number)
        if self.kind == "balance":
            ratio = kept.ratios().get(self.measure) if kept else None
            return None if ratio is None else max(ratio, 1 / ratio)
        validation = kept.get(self.measure) if kept else None
        if kept is None or validation is None or self.kind == "score":
            return validation
        train = kept.train.get(self.measure)
        return None if train is None else sign * (train - validation)

    @classmethod
    def from_written(cls, written: Mapping[str, Any], direction_of: Callable[[str], Direction]) -> Target:
        """Read what `as_written` has made.

        Raises:
            KeyError, TypeError, ValueError: it is no target, or of a measure that there is not.
        """
        kinds: tuple[Kind, ...] = get_args(Kind)
        (kind,) = (kind for kind in kinds if kind in written)
        measure = "/".join(written[kind]) if kind == "balance" else written[kind]
        ways: dict[str, Direction] = {"balance": "minimize", "epochs": "maximize"}
        bounds = {key: float(written[key]) for key in _BOUNDS if key in written}
        epochs = {key: int(written[key]) for key in _EPOCHS if key in written}
        if len(bounds) != 1:
            raise ValueError(f"one bound is needed, there are {len(bounds)}")
        return cls(
            kind=kind,
            measure=measure,
            direction=ways[kind] if kind in ways else direction_of(measure),
            at_least=bounds.get("at_least"),
            at_most=bounds.get("at_most"),
            by_epoch=epochs.get("by_epoch"),
            over_epochs=epochs.get("over_epochs"),
        )

    def as_written(self) -> dict[str, Any]:
        """As a study file says it."""
        named: Any = self.measure.split("/") if self.kind == "balance" else self.measure
        bounds = {key: getattr(self, key) for key in (*_BOUNDS, *_EPOCHS)}
        return {self.kind: named, **{key: value for key, value in bounds.items() if value is not None}}

    def __str__(self) -> str:
        """For example `macro_f1 at least 0.3 by epoch 20`."""
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        if self.kind == "gap":
            return f"train-validation gap of {self.measure} {bound}"
        if self.kind == "improvement":
            return f"improvement of {self.measure} {bound} over {self.over_epochs} epochs"
        if self.kind == "balance":
            first, second = self.measure.split("/")
            return f"weighted loss terms {first} and {second} within a factor of {self.at_most:g}"
        if self.kind == "epochs":
            return f"epochs of the kept model {bound} on every fold"
        return f"{self.measure} {bound}" + (f" by epoch {self.by_epoch}" if self.by_epoch else "")
