"""Study: what a YAML file says; read it strictly, check it completely, suggest points of its space."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.objective import GROUPS, LOOP_DEFAULTS, Direction, Epoch, Metric, Params, Value, Vocabulary
from hpo.schedule import best_epoch
from hpo.strict_yaml import BROKEN, SIZE_LIMIT, Mistakes, Node, Section, StudyError, nearest, parse, shown

__all__ = ["Budget", "Folds", "Promotion", "Spec", "Study", "StudyError", "Target", "differences", "read_name"]

#: Finds the names of an objective: the objective itself, or the vocabulary stored with a study.
Resolve = Callable[[str], Vocabulary]

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}")
NAME_RULE = "1 to 64 letters, digits, '.', '_' or '-', not starting with '.', are needed"
KEYS = (
    *("study", "objective", "data", "metric", "seed", "folds", "budget", "sampler", "pruner"),
    *("fixed", "space", "configurations", "targets", "promotion"),
)
SCHEDULES = ("cosine", "plateau", "constant")
MONITORS = ("schedule.monitor", "stopping.monitor")

#: Options of each sampler with their defaults, which are written out here so that they are on record.
SAMPLERS: Mapping[str, Mapping[str, Value]] = {
    "tpe": {"startup_trials": 10, "candidates": 24, "multivariate": True, "constant_liar": True},
    "random": {},
    "gp": {"startup_trials": 10},
}
#: Options of each pruner. `min_resource` is the first epoch at which a trial may be pruned; 0 stands for
#: `stopping.min_epochs`.
PRUNERS: Mapping[str, Mapping[str, Value]] = {
    "none": {},
    "median": {"min_resource": 0, "startup_trials": 5, "interval": 1, "min_trials": 1},
    "percentile": {"min_resource": 0, "percentile": 50.0, "startup_trials": 5, "interval": 1, "min_trials": 1},
    "asha": {"min_resource": 0, "reduction_factor": 3, "early_stopping_rate": 0},
    "hyperband": {"min_resource": 0, "reduction_factor": 3},
}
OPTION_MINIMUM = {"reduction_factor": 2, "startup_trials": 0, "early_stopping_rate": 0}

#: What values make sense, by the end of the parameter's name; the first that matches counts.
RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (r"data\.batch_size", lambda v: v >= 1, "at least 1"),
    (r"sampling\.rare_boost_cap", lambda v: v >= 1, "at least 1 (1 = off)"),
    (r"sampling\.rare_threshold_share", lambda v: 0 <= v <= 1, "a share from 0 to 1"),
    (r"optimizer\.lr", lambda v: v > 0, "above 0"),
    (r"optimizer\.(weight_decay|gradient_clip)", lambda v: v >= 0, "at least 0"),
    (r"schedule\.factor", lambda v: 0 < v < 1, "above 0 and below 1"),
    (r"stopping\.min_epochs", lambda v: v >= 1, "at least 1: epochs count from 1"),
    (r"(schedule|stopping)\..*", lambda v: v >= 0, "at least 0"),
    (r"loss\.label_smoothing", lambda v: 0 <= v < 1, "at least 0 and below 1"),
    (r"loss\.(focal_gamma|.*_weight)", lambda v: v >= 0, "at least 0"),
    (r"model\.(.*_)?dropout", lambda v: 0 <= v < 1, "at least 0 and below 1"),
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    trials: int  #: tickets of the search
    epochs: int  #: the most epochs of one training
    hours: float | None  #: of the search, by the clock; None = no limit


@dataclass(frozen=True, kw_only=True)
class Folds:
    count: int
    search: int  #: index of the fold on which trials are searched


@dataclass(frozen=True, kw_only=True)
class Promotion:
    finalists: int = 1  #: best trials that are trained on all folds
    refit: bool = True  #: train the winner once more, on all rows but the test rows
    baseline: bool = True  #: train the first configuration on all folds too


@dataclass(frozen=True, kw_only=True)
class Spec:
    """A sampler or pruner by name, with every option it has."""

    name: str
    options: Mapping[str, Value]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A hope of the researcher, made measurable.

    `score`: a loss or score of the model that is kept, or its best value up to `by_epoch`. `gap`: by how much that
    model is better on the training rows than on the validation rows. `improvement`: from the first epoch to the best
    of the first `over_epochs` epochs.
    """

    kind: Literal["score", "gap", "improvement"]
    measure: str  #: name of a loss or score
    direction: Direction  #: of the measure
    at_least: float | None = None  #: exactly one of the two bounds is set
    at_most: float | None = None
    by_epoch: int | None = None
    over_epochs: int | None = None

    def reached(self, epochs: Sequence[Epoch], metric: Metric, min_epochs: int = 1) -> tuple[float | None, bool | None]:
        """What one training came to, and whether that reaches the target.

        Args:
            epochs: all epochs of the training; those that are still to come are taken as not reached.
            metric: of the study; decides which epoch's model is kept.
            min_epochs: no model is kept before this epoch.

        Returns:
            The value and the verdict; None twice where it cannot be measured (score missing, too few epochs).
        """
        value = self._value(epochs, metric, min_epochs)
        if value is None:
            return None, None
        if self.at_least is not None:
            return value, value >= self.at_least
        return value, self.at_most is not None and value <= self.at_most

    def _value(self, epochs: Sequence[Epoch], metric: Metric, min_epochs: int) -> float | None:
        sign = 1.0 if self.direction == "maximize" else -1.0
        if self.kind == "improvement":
            within = [e for e in epochs if self.over_epochs is None or e.number <= self.over_epochs]
            values = [v for e in within if (v := e.get(self.measure)) is not None]
            return max(sign * (v - values[0]) for v in values[1:]) if len(values) > 1 else None
        if self.by_epoch is not None:
            early = [v for e in epochs if e.number <= self.by_epoch and (v := e.get(self.measure)) is not None]
            return max(early, key=lambda v: sign * v, default=None)
        kept = best_epoch(epochs, metric, min_epochs)
        validation = kept.get(self.measure) if kept else None
        if kept is None or validation is None or self.kind == "score":
            return validation
        train = kept.train.get(self.measure)
        return None if train is None else sign * (train - validation)

    def __str__(self) -> str:
        """For example `macro_f1 at least 0.3 by epoch 20`."""
        bound = f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"
        if self.kind == "gap":
            return f"train-validation gap of {self.measure} {bound}"
        if self.kind == "improvement":
            return f"improvement of {self.measure} {bound} over {self.over_epochs} epochs"
        return f"{self.measure} {bound}" + (f" by epoch {self.by_epoch}" if self.by_epoch else "")


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
    targets: tuple[Target, ...]
    promotion: Promotion
    text: str  #: the file, word for word
    source: str  #: absolute path of the file

    @classmethod
    def read(cls, path: Path, resolve: Resolve) -> Study:
        """Read and check a file.

        Args:
            path: of the YAML file; paths in it are relative to its folder.
            resolve: finds the objective by name, `module:Class` or `/absolute/path.py:Class`; whatever it raises
                becomes a mistake of the file.

        Raises:
            StudyError: with all mistakes of the file.
        """
        return _Reader(_text(path), str(path.absolute()), str(path), resolve).study()

    @classmethod
    def from_text(cls, text: str, source: str, resolve: Resolve) -> Study:
        """Read a study from its stored text; `source` is the absolute path it once had.

        Raises:
            StudyError: with all mistakes of the text.
        """
        return _Reader(text, source, source, resolve).study()

    @property
    def text_hash(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def baseline(self) -> str:
        """Name of the configuration that others are compared with."""
        return next(iter(self.configurations))

    @property
    def data_options(self) -> dict[str, Value]:
        """The fixed values of the group `data`; those that `prepare` reads are always among them."""
        return {key.removeprefix("data."): value for key, value in self.fixed.items() if key.startswith("data.")}

    def suggest(self, trial: optuna.trial.BaseTrial) -> Params:
        """Every value of a trial: searched ones from the sampler, or from the queue, in the order of the file.

        The user attribute `configuration` of an enqueued trial names the configuration whose changes to fixed values
        apply.
        """
        point = {name: _draw(trial, name, distribution) for name, distribution in self.space.items()}
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
        sizes = [_size(distribution) for distribution in self.space.values()]
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
    mistakes = Mistakes(str(path))
    root = parse(_text(path), str(path), mistakes)
    name = _name(Section(root, "", mistakes, None))
    mistakes.raise_any()
    return name


def differences(old: Study, new: Study) -> tuple[list[str], list[str]]:
    """What distinguishes a changed file from the study it would be launched against.

    Allowed are a larger budget of trials or hours, further configurations (which do not become the baseline) and
    changed targets. Anything else would mix trials that cannot be compared; the way out is a study of its own
    (`hpo launch --new-name`). More epochs are refused too: the cosine schedule spans the budget's epochs, so a trial
    of 24 is not the continuation of a trial of 12.

    Returns:
        Allowed and refused changes as lines, `budget.trials: 20 -> 40`.
    """
    before, after = _facts(old), _facts(new)
    allowed: list[str] = []
    refused: list[str] = []
    for key in [*before, *(key for key in after if key not in before)]:
        was, now = before.get(key, _ABSENT), after.get(key, _ABSENT)
        if was != now:
            line = f"{key}: {_fact(was)} -> {_fact(now)}"
            (allowed if _may_change(key, was, now) else refused).append(line)
    return allowed, refused


_ABSENT = object()


def _may_change(key: str, was: Any, now: Any) -> bool:
    if key == "budget.trials":
        return bool(now > was)
    if key == "budget.hours":
        return now is None or (was is not None and now > was)
    if key.startswith("configurations."):
        return was is _ABSENT
    return key == "targets"


def _fact(value: Any) -> str:
    if value is _ABSENT:
        return "(none)"
    return value if isinstance(value, str) else shown(value)


def _facts(study: Study) -> dict[str, Any]:
    """Everything a file says as flat, comparable values; its layout and comments do not matter."""
    facts: dict[str, Any] = {"study": study.name, "objective": study.objective, "data": study.data}
    facts |= {"metric.name": study.metric.name, "metric.direction": study.metric.direction, "seed": study.seed}
    facts |= {f"folds.{key}": value for key, value in vars(study.folds).items()}
    facts |= {f"budget.{key}": value for key, value in vars(study.budget).items()}
    for part, spec in (("sampler", study.sampler_spec), ("pruner", study.pruner_spec)):
        facts |= {f"{part}.name": spec.name} | {f"{part}.{key}": value for key, value in spec.options.items()}
    facts |= {f"space.{key}": _range(distribution) for key, distribution in study.space.items()}
    facts |= {f"fixed.{key}": value for key, value in study.fixed.items()}
    facts["baseline"] = study.baseline
    facts |= {f"configurations.{name}": dict(sorted(c.items())) for name, c in study.configurations.items()}
    facts["targets"] = sorted(str(target) for target in study.targets)
    return facts | {f"promotion.{key}": value for key, value in vars(study.promotion).items()}


def _draw(trial: optuna.trial.BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(name, low, high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def _size(distribution: BaseDistribution) -> int | None:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def _range(distribution: BaseDistribution) -> str:
    """A distribution as it stands in the file: `float [0.0001, 0.03] log`."""
    if isinstance(distribution, CategoricalDistribution):
        return f"choice {shown(distribution.choices)}"
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    plain = distribution.step is None or (kind == "int" and distribution.step == 1)
    step = "" if plain else f" step {distribution.step:g}"
    return f"{kind} {shown([distribution.low, distribution.high])}{step}{' log' if distribution.log else ''}"


def _contains(distribution: BaseDistribution, value: Value) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution._contains(distribution.to_internal_repr(value)))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 4).decode("utf-8-sig")
    except OSError as error:
        raise StudyError(str(path), [f"cannot be read: {error.strerror or error}"]) from None
    except UnicodeDecodeError as error:
        raise StudyError(str(path), [f"byte {error.start} is not UTF-8: save the file as UTF-8"]) from None


def _name(root: Section) -> str:
    root.require("study")
    name = root.text("study", "unnamed")
    if not NAME.fullmatch(name):
        root.fail("study", f"is {shown(name)}: {NAME_RULE}")
    return name


def _checked(key: str, value: Any, default: Value | None) -> Value:
    """A parameter's value as the type of its default.

    Args:
        key: `optimizer.lr`.
        value: as read.
        default: None where it is unknown because the objective could not be loaded.

    Raises:
        ValueError: with what is needed instead.
    """
    if value is None or isinstance(value, (tuple, dict)):
        raise ValueError("one value is needed")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, bool):
        fits, need = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, need = number and isinstance(value, int), "a whole number"
    elif isinstance(default, float):
        fits, need = number, "a number"
    else:
        fits, need = default is None or isinstance(value, str), "text"
    if not fits:
        raise ValueError(f"{need} is needed, as its default {shown(default)}")
    if key == "schedule.name" and value not in SCHEDULES:
        raise ValueError(nearest(str(value), SCHEDULES))
    if number:
        for pattern, sane, need in RANGES:
            if re.fullmatch(pattern, key):
                if not sane(value):
                    raise ValueError(f"{need} is needed")
                break
    result: Value = float(value) if isinstance(default, float) else value
    return result


