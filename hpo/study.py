"""Study: what a YAML file says, and what follows from it: points of its space, sampler, pruner, what may change."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution

from hpo.objective import Metric, Params, Value, Vocabulary
from hpo.schedule import Validation
from hpo.strict_yaml import Mistakes, Section, StudyError, parse, shown
from hpo.study_space import draw, in_words, size
from hpo.target import Target

__all__ = ["Budget", "Folds", "Promotion", "Spec", "Study", "StudyError", "Target", "differences", "read_name"]

#: Finds the names of an objective: the objective itself, or the vocabulary stored with a study.
Resolve = Callable[[str], Vocabulary]

#: Not `-rf`, which a command would take for options.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, '.', '_' or '-', not starting with '.' or '-', are needed"


@dataclass(frozen=True, kw_only=True)
class Budget:
    trials: int  #: tickets of the search
    epochs: int  #: the most epochs of one training
    hours: float | None  #: training hours, summed over all workers, after which no new trial begins; None = no limit
    max_trial_minutes: float | None = None  #: of training, after which a trial ends as `timeout`; None = no limit


@dataclass(frozen=True, kw_only=True)
class Folds:
    count: int
    search: int  #: index of the fold on which trials are searched


@dataclass(frozen=True, kw_only=True)
class Promotion:
    refit: bool = True  #: train the winner once more, on all rows but the test rows
    baseline: bool = True  #: train the first configuration on all folds too


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A sampler or pruner by name, with every option it has."""

    name: str
    options: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What one YAML file says, checked, with every default filled in."""

    name: str
    objective: str  #: built-in name, `module:Class` or `/absolute/path.py:Class`
    data: str | None  #: absolute path of the raw data; None for the objective's own
    metric: Metric  #: what trials are judged by, on the validation rows
    seed: int
    space: Mapping[str, BaseDistribution]  #: `optimizer.lr` -> what to draw it from, in the order of the file
    fixed: Mapping[str, Value]  #: every other parameter: loop defaults <- objective's defaults <- the file
    #: Name -> values to try first: one for every key of the space, and changes to fixed values. First = baseline.
    configurations: Mapping[str, Mapping[str, Value]]
    sampler_spec: Spec
    pruner_spec: Spec
    budget: Budget
    folds: Folds
    validation: Validation
    targets: tuple[Target, ...]
    promotion: Promotion
    keep_checkpoints: int  #: of this many best trials after their end
    text: str  #: the file, word for word
    source: str  #: absolute path of the file
    quick: bool = False  #: a few epochs on a few rows, see `hpo.quick`; its numbers mean nothing
    #: Configurations of the file that a quick study leaves out -> the one that each is the same as.
    same: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, resolve: Resolve, *, quick: bool = False) -> Study:
        """Read and check a file.

        Args:
            path: of the YAML file; paths in it are relative to its folder.
            resolve: finds the objective by name, `module:Class` or `/absolute/path.py:Class`; whatever it raises
                becomes a mistake of the file.
            quick: whether to add the line that makes it a quick study, see `hpo.quick`.

        Raises:
            StudyError: with all mistakes of the file.
        """
        from hpo.quick import quickened
        from hpo.study_file import Reader, text_of  # which imports this module

        text = quickened(text_of(path), str(path)) if quick else text_of(path)
        return Reader(text, str(path.absolute()), str(path), resolve).study()

    @classmethod
    def from_text(cls, text: str, source: str, resolve: Resolve) -> Study:
        """Read a study from its stored text; `source` is the absolute path it once had.

        Raises:
            StudyError: with all mistakes of the text.
        """
        from hpo.study_file import Reader

        return Reader(text, source, source, resolve).study()

    @property
    def text_hash(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def baseline(self) -> str:
        """Name of the configuration that others are compared with."""
        return next(iter(self.configurations))

    def suggest(self, trial: optuna.trial.BaseTrial) -> Params:
        """Every value of a trial: searched ones from the sampler, or from the queue, in the order of the file.

        The user attribute `configuration` of an enqueued trial names the configuration whose changes to fixed values
        apply.
        """
        point = {name: draw(trial, name, distribution) for name, distribution in self.space.items()}
        return self.params(point, trial.user_attrs.get("configuration"))

    def params(self, point: Mapping[str, Any], configuration: str | None = None) -> Params:
        """Complete a point of the space with everything that is not searched.

        Raises:
            ValueError: when the point lacks a key of the space or has others.
            KeyError: for an unknown configuration.
        """
        if set(point) != set(self.space):
            odd = ", ".join(sorted(set(point) ^ set(self.space)))
            raise ValueError(f"a point of study {self.name!r} has a value per searched key; missing or extra: {odd}")
        if configuration is not None and configuration not in self.configurations:
            known = ", ".join(self.configurations)
            raise KeyError(f"study {self.name!r} has no configuration {configuration!r}; known are {known}")
        overlay = self.configurations[configuration] if configuration is not None else {}
        changed = {key: value for key, value in overlay.items() if key not in self.space}
        return Params.from_flat({**self.fixed, **changed, **point})

    def points(self) -> int | None:
        """Number of points of a finite space, None of an infinite one.

        Configurations that change fixed values are further points, which are not counted.
        """
        sizes = [size(distribution) for distribution in self.space.values()]
        return math.prod(size for size in sizes if size is not None) if None not in sizes else None

    def sampler(self, seed: int) -> optuna.samplers.BaseSampler:
        """A new sampler; the seed is the caller's, so that each worker and each ask has its own."""
        options: Mapping[str, Any] = self.sampler_spec.options
        if self.sampler_spec.name == "random":
            return optuna.samplers.RandomSampler(seed)
        if self.sampler_spec.name == "gp":
            return optuna.samplers.GPSampler(seed=seed, n_startup_trials=options["startup_trials"])
        return optuna.samplers.TPESampler(
            seed=seed,
            n_startup_trials=options["startup_trials"],
            n_ei_candidates=options["candidates"],
            multivariate=options["multivariate"],
            constant_liar=options["constant_liar"],
        )

    def pruner(self) -> optuna.pruners.BasePruner:
        """A new pruner. Optuna's step is our epoch, counted from 1, so that its first epoch is always explicit."""
        name, options = self.pruner_spec.name, dict[str, Any](self.pruner_spec.options)
        if name == "none":
            return optuna.pruners.NopPruner()
        first = options["min_resource"]
        if name == "asha":
            return optuna.pruners.SuccessiveHalvingPruner(
                first, options["reduction_factor"], min_early_stopping_rate=options["early_stopping_rate"]
            )
        if name == "hyperband":
            return optuna.pruners.HyperbandPruner(first, self.budget.epochs, options["reduction_factor"])
        return optuna.pruners.PercentilePruner(
            options.get("percentile", 50.0),
            n_startup_trials=options["startup_trials"],
            n_warmup_steps=first,
            interval_steps=options["interval"],
            n_min_trials=options["min_trials"],
        )


