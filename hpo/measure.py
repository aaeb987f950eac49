"""What the batches of a split come to: losses per term and scores, divided once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, Objective, Outputs, Params, Sums, Term, Whole


class NonFiniteLoss(Exception):
    """A loss term became NaN or infinite."""

    def __init__(self, term: str, epoch: int, step: int) -> None:
        super().__init__(f"loss term '{term}' is not finite at epoch {epoch}, step {step}")
        self.term, self.epoch, self.step = term, epoch, step


def half(device: torch.device) -> torch.dtype:
    """The 16-bit type that the device computes in."""
    on_gpu = device.type == "cuda"
    return torch.bfloat16 if not on_gpu or torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def forward(model: torch.nn.Module, batch: Batch) -> Outputs:
    """The model's outputs in float32; computed in mixed precision on a GPU."""
    device = next(iter(batch.values())).device
    if device.type != "cuda":
        plain: Outputs = model(batch)
        return plain
    with torch.autocast("cuda", half(device)):
        outputs: Outputs = model(batch)
    return {name: value.float() for name, value in outputs.items()}


def weighted_means(terms: Mapping[str, Term], weights: Mapping[str, float]) -> dict[str, Tensor]:
    """The mean of each term, times its weight; 0 where nothing is labelled."""
    return {name: weights[name] * value / count.clamp_min(1e-12) for name, (value, count) in terms.items()}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a split came to."""

    values: dict[str, float]  #: losses and scores, as in `Epoch`
    sums: dict[str, np.ndarray]  #: of the objective, over the whole split


def measure(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    params: Params,
    statistics: Mapping[str, Tensor],
    info: Mapping[str, Any],
    whole: Whole | None = None,
) -> Measured:
    """Losses and scores of a model over batches, without gradients; of wholes where rows are parts of them."""
    model.eval()
    ledger = Ledger(objective, params)
    sums_of = objective.sums if whole is None else whole.add
    with torch.inference_mode():
        for batch in batches:
            outputs = forward(model, batch)
            ledger.add(objective.losses(outputs, batch, params, statistics), sums_of(outputs, batch))
        if whole is not None:
            ledger.add_sums(whole.finish())
    return ledger.close(info)


def references(objective: Objective, statistics: Mapping[str, Tensor]) -> dict[str, torch.nn.Module]:
    """The objective's predictors that have learned nothing, as models for `measure`."""
    return {name: _Reference(objective, name, statistics) for name in objective.references}


class _Reference(torch.nn.Module):
    def __init__(self, objective: Objective, name: str, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._objective, self._name, self._statistics = objective, name, statistics

    def forward(self, batch: Batch) -> Outputs:
        return self._objective.reference(self._name, batch, self._statistics)


@dataclass(frozen=True, kw_only=True)
class Steps:
    """What the training steps of an epoch came to, besides their sums."""

    gradient_norm: float
    spread: dict[str, dict[str, float]]  #: term -> sd, min, max of its means
    gradient_norms: dict[str, float]  #: per term; empty where they were not measured


class Ledger:
    """Adds up what the batches of one split came to; one tensor per step, read back once at the end.

    `.item()` at every step would make a GPU wait for the host.
    """

    def __init__(self, objective: Objective, params: Params) -> None:
        self._objective = objective
        self._weights = {term: params.loss[f"{term}_weight"] for term in objective.terms}
        self._steps: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._sums: Sums = {}

    def add(self, terms: Mapping[str, Term], sums: Sums, norms: Tensor | None = None) -> None:
        """Take a batch; `norms` of the gradient: `[1]` the whole one, or `[1 + term]` with that of each term."""
        self._steps.append(torch.stack([number.detach() for name in self._weights for number in terms[name]]))
        if norms is not None:
            self._norms.append(norms)
        self.add_sums(sums)

    def add_sums(self, sums: Sums) -> None:
        for name, value in sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def close(self, info: Mapping[str, Any]) -> Measured:
        """Divide once."""
        values, counts = self._values_and_counts()
        totals = zip(self._weights, values.sum(0), counts.sum(0), strict=True)
        means = {name: value / count for name, value, count in totals if count > 0}
        # of no labelled entry there is no loss, and 0 would be a perfect one
        record = {"loss": float(sum(self._weights[name] * mean for name, mean in means.items()))} if means else {}
        record |= {f"loss.{name}": float(mean) for name, mean in means.items()}
        sums = {name: value.cpu().numpy() for name, value in self._sums.items()}
        record |= self._objective.score(sums, info)
        finite = {name: float(value) for name, value in record.items() if _is_finite(name, value)}
        return Measured(values=finite, sums=sums)

    def steps(self, epoch: int) -> Steps:
        """How the training steps differ from each other.

        Raises:
            NonFiniteLoss: for the first step at which a term or the gradient was not finite.
        """
        values, counts = self._values_and_counts()
        norms = torch.stack(self._norms).double().cpu().numpy()
        self._refuse_non_finite(np.stack([values, counts], axis=-1), norms[:, 0], epoch)
        spread: dict[str, dict[str, float]] = {}
        for name, value, count in zip(self._weights, values.T, counts.T, strict=True):
            means = value[count > 0] / count[count > 0]
            if len(means):
                spread[name] = {"sd": float(means.std()), "min": float(means.min()), "max": float(means.max())}
        of_terms = dict(zip(self._weights, norms[:, 1:].mean(0).tolist(), strict=False))
        return Steps(gradient_norm=float(norms[:, 0].mean()), spread=spread, gradient_norms=of_terms)

    def _values_and_counts(self) -> tuple[np.ndarray, np.ndarray]:
        """Sum and count of each term, both `[step, term]`."""
        steps = torch.stack(self._steps).double().cpu().numpy()
        return steps[:, 0::2], steps[:, 1::2]

    def _refuse_non_finite(self, terms: np.ndarray, norms: np.ndarray, epoch: int) -> None:
        """Of terms `[step, term, 2]` and gradient norms `[step]`."""
        bad = ~np.isfinite(terms).all(axis=-1)
        for step in np.flatnonzero(bad.any(axis=1) | ~np.isfinite(norms)):
            term = list(self._weights)[int(bad[step].argmax())] if bad[step].any() else "gradient"
            raise NonFiniteLoss(term, epoch, int(step) + 1)


def _is_finite(name: str, value: Any) -> bool:
    """Whether a score is there; the objective may have answered anything."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError) as error:
        raise type(error)(f"{name} is no score but {type(value).__name__} {value!r:.40}: {error}") from None
