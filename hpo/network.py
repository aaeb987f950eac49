"""The network that a training begins with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from hpo.objective import DataError, Objective, Params
from hpo.weights import read_weights


def initial(objective: Objective, params: Params, statistics: Mapping[str, torch.Tensor], seed: int) -> torch.nn.Module:
    """The objective's network with random weights of that seed, or with those of the file `model.weights`.

    Raises:
        DataError: the file cannot be used; the message names it.
    """
    model = random(objective, params, statistics, seed)
    if weights := params.model.get("weights"):
        try:
            objective.initialise(model, read_weights(Path(weights)))
        except (DataError, RuntimeError) as error:  # RuntimeError: of torch's `load_state_dict`
            raise DataError(str(error) if weights in str(error) else f"{weights}: {error}") from None
    return model


def random(objective: Objective, params: Params, statistics: Mapping[str, torch.Tensor], seed: int) -> torch.nn.Module:
    """The objective's network with random weights; the generator of the process stays where it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return objective.model(params, statistics)