def read_name(path: Path) -> str:
    """The study's name, without importing its objective or checking the rest.

    Raises:
        StudyError: when the file cannot be read or has no valid name.
    """
    from hpo.study_file import name_of, text_of

    mistakes = Mistakes(str(path))
    root = parse(text_of(path), str(path), mistakes)
    name = name_of(Section(root, "", mistakes, None))
    mistakes.raise_any()
    return name


def differences(old: Study, new: Study) -> tuple[list[str], list[str]]:
    """What distinguishes a changed file from the study it would be launched against.

    Allowed are a larger budget of trials, hours or minutes per trial, further configurations (which do not become the
    baseline), changed targets, the number of checkpoints to keep and how often there is a classification report.
    Anything else would mix trials that cannot be compared; the way out is a study of its own (`hpo launch
    --new-name`). More epochs are refused too: the cosine schedule spans the budget's epochs, so a trial of 24 is not
    the continuation of a trial of 12.

    Returns:
        Allowed and refused changes as lines, `budget.trials: 20 -> 40`.
    """
    before, after = _facts(old), _facts(new)
    allowed: list[str] = []
    refused: list[str] = []
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if was != now:
            line = f"{key}: {_fact(was, now)} -> {_fact(now, was)}"
            (allowed if _may_change(key, was, now) else refused).append(line)
    return allowed, refused


_ABSENT = object()


def _may_change(key: str, was: Any, now: Any) -> bool:
    if key == "budget.trials":
        return bool(now > was)
    if key in ("budget.hours", "budget.max_trial_minutes"):
        return now is None or (was is not None and now > was)
    if key.startswith("configurations."):
        return was is _ABSENT
    return key in ("targets", "checkpoints.keep", "validation.report_every")


def _fact(value: Any, other: Any) -> str:
    """In words; of a configuration only what differs from the other one."""
    if value is _ABSENT:
        return "(none)"
    if isinstance(value, dict) and isinstance(other, dict):
        value = {key: part for key, part in value.items() if key not in other or other[key] != part}
    return value if isinstance(value, str) else shown(value)


def _facts(study: Study) -> dict[str, Any]:
    """Everything a file says as flat, comparable values; its layout and comments do not matter."""
    facts: dict[str, Any] = {"study": study.name, "objective": study.objective, "data": study.data}
    facts |= {"metric.name": study.metric.name, "metric.direction": study.metric.direction, "seed": study.seed}
    facts["quick"] = study.quick
    facts |= {f"folds.{key}": value for key, value in vars(study.folds).items()}
    facts |= {f"validation.{key}": value for key, value in vars(study.validation).items()}
    facts |= {f"budget.{key}": value for key, value in vars(study.budget).items()}
    for part, spec in (("sampler", study.sampler_spec), ("pruner", study.pruner_spec)):
        facts |= {f"{part}.name": spec.name} | {f"{part}.{key}": value for key, value in spec.options.items()}
    facts |= {f"space.{key}": in_words(distribution) for key, distribution in study.space.items()}
    facts |= {f"fixed.{key}": value for key, value in study.fixed.items()}
    facts["baseline"] = study.baseline
    facts |= {f"configurations.{name}": dict(sorted(c.items())) for name, c in study.configurations.items()}
    facts["targets"] = sorted(str(target) for target in study.targets)
    facts["checkpoints.keep"] = study.keep_checkpoints
    return facts | {f"promotion.{key}": value for key, value in vars(study.promotion).items()}
