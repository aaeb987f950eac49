"""A tiny objective and a study of it: an epoch takes milliseconds, and everything a training can do happens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.objective import Batch, DataError, Fold, Metric, Objective, Outputs, Params, Split, Sums, Term
from hpo.patience import Patience
from hpo.records import StudyRecord
from hpo.search import Search
from hpo.store import Lease, Store
from hpo.study import Study
from hpo.training import FoldRun
from hpo.work import Boundary, Surroundings

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder

FEATURES, CLASSES = 6, ["often", "seldom", "rare"]
CPU = torch.device("cpu")
ACCURACY, LOSS = Metric("accuracy", "maximize"), Metric("loss", "minimize")


class Toy(Objective):
    """Three classes and a number from six features; a third of the numbers and a fifth of the classes are missing."""

    name = "toy"
    version = 1
    terms = ("class", "number")
    scores = MappingProxyType({"accuracy": "maximize", "mae": "minimize"})
    prepare_keys: tuple[str, ...] = ("rows",)
    mixed: tuple[str, ...] = ("features",)
    defaults = MappingProxyType(
        {
            "data.batch_size": 16,
            "data.rows": 120,
            "sampling.rare_threshold_share": 0.2,
            "model.width": 8,
            "model.dropout": 0.2,
            "augment.noise": 0.1,
            "augment.mixup": 0.0,
            "loss.class_weight": 1.0,
            "loss.number_weight": 0.5,
            #: Multiplies the number that is to be learned: 1e30 makes its loss infinite.
            "loss.scale": 1.0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """`source`, if given, is a file that holds nothing but the number of rows."""
        rows = data["rows"] if source is None else int(source.read_text())
        if rows < 0:
            raise DataError(f"{source}: {rows} rows")
        generator = np.random.default_rng(5)
        features = generator.normal(size=(rows, FEATURES)).astype(np.float32)
        score = features[:, 0] + 0.3 * generator.normal(size=rows)
        target = np.digitize(score, [0.5, 1.4]).astype(np.int64)
        target[generator.random(rows) < 0.2] = -1
        number = (features[:, 1] - 0.5 * features[:, 2]).astype(np.float32)
        number[generator.random(rows) < 0.33] = np.nan
        folder.add("features", features)
        folder.add("target", target)
        folder.add("number", number)
        return {"classes": CLASSES, "synthetic": source is None}

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        order = np.random.default_rng(seed).permutation(len(arrays))
        test, rest = np.sort(order[: len(order) // 6]), order[len(order) // 6 :]
        parts = [np.sort(rest[k::folds]) for k in range(folds)]
        others = [np.sort(np.concatenate([part for part in parts if part is not held])) for held in parts]
        pairs = zip(others, parts, strict=True)
        return Split(tuple(Fold(k, train, validation) for k, (train, validation) in enumerate(pairs)), test)

    def labels(self, arrays: Arrays) -> np.ndarray:
        return np.asarray(arrays["target"])

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        features = torch.from_numpy(np.asarray(arrays["features"])[rows])
        return {"mean": features.mean(0), "std": features.std(0)}

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> nn.Module:
        return ToyNet(params.model["width"], params.model["dropout"], statistics)

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        features = batch["features"]
        noise = torch.randn(features.shape, generator=generator, device=generator.device)
        return {**batch, "features": features + noise.to(features.device) * params.augment["noise"]}

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        target, number = batch["target"], batch["number"]
        labelled, known = target >= 0, torch.isfinite(number)
        entropy = nn.functional.cross_entropy(outputs["logits"], target.clamp_min(0), reduction="none")
        wanted = torch.where(known, number, torch.zeros_like(number)) * params.loss["scale"]
        square = torch.where(known, (outputs["number"] - wanted) ** 2, torch.zeros_like(number))
        kept = torch.where(labelled, entropy, torch.zeros_like(entropy))
        return {"class": (kept.sum(), labelled.float().sum()), "number": (square.sum(), known.float().sum())}

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        labelled, known = batch["target"] >= 0, torch.isfinite(batch["number"])
        right = labelled & (outputs["logits"].argmax(-1) == batch["target"])
        error = torch.where(known, (outputs["number"] - batch["number"]).abs(), torch.zeros_like(batch["number"]))
        return {
            "right": torch.stack([right.double().sum(), labelled.double().sum()]),
            "error": torch.stack([error.double().sum(), known.double().sum()]),
        }

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        names = {"accuracy": sums["right"], "mae": sums["error"]}
        return {name: float(value / count) for name, (value, count) in names.items() if count}

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
        right, labelled = sums["right"]
        recall = {"recall": float(right / labelled)} if labelled else {}
        return {"all": {**recall, "support": float(labelled)}}

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        names = np.asarray(info["classes"])
        return {"prediction": names[outputs["logits"].argmax(-1).cpu().numpy()], "number": outputs["number"].numpy()}


#: The most frames of a clip.
FRAMES = 5


class Clips(Toy):
    """Rows that are clips of one to five frames, padded to five: predictions have an entry per frame."""

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        names = np.asarray([f"clip {row}" for row in range(len(arrays))], dtype=object)
        return {"name": names, "frame": np.tile(np.arange(FRAMES), (len(arrays), 1))}

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        features = batch["features"].numpy()
        behind = np.arange(FRAMES) >= frames_of(features)[:, None]
        score = np.ma.MaskedArray(features[:, :FRAMES], behind)
        return {**super().predict(outputs, batch, info), "score": score, "part": np.full(score.shape, len(features))}


def frames_of(features: np.ndarray) -> np.ndarray:
    """`int[row]`: the length of each clip, as any number of the row may give it."""
    return 1 + (np.abs(features[:, 0]) * 100).astype(np.int64) % FRAMES


class ToyNet(nn.Module):
    """One hidden layer; its normalisation has running statistics, so that buffers must survive, too."""

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, dropout: float, statistics: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.register_buffer("mean", statistics["mean"].clone())
        self.register_buffer("std", statistics["std"].clone())
        self.hidden = nn.Linear(FEATURES, width, bias=False)
        self.norm = nn.BatchNorm1d(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, len(CLASSES) + 1)

    def forward(self, batch: Batch) -> Outputs:
        hidden = self.norm(self.hidden((batch["features"] - self.mean) / self.std))
        found = self.head(self.dropout(torch.relu(hidden)))
        return {"logits": found[:, :-1], "number": found[:, -1]}


def toy_params(**changes: Any) -> Params:
    """Default parameters with changes: `group__key=value`."""
    flat: dict[str, Any] = Toy().parameters()
    return Params.from_flat(flat | {name.replace("__", "."): value for name, value in changes.items()})


def toy_arrays(cache: Path, rows: int = 120) -> Arrays:
    return open_arrays(Toy(), None, {"data.rows": rows}, cache)


def toy_run(arrays: Arrays, objective: Objective | None = None, **changes: Any) -> FoldRun:
    """A run of fold 0 of 3; changes with `__` go to the parameters, others to FoldRun."""
    params = toy_params(**{name: value for name, value in changes.items() if "__" in name})
    options: dict[str, Any] = {"epochs": 5, "seed": 3, "metric": ACCURACY, "fold": None}
    options |= {name: value for name, value in changes.items() if "__" not in name}
    objective = objective or Toy()
    fold, metric = options.pop("fold"), options.pop("metric")
    fold = fold or objective.split(arrays, 3, 0).folds[0]
    return FoldRun(objective, arrays, Feed(arrays, CPU), fold, params, metric, **options)


STUDY = """\
study: toy
objective: tests.toy:Toy
metric: accuracy
folds: {count: 3}
budget: {trials: 4, epochs: 3}
sampler: random
pruner: none
space:
  optimizer:
    lr: {float: [1e-3, 1e-1], log: true}
