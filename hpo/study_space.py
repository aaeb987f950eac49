"""One searched parameter: what a file may write, which values make sense, and the distribution it becomes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hpo.objective import Value
from hpo.strict_yaml import BROKEN, Mistakes, Node, Section, nearest, shown, spelled

SCHEDULES = ("cosine", "plateau", "constant")
#: What text values stand for themselves, besides an objective's own `words`.
WORDS = {
    "optimizer.name": ("adamw", "sgd"),
    "schedule.name": SCHEDULES,
    "loss.class_weights": ("none", "inverse_share", "odds", "balanced", "effective_number"),
}

Words = Mapping[str, tuple[str, ...]]
Ranges = Mapping[str, tuple[float, float | None]]
#: Reads the value of a parameter (key, node, where it stands); None where a mistake was added.
ReadValue = Callable[[str, Node, str], Value | None]

#: What values make sense, by the parameter's name, besides an objective's own `ranges`; the first that matches counts.
RANGES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    (r"data\.batch_size", lambda v: v >= 1, "at least 1"),
    (r"sampling\.(rare|hard)_boost_cap", lambda v: v >= 1, "at least 1 (1 = off)"),
    (r"sampling\.emphasis_factor", lambda v: v >= 1, "at least 1 (1 = off)"),
    (r"sampling\.rare_threshold_share", lambda v: 0 <= v <= 1, "a share from 0 to 1"),
    (r"optimizer\.lr", lambda v: v > 0, "above 0"),
    (r"optimizer\.(weight_decay|gradient_clip)", lambda v: v >= 0, "at least 0"),
    (r"optimizer\.momentum", lambda v: 0 <= v < 1, "at least 0 and below 1"),
    (r"schedule\.factor", lambda v: 0 < v < 1, "above 0 and below 1"),
    (r"stopping\.min_epochs", lambda v: v >= 1, "at least 1: epochs count from 1"),
    (r"(schedule|stopping)\..*", lambda v: v >= 0, "at least 0"),
    (r"loss\.(.*_start|ramp_epochs)", lambda v: v >= 0, "at least 0"),
    (r"augment\.mixup", lambda v: v >= 0, "at least 0 (0 = off)"),
    (r"loss\.label_smoothing", lambda v: 0 <= v < 1, "at least 0 and below 1"),
    (r"loss\.(focal_gamma|.*_weight)", lambda v: v >= 0, "at least 0"),
    (r"model\.(.*_)?dropout", lambda v: 0 <= v < 1, "at least 0 and below 1"),
)


def draw(trial: optuna.trial.BaseTrial, name: str, distribution: BaseDistribution) -> Any:
    """Ask a trial for the value of one parameter."""
    if isinstance(distribution, FloatDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_float(name, low, high, step=distribution.step, log=distribution.log)
    if isinstance(distribution, IntDistribution):
        low, high = distribution.low, distribution.high
        return trial.suggest_int(name, low, high, step=distribution.step, log=distribution.log)
    assert isinstance(distribution, CategoricalDistribution)
    return trial.suggest_categorical(name, distribution.choices)


def size(distribution: BaseDistribution) -> int | None:
    """Number of values; None where there are infinitely many."""
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    if distribution.step is None:
        return None
    return round((distribution.high - distribution.low) / distribution.step) + 1


def in_words(distribution: BaseDistribution) -> str:
    """A distribution as it stands in the file: `float [0.0001, 0.03] log`."""
    if isinstance(distribution, CategoricalDistribution):
        return f"choice {shown(distribution.choices)}"
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    kind = "int" if isinstance(distribution, IntDistribution) else "float"
    plain = distribution.step is None or (kind == "int" and distribution.step == 1)
    step = "" if plain else f" step {distribution.step:g}"
    return f"{kind} {shown([distribution.low, distribution.high])}{step}{' log' if distribution.log else ''}"


def contains(distribution: BaseDistribution, value: Value) -> bool:
    """Whether a value can be drawn."""
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    return bool(distribution._contains(distribution.to_internal_repr(value)))


def checked(
    key: str,
    value: Any,
    default: Value | None,
    words: Words = MappingProxyType({}),
    ranges: Ranges = MappingProxyType({}),
) -> Value:
    """A parameter's value as the type of its default.

    Args:
        key: `optimizer.lr`.
        value: as read.
        default: None where it is unknown because the objective could not be loaded.
        words: of the objective.
        ranges: of the objective.

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
        raise ValueError(f"{need} is needed, as its default {shown(default)}{spelled(value)}")
    allowed = {**WORDS, **words}.get(key)
    if allowed and value not in allowed:
        raise ValueError(nearest(str(value), allowed))
    if number:
        for pattern, sane, need in RANGES:
            if re.fullmatch(pattern, key):
                if not sane(value):
                    raise ValueError(f"{need} is needed")
                break
        low, high = ranges.get(key, (-math.inf, None))
        if not low <= value <= (math.inf if high is None else high):
            need = f"at least {shown(low)}" if high is None else f"from {shown(low)} to {shown(high)}"
            raise ValueError(f"{need} is needed")
    result: Value = float(value) if isinstance(default, float) else value
    return result