class _Reader:
    """Reads one file. Checks go on after a mistake, with a harmless value in the place of the bad one."""

    def __init__(self, text: str, source: str, shown_as: str, resolve: Resolve) -> None:
        self.text, self.source = text, source
        self.mistakes = Mistakes(shown_as)
        self.root = Section(parse(text, shown_as, self.mistakes), "", self.mistakes, KEYS)
        self.root.require("objective", "metric", "budget", "space")
        self.reference = self._reference()
        self.objective = self._resolve(resolve)
        #: Known parameters; an objective that cannot be loaded leaves those of the loop.
        self.defaults = {**LOOP_DEFAULTS, **(self.objective.defaults if self.objective else {})}

    def study(self) -> Study:
        name = _name(self.root)
        metric = self._metric()
        budget = self._budget()
        fixed_file = dict(self._fixed())
        space = self._space()
        fixed = {key: value for key, value in self.defaults.items() if key not in self.searched} | fixed_file
        self._check_min_epochs(fixed, set(fixed_file), space, budget)
        study = Study(
            name=name,
            objective=self.reference,
            data=self._data(),
            metric=metric,
            seed=self.root.integer("seed", 0, 0),
            space=MappingProxyType(space),
            fixed=MappingProxyType(fixed),
            configurations=MappingProxyType(self._configurations(space, fixed, budget)),
            sampler_spec=self._spec("sampler", "tpe", SAMPLERS),
            pruner_spec=self._pruner(fixed, space, budget),
            budget=budget,
            folds=self._folds(),
            targets=self._targets(budget),
            promotion=self._promotion(),
            text=self.text,
            source=self.source,
        )
        self.mistakes.raise_any()
        return study

    # -- the objective and what it knows

    def _reference(self) -> str:
        written = self.root.text("objective", "")
        head, colon, name = written.rpartition(":")
        if written.endswith(".py") or (colon and not name.isidentifier()):
            self.root.fail("objective", f"is {shown(written)}: name the class after a colon, path/to/file.py:Class")
            return ""
        return f"{self._path(head)}:{name}" if head.endswith(".py") else written

    def _path(self, written: str) -> str:
        """Relative to the folder of the file, so that it does not matter where the command is started."""
        return str((Path(self.source).parent / Path(written).expanduser()).resolve())

    def _resolve(self, resolve: Resolve) -> Vocabulary | None:
        if not self.reference:
            return None
        try:
            return resolve(self.reference)
        except Exception as error:  # the user's own file may raise anything while it is imported
            reason = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
            reason = f"{type(error).__name__}: {' '.join(reason.split())}"
            text = f"{shown(self.reference)} cannot be loaded ({reason}); its own keys and scores are unchecked"
            self.root.fail("objective", text)
            return None

    def _data(self) -> str | None:
        if "data" not in self.root.nodes or self.root.nodes["data"].value is None:
            return None
        written = self.root.text("data", "")
        return self._path(written) if written else None

    def _measure(self, name: str) -> Metric | None:
        """A loss or score of the objective; None where that cannot be told.

        Raises:
            ValueError: for a name the objective does not have.
        """
        if self.objective is None:
            return None
        try:
            if "*" in name or "?" in name or "[" in name:
                raise KeyError(name)
            return self.objective.metric(name)
        except KeyError:
            hint = nearest(name, self.objective.measures())
            raise ValueError(f"is {shown(name)}, neither a loss nor a score of the objective; {hint}") from None

    def _measured(self, section: Section, key: str) -> Metric | None:
        name = section.text(key, "")
        if not name:
            return None
        try:
            return self._measure(name)
        except ValueError as error:
            section.fail(key, str(error))
            return None

    def _metric(self) -> Metric:
        plain = isinstance(self.root.nodes.get("metric", Node(1, {})).value, str)
        section = self.root if plain else self.root.section("metric", ("name", "direction"))
        key = "metric" if plain else "name"
        if not plain and "metric" in self.root.nodes:
            section.require("name")
        known = self._measured(section, key)
        name = section.text(key, "loss")
        if name.startswith("train."):
            section.fail(key, f"is {shown(name)}: trials are judged on validation rows; leave 'train.' out")
        if plain or "direction" not in section.nodes:
            return known or Metric(name, "maximize")
        written = section.text("direction", "", ("minimize", "maximize"))
        if known and written and written != known.direction:
            text = f"is {shown(written)}, but the objective says {known.direction} for {shown(name)}: leave it out"
            section.fail("direction", text)
        return known or Metric(name, "minimize" if written == "minimize" else "maximize")

    # -- parameters

    def _leaves(self, section: Section) -> Iterator[tuple[str, Node]]:
        """`optimizer.lr` with its node, for every known parameter of a mapping of groups."""
        for group, node in section.nodes.items():
            if group not in GROUPS:
                known = [*GROUPS, *self.defaults]
                wrong = f"unknown group {section.name(group)!r}; {nearest(group, known)}"
                wrong += " (write optimizer: {lr: ...})" * ("." in group)
                self.mistakes.add(node.line, wrong)
                continue
            for key, leaf in Section(node, section.name(group), self.mistakes, None).nodes.items():
                if self._known(f"{group}.{key}", section, leaf):
                    yield f"{group}.{key}", leaf

    def _known(self, key: str, section: Section, leaf: Node) -> bool:
        if self.objective is None or key in self.defaults:
            return True
        self.mistakes.add(leaf.line, f"unknown key {section.name(key)!r}; {nearest(key, self.defaults)}")
        return False

    def _value(self, key: str, node: Node, where: str) -> Value | None:
        """A value of the right type and of sane size; None where a mistake was added."""
        if node.value is BROKEN:
            return None
        try:
            value = _checked(key, node.value, self.defaults.get(key))
        except ValueError as error:
            self.mistakes.add(node.line, f"{where} is {shown(node)}: {error}")
            return None
        if key in MONITORS and value != "metric":
            try:
                self._measure(str(value))
            except ValueError as error:
                self.mistakes.add(node.line, f"{where} {error}; 'metric' stands for the study's metric")
                return None
        return value

    def _fixed(self) -> Iterator[tuple[str, Value]]:
        space = self.root.nodes.get("space", Node(1, {})).value
        for key, node in self._leaves(self.root.section("fixed", None)):
            group, _, name = key.partition(".")
            searched = space[group].value if isinstance(space, dict) and group in space else {}
            if isinstance(searched, dict) and name in searched:
                self.mistakes.add(
                    node.line, f"fixed.{key} is searched too (line {searched[name].line}): keep one of the two"
                )
            elif (value := self._value(key, node, f"fixed.{key}")) is not None:
                yield key, value

    def _space(self) -> dict[str, BaseDistribution]:
        section = self.root.section("space", None)
        if "space" in self.root.nodes and not section.broken and not section.nodes:
            self.root.fail("space", "is empty: name at least one parameter to search, optimizer: {lr: {float: [...]}}")
        #: Keys of the space, those with mistakes included.
        self.searched: dict[str, Node] = dict(self._leaves(section))
        prepared = {key if "." in key else f"data.{key}" for key in getattr(self.objective, "prepare_keys", ())}
        self.prepared = prepared
        space: dict[str, BaseDistribution] = {}
        for key, node in self.searched.items():
            if key in prepared:
                self.mistakes.add(node.line, f"space.{key} decides how the data are prepared: move it to fixed.{key}")
            elif (distribution := _Range(self, key, node).distribution()) is not None:
                space[key] = distribution
        return space

    def _check_min_epochs(
        self, fixed: dict[str, Value], written: set[str], space: Mapping[str, BaseDistribution], budget: Budget
    ) -> None:
        """No epoch before `stopping.min_epochs` counts: a trial that is shorter would have no value."""
        key = "stopping.min_epochs"
        text = f"is more than budget.epochs {budget.epochs}: no epoch would count"
        if key in fixed and key not in written:
            fixed[key] = min(int(fixed[key]), budget.epochs)
        elif int(fixed.get(key, 0)) > budget.epochs:
            group = self.root.section("fixed", None).section("stopping", None)
            self.mistakes.add(group.line_of("min_epochs"), f"fixed.{key} {fixed[key]} {text}")
        if isinstance(searched := space.get(key), IntDistribution) and searched.high > budget.epochs:
            self.mistakes.add(self.searched[key].line, f"space.{key} up to {searched.high} {text}")

    # -- configurations

    def _configurations(
        self, space: Mapping[str, BaseDistribution], fixed: Mapping[str, Value], budget: Budget
    ) -> dict[str, Mapping[str, Value]]:
        section = self.root.section("configurations", None)
        if "configurations" in self.root.nodes and not section.broken and not section.nodes:
            self.root.fail("configurations", "is empty: name one (default: {}), or leave the key out")
        named = section.nodes or {"default": Node(self.root.line_of("space"), {})}
        found: dict[str, Mapping[str, Value]] = {}
        for name, node in named.items():
            if not NAME.fullmatch(name):
                self.mistakes.add(node.line, f"configuration {shown(name)}: {NAME_RULE}")
            values = self._configuration(name, node, space, budget)
            for other, earlier in found.items():
                if {**fixed, **earlier} == {**fixed, **values} and set(values) >= set(space):
                    self.mistakes.add(node.line, f"configurations.{name} has the same values as {other!r}: drop one")
            found[name] = MappingProxyType(values)
        return found

    def _configuration(
        self, name: str, node: Node, space: Mapping[str, BaseDistribution], budget: Budget
    ) -> dict[str, Value]:
        path = f"configurations.{name}"
        written = dict(self._leaves(Section(node, path, self.mistakes, None)))
        values: dict[str, Value] = {}
        for key in self.searched:
            if key not in written:
                self._default_value(key, path, node.line, space, values)
        for key, leaf in written.items():
            value = self._value(key, leaf, f"{path}.{key}")
            if value is None:
                continue
            values[key] = value
            if key in self.prepared:
                self.mistakes.add(leaf.line, f"{path}.{key} decides how the data are prepared: set it in fixed.{key}")
            if key in space and not _contains(space[key], value):
                searched = f"{_range(space[key])} on line {self.searched[key].line}"
                self.mistakes.add(
                    leaf.line, f"{path}.{key} is {shown(value)}, outside the searched {searched}: change one"
                )
            elif key == "stopping.min_epochs" and int(value) > budget.epochs:
                self.mistakes.add(leaf.line, f"{path}.{key} {value} is more than budget.epochs {budget.epochs}")
        ordered = [key for key in space if key in values]
        return {key: values[key] for key in [*ordered, *(key for key in values if key not in space)]}

    def _default_value(
        self, key: str, path: str, line: int, space: Mapping[str, BaseDistribution], values: dict[str, Value]
    ) -> None:
        """A searched key that a configuration does not name takes the objective's default."""
        if key not in self.defaults or key not in space:
            return
        values[key] = self.defaults[key]
        if not _contains(space[key], values[key]):
            self.mistakes.add(
                line,
                f"{path} has no {key}, and its default {shown(values[key])} is outside the searched "
                f"{_range(space[key])}: name a value",
            )

    # -- the frame

    def _budget(self) -> Budget:
        section = self.root.section("budget", ("trials", "epochs", "hours"))
        if "budget" in self.root.nodes:
            section.require("trials", "epochs")
        hours = None
        if "hours" in section.nodes and section.nodes["hours"].value is not None:
            hours = section.number("hours", 1.0, above=0)
        # The stand-in for a bad number of epochs is large, so that nothing is compared with it in vain.
        return Budget(trials=section.integer("trials", 1, 1), epochs=section.integer("epochs", 10**9, 1), hours=hours)

    def _folds(self) -> Folds:
        section = self.root.section("folds", ("count", "search"))
        count = section.integer("count", 5, 2)
        search = section.integer("search", 0, 0)
        if search >= count:
            section.fail("search", f"is {search}: folds are numbered from 0 to {count - 1}")
        return Folds(count=count, search=search)

    def _promotion(self) -> Promotion:
        section = self.root.section("promotion", ("finalists", "refit", "baseline"))
        return Promotion(
            finalists=section.integer("finalists", 1, 1),
            refit=section.flag("refit", True),
            baseline=section.flag("baseline", True),
        )

    def _spec(self, key: str, default: str, known: Mapping[str, Mapping[str, Value]]) -> Spec:
        """`sampler: tpe` or `sampler: {name: tpe, startup_trials: 10}`."""
        if isinstance(self.root.nodes.get(key, Node(1, {})).value, str):
            name = self.root.text(key, default, known)
            return Spec(name=name, options=MappingProxyType(dict(known[name])))
        loose = self.root.section(key, None)
        name = loose.text("name", default, known)
        bad = "name" in loose.nodes and loose.nodes["name"].value != name
        section = loose if bad else self.root.section(key, ("name", *known[name]))
        if loose.nodes:
            loose.require("name")
        options: dict[str, Value] = {}
        for option, value in known[name].items():
            if isinstance(value, bool):
                options[option] = section.flag(option, value)
            elif isinstance(value, float):
                options[option] = section.number(option, value, above=0, below=100)
            else:
                options[option] = section.integer(option, int(value), OPTION_MINIMUM.get(option, 1))
        return Spec(name=name, options=MappingProxyType(options))

    def _pruner(self, fixed: Mapping[str, Value], space: Mapping[str, BaseDistribution], budget: Budget) -> Spec:
        spec = self._spec("pruner", "asha", PRUNERS)
        if "min_resource" not in spec.options:
            return spec
        options = dict(spec.options)
        if options["min_resource"] == 0:  # not in the file
            searched = space.get("stopping.min_epochs")
            first = searched.high if isinstance(searched, IntDistribution) else fixed.get("stopping.min_epochs", 1)
            options["min_resource"] = min(int(first), budget.epochs)
        elif int(options["min_resource"]) > budget.epochs:
            text = f"is {options['min_resource']}, more than budget.epochs {budget.epochs}: nothing would be pruned"
            self.root.section("pruner", None).fail("min_resource", f"{text}; lower it, or write pruner: none")
        return Spec(name=spec.name, options=MappingProxyType(options))

    # -- targets

    def _targets(self, budget: Budget) -> tuple[Target, ...]:
        node = self.root.nodes.get("targets")
        if node is None or node.value is BROKEN:
            return ()
        if not isinstance(node.value, tuple):
            self.root.fail("targets", f"is {shown(node)}: a list is needed, - {{score: NAME, at_least: NUMBER}}")
            return ()
        targets = (self._target(entry, f"targets[{i}]", budget) for i, entry in enumerate(node.value))
        return tuple(target for target in targets if target is not None)

    def _target(self, node: Node, path: str, budget: Budget) -> Target | None:
        keys = ("score", "gap", "improvement", "at_least", "at_most", "by_epoch", "over_epochs")
        section = Section(node, path, self.mistakes, keys)
        kinds: list[Literal["score", "gap", "improvement"]] = ["score", "gap", "improvement"]
        kinds = [kind for kind in kinds if kind in section.nodes]
        if section.broken:
            return None
        if len(kinds) != 1:
            self.mistakes.add(node.line, f"{path} needs exactly one of score, gap and improvement, with a name")
            return None
        kind = kinds[0]
        metric = self._measured(section, kind)
        measure = section.text(kind, "loss")
        if kind == "gap" and measure.startswith("train."):
            section.fail(kind, f"is {shown(measure)}: a gap compares both sides; leave 'train.' out")
        bound = self._bound(section, kind, metric)
        by = self._epochs(section, "by_epoch", kind == "score", budget)
        over = self._epochs(section, "over_epochs", kind == "improvement", budget)
        if kind == "improvement":
            section.require("over_epochs")
        if metric is None or bound is None:
            return None
        value = section.number(bound, 0.0)
        return Target(
            kind=kind,
            measure=measure,
            direction=metric.direction,
            at_least=value if bound == "at_least" else None,
            at_most=value if bound == "at_most" else None,
            by_epoch=by,
            over_epochs=over,
        )

    def _bound(self, section: Section, kind: str, metric: Metric | None) -> str | None:
        """The bound that makes sense; one on the other side would be reached by a useless model."""
        if kind == "score" and metric is None:
            return None
        small = kind == "gap" or (kind == "score" and metric is not None and metric.direction == "minimize")
        better, other = ("at_most", "at_least") if small else ("at_least", "at_most")
        if other in section.nodes:
            what = f"{'smaller' if small else 'larger'} is better"
            section.fail(other, f"does not fit {section.text(kind, kind)}: {what}; use {better}")
        elif better not in section.nodes:
            self.mistakes.add(section.line, f"{section.path} needs {better}: the number to reach")
        return better

    def _epochs(self, section: Section, key: str, fits: bool, budget: Budget) -> int | None:
        if key not in section.nodes:
            return None
        if not fits:
            kind = "score" if key == "by_epoch" else "improvement"
            section.fail(key, f"belongs to a target of the kind {kind}: leave it out")
            return None
        number = section.integer(key, 1, 1)
        if number > budget.epochs:
            section.fail(key, f"is {number}, but budget.epochs is {budget.epochs}: it could never be measured")
        return number


