"""Several models that answer as one: what each of them says, combined by their objective.

The mean of the outputs of networks that were trained apart: Hansen and Salamon, Neural network ensembles, IEEE TPAMI
12(10), 1990; of networks of several folds also called cross-validated committees: Parmanto, Munro and Doyle, NIPS 8,
1996.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from hpo.arrays import Arrays
from hpo.final_model import FinalModel, ModelError, open_for
from hpo.measure import forward
from hpo.objective import Batch, Objective, Outputs, Whole


class Ensemble(torch.nn.Module):
    """Models of one objective, which read data and name classes alike, used as one.

    Args:
        models: name, as messages call it -> model.

    Attributes:
        models: the same.

    Raises:
        ModelError: models cannot be combined; the message names what differs from the first one.
    """

    def __init__(self, models: Mapping[str, FinalModel]) -> None:
        super().__init__()
        first, *others = models
        problems = [
            f"{other} and {first} cannot be combined: {'; '.join(differing)}"
            for other in others
            if (differing := _differing(models[first], models[other]))
        ]
        if problems:
            raise ModelError("\n".join(problems))
        self.models = dict(models)
        one = models[first]
        network = _Combined([model.network for model in models.values()], one.objective)
        self._one = FinalModel(one.objective, one.config, one.statistics, {}, network, one.folder)
        self.eval()

    def forward(self, batch: Batch) -> Outputs:
        """Outputs for a prepared batch (see the objective's `combined`)."""
        return self._one.forward(batch)

    def arrays(self, source: Path | None, cache: Path, *, labelled: bool = True) -> Arrays:
        """As `FinalModel.arrays`, of data that fit every member."""
        return open_for(list(self.models.values()), source, cache, labelled=labelled)

    def evaluate(self, arrays: Arrays, rows: np.ndarray | None = None) -> dict[str, float]:
        """Scores as `FinalModel.evaluate` has them.

        There are no losses: they are weighted and scaled by the parameters and training rows of one training.
        """
        found = self._one.evaluate(arrays, rows)
        return {name: value for name, value in found.items() if name != "loss" and not name.startswith("loss.")}

    def predict(self, arrays: Arrays, whole: Whole | None = None) -> dict[str, np.ndarray]:
        """As `FinalModel.predict`."""
        return self._one.predict(arrays, whole)


class _Combined(torch.nn.Module):
    def __init__(self, networks: Sequence[torch.nn.Module], objective: Objective) -> None:
        super().__init__()
        self.networks, self._objective = torch.nn.ModuleList(networks), objective

    def forward(self, batch: Batch) -> Outputs:
        return self._objective.combined([forward(network, batch) for network in self.networks])


def _differing(first: FinalModel, other: FinalModel) -> list[str]:
    """Why the outputs of two models do not mean the same, or come from other data; nothing where they do."""
    if (mine := _of(other)) != (theirs := _of(first)):
        return [f"it is a model of {mine}, the first one of {theirs}"]
    found, a, b = [], first.params.flat(), other.params.flat()
    for key in (f"data.{name}" for name in first.objective.prepare_keys):
        if a.get(key) != b.get(key):
            found.append(f"its data are prepared with {key}: {b.get(key)}, those of the first one with {a.get(key)}")
    names, known = (list(model.info.get("classes") or ()) for model in (other, first))
    # One of them may need more than the other, as videos: the data must have it, not the other model's.
    why = first.objective.misfit(first.info, other.info) and first.objective.misfit(other.info, first.info)
    if why:
        found.append(why)
    elif names != known:
        found.append(
            f"its classes are {', '.join(map(str, names))}, those of the first one {', '.join(map(str, known))}"
        )
    return found


def _of(model: FinalModel) -> str:
    """The objective; of the user's own its class and hash, wherever its file was."""
    name, digest = str(model.config["objective"]), model.config["objective_hash"]
    return name if digest is None else f"{name.rpartition(':')[2]} (SHA-256 {digest[:16]})"
