"""What every unit of work shares: its surroundings, its log, and advancing a run under a lease."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.arrays import Arrays, Feed
from hpo.checkpoint import Checkpoints
from hpo.epoch_lines import epoch_lines
from hpo.files import RunFiles
from hpo.harmless import harmless
from hpo.objective import Epoch, Objective, Params, Split
from hpo.patience import Patience
from hpo.records import StudyRecord
from hpo.retention import retire_checkpoints
from hpo.store import Lease, Store
from hpo.study import Study
from hpo.training import FoldRun, Interrupted

if TYPE_CHECKING:
    from hpo.tensorboard import EventFile


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """A worker's view of its study: read by trials and jobs, changed by none."""

    store: Store
    files: RunFiles
    record: StudyRecord
    spec: Study
    objective: Objective
    arrays: Arrays
    feed: Feed
    split: Split
    checkpoint_every: float  #: seconds; 0 = every epoch
    patience: Patience  #: with the database
    stop: Callable[[], bool]  #: looked at between batches
    boundary: Boundary
    tensorboard: bool = False  #: whether to write event files
    gradient_norms: bool = False  #: whether to measure the gradient of each loss term

    def retire_checkpoints(self) -> None:
        """Remove the checkpoints of everything that is done, except those of the best trials that are to be kept."""
        retire_checkpoints(self.store, self.files, self.record, self.spec.keep_checkpoints)

    def run(self, lease: Lease, params: Params, *, epochs: int | None = None, drops: tuple[int, ...] = ()) -> FoldRun:
        """A fresh run of the lease's fold; jobs train with other seeds than the search did."""
        fold = self.split.refit() if lease.fold < 0 else self.split.folds[lease.fold]
        # Parameters that the objective was given after the trial have their defaults, which are what was done before.
        params = Params.from_flat({**self.objective.parameters(), **params.flat()})
        return FoldRun(
            self.objective,
            self.arrays,
            self.feed,
            fold,
            params,
            self.spec.metric,
            epochs=epochs or self.spec.budget.epochs,
            schedule_epochs=self.spec.budget.epochs,
            validation=self.spec.validation,
            seed=self.spec.seed,
            repeat=0 if lease.trial_id is not None else 1 + lease.seed,
            drops=drops,
            stop=self.stop,
            gradient_norms=self.gradient_norms,
        )

    def event_file(self, lease: Lease, restored: Sequence[Epoch], log: Log) -> EventFile | None:
        """Takes the epochs for TensorBoard, if it is wanted."""
        if not self.tensorboard:
            return None
        from hpo.tensorboard import EventFile  # a package that not every installation has

        return EventFile(self.files.tensorboard(self.record.folder), lease, restored, log.say)


class Boundary:
    """The last epoch boundary of the training under way, for a thread that must end it from outside."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._save: Callable[[], None] | None = None

    def reached(self, save: Callable[[], None] | None) -> None:
        """A new boundary, and what saves it; None when the training is over."""
        self._save = save

    def save(self) -> None:
        """Save it, once, whoever asks."""
        with self._guard:
            save, self._save = self._save, None
            if save is not None:
                save()


@dataclass
class Log:
    """The plain text log of a unit of work: a line per epoch with every term, score and rate, and some with more.

    A full disk must not end a training: lines that cannot be written are lost, and the next one that can says so.
    """

    path: Path
    #: The latest line, for the worker's own view.
    last: str = field(default="", init=False)
    _lost: int = field(default=0, init=False)
    #: Of the loss terms in the epoch before.
    _weights: Mapping[str, float] = field(default_factory=dict, init=False)

    def say(self, text: str) -> None:
        text = self.last = harmless(text)  # of the user's code and data, for who looks into the file with `cat`
        gap = f"({self._lost} lines could not be written) " if self._lost else ""
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {gap}{text}\n")
        except OSError:
            self._lost += 1
        else:
            self._lost = 0

    def epoch(self, epoch: Epoch, of: int) -> None:
        for line in epoch_lines(epoch, of, self._weights):
            self.say(line)
        self._weights = epoch.weights


def advance(run: FoldRun, lease: Lease, around: Surroundings, log: Log) -> Iterator[tuple[Epoch, bool]]:
    """Train epoch after epoch, from the newest checkpoint if there is one, until the run is finished.

    The caller records each epoch before it asks for the next: a checkpoint is written first, so that whatever the
    database holds can be gone on with. Epochs restored from a checkpoint are yielded again, as (epoch, True), to be
    recorded again.

    Raises:
        Interrupted: after the state of the last epoch boundary has been checkpointed, if the disk took it.
    """
    checkpoints = Checkpoints(around.files.checkpoints(around.record.folder, lease.lease_id), lease.token)
    if checkpoints.resume(run, log.say):
        log.say(f"resumed after epoch {len(run.epochs)} (attempt {lease.attempt})")
        yield from ((epoch, True) for epoch in run.epochs)
    elif lease.attempt > 1:
        log.say(f"started again from epoch 1: no checkpoint was found (attempt {lease.attempt})")
    saved, events = time.monotonic(), around.event_file(lease, run.epochs, log)
    around.boundary.reached(partial(_leave, run.snapshot(), checkpoints, log))
    while not run.finished:
        try:
            epoch = run.epoch()
        except Interrupted:
            around.boundary.save()
            raise
        around.boundary.reached(partial(_leave, run.snapshot(), checkpoints, log))
        # While the database is away, its epochs are nowhere else.
        due = around.patience.away or time.monotonic() - saved >= around.checkpoint_every
        if run.finished:  # then it is of use to those who want to keep it, and to nobody else
            due = around.spec.keep_checkpoints > 0 and lease.trial_id is not None
        if due and checkpoints.try_save(run.state_dict(), log.say):
            saved = time.monotonic()
        log.epoch(epoch, run.epochs_max)
        if events is not None:
            events.add(epoch)
        yield epoch, False


def _leave(boundary: Mapping[str, Any], checkpoints: Checkpoints, log: Log) -> None:
    """Leave a checkpoint of the boundary for whoever goes on."""
    if len(boundary["epochs"]) > checkpoints.newest:
        checkpoints.try_save(boundary, log.say)
    log.say(f"left after epoch {len(boundary['epochs'])}")
