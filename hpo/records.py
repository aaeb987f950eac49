"""What the store gives out: frozen records of a study, its units of work, workers and final models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from hpo.objective import Epoch

#: Why a trial that did not complete ended (issue of every record: class and text).
End = Literal[
    "pruned", "nan", "out_of_memory", "timeout", "hung", "data_error", "code_error", "worker_lost", "told", "exhausted"
]

#: The parameter that is the path of a file of weights to start from; in `StudyRecord.info`: path -> SHA-256.
WEIGHTS = "model.weights"


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A study as it was launched; everything that must not change while it runs."""

    study_id: int
    name: str
    text: str  #: the YAML file, word for word
    text_hash: str
    source: str  #: absolute path the YAML was read from
    folder: str  #: name of its folder under the runs folder, unique over databases
    objective: str  #: built-in name, `module:Class` or `/abs/path.py:Class`
    objective_hash: str | None  #: SHA-256 of the user's own file
    data: str | None  #: absolute path of the raw data, None for the objective's own
    fingerprint: str  #: of the prepared data
    split: Mapping[str, Any]  #: Split.to_json()
    info: Mapping[str, Any]  #: Arrays.info (class names, synthetic, rows); `quick: True` of a quick study; WEIGHTS
    vocabulary: Mapping[str, Any]  #: Vocabulary.vocabulary() of the objective
    versions: Mapping[str, str]  #: package -> version
    metric: str
    direction: Literal["minimize", "maximize"]
    trials: int  #: the budget in trials
    hours: float | None
    created: datetime
    stop: str | None  #: None, `requested` or `now` (by the user), `broken` (the objective fails again and again)
    exhausted: bool  #: every point of a finite space has been tried

    @property
    def quick(self) -> bool:
        """Whether its numbers mean nothing, see `hpo.quick`."""
        return bool(self.info.get("quick"))

    @property
    def weights(self) -> Mapping[str, str]:
        """SHA-256 at the launch of each file that trials may start from; empty for older studies."""
        found: Mapping[str, str] = self.info.get(WEIGHTS, {})
        return found


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One search trial with its curve."""

    trial_id: int
    number: int
    state: str  #: Optuna's state name: WAITING, RUNNING, COMPLETE, PRUNED, FAIL
    value: float | None  #: best monitored score at or after `min_epochs`
    params: Mapping[str, Any]  #: every value used, flat (`optimizer.lr`), defaults included; empty while WAITING
    searched: Mapping[str, Any]  #: those of `params` the sampler chose
    configuration: str | None  #: name of the configuration it was enqueued as
    fold: int
    worker: str | None
    attempt: int  #: 1 + number of takeovers
    end: str | None  #: class of the end, see `End`
    end_text: str | None
    started: datetime | None
    finished: datetime | None
    epochs: tuple[Epoch, ...]

    @property
    def seconds(self) -> float:
        """Training time over all epochs."""
        return sum(epoch.seconds for epoch in self.epochs)


@dataclass(frozen=True, kw_only=True)
class JobRecord:
    """One training of a promotion: a candidate on one fold, or its refit on all data."""

    job_id: int
    candidate: int  #: trial number
    role: Literal["best", "baseline"]
    fold: int  #: -1 for the refit
    seed: int
    state: Literal["waiting", "running", "done", "failed"]
    worker: str | None
    epochs: tuple[Epoch, ...]
    best_epoch: int | None
    scores: Mapping[str, float] | None  #: validation values of the best epoch; test scores of a refit
    end_text: str | None


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """One worker process, alive or gone."""

    name: str
    host: str
    pid: int
    device: str
    state: Literal["starting", "training", "waiting", "stopped", "lost"]
    trial: int | None
    job: str | None  #: `trial 12, fold 3` while it works for a promotion
    epoch: int | None
    last: Epoch | None  #: record of that epoch
    held_since: datetime | None
    seen: datetime
    silent_seconds: float  #: since `seen`, by the database's clock


@dataclass(frozen=True, kw_only=True)
class WorkRecord:
    """One unit of work begun and not done: a trial, or a job of the promotion, and who holds it."""

    lease_id: int
    trial: int | None
    job: str | None  #: `trial 12, fold 3`
    held: bool  #: False: given back, waits for a worker
    worker: str  #: that holds it, or held it last
    host: str | None  #: of the worker; None for one that this database does not know, as after a restore
    device: str | None
    attempt: int  #: 1 + number of takeovers
    epoch: int | None
    last: Epoch | None  #: record of that epoch
    held_since: datetime
    held_seconds: float  #: by the database's clock, as `silent_seconds`
    silent_seconds: float | None  #: since the worker was last heard of

    @property
    def name(self) -> str:
        """`trial 7`, or `trial 12, fold 3` for a job."""
        return self.job or f"trial {self.trial}"


@dataclass(frozen=True, kw_only=True)
class FinalRecord:
    """The outcome of a promotion."""

    status: Literal["waiting", "running", "done", "failed"]
    path: str | None
    candidate: int
    scores: Mapping[str, float]  #: mean over folds of the best candidate's best epochs
    spread: Mapping[str, float]  #: sample standard deviation over folds
    baseline_scores: Mapping[str, float]
    baseline_spread: Mapping[str, float]
    test_scores: Mapping[str, float]  #: of the refitted model on the held-out test rows; empty without them
    end_text: str | None
