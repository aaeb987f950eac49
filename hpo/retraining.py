"""Training a trained model on: a new optimizer and schedule, its weights, and a folder of its own for the outcome.

What is half done lies in a hidden folder beside the outcome's place, and the same request goes on with it:

    .NAME.unfinished/request.json         what is trained, to the last value
    .NAME.unfinished/1/epoch-00012-....pt
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock, Timeout

from hpo.arrays import Arrays, Feed
from hpo.checkpoint import Checkpoints, Say
from hpo.files import make_folder, write_whole
from hpo.final_model import FinalModel
from hpo.measure import NonFiniteLoss
from hpo.memory import shortage
from hpo.network import Trained
from hpo.objective import DataError, Epoch, Fold, Metric, Params
from hpo.options import Options
from hpo.sampling import require_emphasised
from hpo.training import FoldRun, Interrupted
from hpo.wording import counted

#: Repeat of a training that goes on: its draws are those of no training of a study.
AGAIN = 1 << 16

Part = Literal["validation", "test", "train"]
#: Hears of an epoch that has been trained, and of how many.
Heard = Callable[[Epoch, int], object]


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """A trained model, and how it is to be trained on.

    Raises:
        DataError: no epoch could be kept.
    """

    model: FinalModel
    folder: Path  #: of the model
    params: Params
    arrays: Arrays
    data: str | None  #: absolute path of the raw data, None for the objective's own
    fold: Fold  #: without validation rows, all epochs are trained and the last is kept
    test: np.ndarray  #: rows that are not trained on, nor looked at by early stopping
    folds: int  #: that the rows were dealt into
    metric: Metric  #: decides which epoch is kept, and whether the outcome is better than the model
    epochs: int
    seed: int
    output: Path  #: folder of the new model
    objective: str  #: to be named in the new model's folder

    def __post_init__(self) -> None:
        """A run would lower `min_epochs` to its epochs, and a verdict be given of an epoch that was not to be kept."""
        least = self.params.stopping["min_epochs"]
        if len(self.fold.validation) and self.epochs < least:
            raise DataError(
                f"{counted(self.epochs, 'epoch')} (--epochs) would end before stopping.min_epochs {least}, and no "
                "epoch before it is kept: train longer, or allow the first with --set stopping.min_epochs=1"
            )

    @property
    def unfinished(self) -> Path:
        """Where it is kept until it is done."""
        return self.output.with_name(f".{self.output.name}.unfinished")

    @property
    def new_data(self) -> bool:
        """Whether the model knows nothing of these data, by their fingerprint; it may have seen rows of theirs."""
        return self.model.rows(self.arrays.fingerprint) is None

    def run(self, feed: Feed, stop: Callable[[], bool]) -> FoldRun:
        """The training, with the model as it is.

        Raises:
            DataError: the new parameters need a network of another shape, leave no row to train on, or emphasise a
                class that no row holds.
        """
        run = FoldRun(
            self.model.objective,
            self.arrays,
            feed,
            self.fold,
            self.params,
            self.metric,
            epochs=self.epochs,
            seed=self.seed,
            repeat=AGAIN,
            stop=stop,
            start=start_of(self.model),
        )
        require_emphasised(self.model.objective, self.arrays, run.fold.train, self.params.sampling)
        return run

    def scored(self) -> tuple[Part, np.ndarray]:
        """Rows on which the model is compared with what becomes of it: the best there are."""
        if len(self.fold.validation):
            return "validation", self.fold.validation
        return ("test", self.test) if len(self.test) else ("train", self.fold.train)

    def request(self) -> dict[str, Any]:
        """All that the outcome depends on, as JSON."""
        rows = [self.fold.train.tolist(), self.fold.validation.tolist(), self.test.tolist()]
        return {
            "weights_sha256": digest_of(self.folder),
            "objective_hash": self.model.config["objective_hash"],
            "params": self.params.flat(),
            "fingerprint": self.arrays.fingerprint,
            "rows_sha256": hashlib.sha256(json.dumps(rows).encode()).hexdigest(),
            "metric": [self.metric.name, self.metric.direction],
            "epochs": self.epochs,
            "seed": self.seed,
        }


@dataclass(frozen=True, kw_only=True)
class Retrained:
    """What became of a model, and whether it is better than what it started from."""

    output: Path
    part: Part  #: on which both were measured
    rows: int
    before: Mapping[str, float]  #: losses and scores of the model, with the new parameters of the losses
    after: Mapping[str, float]
    kept: int  #: the epoch whose weights were kept, counted from 1
    trained: int  #: epochs
    metric: Metric

    @property
    def gain(self) -> float | None:
        """By how much the metric is better than before; None where it cannot be measured."""
        before, after = self.before.get(self.metric.name), self.after.get(self.metric.name)
        if before is None or after is None:
            return None
        return after - before if self.metric.direction == "maximize" else before - after

    def to_json(self) -> dict[str, Any]:
        kept = {"kept": self.kept, "trained": self.trained}
        both = {"before": dict(self.before), "after": dict(self.after)}
        metric = {"name": self.metric.name, "direction": self.metric.direction}
        return {"part": self.part, "rows": self.rows, **both, "epochs": kept, "metric": metric, "gain": self.gain}

    @classmethod
    def from_json(cls, output: Path, record: Mapping[str, Any]) -> Retrained:
        """Of the metrics.json of a folder that an earlier call has written."""
        plain = {key: record[key] for key in ("part", "rows", "before", "after")}
        epochs, metric = record["epochs"], Metric(**record["metric"])
        return cls(output=output, **plain, kept=epochs["kept"], trained=epochs["trained"], metric=metric)


def start_of(model: FinalModel) -> Trained:
    """The model's network, for a training that goes on from it."""
    return Trained(
        params=Params.from_flat({**model.objective.parameters(), **model.params.flat()}),
        statistics=model.statistics,
        weights={name: value.cpu() for name, value in model.network.state_dict().items()},
    )


def differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What two requests do not have in common, see `Retraining.request`: at most five, then counted."""
    called = {"weights_sha256": "the weights of the model", "fingerprint": "the data", "rows_sha256": "the rows"}
    plain = ({**request, **request.get("params", {})} for request in (before, now))
    was, new = ({key: value for key, value in request.items() if key != "params"} for request in plain)
    found = []
    for key in dict.fromkeys((*was, *new)):
        if was.get(key) != new.get(key):
            found.append(called.get(key) or f"{key} was {_plain(was.get(key))}, now {_plain(new.get(key))}")
    return "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")


def _plain(value: Any) -> str:
    """A value; of a metric, which has a direction, its name."""
    return repr(value) if not isinstance(value, list) else str(value[0])


def digest_of(folder: Path) -> str:
    """SHA-256 of the weights of a model's folder."""
    with (folder / "weights.safetensors").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def retrain(
    what: Retraining,
    device: torch.device,
    write: Callable[[Retraining, FoldRun, Retrained], object],
    *,
    stop: Callable[[], bool],
    say: Say,
    heard: Heard,
) -> Retrained:
    """Train the model on, from where an earlier call was interrupted if there was one, and write its folder.

    Args:
        what: model, rows and values.
        device: to train on.
        write: writes the folder of a run whose network is the one that is kept.
        stop: looked at between batches.
        say: hears sentences.
        heard: hears of every epoch that is trained now.

    Raises:
        DataError: the values or rows do not fit, the folder exists, a loss is not finite, memory does not suffice.
        Interrupted: the stop flag was seen; what was trained so far is kept for the next call.
    """
    run = what.run(Feed(what.arrays, device), stop)
    part, rows = what.scored()
    with _reserved(what):
        if what.output.exists():
            raise DataError(f"{what.output} exists, and a model is never overwritten: name another folder")
        try:
            before = run.evaluate(rows)
            _train(run, Checkpoints(what.unfinished, 1), say, heard)
            if run.best_state is not None:
                run.model.load_state_dict(run.best_state)
            after = run.evaluate(rows)
        except (NonFiniteLoss, RuntimeError, MemoryError) as error:
            if (text := _way_out(error, device)) is None:
                raise
            shutil.rmtree(what.unfinished, ignore_errors=True)  # it would come to the same end with the same values
            raise DataError(text) from None
        kept, trained = (run.best or run.epochs[-1]).number, len(run.epochs)
        facts: dict[str, Any] = {"before": before, "after": after, "kept": kept, "trained": trained}
        outcome = Retrained(output=what.output, part=part, rows=len(rows), metric=what.metric, **facts)
        write(what, run, outcome)
        shutil.rmtree(what.unfinished, ignore_errors=True)
    return outcome


def _way_out(error: Exception, device: torch.device) -> str | None:
    """What to change of the values, for ends that they are to blame for; None for any other."""
    if isinstance(error, NonFiniteLoss):
        return f"{error}: lower optimizer.lr, or clip gradients with optimizer.gradient_clip"
    text = shortage(error, device)
    return None if text is None else f"out of memory, {text}; lower data.batch_size"


@contextmanager
def _reserved(what: Retraining) -> Iterator[None]:
    """Hold the folder of what is half done, which is of this request or new."""
    folder, request = what.unfinished, json.dumps(what.request(), sort_keys=True)
    make_folder(folder)
    try:
        with FileLock(folder / "lock", timeout=0):
            begun = any(folder.glob("*/epoch-*.pt"))
            if begun and (before := (folder / "request.json").read_text()) != request:
                raise DataError(
                    f"{folder} holds a training to {what.output.name} that was begun with other values "
                    f"({differing(json.loads(before), what.request())}): the same command goes on with it; remove "
                    "that folder, or name another one for the outcome"
                )
            write_whole(folder / "request.json", request.encode())
            yield
    except Timeout:
        raise DataError(f"another process is training {what.output}: wait for it, or name another folder") from None


def _train(run: FoldRun, checkpoints: Checkpoints, say: Say, heard: Heard) -> None:
    """Train to the end; what has been trained is kept on disk, at the latest when the training is interrupted."""
    if checkpoints.resume(run, say):
        say(f"goes on after epoch {len(run.epochs)}")
    saved, boundary = time.monotonic(), run.snapshot()
    try:
        while not run.finished:
            epoch = run.epoch()
            boundary = run.snapshot()
            heard(epoch, run.epochs_max)
            due = run.finished or time.monotonic() - saved >= Options.checkpoint_every
            if due and checkpoints.try_save(boundary, say):
                saved = time.monotonic()
    except Interrupted:
        if len(boundary["epochs"]) > checkpoints.newest:
            checkpoints.try_save(boundary, say)
        raise
