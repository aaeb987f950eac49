"""An objective with a data set, and what the tests do with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.arrays import Arrays, Feed
from hpo.objective import Batch, Objective, Params
from objectives import BUILT_IN

ROOT = Path(__file__).parents[2]
FOLDS, SEED = 3, 11


#: What is prepared for the tests otherwise than by default: pictures so small that a ResNet takes milliseconds, clips
#: so short that there are many.
PREPARED: Mapping[str, Mapping[str, Any]] = {
    "expression": {"data.image_size": 32},
    "behaviour": {"data.train_T": 40, "data.val_T": 40},
    "grimace": {"data.resolution": 32, "data.max_frames": 4},
    "surface": {"data.patch": 16, "data.overlap": 0.0},
}
#: Networks that take milliseconds, where the default takes longer.
SMALL: Mapping[str, Mapping[str, Any]] = {"surface": {"model.initial_filters": 6, "model.depth": 2}}
#: Steps in which the loss of a tiny sample halves; 25 unless named. An LSTM that reads codes normalised frame by frame,
#: which differ little from clip to clip, takes a few dozen to tell the clips apart.
#: Ratios such as Dice fall more slowly than a cross entropy.
STEPS: Mapping[str, int] = {"grimace": 60, "surface": 60}


@dataclass(frozen=True)
class Case:
    """An objective and one data set of it."""

    objective: Objective
    arrays: Arrays

    def params(self, **changes: Any) -> Params:
        """Default parameters with changes: `group__key=value`."""
        flat: Mapping[str, Any] = {**self.objective.parameters(), **SMALL.get(self.objective.name, {})}
        return Params.from_flat({**flat, **{name.replace("__", "."): value for name, value in changes.items()}})

    def batch(self, rows: np.ndarray) -> Batch:
        return Feed(self.arrays, torch.device("cpu")).take(torch.from_numpy(rows))

    def labelled_rows(self, count: int) -> np.ndarray:
        """Training rows of fold 0, half of them with a class, drawn without replacement."""
        train = self.objective.split(self.arrays, FOLDS, SEED).folds[0].train
        order = np.random.default_rng(0).permutation(train)
        has_class = self.objective.labels(self.arrays)[order] >= 0
        return np.concatenate([order[has_class][: count // 2], order[~has_class], order[has_class]])[:count]


def built_in(name: str) -> Objective:
    module, _, attribute = BUILT_IN[name][0].partition(":")
    objective: Objective = getattr(import_module(module), attribute)()
    return objective


def recordings(name: str) -> Path:
    """The folder of real recordings of an objective; skips where there is none."""
    for folder in (ROOT / "shared" / "data" / name, ROOT.parent / "shared" / "data" / name):
        if folder.is_dir():
            return folder
    pytest.skip(f"no recordings: neither shared/data/{name} nor ../shared/data/{name} exists")
