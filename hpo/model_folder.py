"""Writing a model: a folder that appears complete or not at all, and is never overwritten.

weights.safetensors      the network, with its input scalers
statistics.safetensors   what was computed from the training rows
config.yaml              objective, every parameter, epochs, fold, targets, data fingerprint, versions
rows.json                fingerprint of data -> the rows of them that it was trained and validated on, and test rows
metrics.json             scores; of a final model per fold, mean and spread, baseline, held-out test
README.md                model card
objective.py             the user's own objective, if it is one
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from safetensors.torch import save_file

from hpo.files import make_folder, sync_folder
from hpo.harmless import harmless
from hpo.training import FoldRun

if TYPE_CHECKING:
    from hpo.split import Split
    from hpo.work import Surroundings

#: The user's own objective as it was when the model was trained: kept, and run only when the user names it.
OWN_CODE = "objective.py"
#: Which rows of which data a model has seen; folders of older versions have none.
ROWS = "rows.json"
#: What it has seen them as.
PARTS = {"train", "validation", "test"}

#: Fingerprint of prepared data -> each of PARTS -> row numbers.
RowsOf = dict[str, dict[str, list[int]]]


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who writes a folder: of two that write the same one, the first to end wins and the other one's is removed."""

    lease_id: int
    token: int

    def beside(self, path: Path) -> Path:
        """Where this holder writes what will be `path`."""
        return path.with_name(f".{path.name}.{self.lease_id}.{self.token}")


def write_model(
    path: Path,
    run: FoldRun,
    config: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    rows: RowsOf,
    card: str,
    holder: Holder,
) -> Path:
    """Write the model as it is now in `run` beside its place and rename it.

    Models are never overwritten: a folder that is there already is this very one, left by a worker that died before
    it could say so. A caller to whom it would be another one makes sure of its path first.

    Args:
        path: of the folder; its parents are made.
        run: whose network and statistics are written.
        config: what `load_model` reads, see `config_of`.
        metrics: JSON-able scores.
        rows: what it was trained on, see `rows_of`.
        card: README.md.
        holder: names what is half written, so that it can be told from what others write.

    Returns:
        `path`.

    Raises:
        OSError: nothing is there.
    """
    _remove_unfinished(path, holder)
    if path.exists():
        return path
    beside = holder.beside(path)
    try:
        _write(beside, run, config, metrics, rows, card)
        os.replace(beside, path)
    except OSError:
        if not path.exists():  # else another holder of this job was first, with the same model
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    sync_folder(path.parent)
    return path


def config_of(run: FoldRun, around: Surroundings, trial: int, epochs: int) -> dict[str, Any]:
    """What config.yaml says of a model that a study has trained.

    Args:
        run: that trained it.
        around: the study.
        trial: number of the trial whose parameters it has.
        epochs: that its weights were trained for.
    """
    record, fold = around.record, run.fold.index
    return {
        "study": record.name,
        "study_hash": record.text_hash,
        "trial": trial,
        "folds": around.spec.folds.count,
        "fold": fold,
        "objective": record.objective,
        "objective_hash": record.objective_hash,
        "params": run.params.flat(),
        "weights_sha256": record.weights.get(run.params.model.get("weights", "")),
        "epochs": epochs,
        "training_rows": len(run.fold.train),
        "test_rows": len(around.split.test),
        "data": record.data,
        "fingerprint": record.fingerprint,
        "metric": {"name": record.metric, "direction": record.direction},
        "targets": [target.as_written() for target in around.spec.targets],
        "versions": dict(record.versions),
        "info": dict(record.info),
    }


def rows_of(run: FoldRun, split: Split) -> RowsOf:
    """The rows that a run is trained on and validated on, and those that nothing of its study is trained on.

    Rows of the fold that the objective leaves out of the training are in none of the parts.
    """
    parts = {"train": run.fold.train, "validation": run.fold.validation, "test": split.test}
    return {run.arrays.fingerprint: {name: rows.tolist() for name, rows in parts.items()}}


def _remove_unfinished(path: Path, holder: Holder) -> None:
    """Remove what holders up to this one left half written; one that only slept has lost its lease and its work."""
    for left in path.parent.glob(f".{path.name}.*.*"):
        lease_id, token = left.name.split(".")[-2:]
        ours = lease_id.isdecimal() and token.isdecimal()
        if ours and (int(lease_id), int(token)) <= (holder.lease_id, holder.token):
            shutil.rmtree(left, ignore_errors=True)


def _write(
    folder: Path, run: FoldRun, config: Mapping[str, Any], metrics: Mapping[str, Any], rows: RowsOf, card: str
) -> None:
    """Every file of a model, synced."""
    make_folder(folder)
    save_file(_plain(run.model.state_dict()), folder / "weights.safetensors")
    save_file(_plain(run.statistics), folder / "statistics.safetensors")
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True))
    (folder / ROWS).write_text(json.dumps(rows))
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2))
    (folder / "README.md").write_text(harmless(card))
    own = Path(config["objective"].rpartition(":")[0])
    if own.suffix == ".py":
        shutil.copyfile(own, folder / OWN_CODE)
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _plain(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
