"""The learning rate over the epochs, early stopping and the best epoch: pure bookkeeping, no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hpo.objective import Epoch, Metric, Params


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How epochs of a study are validated; part of the study, since only values of the same rows can be compared."""

    full_validation_every: int = 1  #: epochs; in between, a part of the validation rows is looked at
    fast_share: float = 0.25  #: of the validation rows, the same ones every time
    report_every: int = 5  #: epochs between two classification reports; the best epoch has one in any case

    def is_full(self, epoch: int, last: int) -> bool:
        """Whether an epoch, counted from 1, uses all validation rows: every so many, and the last."""
        return epoch % self.full_validation_every == 0 or epoch == last


#: All validation rows after every epoch.
EVERY_EPOCH = Validation()


@dataclass
class Schedule:
    """Linear warm-up over `warmup_epochs`, then `cosine`, `plateau` or `constant`.

    Cosine: Loshchilov & Hutter 2017, eq. 5, without restarts, evaluated at every step; it reaches `eta_min` at the
    last step of the last epoch. Plateau: after more than `patience` epochs without improvement of the monitored
    quantity the rate is multiplied by `factor`, down to `min_lr`, as torch's ReduceLROnPlateau does with threshold 0;
    epochs of the warm-up do not count.

    Attributes:
        drops: epochs after which the rate was lowered; a refit without validation is given them and replays them.
    """

    params: Params
    epochs: int
    monitor: Metric
    drops: list[int] = field(default_factory=list)
    best: float | None = None
    waited: int = 0

    def lr(self, progress: float) -> float:
        """The rate after `progress` epochs, a fraction within an epoch."""
        lr, p = self.params.optimizer["lr"], self.params.schedule
        warmup = min(p["warmup_epochs"], self.epochs - 1)
        if progress < warmup:
            return lr * progress / warmup
        if p["name"] == "cosine":
            low = min(p["eta_min"], lr)
            done = (progress - warmup) / (self.epochs - warmup)
            return low + (lr - low) * (1 + math.cos(math.pi * done)) / 2
        if p["name"] == "plateau":
            past = sum(epoch < progress for epoch in self.drops)
            return max(lr * p["factor"] ** past, min(p["min_lr"], lr))
        return lr

    def observe(self, epoch: Epoch) -> None:
        """Lower the rate from the next epoch on when the monitored quantity has stopped improving."""
        if self.params.schedule["name"] != "plateau" or epoch.number <= self.params.schedule["warmup_epochs"]:
            return
        value = epoch.get(self.monitor.name)
        if value is not None and (self.best is None or self.monitor.better(value, self.best)):
            self.best, self.waited = value, 0
            return
        self.waited += 1
        if epoch.full and self.waited > self.params.schedule["patience"]:
            self.drops.append(epoch.number)
            self.waited = 0

    def state_dict(self) -> dict[str, Any]:
        return {"drops": list(self.drops), "best": self.best, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.drops, self.best, self.waited = list(state["drops"]), state["best"], state["waited"]


def best_epoch(epochs: Sequence[Epoch], metric: Metric, min_epochs: int) -> Epoch | None:
    """The first epoch at or after `min_epochs` with the best value of the metric; None where none has a value."""
    best: Epoch | None = None
    for epoch in epochs:
        value = epoch.get(metric.name)
        if epoch.number < min_epochs or value is None:
            continue
        if best is None or metric.better(value, best.get(metric.name) or 0.0):
            best = epoch
    return best


def should_stop(epochs: Sequence[Epoch], monitor: Metric, stopping: Mapping[str, Any], min_epochs: int) -> bool:
    """Early stopping: `patience` epochs in a row, counted from `min_epochs`, without gaining more than `min_delta`.

    An epoch at which the monitored quantity is missing counts as one without improvement, but none is the last before
    a full validation. Patience 0 never stops.
    """
    if not stopping["patience"]:
        return False
    best, since = monitor.worst, 0
    for epoch in epochs:
        value = epoch.get(monitor.name)
        if value is not None and monitor.better(value, best, stopping["min_delta"]):
            best, since = value, 0
        elif epoch.number > min_epochs:
            since += 1
    return since >= stopping["patience"] and bool(epochs) and epochs[-1].full and epochs[-1].number > min_epochs
