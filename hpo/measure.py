"""What the batches of a split come to: losses per term and scores, divided once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Batch, Objective, Outputs, Params, Sums


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


def measure(
    model: torch.nn.Module,
    batches: Iterable[Batch],
    objective: Objective,
    params: Params,
    statistics: Mapping[str, Tensor],
    info: Mapping[str, Any],
) -> dict[str, float]:
    """Losses and scores of a model over batches, without gradients."""
    model.eval()
    ledger = Ledger(objective, params)
    with torch.inference_mode():
        for batch in batches:
            outputs = forward(model, batch)
            ledger.add(objective.losses(outputs, batch, params, statistics), objective.sums(outputs, batch))
    return ledger.close(info)


class Ledger:
    """Adds up what the batches of one split came to; one tensor per step, read back once at the end.

    `.item()` at every step would make a GPU wait for the host.
    """

    def __init__(self, objective: Objective, params: Params) -> None:
        self._objective = objective
        self._weights = {term: params.loss[f"{term}_weight"] for term in objective.terms}
        self._steps: list[Tensor] = []
        self._sums: Sums = {}
        self.mean_norm = 0.0

    def total(self, terms: Mapping[str, tuple[Tensor, Tensor]]) -> Tensor:
        """The weighted sum of the terms' means."""
        loss = None
        for name, (value, count) in terms.items():
            term = self._weights[name] * value / count.clamp_min(1e-12)
            loss = term if loss is None else loss + term
        assert loss is not None
        return loss

    def add(self, terms: Mapping[str, tuple[Tensor, Tensor]], sums: Sums, norm: Tensor | None = None) -> None:
        numbers = [number.detach() for name in self._weights for number in terms[name]]
        self._steps.append(torch.stack(numbers if norm is None else [*numbers, norm]))
        for name, value in sums.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value

    def close(self, info: Mapping[str, Any], training_epoch: int | None = None) -> dict[str, float]:
        """Divide once; while training, refuse a term that is not finite."""
        steps = torch.stack(self._steps).double().cpu().numpy()
        names = list(self._weights)
        if training_epoch is not None:
            self._refuse_non_finite(steps, names, training_epoch)
        if steps.shape[1] > 2 * len(names):
            self.mean_norm = float(steps[:, -1].mean())
        values, counts = steps[:, : 2 * len(names) : 2].sum(0), steps[:, 1 : 2 * len(names) : 2].sum(0)
        means = {name: v / c for name, v, c in zip(names, values, counts, strict=True) if c > 0}
        record = {"loss": float(sum(self._weights[name] * mean for name, mean in means.items()))}
        record |= {f"loss.{name}": float(mean) for name, mean in means.items()}
        record |= self._objective.score({name: v.cpu().numpy() for name, v in self._sums.items()}, info)
        return {name: float(value) for name, value in record.items() if _is_finite(name, value)}

    @staticmethod
    def _refuse_non_finite(steps: np.ndarray, names: list[str], epoch: int) -> None:
        bad = ~np.isfinite(steps)
        if not bad.any():
            return
        step = int(bad.any(axis=1).argmax())
        column = int(bad[step].argmax()) // 2
        raise NonFiniteLoss(names[column] if column < len(names) else "gradient", epoch, step + 1)


def _is_finite(name: str, value: Any) -> bool:
    """Whether a score is there; the objective may have answered anything."""
    try:
        return math.isfinite(value)
    except (TypeError, OverflowError) as error:
        raise type(error)(f"{name} is no score but {type(value).__name__} {value!r:.40}: {error}") from None
