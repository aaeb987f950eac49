"""Weights of classes by a named rule, from how many training rows each class has.

A loss divides by the sum of its rows' weights (see `objectives.losses`), so a common factor of all weights does
nothing: `inverse_share` and `balanced` train alike, and differ in the number that one reads. The rules take their
counts from the training rows of a fold; they run under `torch.func.vmap`, the rule itself being the same in all lanes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

#: Of `effective_number`: each row covers what a thousandth of a class's possible rows looks like.
BETA = 0.999


def class_weights(rows: Tensor, rule: str) -> Tensor:
    """The weight of each class.

    A class without a row is given the weight of a class with one row: it cannot occur in training, and its rows in a
    validation part should neither be ignored nor make the loss infinite. Where only one class has rows there is
    nothing to balance, and every class weighs 1.

    Args:
        rows: float `[class]`, number of training rows per class.
        rule: a key of `RULES`.

    Returns:
        `[class]`, finite, above 0.

    Raises:
        ValueError: for an unknown rule, with the ones there are.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule of class weights {rule!r}; there are {', '.join(RULES)}")
    weights = RULES[rule](rows.clamp_min(1), rows.sum().clamp_min(1), (rows > 0).sum().clamp_min(1))
    return torch.where((rows > 0).sum() > 1, weights, torch.ones_like(weights))


def _none(rows: Tensor, total: Tensor, occurring: Tensor) -> Tensor:
    """Every class weighs 1."""
    return torch.ones_like(rows)


def _inverse_share(rows: Tensor, total: Tensor, occurring: Tensor) -> Tensor:
    """1 / share: every class has the same part in the loss (King and Zeng 2001, section 4.2, up to a factor)."""
    return total / rows


def _odds(rows: Tensor, total: Tensor, occurring: Tensor) -> Tensor:
    """1 / share - 1, the rows of other classes per row of this one.

    The weight of the yes in `torch.nn.BCEWithLogitsLoss(pos_weight=...)`, for every class: 34 % of the rows weigh
    1.94 each, 66 % weigh 0.52. Between two classes it is stronger than `inverse_share`: their parts in the loss become
    as the share of the other one.
    """
    return total / rows - 1


def _balanced(rows: Tensor, total: Tensor, occurring: Tensor) -> Tensor:
    """Rows / (classes x rows of the class), as `sklearn.utils.class_weight.compute_class_weight("balanced")`."""
    return total / (occurring * rows)


def _effective_number(rows: Tensor, total: Tensor, occurring: Tensor) -> Tensor:
    """`balanced` with the effective number (1 - BETA^rows) / (1 - BETA) for the rows (Cui et al. 2019, equation 2).

    Rows of a large class resemble each other, so that its effective number grows more slowly than its number: weaker
    than `balanced` where classes have many hundred rows, nearly the same where they have few.
    """
    effective = -torch.expm1(rows * math.log(BETA)) / (1 - BETA)
    return total / (occurring * effective)


RULES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = MappingProxyType(
    {
        "none": _none,
        "inverse_share": _inverse_share,
        "odds": _odds,
        "balanced": _balanced,
        "effective_number": _effective_number,
    }
)
