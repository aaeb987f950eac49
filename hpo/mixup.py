"""Mixup (Zhang et al. 2018): train on blends of two rows.

The loss of a blend is blended, not its labels (equal for cross entropy, Zhang et al. 2018, section 2), so that any
term can take part and a label that is missing on either side stays masked.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hpo.objective import Batch, Term


def partners(batch: Batch, generator: torch.Generator) -> Batch:
    """The rows of a batch in another order."""
    rows = next(iter(batch.values()))
    order = torch.rand(len(rows), generator=generator, device=generator.device).argsort().to(rows.device)
    return {name: value[order] for name, value in batch.items()}


def draw_share(alpha: float | Tensor, generator: torch.Generator) -> Tensor:
    """How much of a blend is the row itself: Beta(alpha, alpha), folded to 0.5 and above; 0-d.

    Folded, because blend and partner are exchangeable and a row should be the greater part of its own blend. Drawn
    without rejection (Devroye 1996, "Random variate generation in one line of code", symmetric beta), so that lanes
    with different alphas can share the draw.
    """
    u, v = torch.rand(2, generator=generator, device=generator.device, dtype=torch.float64)
    spread = (u.clamp_min(1e-300) ** (-1 / alpha) - 1) * torch.cos(2 * math.pi * v) ** 2
    return 0.5 + 0.5 / torch.sqrt(1 + 1 / spread.clamp_min(1e-300))


def require(mixed: Sequence[str], batch: Batch) -> None:
    """Refuse an objective that offers mixup without saying truly what is blended: half of its losses would be noise.

    Raises:
        ValueError: with the names of the batch.
    """
    if not mixed:
        raise ValueError(f"augment.mixup is offered, but `mixed` is empty: name what is blended, of {', '.join(batch)}")
    if absent := [name for name in mixed if name not in batch]:
        raise ValueError(f"`mixed` names {', '.join(absent)}, but the batch has {', '.join(batch)}")


def blended(batch: Batch, partner: Batch, mixed: Sequence[str], share: Tensor) -> Batch:
    """The batch with `share` of its own and the rest of its partner's in the entries named `mixed`."""
    blends = {
        name: share.to(batch[name].dtype) * batch[name] + (1 - share).to(batch[name].dtype) * partner[name]
        for name in mixed
    }
    return {**batch, **blends}


def blended_terms(own: Mapping[str, Term], other: Mapping[str, Term], share: Tensor) -> dict[str, Term]:
    """Sums and counts of the loss terms against both rows' labels, by their shares."""

    def blend(a: Tensor, b: Tensor) -> Tensor:
        return share.to(a.dtype) * a + (1 - share).to(a.dtype) * b

    return {name: (blend(value, other[name][0]), blend(count, other[name][1])) for name, (value, count) in own.items()}
