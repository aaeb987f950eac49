"""The network that a training begins with: random weights, those of a file, or those of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A trained network, for a training that goes on from it."""

    params: Params  #: that it was trained with
    statistics: Mapping[str, torch.Tensor]  #: that it was trained with
    weights: Mapping[str, torch.Tensor]  #: its whole state, input scalers included

    def network(self, objective: Objective, params: Params, seed: int) -> torch.nn.Module:
        """The network of `params` with the trained weights.

        Buffers that parameters set, as the rate of a `Dropout` is one, follow `params`: they are those in which two
        networks of the same random weights differ, one of the old values and one of the new.

        Raises:
            DataError: networks of `params` have weights of other shapes, or there are none; the message names what
                changed.
        """
        old = random(objective, self.params, self.statistics, seed)
        try:
            new = random(objective, params, self.statistics, seed)
        except DataError:  # its way out may be to change more, and no change is one here
            raise DataError(self._misfit(params)) from None
        fresh, before = new.state_dict(), old.state_dict()
        if {k: v.shape for k, v in fresh.items()} != {k: v.shape for k, v in self.weights.items()}:
            raise DataError(self._misfit(params, self._where(fresh)))
        buffers = {name for name, _ in new.named_buffers()}
        follow = {name for name in buffers & fresh.keys() if not torch.equal(fresh[name], before[name])}
        new.load_state_dict({name: fresh[name] if name in follow else self.weights[name] for name in fresh})
        return new

    def _misfit(self, params: Params, where: str = "") -> str:
        """Which parameters change the network, and the way out."""
        before = self.params.flat()
        changed = {key: value for key, value in params.flat().items() if before.get(key) != value}
        of_model = [key for key in changed if key.startswith("model.")] or list(changed)
        listed = ", ".join(f"{key} {before.get(key)} -> {changed[key]}" for key in of_model)
        return f"the trained weights do not fit a network with {listed}{where}: leave it as it was"

    def _where(self, fresh: Mapping[str, torch.Tensor]) -> str:
        """Where another network shows first."""
        names = [*fresh, *(name for name in self.weights if name not in fresh)]
        first = next(name for name in names if _shape(fresh.get(name)) != _shape(self.weights.get(name)))
        was, needed = _shape(self.weights.get(first)), _shape(fresh.get(first))
        return f" ({first} has the shape {was}, {needed} would be needed)"


def _shape(tensor: torch.Tensor | None) -> str:
    return "none" if tensor is None else str(list(tensor.shape))