class _Range:
    """One entry of the space: `{float: [1e-4, 1e-2], log: true}`, `{int: [1, 9], step: 2}`, `{choice: [a, b]}`."""

    def __init__(self, reader: _Reader, key: str, node: Node) -> None:
        self.reader, self.key, self.node = reader, key, node
        self.default = reader.defaults.get(key)
        self.section = Section(node, f"space.{key}", reader.mistakes, ("float", "int", "choice", "log", "step"))

    def distribution(self) -> BaseDistribution | None:
        """None where a mistake was added."""
        try:
            return self._distribution()
        except ValueError as error:
            self.reader.mistakes.add(self.node.line, f"space.{self.key} {error}")
            return None

    def _distribution(self) -> BaseDistribution | None:
        if self.section.broken:
            return None
        kinds = [kind for kind in ("float", "int", "choice") if kind in self.section.nodes]
        if len(kinds) != 1:
            raise ValueError("needs exactly one of float: [low, high], int: [low, high] and choice: [a, b]")
        nodes = self.section.nodes[kinds[0]].value
        if nodes is BROKEN:
            return None
        if not isinstance(nodes, tuple) or len(nodes) < 2 or (kinds[0] != "choice" and len(nodes) != 2):
            need = "a list of at least two values" if kinds[0] == "choice" else "[low, high]"
            raise ValueError(f"{kinds[0]} is {shown(self.section.nodes[kinds[0]])}: {need} is needed")
        return self._choice(nodes) if kinds[0] == "choice" else self._numbers(kinds[0], nodes)

    def _choice(self, nodes: tuple[Node, ...]) -> BaseDistribution | None:
        for option in ("log", "step"):
            if option in self.section.nodes:
                self.section.fail(option, "does not fit a choice: leave it out")
        values = [self.reader._value(self.key, node, f"space.{self.key} choice") for node in nodes]
        found = [value for value in values if value is not None]
        if len({(type(value), value) for value in found}) < len(found):
            raise ValueError(f"choice is {shown(found)}: each value once")
        return CategoricalDistribution(found) if len(found) == len(nodes) else None

    def _numbers(self, kind: str, nodes: tuple[Node, ...]) -> BaseDistribution | None:
        if self.default is not None and type(self.default).__name__ != kind:
            way = {"int": "use int: [low, high]", "float": "use float: [low, high], with step: 1 for whole numbers"}
            hint = way.get(type(self.default).__name__, "use choice: [a, b]")
            raise ValueError(f"is searched as {kind}, but its default is {shown(self.default)}: {hint}")
        stand_in: Value = 0 if kind == "int" else 0.0
        ends: list[Any] = [self._end(node, stand_in) for node in nodes]
        log = self.section.flag("log", False)
        step = self._step(kind)
        if None in ends:
            return None
        low, high = ends
        if not low < high:
            raise ValueError(f"{kind} is {shown([low, high])}: low must be below high")
        if log and low <= 0:
            raise ValueError(f"{kind} is {shown([low, high])}: with log, low must be above 0")
        if log and step is not None:
            raise ValueError("has both log and step: keep one of them")
        if step is not None and not _divides(step, high - low):
            raise ValueError(f"step {shown(step)} does not divide {shown(low)} to {shown(high)}: adapt high or step")
        if kind == "int":
            return IntDistribution(low, high, log=log, step=int(step or 1))
        return FloatDistribution(low, high, log=log, step=step)

    def _end(self, node: Node, stand_in: Value) -> Value | None:
        """One end of the range; without a default known, the kind decides the type."""
        if node.value is BROKEN:
            return None
        if self.default is None:
            try:
                return _checked(self.key, node.value, stand_in)
            except ValueError:
                self.reader.mistakes.add(node.line, f"space.{self.key} end is {shown(node)}: a number is needed")
                return None
        return self.reader._value(self.key, node, f"space.{self.key} end")

    def _step(self, kind: str) -> float | int | None:
        if "step" not in self.section.nodes:
            return None
        return self.section.integer("step", 1, 1) if kind == "int" else self.section.number("step", 1.0, above=0)


def _divides(step: float, length: float) -> bool:
    count = length / step
    return round(count) >= 1 and abs(count - round(count)) < 1e-8
