"""The objectives as the benchmarks train them: baseline values, first fold, augmentation on."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo.arrays import ArrayFolder, Arrays, open_arrays
from hpo.objective import Fold, Metric, Objective, Params, Value
from objectives.abr.objective import Abr
from objectives.digits import CLASSES, Digits

#: Number of folds of the studies that ship with hpo.
FOLDS = 5
#: Of digits and abr, of clips (of points, in colour) and of faces; off by default, and would be left out.
AUGMENTATION = {"augment.shift": 1.0, "augment.noise": 0.05}
OF_CLIPS = {"augment.jitter": 0.02, "augment.temporal_drop": 0.1, "augment.roll": 5}
OF_COLOUR_CLIPS = {"augment.flip": 0.5, "augment.brightness": 0.3, "augment.hue": 0.1, "augment.rotation": 15.0}
OF_VOLUMES = {"augment.flip": 0.5, "augment.rotate": 0.5, "augment.noise": 0.2}
OF_FACES = {"augment.flip": 0.5, "augment.crop": 0.1, "augment.rotation": 10.0, "augment.colour": 0.2}


@dataclass(frozen=True, kw_only=True)
class Task:
    """All that a training needs, whoever writes the loop."""

    objective: Objective
    arrays: Arrays
    fold: Fold
    params: Params
    metric: Metric
    epochs: int  #: of one training, as in the study that ships with hpo


def digits(cache: Path) -> Task:
    """The built-in digits; random images of their shape where scikit-learn, which holds them, is not installed."""
    objective = Digits()
    try:
        arrays = open_arrays(objective, None, objective.defaults, cache)
    except ModuleNotFoundError:
        arrays = _random_digits(cache / "random-digits")
    return _task(objective, arrays, 12, AUGMENTATION)


def abr(cache: Path, data: Path | None = None) -> Task:
    """Recorded brainstem responses, or synthetic ones."""
    objective = Abr()
    return _task(objective, open_arrays(objective, data, objective.defaults, cache), 40, AUGMENTATION)


def behaviour(cache: Path) -> Task:
    """Made-up clips of tracked mice; needs what reads key points and videos, which a bare GPU machine may lack."""
    from objectives.behaviour.objective import Behaviour

    objective = Behaviour()
    return _task(objective, open_arrays(objective, None, objective.defaults, cache), 200, OF_CLIPS)


def grimace(cache: Path, encoder: str = "resnet18") -> Task:
    """Drawn mice for an encoder of torchvision; needs what reads videos, which a bare GPU machine may lack."""
    from objectives.grimace.objective import Grimace

    objective = Grimace()
    arrays = open_arrays(objective, None, objective.defaults, cache)
    return _task(objective, arrays, 50, OF_COLOUR_CLIPS | {"model.encoder": encoder}, "r2")


def surface(cache: Path, filters: int = 32) -> Task:
    """Made-up volumes for a 3-D U-Net; needs SciPy, which a bare GPU machine may lack."""
    from objectives.surface.objective import Surface

    objective = Surface()
    arrays = open_arrays(objective, None, objective.defaults, cache)
    return _task(objective, arrays, 100, OF_VOLUMES | {"model.initial_filters": filters}, "dice")


def expression(cache: Path, image_size: int = 96) -> Task:
    """Drawn faces for a resnet18; needs torchvision and Pillow, which a bare GPU machine may lack."""
    from objectives.expression.objective import Expression

    objective = Expression()
    arrays = open_arrays(objective, None, {**objective.defaults, "data.image_size": image_size}, cache)
    return _task(objective, arrays, 50, OF_FACES)


def _task(
    objective: Objective, arrays: Arrays, epochs: int, augmentation: Mapping[str, Value], score: str = "macro_f1"
) -> Task:
    values = {**objective.parameters(), **augmentation, "schedule.warmup_epochs": 1}
    params = Params.from_flat(values | {"stopping.patience": 0})  # every side trains equally many epochs
    fold = objective.split(arrays, FOLDS, 0).folds[0]
    metric = objective.metric(score)
    return Task(objective=objective, arrays=arrays, fold=fold, params=params, metric=metric, epochs=epochs)


def _random_digits(folder: Path) -> Arrays:
    if folder.exists():
        return Arrays(folder)
    print("scikit-learn is missing: random images take the place of the digits", file=sys.stderr)
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    made = ArrayFolder(folder)
    made.add("image", generator.random((1200, 1, 8, 8), dtype=np.float32))
    made.add("target", np.arange(1200, dtype=np.int64) % len(CLASSES))
    info = {"classes": CLASSES, "test_rows": 360, "rows": 1200}
    (folder / "info.json").write_text(json.dumps({"fingerprint": "", "info": info}))
    return Arrays(folder)
