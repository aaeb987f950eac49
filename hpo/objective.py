"""The contract between the service and the science: Params, Split, Vocabulary, Objective.

This module does not import torch, so that `hpo status` and the supervisor stay light; objectives do.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from hpo import curriculum
from hpo.epoch import Direction, Epoch, Metric
from hpo.params import GROUPS, LOOP_DEFAULTS, Params, Value
from hpo.split import Fold, Split
from hpo.whole import Whole

if TYPE_CHECKING:
    import plotly.graph_objects as go
    import torch

    from hpo.arrays import ArrayFolder, Arrays

__all__ = [
    "GROUPS",
    "LOOP_DEFAULTS",
    "Batch",
    "DataError",
    "Direction",
    "Epoch",
    "Fold",
    "Metric",
    "Objective",
    "Outputs",
    "Params",
    "Split",
    "Sums",
    "Term",
    "Value",
    "Vocabulary",
    "Whole",
]

#: One mini-batch: named tensors, each with the row as its first dimension, on the device of the run.
Batch = dict[str, "torch.Tensor"]
#: What a network returns: named tensors, first dimension the row.
Outputs = dict[str, "torch.Tensor"]
#: One loss term of a batch: the sum over its valid entries and their number (or weight), both 0-d.
Term = tuple["torch.Tensor", "torch.Tensor"]
#: Additive sums of a batch: adding those of two batches gives those of their union.
Sums = dict[str, "torch.Tensor"]


class DataError(Exception):
    """The data cannot be used; the message names file, row, column and the way out."""


class Vocabulary:
    """The names an objective gives to its parameters, losses and scores, without its code.

    It is stored with a study, so that status and report can read the study's file again without importing torch.
    """

    name: str
    #: Every own parameter as GROUP.KEY with its default; may also override one of LOOP_DEFAULTS.
    defaults: Mapping[str, Value]
    #: Names of the loss terms; each needs a default `loss.<term>_weight`.
    terms: tuple[str, ...]
    #: Names or patterns of scores, each with the direction that is better; `f1.*` is a family, a score per class.
    scores: Mapping[str, Direction]
    #: Names or patterns of what `score` gives beside scores, neither good nor bad, such as the share that is predicted.
    shares: tuple[str, ...] = ()
    #: Parameters of the group `data` that `prepare` reads; they are fixed within a study.
    prepare_keys: tuple[str, ...] = ()
    #: GROUP.KEY of a parameter that is text -> the words it may be; those of the loop are known.
    words: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    #: GROUP.KEY of a parameter that is a number -> the least and the greatest it may be, None = no greatest.
    ranges: Mapping[str, tuple[float, float | None]] = MappingProxyType({})

    def parameters(self) -> dict[str, Value]:
        """Every parameter as GROUP.KEY with its default: those of the loop, of the curriculum, its own."""
        starts = dict.fromkeys(curriculum.starts(self.terms, self.defaults), 0)
        return {**LOOP_DEFAULTS, **starts, **self.defaults}

    def metric(self, name: str) -> Metric:
        """The direction of a loss or score by name (`train.` in front allowed).

        Raises:
            KeyError: for a name this objective does not have, with the ones it has.
        """
        bare = name.removeprefix("train.")
        if bare == "loss" or bare in {f"loss.{term}" for term in self.terms}:
            return Metric(name, "minimize")
        for pattern, direction in self.scores.items():
            if fnmatchcase(bare, pattern):
                return Metric(name, direction)
        if any(fnmatchcase(bare, pattern) for pattern in self.shares):
            raise KeyError(f"{name!r} is neither good nor bad, and no measure: {', '.join(self.measures())}")
        raise KeyError(f"{name!r} is neither a loss nor a score of {self.name}: {', '.join(self.measures())}")

    def measures(self) -> Iterator[str]:
        """Every name that `metric` knows."""
        yield "loss"
        yield from (f"loss.{term}" for term in self.terms)
        yield from self.scores

    def vocabulary(self) -> dict[str, Any]:
        """These names as plain values."""
        names = {"name": self.name, "defaults": self.parameters(), "scores": dict(self.scores)}
        words = {key: list(allowed) for key, allowed in self.words.items()}
        ranges = {key: list(bounds) for key, bounds in self.ranges.items()}
        names |= {"terms": list(self.terms), "prepare_keys": list(self.prepare_keys), "shares": list(self.shares)}
        return names | {"words": words, "ranges": ranges}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Vocabulary:
        names = Vocabulary()
        names.name, names.defaults, names.scores = record["name"], record["defaults"], record["scores"]
        names.terms, names.prepare_keys = tuple(record["terms"]), tuple(record["prepare_keys"])
        names.shares = tuple(record.get("shares", ()))
        names.words = {key: tuple(allowed) for key, allowed in record.get("words", {}).items()}
        names.ranges = {key: (low, high) for key, (low, high) in record.get("ranges", {}).items()}
        return names


class Objective(Vocabulary, ABC):
    """One scientific question: its data, network, losses and scores.

    A class is final and holds no state. Methods that see a batch use the values of `Params` in arithmetic only,
    never in an `if` or through `.item()`, so that the same code runs for one trial or vmapped over many.
    """

    #: Raise it whenever `prepare` writes something else for the same source: the cache is keyed by it.
    version: int = 1
    #: Predictors that have learned nothing from any input, such as `majority`: every training is measured against them.
    references: tuple[str, ...] = ()
    #: False where classes say by what rows are drawn and nothing is asked about them: a fold may lack one.
    predicts_classes: bool = True
    #: Entries of a batch that mixup blends; name `augment.mixup` in `defaults` (alpha, 0.0 = off) to offer it.
    mixed: tuple[str, ...] = ()

    @abstractmethod
    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        """Read the raw data, or generate synthetic data where `source` is None, into `folder`.

        Returns:
            JSON-able facts about the data set (class names, sampling rate, ...), later `arrays.info`. The key
            `rows` is added by the service; `synthetic: True` makes the service say so loudly. `unlabelled`, a
            sentence on what labels the source lacks, leaves the data to predictions and makes all else refuse them.

        Raises:
            DataError: with everything that is wrong with the files.
        """

    @abstractmethod
    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        """Deterministic folds and test rows.

        Raises:
            DataError: when the data do not allow that many folds.
        """

    @abstractmethod
    def labels(self, arrays: Arrays) -> np.ndarray:
        """`int64[rows]`: the class of each row, -1 = none: folds, samples and examples are drawn by it.

        A row that holds entries of several classes, a clip of frames, answers with the rarest of them.
        """

    def class_counts(self, arrays: Arrays) -> np.ndarray:
        """`int64[rows, class]`: how many labelled entries of each class a row holds; rare rows are boosted by it.

        One entry per row, of the class that `labels` names, unless overridden; none in a row without a label.
        """
        labels = self.labels(arrays)
        classes = max(len(arrays.info.get("classes") or ()), int(labels.max(initial=-1)) + 1)
        return (labels[:, None] == np.arange(classes)).astype(np.int64)

    def training_rows(self, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
        """Those of a fold's training rows that are trained on; all of them, unless overridden.

        Raises:
            DataError: when none is left.
        """
        return rows

    @abstractmethod
    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, torch.Tensor]:
        """Scalers, class shares and the like from the given training rows; they travel with the model."""

    @abstractmethod
    def model(self, params: Params, statistics: Mapping[str, torch.Tensor]) -> torch.nn.Module:
        """A network whose `forward(batch)` takes a `Batch` and returns `Outputs`."""

    def contradiction(self, params: Params) -> str:
        """Why these values cannot go together and the way out; nothing where they can.

        Asked of what a study names, before data are prepared; what its search draws is up to `model` to refuse.
        """
        return ""

    def initialise(self, model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
        """Start a training from weights instead of random ones.

        An objective that offers it has `model.weights` in `defaults`: the path of a file, "" = random weights.

        Raises:
            DataError: when they do not fit; the message names them.
        """
        raise TypeError(f"{self.name} has a parameter model.weights, but no method initialise")

    def combined(self, outputs: Sequence[Outputs]) -> Outputs:
        """What several networks say together of a batch, from what each of them says: the mean, unless overridden.

        `sums` and `predict` know nothing of a network's own statistics, so outputs have units that all networks share
        and a mean has a meaning; that of logits is the geometric mean of the probabilities. An output that not every
        network gives is left out; one that is no floating-point number is taken from the first.
        """
        shared = [name for name in outputs[0] if all(name in one for one in outputs)]
        floating = {name for name in shared if outputs[0][name].is_floating_point()}
        return {
            name: sum((one[name] for one in outputs[1:]), outputs[0][name]) / len(outputs)
            if name in floating
            else outputs[0][name]
            for name in shared
        }

    def augment(self, batch: Batch, params: Params, generator: torch.Generator) -> Batch:
        """Change a training batch, one draw per row, all randomness from `generator`."""
        return batch

    @abstractmethod
    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, torch.Tensor]
    ) -> dict[str, Term]:
        """Every term of `terms` as (sum, count); the mean is sum / count, and 0 where nothing is labelled."""

    @abstractmethod
    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        """Additive sums from which `score` computes; the shapes must not depend on the batch's size."""

    def whole(self, arrays: Arrays, folder: Path | None = None) -> Whole | None:
        """What takes the place of `sums` outside of training where rows are parts of something larger; mostly None.

        Args:
            arrays: whose rows are passed over; perhaps not those that a model was trained on.
            folder: where to write what becomes of each whole, such as the predicted volume; None = nowhere.
        """
        return None

    def reference(self, name: str, batch: Batch, statistics: Mapping[str, torch.Tensor]) -> Outputs:
        """What one of `references` says of a batch, in the shapes of the network's outputs."""
        raise NotImplementedError(f"{self.name} names no reference {name!r}")

    @abstractmethod
    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        """Scores of a whole split from its added sums; a score that cannot be computed is left out."""

    def report(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
        """Row -> column -> value from the sums of a split, as scikit-learn's `classification_report` lays it out."""
        return {}

    @abstractmethod
    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Columns of the prediction table: `[row]`, or `[row, entry]` where a row holds several, as a clip of frames.

        The number of entries is the same in every such column and row. Entries that one of them masks as a
        `numpy.ma.MaskedArray`, padding behind the end of a recording, are left out; columns `[row]`, also those of
        `identify`, are repeated. The table has a line per entry.
        """

    def examples(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Inputs, targets and outputs of a few rows for `figures`, one entry per row, as `predict` is given them."""
        return {}

    def example_kinds(self, arrays: Arrays) -> np.ndarray:
        """`int64[rows]`: of which kind a row is; examples are drawn from every kind. The label, unless overridden."""
        return self.labels(arrays)

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[tuple[str, str, go.Figure]]:
        """Figures for the report as (title, caption, figure), of rows that the model has not been trained on.

        Args:
            predictions: the columns of `identify` and `predict` for every entry of every fold's validation part,
                `[line]`, with `row` and `fold` in front. Texts in figures are markup for plotly: escape what data may
                name.
            examples: what `examples` gave for some of them, with `row` and `fold`; empty when it gives nothing.
            info: facts of the data.
        """
        return []

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        """Columns that say which row (or entry of a row) is which, put in front of the predictions; as in `predict`.

        They come from the data at hand, whereas `predict` is given the facts of the training data.
        """
        return {}

    def misfit(self, info: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
        """Why labels of the data with facts `info` mean something else to a model trained on data with `trained`.

        Returns:
            What differs and the way out; nothing where they mean the same.
        """
        return ""

    def counts(self, arrays: Arrays) -> dict[str, dict[str, int]]:
        """Tables for `hpo check`: heading -> (what -> how many), e.g. per class, per group, per missing label.

        Of classes, unless overridden: rows that hold no labelled entry, then the entries of each class that occurs.
        """
        entries = self.class_counts(arrays)
        names = arrays.info.get("classes") or range(entries.shape[1])
        unlabelled = {"unlabelled": int((~entries.any(axis=1)).sum())}
        classes = {str(name): count for name, count in zip(names, entries.sum(0).tolist(), strict=True)}
        return {"class": {what: count for what, count in (unlabelled | classes).items() if count}}