class Range:
    """One entry of the space: `{float: [1e-4, 1e-2], log: true}`, `{int: [1, 9], step: 2}`, `{choice: [a, b]}`.

    Args:
        key: `optimizer.lr`.
        node: what the file says.
        default: of the parameter; None where it is unknown.
        read: reads one value of the parameter.
        mistakes: takes what is wrong.
        words: of the objective.
    """

    def __init__(
        self, key: str, node: Node, default: Value | None, read: ReadValue, mistakes: Mistakes, words: Words
    ) -> None:
        self.key, self.node, self.default = key, node, default
        self._read, self._mistakes = read, mistakes
        if not isinstance(node.value, dict) and node.value is not BROKEN:
            need = "{float: [low, high]}, {int: [low, high]} or {choice: [a, b]} is needed"
            if allowed := {**WORDS, **words}.get(key):
                need = f"{{choice: [a, b]}} of {', '.join(allowed)} is needed, or one of them under fixed"
            mistakes.add(node.line, f"space.{key} is {shown(node)}: {need}")
            node = Node(node.line, BROKEN)
        self.section = Section(node, f"space.{key}", mistakes, ("float", "int", "choice", "log", "step"))

    def distribution(self) -> BaseDistribution | None:
        """None where a mistake was added."""
        try:
            return self._distribution()
        except ValueError as error:
            self._mistakes.add(self.node.line, f"space.{self.key} {error}")
            return None

    def _distribution(self) -> BaseDistribution | None:
        if self.section.broken:
            return None
        kinds = [kind for kind in ("float", "int", "choice") if kind in self.section.nodes]
        if len(kinds) != 1:
            raise ValueError("needs exactly one of float: [low, high], int: [low, high] and choice: [a, b]")
        nodes = self.section.nodes[kinds[0]].value
        if nodes is BROKEN or (isinstance(nodes, tuple) and BROKEN in [node.value for node in nodes]):
            return None
        if not isinstance(nodes, tuple) or len(nodes) < 2 or (kinds[0] != "choice" and len(nodes) != 2):
            need = "a list of at least two values" if kinds[0] == "choice" else "[low, high]"
            raise ValueError(f"{kinds[0]} is {shown(self.section.nodes[kinds[0]])}: {need} is needed")
        return self._choice(nodes) if kinds[0] == "choice" else self._numbers(kinds[0], nodes)

    def _choice(self, nodes: tuple[Node, ...]) -> BaseDistribution | None:
        for option in ("log", "step"):
            if option in self.section.nodes:
                self.section.fail(option, "does not fit a choice: leave it out")
        values = [self._read(self.key, node, f"space.{self.key} choice") for node in nodes]
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
        if None in ends or step == 0:
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
                return checked(self.key, node.value, stand_in)
            except ValueError:
                self._mistakes.add(node.line, f"space.{self.key} end is {shown(node)}: a number is needed")
                return None
        return self._read(self.key, node, f"space.{self.key} end")

    def _step(self, kind: str) -> float | int | None:
        """None without one, 0 where a mistake was added."""
        if "step" not in self.section.nodes:
            return None
        return self.section.integer("step", 0, 1) if kind == "int" else self.section.number("step", 0.0, above=0)


def _divides(step: float, length: float) -> bool:
    count = length / step
    return round(count) >= 1 and abs(count - round(count)) < 1e-8
