"""One point of the search space, and what the training loop reads of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

Value = bool | int | float | str

#: Values of the groups that the training loop itself reads. Objectives add theirs (`Objective.defaults`).
LOOP_DEFAULTS: Mapping[str, Value] = MappingProxyType(
    {
        "data.batch_size": 64,
        #: Rows of classes rarer than `rare_threshold_share` are drawn up to `rare_boost_cap` times as often; 1 = off.
        "sampling.rare_boost_cap": 1.0,
        "sampling.rare_threshold_share": 0.02,
        #: Rows of every class are drawn equally often, however rare it is; the two above say nothing then.
        "sampling.balanced": False,
        #: Rows are drawn up to so many times as often by the loss they last had, see `hpo.mining`; 1 = off.
        "sampling.hard_boost_cap": 1.0,
        #: Rows that hold this class are drawn `emphasis_factor` times as often, on top of that; "" = off.
        "sampling.emphasis": "",
        "sampling.emphasis_factor": 2.5,
        #: Rows that do not hold this class are not trained on (a specialist); "" = off.
        "sampling.only": "",
        #: Epochs over which a term that starts late grows to its full weight, see `hpo.curriculum`.
        "loss.ramp_epochs": 0,
        #: `adamw` or `sgd`, see `hpo.optimizer`.
        "optimizer.name": "adamw",
        "optimizer.lr": 1e-3,
        "optimizer.weight_decay": 1e-2,
        #: Of `sgd`, Nesterov's; 0 = none.
        "optimizer.momentum": 0.9,
        #: Largest norm of the whole gradient; 0 = no clipping.
        "optimizer.gradient_clip": 1.0,
        #: `cosine` (down to `eta_min`), `plateau` (factor, patience, min_lr) or `constant`, after a linear warm-up.
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 0,
        "schedule.eta_min": 0.0,
        "schedule.factor": 0.5,
        "schedule.patience": 5,
        "schedule.min_lr": 1e-7,
        "schedule.monitor": "loss",
        #: Epochs without improvement by more than `min_delta` before a fold stops, counted from `min_epochs`; 0 = off.
        "stopping.patience": 10,
        "stopping.min_delta": 0.0,
        "stopping.min_epochs": 5,
        #: Any named loss or score; `metric` stands for the metric of the study.
        "stopping.monitor": "metric",
    }
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """One point of the search space, with every value that is not searched, grouped by who uses it."""

    data: Mapping[str, Any]  #: batch size, clip length: must agree among lanes
    sampling: Mapping[str, Any]  #: how often rows are drawn
    augment: Mapping[str, Any]  #: strengths of the augmentation
    model: Mapping[str, Any]  #: widths, dropout
    loss: Mapping[str, Any]  #: focal_gamma, label_smoothing, `<term>_weight`
    optimizer: Mapping[str, Any]  #: name, lr, weight_decay, momentum, gradient_clip
    schedule: Mapping[str, Any]  #: shape of the learning rate over the epochs
    stopping: Mapping[str, Any]  #: patience, min_delta, min_epochs

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> Params:
        """Group `{"optimizer.lr": 1e-3, ...}`.

        Raises:
            KeyError: when a name has no group or an unknown one.
        """
        grouped: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
        for name, value in values.items():
            group, _, key = name.partition(".")
            if group not in grouped or not key:
                raise KeyError(f"{name!r} is not GROUP.KEY with a group of {', '.join(GROUPS)}")
            grouped[group][key] = value
        return cls(**{group: MappingProxyType(values) for group, values in grouped.items()})

    def flat(self) -> dict[str, Any]:
        """The inverse of `from_flat`, in the order of the groups."""
        return {f"{group}.{key}": value for group in GROUPS for key, value in getattr(self, group).items()}

    def key(self) -> str:
        """A digest that is equal for equal values; two trials of a study never share one."""
        text = json.dumps(self.flat(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


GROUPS = tuple(field.name for field in fields(Params))
