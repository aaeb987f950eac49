"""Weights of features by their names, as a study file gives them: `ears_frontal=2, nose_bulge=0.5`."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from hpo.objective import DataError
from objectives.problems import near


@lru_cache(maxsize=64)
def feature_weights(text: str, names: tuple[str, ...]) -> Tensor:
    """The weight of each feature, float32 `[feature]`; 1 for those that are not named.

    Args:
        text: pairs NAME=WEIGHT, separated by commas; a weight is at least 0.
        names: of the features.

    Raises:
        DataError: with everything that is wrong with the text.
    """
    weights, problems = dict.fromkeys(names, 1.0), []
    for pair in filter(None, map(str.strip, text.split(","))):
        name, _, value = (part.strip() for part in pair.partition("="))
        if name not in weights:
            meant = near(name, names)
            hint = f"; did you mean {meant}?" if meant else f", which has {', '.join(names) or 'none'}"
            problems.append(f"'{name}' is no feature of the data{hint}")
        elif (weight := _number(value)) is None:
            problems.append(f"'{pair}' gives no weight of 0 or more: NAME=WEIGHT is needed")
        else:
            weights[name] = weight
    if problems:
        raise DataError(f"loss.feature_weights: {'; '.join(problems)}")
    return torch.tensor(list(weights.values()))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
