"""Reads the targets of a study file."""

from __future__ import annotations

from typing import get_args

from hpo.objective import Metric, Vocabulary
from hpo.schedule import Validation
from hpo.strict_yaml import BROKEN, Mistakes, Node, Section, nearest, shown
from hpo.study import Budget
from hpo.study_parameters import measure
from hpo.target import Kind, Target

#: Which kind of target a number of epochs belongs to.
_EPOCHS_OF: dict[str, Kind] = {"by_epoch": "score", "over_epochs": "improvement"}


def measured(objective: Vocabulary | None, section: Section, key: str) -> Metric | None:
    """The loss or score that a key names; None where a mistake was added or it cannot be told."""
    name = section.text(key, "")
    if not name:
        return None
    try:
        return measure(objective, name)
    except ValueError as error:
        section.fail(key, str(error))
        return None


class Targets:
    """Reads `targets`.

    Args:
        root: the whole file.
        mistakes: takes what is wrong.
        objective: knows its losses and scores; None where it could not be loaded.
        budget: a target after its last epoch could never be measured.
        validation: nor one before the first full validation.
    """

    def __init__(
        self, root: Section, mistakes: Mistakes, objective: Vocabulary | None, budget: Budget, validation: Validation
    ) -> None:
        self.root, self.mistakes, self.objective = root, mistakes, objective
        self.budget, self.validation = budget, validation

    def read(self) -> tuple[Target, ...]:
        """Every target in which nothing is wrong."""
        node = self.root.nodes.get("targets")
        if node is None or node.value is BROKEN:
            return ()
        if not isinstance(node.value, tuple):
            self.root.fail("targets", f"is {shown(node)}: a list is needed, - {{score: NAME, at_least: NUMBER}}")
            return ()
        targets = (self._target(entry, f"targets[{i}]") for i, entry in enumerate(node.value))
        return tuple(target for target in targets if target is not None)

    def _target(self, node: Node, path: str) -> Target | None:
        known: tuple[Kind, ...] = get_args(Kind)
        section = Section(node, path, self.mistakes, (*known, "at_least", "at_most", "by_epoch", "over_epochs"))
        kinds = [kind for kind in known if kind in section.nodes]
        if section.broken:
            return None
        if len(kinds) != 1:
            self.mistakes.add(
                node.line,
                f"{path} needs exactly one of score, gap and improvement, with a name, balance, with two terms, or "
                "epochs: kept",
            )
            return None
        if kinds[0] == "balance":
            return self._balance(section)
        if kinds[0] == "epochs":
            return self._kept(section)
        return self._measured(section, kinds[0])

    def _measured(self, section: Section, kind: Kind) -> Target | None:
        """A target of a loss or score."""
        metric = measured(self.objective, section, kind)
        measure = section.text(kind, "loss")
        if kind == "gap" and measure.startswith("train."):
            section.fail(kind, f"is {shown(measure)}: a gap compares both sides; leave 'train.' out")
        bound = self._bound(section, kind, metric)
        # Training values are there after every epoch, comparable ones of validation after a full one.
        every = 1 if measure.startswith("train.") else self.validation.full_validation_every
        by = self._epochs(section, "by_epoch", kind, every)
        over = self._epochs(section, "over_epochs", kind, 2 * every if every > 1 else 1)
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

    def _balance(self, section: Section) -> Target | None:
        """A target of two terms, `{balance: [FIRST, SECOND], at_most: NUMBER}`."""
        pair = self._pair(section)
        self._bound_on(section, "a balance", small=True)
        for key in _EPOCHS_OF:
            self._epochs(section, key, "balance", 1)
        # The larger of two is never less than once the smaller.
        most = section.number("at_most", 10.0, above=1)
        if pair is None:
            return None
        return Target(kind="balance", measure="/".join(pair), direction="minimize", at_most=most)

    def _kept(self, section: Section) -> Target | None:
        """A target of the length of the training that is kept, `{epochs: kept, at_least: NUMBER}`."""
        word = section.nodes["epochs"]
        if word.value != "kept":
            if word.value is not BROKEN:
                section.fail("epochs", f"is {shown(word)}: write {{epochs: kept, at_least: NUMBER}}")
            return None
        self._bound_on(section, "epochs", small=False)
        for key in _EPOCHS_OF:
            self._epochs(section, key, "epochs", 1)
        least = section.integer("at_least", 1, 1)
        if least > (most := self.budget.epochs):
            section.fail("at_least", f"is {least}, but budget.epochs is {most}: it could never be reached")
        return Target(kind="epochs", measure="kept", direction="maximize", at_least=least)

    def _pair(self, section: Section) -> list[str] | None:
        """Two different terms in the objective's order; None where a mistake was added or it cannot be told."""
        node, terms = section.nodes["balance"], self.objective.terms if self.objective else None
        names = node.plain()
        if names is BROKEN or (isinstance(names, list) and BROKEN in names):
            return None
        if not isinstance(names, list) or len(names) != 2 or names[0] == names[1]:
            section.fail("balance", f"is {shown(node)}: two different loss terms are needed, [FIRST, SECOND]")
            return None
        if terms is None:
            return None
        unknown = [name for name in names if name not in terms]
        for name in unknown:
            text = f"names {shown(name)}, which is no loss term of the objective; {nearest(str(name), terms)}"
            section.fail("balance", text)
        return None if unknown else sorted(names, key=terms.index)

    def _bound(self, section: Section, kind: str, metric: Metric | None) -> str | None:
        """The bound that makes sense; None where that depends on a measure that is unknown."""
        if kind == "score" and metric is None:
            return None
        small = kind == "gap" or (kind == "score" and metric is not None and metric.direction == "minimize")
        return self._bound_on(section, section.text(kind, kind), small)

    def _bound_on(self, section: Section, what: str, small: bool) -> str:
        """The bound on the better side; one on the other side would be reached by a useless model."""
        better, other = ("at_most", "at_least") if small else ("at_least", "at_most")
        if other in section.nodes:
            section.fail(other, f"does not fit {what}: {'smaller' if small else 'larger'} is better; use {better}")
        elif better not in section.nodes:
            self.mistakes.add(section.line, f"{section.path} needs {better}: the number to reach")
        return better

    def _epochs(self, section: Section, key: str, kind: Kind, least: int) -> int | None:
        """A number of epochs, which has a meaning for one kind of target alone."""
        if key not in section.nodes:
            return None
        if kind != _EPOCHS_OF[key]:
            section.fail(key, f"belongs to a target of the kind {_EPOCHS_OF[key]}: leave it out")
            return None
        number = section.integer(key, 1, 1)
        if number > self.budget.epochs:
            section.fail(key, f"is {number}, but budget.epochs is {self.budget.epochs}: it could never be measured")
        elif number < min(least, self.budget.epochs):
            every = f"with this validation.full_validation_every it can be measured from epoch {least} on"
            section.fail(key, f"is {number}: {every}")
        return number
