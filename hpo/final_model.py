"""The final model: a folder that appears complete or not at all, and a module that is ready to use.

weights.safetensors      the network, with its input scalers
statistics.safetensors   what was computed from the training rows
config.yaml              objective, every parameter, epochs, data fingerprint, versions
metrics.json             per fold, mean and spread, baseline, held-out test
README.md                model card
objective.py             the user's own objective, if it is one
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.files import make_folder, sync_folder
from hpo.harmless import harmless
from hpo.measure import forward, measure
from hpo.objective import Batch, DataError, Objective, Outputs, Params
from hpo.out_of_fold import predict
from hpo.predictions import long
from hpo.quick import WARNING
from hpo.records import FinalRecord
from hpo.resolve import built_in, resolve
from hpo.training import FoldRun
from hpo.weights import read_weights
from hpo.wording import counted

if TYPE_CHECKING:
    from hpo.store import Lease
    from hpo.work import Surroundings


#: The user's own objective as it was when the model was trained: kept, and run only when the user names it.
OWN_CODE = "objective.py"


class ModelError(Exception):
    """A model folder or a weights file cannot be used; the message says why."""


class FinalModel(torch.nn.Module):
    """A trained network with all it needs to read raw data of its objective.

    Attributes:
        objective: what it was trained for.
        params: every value it was trained with.
        info: facts of the training data (class names, ...).
        network: the plain `torch.nn.Module`.
    """

    def __init__(self, objective: Objective, config: Mapping[str, Any], statistics: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.objective, self.config, self.info = objective, config, config["info"]
        self.params = Params.from_flat(config["params"])
        self.statistics = statistics
        self.network = objective.model(self.params, statistics)

    def forward(self, batch: Batch) -> Outputs:
        """Outputs for a prepared batch (see the objective's `prepare`)."""
        return forward(self.network, batch)

    def arrays(self, source: Path | None, cache: Path, *, labelled: bool = True) -> Arrays:
        """Raw data prepared as for training; `labelled=False` takes such without labels, to predict on.

        Raises:
            DataError: the data cannot be used, or have other labels than those that the model was trained on.
            ModelError: no source for a model that was trained on recordings: synthetic data would tell nothing of it.
        """
        if source is None and self.config["data"] is not None:
            raise ModelError(f"this model was trained on {self.config['data']}: name the data to use it on")
        arrays = open_arrays(self.objective, source, self.params.flat(), cache, labelled=labelled)
        if not arrays.info.get("unlabelled") and (why := self.objective.misfit(arrays.info, self.info)):
            raise DataError(f"{source or self.objective.name}: {why}")
        return arrays

    def evaluate(self, arrays: Arrays) -> dict[str, float]:
        """Losses and scores over all rows."""
        device = next(self.network.parameters()).device
        statistics = {name: value.to(device) for name, value in self.statistics.items()}
        batches = self._batches(arrays, device)
        return measure(self.network, batches, self.objective, self.params, statistics, self.info).values

    def predict(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """`row`, counted from 0, columns that identify it, those of its predictions; see `hpo.predictions.long`."""
        device = next(self.network.parameters()).device
        predicted = predict(self.network, self._batches(arrays, device), self.objective, self.info)
        which = {"row": np.arange(len(arrays))}
        return long(which | self.objective.identify(arrays) | predicted | which)

    def _batches(self, arrays: Arrays, device: torch.device) -> Iterator[Batch]:
        feed = Feed(arrays, device)
        rows = torch.arange(len(arrays), device=device if feed.resident else "cpu")
        return feed.batches(rows.split(int(self.params.data["batch_size"]) * 4))


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
            (read with `weights_only`, so that no code in it can run).
        device: where to put it.
        objective: `module:Class` or `path/to/file.py:Class` for a model of your own objective. It is code, so it is
            never taken from the folder, which may come from somebody else.
        resolve: finds the objective by name and hash, and runs its file.

    Raises:
        ModelError: not a model folder, an objective that is not built in and not given, a changed file of the
            objective, or weights that do not fit.
    """
    folder = Path(path)
    config = _read_config(folder)
    try:
        found = resolve(_trusted(config, objective, folder), config["objective_hash"])
        model = FinalModel(found, config, _read_tensors(folder / "statistics.safetensors"))
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


def _trusted(config: Mapping[str, Any], given: str | None, folder: Path) -> str:
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


def _read_config(folder: Path) -> dict[str, Any]:
    for name in ("config.yaml", "statistics.safetensors"):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} is not a model folder: {name} is missing")
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder / 'config.yaml'} cannot be read: {str(error).splitlines()[0]}") from None
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.yaml'} does not describe a model")
    return config


def _read_tensors(file: Path) -> dict[str, torch.Tensor]:
    try:
        return read_weights(file)
    except DataError as error:
        raise ModelError(str(error)) from None


def save_model(
    run: FoldRun, around: Surroundings, lease: Lease, final: FinalRecord, test_scores: Mapping[str, float]
) -> Path:
    """Write the folder beside its place and rename it.

    Models are never overwritten: a folder that is there already is this very one, left by a worker that died before
    it could say so.
    """
    assert lease.candidate is not None
    path = around.files.model(around.record.folder, lease.candidate)
    _remove_unfinished(path, lease)
    if path.exists():
        return path
    config = _config(run, around, lease)
    metrics = _metrics(final, test_scores) | {"test_uses": 1 + len(list(path.parent.glob("trial-*")))}
    beside = path.with_name(f".{path.name}.{lease.lease_id}.{lease.token}")
    try:
        _write(beside, run, config, metrics)
        os.replace(beside, path)
    except OSError:
        if not path.exists():  # else another holder of this job was first, with the same model
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(path.parent)
    return path


def _remove_unfinished(path: Path, lease: Lease) -> None:
    """Remove what holders up to this one left half written; one that only slept has lost its lease and its work."""
    for left in path.parent.glob(f".{path.name}.*.*"):
        lease_id, token = left.name.split(".")[-2:]
        ours = lease_id.isdecimal() and token.isdecimal()
        if ours and (int(lease_id), int(token)) <= (lease.lease_id, lease.token):
            shutil.rmtree(left, ignore_errors=True)


def _write(folder: Path, run: FoldRun, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> None:
    """Every file of a model, synced."""
    make_folder(folder)
    save_file(_plain(run.model.state_dict()), folder / "weights.safetensors")
    save_file(_plain(run.statistics), folder / "statistics.safetensors")
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2))
    (folder / "README.md").write_text(harmless(_card(config, metrics)))
    own = Path(config["objective"].rpartition(":")[0])
    if own.suffix == ".py":
        shutil.copyfile(own, folder / OWN_CODE)
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}


def _config(run: FoldRun, around: Surroundings, lease: Lease) -> dict[str, Any]:
    record = around.record
    return {
        "study": record.name,
        "study_hash": record.text_hash,
        "trial": lease.candidate,
        "objective": record.objective,
        "objective_hash": record.objective_hash,
        "params": run.params.flat(),
        "weights_sha256": record.weights.get(run.params.model.get("weights", "")),
        "epochs": len(run.epochs),
        "training_rows": len(run.fold.train),
        "test_rows": len(around.split.test),
        "data": record.data,
        "fingerprint": record.fingerprint,
        "metric": {"name": record.metric, "direction": record.direction},
        "versions": dict(record.versions),
        "info": dict(record.info),
    }


def _metrics(final: FinalRecord, test_scores: Mapping[str, float]) -> dict[str, Any]:
    return {
        "folds": {"mean": final.scores, "sd": final.spread},
        "baseline": {"mean": final.baseline_scores, "sd": final.baseline_spread},
        "test": dict(test_scores),
    }


def _card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    folds, baseline, test = metrics["folds"], metrics["baseline"], metrics["test"]
    rows = [
        f"| {name} | {folds['mean'][name]:.4g} ± {folds['sd'][name]:.2g} | {_cell(baseline['mean'].get(name))} "
        + (f"| {_cell(test.get(name))} |" if test else "|")
        for name in folds["mean"]
    ]
    uses = metrics["test_uses"]
    params = [f"| `{name}` | {value} |" for name, value in config["params"].items()]
    data = config["data"] or f"{config['objective']}'s own data" + (
        " (SYNTHETIC: not a finding about real recordings)" if config["info"].get("synthetic") else ""
    )
    start = f" Started from weights with SHA-256 `{digest}`." if (digest := config["weights_sha256"]) else ""
    return "\n".join(
        [
            f"# {config['study']}: trial {config['trial']}",
            "",
            *([f"**{WARNING}.**", ""] if config["info"].get("quick") else []),
            f"Objective `{config['objective']}`, chosen by {config['metric']['name']} "
            f"({config['metric']['direction']}), refitted on {config['training_rows']} rows for "
            f"{counted(config['epochs'], 'epoch')}.",
            "",
            f"Data: {data}; fingerprint `{config['fingerprint'][:16]}`.{start}",
            "",
            "## Scores",
            "",
            "Mean ± standard deviation over the cross-validation folds (each retrained without pruning), and the",
            "baseline configuration on the same folds."
            + (
                " Then this model on the held-out test rows, which have been used "
                f"{'once, for this model' if uses == 1 else f'{uses} times by promotions of this study'}."
                if test
                else " No rows were held out for a test."
            ),
            "",
            "| measure | folds | baseline |" + (" test |" if test else ""),
            "|---|---|---|" + ("---|" if test else ""),
            *rows,
            "",
            "## Parameters",
            "",
            "| parameter | value |",
            "|---|---|",
            *params,
            "",
            "## Use",
            "",
            "```python",
            "import hpo",
            'model = hpo.load_model("path/to/this/folder")',
            "```",
            "",
            "Trained on: " + ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
            "",
        ]
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
