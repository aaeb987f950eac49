"""The parameters of a study file: what is fixed, what is searched, which configurations are tried first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

from optuna.distributions import BaseDistribution, IntDistribution

from hpo.objective import GROUPS, LOOP_DEFAULTS, Metric, Value, Vocabulary
from hpo.strict_yaml import BROKEN, Mistakes, Node, Section, nearest, shown
from hpo.study import NAME, NAME_RULE, Budget
from hpo.study_space import Range, checked, contains, in_words

MONITORS = ("schedule.monitor", "stopping.monitor")


def measure(objective: Vocabulary | None, name: str) -> Metric | None:
    """A loss or score of the objective; None where that cannot be told.

    Raises:
        ValueError: for a name the objective does not have.
    """
    if objective is None:
        return None
    try:
        if "*" in name or "?" in name or "[" in name:
            raise KeyError(name)
        return objective.metric(name)
    except KeyError:
        hint = nearest(name, objective.measures())
        raise ValueError(f"is {shown(name)}, neither a loss nor a score of the objective; {hint}") from None


def near_parameter(key: str, known: Iterable[str]) -> str:
    """`did you mean 'optimizer.lr'?`, or the parameters of the group where nothing is near."""
    known = list(known)
    short = [other for other in known if _abbreviates(other, key) or _abbreviates(key, other)]
    hint = nearest(short[0] if short else key, known)
    if hint.startswith("did"):
        return hint
    group = key.partition(".")[0]
    return nearest(key, [other for other in known if other.startswith(f"{group}.")] or known)


def _abbreviates(short: str, long: str) -> bool:
    """`optimizer.lr` abbreviates `learning_rate`, which a comparison of letters takes for anything else."""
    words = long.rpartition(".")[2].split("_")
    return len(words) > 1 and short.rpartition(".")[2] == "".join(word[:1] for word in words)


class Parameters:
    """Reads `fixed`, `space` and `configurations`.

    Args:
        root: the whole file.
        mistakes: takes what is wrong.
        objective: knows its own parameters; None where it could not be loaded, which leaves those of the loop.
        absolute: makes a path in the file absolute.
    """

    def __init__(
        self, root: Section, mistakes: Mistakes, objective: Vocabulary | None, absolute: Callable[[str], str]
    ) -> None:
        self.root, self.mistakes, self.objective, self._absolute = root, mistakes, objective, absolute
        self.words = objective.words if objective else {}
        self.ranges = objective.ranges if objective else {}
        self.defaults = objective.parameters() if objective else dict(LOOP_DEFAULTS)
        #: Parameters that `prepare` reads: one data set per study.
        self.prepared = {f"data.{key}" for key in (objective.prepare_keys if objective else ())}
        #: Keys of the space, those with mistakes included; filled by `space`.
        self.searched: dict[str, Node] = {}

    def fixed(self) -> Iterator[tuple[str, Value]]:
        """What the file fixes; the keys of the space are looked at for what is named twice."""
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

    def space(self) -> dict[str, BaseDistribution]:
        """What the file searches, in its order; call it before what follows."""
        section = self.root.section("space", None)
        if "space" in self.root.nodes and not section.broken and not section.nodes:
            self.root.fail("space", "is empty: name at least one parameter to search, optimizer: {lr: {float: [...]}}")
        if not section.broken and (node := section.nodes.get("augment")) and node.value == "off":
            self.mistakes.add(node.line, "space.augment is off: write augment: off under fixed or in a configuration")
            return {}
        self.searched = dict(self._leaves(section))
        space: dict[str, BaseDistribution] = {}
        for key, node in self.searched.items():
            if key in self.prepared:
                self.mistakes.add(node.line, f"space.{key} decides how the data are prepared: move it to fixed.{key}")
            elif (distribution := self._range(key, node).distribution()) is not None:
                space[key] = distribution
        return space

    def check_min_epochs(
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

    def check_metric(
        self, metric: Metric, fixed: Mapping[str, Value], configurations: Mapping[str, Mapping[str, Value]]
    ) -> None:
        """A loss that each trial defines differently is no metric: the search would find the smallest weight.

        `loss` depends on every value of the group; a term, which is recorded before weighting, on all but the weights.
        Which of several terms a value shapes only the objective's code tells: that is left to the user.
        """
        if self.objective is None or not (metric.name == "loss" or [metric.name] == self._terms()):
            return
        lines = {f"space.{key}": (key, node.line) for key, node in self.searched.items()}
        section = self.root.section("configurations", None)
        for name, values in configurations.items():
            changed = [key for key in values if key not in self.searched and values[key] != fixed.get(key)]
            lines |= {f"configurations.{name}.{key}": (key, section.line_of(name)) for key in changed}
        for where, (key, line) in lines.items():
            weight = key.endswith("_weight")
            curriculum = key.endswith(("_start", ".ramp_epochs"))  # losses are recorded at their full weights
            if key.startswith("loss.") and not curriculum and (metric.name == "loss" or not weight):
                plain = [score for score in self.objective.scores if "*" not in score]
                other = [*plain, *(self._terms() if weight else [])][:1]
                hint = f"choose another metric, such as {other[0]}" if other else "choose a score as metric"
                text = f"{where} changes what metric {shown(metric.name)} measures, so its trials could not be compared"
                self.mistakes.add(line, f"{text}: {hint}, or give it one value under fixed")

    def _terms(self) -> list[str]:
        return [f"loss.{term}" for term in self.objective.terms] if self.objective else []

    def configurations(
        self, space: Mapping[str, BaseDistribution], fixed: Mapping[str, Value], budget: Budget
    ) -> dict[str, Mapping[str, Value]]:
        """Every configuration by name; without any, one of defaults alone."""
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
            if key in space and not contains(space[key], value):
                searched = f"{in_words(space[key])} on line {self.searched[key].line}"
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
        if not contains(space[key], values[key]):
            self.mistakes.add(
                line,
                f"{path} has no {key}, and its default {shown(values[key])} is outside the searched "
                f"{in_words(space[key])}: name a value",
            )

    def _range(self, key: str, node: Node) -> Range:
        return Range(key, node, self.defaults.get(key), self._value, self.mistakes, self.words)

    def _leaves(self, section: Section) -> Iterator[tuple[str, Node]]:
        """`optimizer.lr` with its node, for every known parameter of a mapping of groups."""
        for group, node in section.nodes.items():
            if group not in GROUPS:
                hint = nearest(group, [*GROUPS, *self.defaults])
                hint = hint if hint.startswith("did") else f"groups are {', '.join(GROUPS)}"
                wrong = f"unknown group {section.name(group)!r}; {hint}"
                wrong += " (write optimizer: {lr: ...})" * ("." in group)
                self.mistakes.add(node.line, wrong)
                continue
            if group == "augment" and node.value == "off":
                yield from self._off(node)
                continue
            if group == "augment" and isinstance(node.value, str):
                self.mistakes.add(
                    node.line, f"{section.name(group)} is {shown(node)}: off is needed, or its parameters"
                )
                continue
            for key, leaf in Section(node, section.name(group), self.mistakes, None).nodes.items():
                if self._known(f"{group}.{key}", section, leaf):
                    yield f"{group}.{key}", leaf

    def _off(self, node: Node) -> Iterator[tuple[str, Node]]:
        """Every augmentation with its strength 0."""
        for key in (key for key in self.defaults if key.startswith("augment.")):
            if isinstance(default := self.defaults[key], str):
                self.mistakes.add(node.line, f"augment: off cannot tell what turns {key} off: write its value instead")
            else:
                yield key, Node(node.line, type(default)(0))

    def _known(self, key: str, section: Section, leaf: Node) -> bool:
        if self.objective is None or key in self.defaults:
            return True
        hint = near_parameter(key, self.defaults)
        if key == "augment.mixup":
            hint = "this objective offers no mixup, see docs/training.md for how it would"
        self.mistakes.add(leaf.line, f"unknown key {section.name(key)!r}; {hint}")
        return False

    def _value(self, key: str, node: Node, where: str) -> Value | None:
        """A value of the right type and of sane size; None where a mistake was added."""
        if node.value is BROKEN:
            return None
        try:
            value = checked(key, node.value, self.defaults.get(key), self.words, self.ranges)
        except ValueError as error:
            self.mistakes.add(node.line, f"{where} is {shown(node)}: {error}")
            return None
        if key in MONITORS and value != "metric":
            try:
                measure(self.objective, str(value))
            except ValueError as error:
                self.mistakes.add(node.line, f"{where} {error}; 'metric' stands for the study's metric")
                return None
        if key == "model.weights" and value:
            return self._absolute(str(value))
        return value
