"""An objective whose every fault can be ordered: one linear layer, epochs as short or as long as wished."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from hpo.arrays import Arrays
from hpo.objective import Batch, DataError, Fold, Objective, Outputs, Params, Split, Sums, Term

if TYPE_CHECKING:
    from hpo.arrays import ArrayFolder


#: While it lies in the folder where a worker runs, trials that look for it do not end: see `loss.hold`.
HOLD = Path("hold")
#: Training batches of an epoch on one of two folds.
BATCHES = 2

#: What `score` answers instead of a number, by the fault that orders it; nothing at all for `score_missing`.
ANSWERS: Mapping[str, Any] = {
    "score_nan": float("nan"),
    "score_inf": float("inf"),
    "score_minus_inf": float("-inf"),
    "score_none": None,
    "score_text": "1.5",
    "score_huge": 10**400,
    "score_missing": None,
}


class Faulty(Objective):
    """A number from four features; `loss.fault` says what goes wrong in the first batch, or in every score."""

    name = "faulty"
    version = 1
    terms = ("number",)
    scores = MappingProxyType({"skill": "maximize"})
    defaults = MappingProxyType(
        {
            "data.batch_size": 16,
            "loss.number_weight": 1.0,
            #: none, nan, inf, oom, hang, exception, exit, abort, data, child (a process that would outlive its parent),
            #: or one of ANSWERS
            "loss.fault": "none",
            #: Seconds that each training batch takes.
            "loss.pause": 0.0,
            #: Epochs after which a trial waits inside the next batch, its process named by a file `held-PID`, for as
            #: long as `HOLD` lies there. Once it has gone the trial takes no pauses either. 0: it does not look.
            "loss.hold": 0,
        }
    )

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        generator = np.random.default_rng(5)
        features = generator.normal(size=(64, 4)).astype(np.float32)
        folder.add("features", features)
        folder.add("number", features @ np.array([1.0, -1.0, 0.5, 0.0], dtype=np.float32))
        return {}

    def split(self, arrays: Arrays, folds: int, seed: int) -> Split:
        rows = np.arange(len(arrays))
        return Split(tuple(Fold(k, rows[rows % folds != k], rows[rows % folds == k]) for k in range(folds)), rows[:0])

    def labels(self, arrays: Arrays) -> np.ndarray:
        return np.zeros(len(arrays), dtype=np.int64)

    def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
        return {}

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> nn.Module:
        return Line([*ANSWERS].index(params.loss["fault"]) + 1 if params.loss["fault"] in ANSWERS else 0)

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        square = (outputs["number"] - batch["number"]) ** 2
        if torch.is_grad_enabled():
            _take_time(params.loss["pause"], params.loss["hold"], int(outputs["batches"]))
            square = square * _happen(params.loss["fault"])
        return {"number": (square.sum(), torch.tensor(float(len(square))))}

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        square = (outputs["number"] - batch["number"]) ** 2
        rows = torch.tensor(float(len(square))).double()
        return {"square": torch.stack([square.double().sum(), rows]), "answer": outputs["answer"] * rows}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        square, rows = sums["square"]
        answer = round(float(sums["answer"] / rows))
        if answer == 0:
            return {"skill": float(1 / (1 + square / rows))}
        fault = [*ANSWERS][answer - 1]
        return {} if fault == "score_missing" else {"skill": ANSWERS[fault]}

    def predict(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"number": outputs["number"].numpy()}


class Line(nn.Module):
    """One layer; `answer`, from the parameters, travels with the outputs: `score` sees nothing else.

    So does the number of batches trained, over all workers of a trial: checkpoints hold it.
    """

    batches: Tensor

    def __init__(self, answer: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.answer = answer
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Outputs:
        if self.training:
            self.batches += 1
        answer = torch.tensor(float(self.answer), dtype=torch.float64)
        return {"number": self.layer(batch["features"]).squeeze(-1), "answer": answer, "batches": self.batches}


def _take_time(pause: float, hold: int, batches: int) -> None:
    if not hold or HOLD.exists():
        time.sleep(pause)
    while hold and batches > BATCHES * hold and HOLD.exists():
        Path(f"held-{os.getpid()}").touch()
        time.sleep(0.02)


def _happen(fault: str) -> float:
    """Let the fault happen; the factor of the loss otherwise."""
    if fault == "oom":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (simulated)")
    if fault == "hang":
        time.sleep(600)
    if fault == "exception":
        raise RuntimeError("the objective has a bug")
    if fault == "data":
        raise DataError("recording 17 ends in the middle")
    if fault == "child":
        subprocess.Popen(["sleep", "1000"])
    if fault == "exit":
        sys.exit("the objective leaves")
    if fault == "abort":
        os.abort()
    return float(fault) if fault in ("nan", "inf") else 1.0