fixed:
  stopping: {patience: 0, min_epochs: 1}
configurations:
  before: {optimizer: {lr: 3e-2}}
"""


@dataclass
class Launched:
    """A study of the toy with a worker's surroundings, but no worker."""

    store: Store
    files: RunFiles
    record: StudyRecord
    spec: Study
    around: Surroundings

    @property
    def search(self) -> Search:
        return Search(self.store, self.record, self.spec)

    def trial(self, worker: str = "w") -> Lease:
        """The next ticket, whatever the budget says."""
        lease = self.store.leases.new_trial(self.record.study_id, worker, self.spec.folds.search, 10**6)
        assert lease is not None
        return lease

    def job(self, worker: str = "w") -> Lease | None:
        return self.store.leases.new_job(self.record.study_id, worker)

    def with_stop(self, stop: Callable[[], bool]) -> Surroundings:
        return replace(self.around, stop=stop)


def launch(url: str, root: Path, text: str = STUDY, objective: Objective | None = None, **changes: Any) -> Launched:
    """Create the study of `text` in the database `url`; `changes` are fields of Surroundings."""
    objective, files, store = objective or Toy(), RunFiles(root / "runs"), Store(url, create=True)
    spec = Study.from_text(text, str(root / "toy.yaml"), lambda _: objective)
    record = create_or_resume(spec, None, store, files, objective, None, lambda _: None)
    arrays = open_arrays(objective, None, spec.fixed, files.cache)
    around = Surroundings(
        store=store,
        files=files,
        record=record,
        spec=spec,
        objective=objective,
        arrays=arrays,
        feed=Feed(arrays, CPU),
        split=Split.from_json(record.split),
        checkpoint_every=0.0,
        stop=lambda: False,
        patience=Patience(0.0, lambda _: None),
        boundary=Boundary(),
    )
    return Launched(store, files, record, spec, replace(around, **changes))
