"""Norms of the gradient, of the whole one and of each weighted term's, as a gradient scaler leaves them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm


def clip(parameters: Sequence[torch.nn.Parameter], most: float, scaler: torch.GradScaler) -> Tensor:
    """The gradient's norm before it is clipped to `most`; 0 = no clipping. Its scale must have been taken off."""
    norm = _without_overflow(get_total_norm([p.grad for p in parameters if p.grad is not None]), scaler)
    if most:
        clip_grads_with_norm_(parameters, most, norm)
    return norm


def of_terms(
    parts: Mapping[str, Tensor], parameters: Sequence[torch.nn.Parameter], scaler: torch.GradScaler
) -> list[Tensor]:
    """Norm of each weighted term's gradient; 0 for a term that depends on nothing."""
    scale = scaler.get_scale()
    norms = []
    for loss in parts.values():
        gradients = (
            torch.autograd.grad(loss * scale, parameters, retain_graph=True, materialize_grads=True)
            if loss.requires_grad
            else [torch.zeros((), device=loss.device)]
        )
        norms.append(_without_overflow(get_total_norm(gradients) / scale, scaler))
    return norms


def _without_overflow(norm: Tensor, scaler: torch.GradScaler) -> Tensor:
    """The scaler skips a step whose scaled gradients overflow, as the first ones do; it is no lost training."""
    return torch.where(norm.isfinite(), norm, torch.zeros_like(norm)) if scaler.is_enabled() else norm
