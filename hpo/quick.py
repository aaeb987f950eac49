"""A quick study: two epochs on a few rows, to see in a few minutes that everything works; its numbers mean nothing.

It is a study of its own, made quick by the line `quick: true` of its text, so that workers of any host train it alike.
"""

from __future__ import annotations

import re
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from hpo.objective import Fold, Split, Value
from hpo.strict_yaml import Mistakes, StudyError, parse
from hpo.study import Spec, Study

EPOCHS, TRIALS, ROWS = 2, 4, 256  # more trials where the study names more configurations: does each of them train?
#: Rows of every class that are taken before the rest is drawn, where a part of the data has them.
OF_EVERY_CLASS = 8
#: What is loudly said wherever numbers of a quick study are shown.
WARNING = f"QUICK: {EPOCHS} epochs on at most a few hundred rows; the numbers mean nothing"
#: The line that `hpo launch --quick` adds to a file's text.
LINE = "quick: true  # added by hpo launch --quick\n"


def quickened(text: str, source: str) -> str:
    """The text of a study file with the line that makes its study quick; lines before it keep their numbers.

    Raises:
        StudyError: when the file is not YAML, or ends in a way that allows no further line.
    """
    root = parse(text, source, Mistakes(source)).value
    if isinstance(root, dict) and "quick" in root and root["quick"].value is True:
        return text
    longer = f"{text.rstrip()}\n{LINE}"
    try:
        parse(longer, source, Mistakes(source))
    except StudyError:
        way = "does not fit below this file, which may be in {braces} or end in '...': write quick: true into it"
        raise StudyError(source, [f"the line of --quick {way}"]) from None
    return longer


def quick_name(name: str) -> str:
    """Never the name of the real study, whose trials these must not mix with."""
    return f"{name}-quick"


def shortened(study: Study) -> Study:
    """The study with two epochs and a few trials, one per configuration at least, of which nothing is stopped early.

    What would shorten or delay a training is fixed instead of searched: patience, `min_epochs` and the start of each
    loss term; of configurations that differ in nothing else the first one stays, see `Study.same`.
    """
    keys = {key for key in {*study.fixed, *study.space} if re.fullmatch(r"loss\..+_start", key)}
    values: dict[str, Value] = {"stopping.patience": 0, "stopping.min_epochs": 1, **dict.fromkeys(keys, 0)}
    space = {key: distribution for key, distribution in study.space.items() if key not in values}
    configurations: dict[str, MappingProxyType[str, Value]] = {}
    same: dict[str, str] = {}
    for name, point in study.configurations.items():
        rest = {key: value for key, value in point.items() if key not in values}
        first = next((other for other, kept in configurations.items() if kept == rest), None)
        if first is None:
            configurations[name] = MappingProxyType(rest)
        else:
            same[name] = first
    trials = min(study.budget.trials, max(TRIALS, len(configurations)))
    budget = replace(study.budget, trials=trials, epochs=min(study.budget.epochs, EPOCHS))
    return replace(
        study,
        quick=True,
        budget=budget,
        validation=replace(study.validation, full_validation_every=1),
        space=MappingProxyType(space),
        fixed=MappingProxyType({**study.fixed, **values}),
        configurations=MappingProxyType(configurations),
        pruner_spec=Spec(name="none", options=MappingProxyType({})),
        same=MappingProxyType(same),
    )


def few(split: Split, labels: np.ndarray, seed: int) -> Split:
    """The split with at most ROWS rows on each side of each fold, and for the test.

    Args:
        split: of the whole data; rows stay on their side, so that no group gets onto two.
        labels: `int64[rows]`, see `Objective.labels`; every class of a side keeps some of its rows there.
        seed: of the study; equal seeds draw equal rows.
    """
    folds = [Fold(f.index, _few(f.train, labels, seed), _few(f.validation, labels, seed)) for f in split.folds]
    return Split(tuple(folds), _few(split.test, labels, seed))


def _few(rows: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """The first rows of each class in a random order, then whichever come next in it."""
    order = np.random.default_rng(seed).permutation(rows)
    turn = np.zeros(len(order), np.int64)  #: of a row among those of its class
    for label in np.unique(labels[order]):
        members = labels[order] == label
        turn[members] = np.arange(members.sum())
    by_turn = np.argsort(np.minimum(turn, OF_EVERY_CLASS), kind="stable")
    return np.sort(order[by_turn[:ROWS]])
