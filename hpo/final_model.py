"""Using a model: a module that is ready to use, from a folder that `hpo.model_folder` has written."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
import torch
import yaml

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.measure import forward, measure
from hpo.model_config import problems_of
from hpo.model_folder import OWN_CODE, PARTS, ROWS, RowsOf
from hpo.objective import LOOP_DEFAULTS, Batch, DataError, Objective, Outputs, Params, Whole
from hpo.out_of_fold import predict
from hpo.predictions import long
from hpo.resolve import built_in, resolve
from hpo.weights import read_weights


class ModelError(Exception):
    """A model folder or a weights file cannot be used; the message says why."""


class FinalModel(torch.nn.Module):
    """A trained network with all it needs to read raw data of its objective.

    Attributes:
        objective: what it was trained for.
        params: every value it was trained with.
        info: facts of the training data (class names, ...).
        folder: that it was read from.
        network: the plain `torch.nn.Module`.
    """

    def __init__(
        self,
        objective: Objective,
        config: Mapping[str, Any],
        statistics: dict[str, torch.Tensor],
        rows: RowsOf,
        network: torch.nn.Module,
        folder: Path,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.objective, self.config, self.info, self._rows = objective, config, config["info"], rows
        self.params = _params(config)
        self.statistics, self.network = statistics, network

    def forward(self, batch: Batch) -> Outputs:
        """Outputs for a prepared batch (see the objective's `prepare`)."""
        return forward(self.network, batch)

    def arrays(self, source: Path | None, cache: Path, *, labelled: bool = True) -> Arrays:
        """Raw data prepared as for training; `labelled=False` takes such without labels, to predict on.

        Raises:
            DataError: the data cannot be used, or have other labels than those that the model was trained on.
            ModelError: no source for a model that was trained on recordings: synthetic data would tell nothing of it.
        """
        return open_for([self], source, cache, labelled=labelled)

    @property
    def seen(self) -> tuple[str, ...]:
        """Fingerprints of the data of which rows are known, see `rows`."""
        return tuple(self._rows)

    def rows(self, fingerprint: str) -> dict[str, np.ndarray] | None:
        """Of data with this fingerprint, the rows that the model was trained on, was validated on and never saw.

        Returns:
            `train`, `validation` and `test`, each `int64[row]`; None for data that it was not trained on, and for a
            folder of an older version or with other weights, which does not say. A refit has no validation rows.
        """
        found = self._rows.get(fingerprint)
        return None if found is None else {part: np.asarray(rows, np.int64) for part, rows in found.items()}

    def rows_of(self, arrays: Arrays) -> dict[str, np.ndarray] | None:
        """`rows` of these data.

        Raises:
            ModelError: rows.json names rows that they do not have.
        """
        found = self.rows(arrays.fingerprint)
        last = max((int(part.max()) for part in (found or {}).values() if len(part)), default=-1)
        if last >= len(arrays):
            raise ModelError(f"{self.folder / ROWS} names row {last} of data that have {len(arrays)} rows, from 0 on")
        return found

    def evaluate(self, arrays: Arrays, rows: np.ndarray | None = None) -> dict[str, float]:
        """Losses and scores over all rows, or over the given ones `int64[row]`; what they do not allow is left out."""
        device = next(self.network.parameters()).device
        statistics = {name: value.to(device) for name, value in self.statistics.items()}
        batches = self._batches(arrays, device, rows)
        whole = self.objective.whole(arrays)
        return measure(self.network, batches, self.objective, self.params, statistics, self.info, whole).values

    def predict(self, arrays: Arrays, whole: Whole | None = None) -> dict[str, np.ndarray]:
        """`row`, counted from 0, columns that identify it, those of its predictions; see `hpo.predictions.long`.

        Args:
            arrays: prepared data, which may lack labels.
            whole: of the objective and these data, to hear of the files that it writes; None = one that writes none.
        """
        device, whole = next(self.network.parameters()).device, whole or self.objective.whole(arrays)
        predicted = predict(self.network, self._batches(arrays, device, None), self.objective, self.info, whole)
        which = {"row": np.arange(len(arrays))}
        return long(which | self.objective.identify(arrays) | predicted | which)

    def _batches(self, arrays: Arrays, device: torch.device, rows: np.ndarray | None) -> Iterator[Batch]:
        feed = Feed(arrays, device)
        index = torch.arange(len(arrays)) if rows is None else torch.from_numpy(rows)
        index = index.to(device if feed.resident else "cpu")
        return feed.batches(index.split(int(self.params.data["batch_size"]) * 4))


def open_for(models: Sequence[FinalModel], source: Path | None, cache: Path, *, labelled: bool = True) -> Arrays:
    """Raw data prepared as for the first of the models, which fit all of them, see `FinalModel.arrays`."""
    first = models[0]
    for data in (model.config["data"] for model in models):
        if source is None and data is not None:
            raise ModelError(
                f"this model was trained on {data}: name the data to use it on, as in hpo predict MODEL DATA"
            )
    arrays = open_arrays(first.objective, source, first.params.flat(), cache, labelled=labelled)
    for model in models:
        if why := model.objective.misfit(arrays.info, model.info):
            raise DataError(f"{source or first.objective.name}: {why}")
    return arrays


def load_model(
    path: str | Path,
    weights: str | Path | None = None,
    device: str = "cpu",
    objective: str | None = None,
    *,
    resolve: Callable[[str, str | None], Objective] = resolve,
) -> FinalModel:
    """A final model, in evaluation mode.

    Args:
        path: the model's folder.
        weights: other weights for the same network: `.safetensors`, or a state_dict saved with `torch.save`
            (read with `weights_only`, so that no code in it can run). Which rows they have seen is not known.
        device: where to put it.
        objective: `module:Class` or `path/to/file.py:Class` for a model of your own objective. It is code, so it is
            never taken from the folder, which may come from somebody else.
        resolve: finds the objective by name and hash, and runs its file.

    Raises:
        ModelError: not a model folder, an objective that is not built in and not given, a changed file of the
            objective, or weights that do not fit.
    """
    folder = Path(path)
    config = read_config(folder)
    try:
        found = resolve(trusted(config, objective, folder), config["objective_hash"])
        if config["metric"]["direction"] != (way := found.metric(config["metric"]["name"]).direction):
            raise LookupError(f"config.yaml: metric.direction is {config['metric']['direction']}, {way} is needed")
        statistics = _read_tensors(folder / "statistics.safetensors")
        network = _network(found, config, statistics)
        rows = _read_rows(folder) if weights is None else {}  # nothing tells what other weights have seen
        model = FinalModel(found, config, statistics, rows, network, folder)
    except LookupError as error:
        kept = folder / OWN_CODE
        hint = (
            f"; as it was: --objective {kept}:{str(config['objective']).rpartition(':')[2]}" if kept.is_file() else ""
        )
        raise ModelError(f"{folder}: {error}{hint}") from None
    if device != "cpu" and not torch.cuda.is_available():
        raise ModelError(f"--device {device}: PyTorch finds no GPU here; leave it out")
    file = folder / "weights.safetensors" if weights is None else Path(weights)
    try:
        model.network.load_state_dict(_read_tensors(file))
    except RuntimeError as error:
        raise ModelError(f"{file} does not fit the network of {folder}: {error}") from None
    return model.to(device).eval()


def _params(config: Mapping[str, Any]) -> Params:
    """As recorded; what the training loop has learned to do since then has its default, which is not to do it."""
    return Params.from_flat({**LOOP_DEFAULTS, **config["params"]})


def _network(objective: Objective, config: Mapping[str, Any], statistics: dict[str, torch.Tensor]) -> torch.nn.Module:
    try:
        return objective.model(_params(config), statistics)
    except KeyError as error:
        raise LookupError(f"{error} is missing in it; it was written by another version of {objective.name}") from None


def trusted(config: Mapping[str, Any], given: str | None, folder: Path) -> str:
    """Name of the objective whose code may run: a built-in one, or the one that the user names."""
    recorded = str(config["objective"])
    if given is not None:
        place, _, name = given.rpartition(":")
        return f"{Path(place).resolve()}:{name}" if place.endswith(".py") else given
    if recorded not in built_in():
        raise ModelError(
            f"{folder} is a model of {recorded}, which is code and not run because a folder names it: "
            f"if you trust it, say --objective {recorded} (load_model(..., objective=...))"
        )
    return recorded


def read_config(folder: Path) -> dict[str, Any]:
    """What config.yaml says.

    Raises:
        ModelError: not a model folder, or a file that does not describe a model; every key that is wrong is named.
    """
    for name in ("config.yaml", "statistics.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a model folder: {name} is missing")
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (yaml.YAMLError, ValueError) as error:  # not UTF-8, or a date that there is not
        raise ModelError(f"{folder / 'config.yaml'} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.yaml'} does not describe a model")
    if problems := problems_of(config):
        raise ModelError("\n  ".join([f"{folder / 'config.yaml'} does not describe a model:", *problems]))
    return config


def _read_rows(folder: Path) -> RowsOf:
    file = folder / ROWS
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text())
    except ValueError as error:  # neither JSON nor UTF-8
        raise ModelError(f"{file} cannot be read: {str(error).splitlines()[0]}") from None
    if not _are_rows(found):
        raise ModelError(f"{file} does not say which rows of which data a model was trained on")
    return found


def _are_rows(found: Any) -> TypeGuard[RowsOf]:
    return isinstance(found, dict) and all(
        isinstance(parts, dict) and parts.keys() == PARTS and all(_are_numbers(rows) for rows in parts.values())
        for parts in found.values()
    )


def _are_numbers(rows: Any) -> bool:
    return isinstance(rows, list) and all(type(row) is int and row >= 0 for row in rows)


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return read_weights(file)
    except DataError as error:
        raise ModelError(str(error)) from None
