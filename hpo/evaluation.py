"""Models on labelled data: rows that they were not trained on, scores of each and of them all, per class, targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np

from hpo.arrays import Arrays
from hpo.ensemble import Ensemble
from hpo.final_model import FinalModel, ModelError
from hpo.target import Target
from hpo.wording import counted

#: Rows whose label is -1.
NO_CLASS = "no class"
#: Said of data that models know nothing of, with who they are: a row that is in both is no evidence.
OTHER_DATA = "other data than {} trained on, by their fingerprint; rows that are in both cannot be told apart"
#: What is said of all rows of a model's own data.
TRAINED_ON = "the model was trained on these rows; its scores on rows it has not seen are in metrics.json"
UNKNOWN = "which of these rows were trained on is not known, so that each of them counts as trained on"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A target with what was measured, None where it cannot be, and whether that reaches it.

    Nothing reaches or misses a target on rows that were trained on: they say little of a model.
    """

    target: Target
    value: float | None
    reached: bool | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """What one model, or the ensemble, came to."""

    name: str
    scores: Mapping[str, float]
    by_class: Mapping[str, Mapping[str, float]]  #: class -> measure -> value; empty unless asked for
    targets: tuple[Judged, ...]
    trained_on: int  #: of the scored rows; of an ensemble those that any of its models was trained on


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is known of the rows, and a column per model."""

    scored: int  #: rows
    of: int  #: rows that the data have
    note: str  #: on what the models have seen of them
    classes: Mapping[str, int]  #: that occur among the scored rows -> how many of these; empty unless asked for
    models: tuple[Column, ...]
    ensemble: Column | None  #: of several models


def evaluate(
    models: Mapping[str, FinalModel], arrays: Arrays, *, rows: Literal["unseen", "all"], by_class: bool
) -> Evaluation:
    """Score one model, or several and their ensemble.

    Args:
        models: name -> model; the targets are those of the first one's study.
        arrays: data that all of them fit.
        rows: `unseen`: where a model was trained on these data, those rows alone that none was trained on, if there
            are some.
        by_class: whether to score the rows of each class by themselves, too.

    Raises:
        ModelError: models cannot be combined, what a folder says of rows or targets cannot be true, or rows of a class
            are asked for that are parts of something larger.
    """
    objective = next(iter(models.values())).objective
    if by_class and objective.whole(arrays) is not None:
        raise ModelError(f"--by-class: rows of {objective.name} are scored together, not class by class; leave it out")
    unseen = {name: part for name, model in models.items() if (part := _unseen(model, arrays)) is not None}
    known = all(models[name].rows(arrays.fingerprint) is not None for name in unseen)
    chosen, note = _chosen(unseen, [name for name in models if name not in unseen], known, len(arrays), rows)
    classes = _classes(next(iter(models.values())), arrays, chosen) if by_class else {}
    targets = _targets(*next(iter(models.items())))

    def column(name: str, model: FinalModel | Ensemble, new: list[np.ndarray]) -> Column:
        scores, seen = model.evaluate(arrays, chosen), 0
        if new:
            seen = len(np.setdiff1d(chosen, reduce(np.intersect1d, new)))
        judged = tuple(_judged(target, scores, seen) for target in targets)
        apart = {label: model.evaluate(arrays, members) for label, members in classes.items()}
        return Column(name=name, scores=scores, by_class=apart, targets=judged, trained_on=seen)

    together = column("ensemble", Ensemble(models), list(unseen.values())) if len(models) > 1 else None
    return Evaluation(
        scored=len(chosen),
        of=len(arrays),
        note=note,
        classes={label: len(members) for label, members in classes.items()},
        models=tuple(column(name, model, [unseen[name]] if name in unseen else []) for name, model in models.items()),
        ensemble=together,
    )


def _chosen(
    unseen: Mapping[str, np.ndarray],
    strangers: Sequence[str],
    known: bool,
    count: int,
    wanted: Literal["unseen", "all"],
) -> tuple[np.ndarray, str]:
    """The rows to score out of so many, and what is to be said of them, whose part in the training may be known.

    Args:
        unseen: of the models that were trained on these data, the rows that each was not trained on.
        strangers: names of the models that were not.
        known: whether all of `unseen` is told by the models' folders.
        count: rows of the data.
        wanted: as in `evaluate`.
    """
    everything, alone = np.arange(count), len(unseen) + len(strangers) == 1
    if not unseen:
        return everything, OTHER_DATA.format("the model was" if alone else "the models were")
    they = f"{' and '.join(strangers)} {'was' if len(strangers) == 1 else 'were'}"
    more = f"; {OTHER_DATA.format(they)}" if strangers else ""
    left = reduce(np.intersect1d, unseen.values())
    if not len(left):
        if not known:
            return everything, f"{UNKNOWN}{more}"
        if alone:
            return everything, TRAINED_ON
        return everything, f"at least one of the models was trained on each of these rows: --data names others{more}"
    who = "the model was not" if alone else "none of the models was"
    if wanted == "all":
        return everything, f"scored on all {len(everything)} rows; {who} trained on {len(left)} of them{more}"
    return left, f"scored on {counted(len(left), 'row')} that {who} trained on{more}"


def _unseen(model: FinalModel, arrays: Arrays) -> np.ndarray | None:
    """Validation and test rows of a model that was trained on these data; None of one that was not.

    Rows that its objective left out of the training count as seen: they may be of a subject that it was trained on.
    """
    rows = model.rows_of(arrays)
    if rows is None:  # neither a folder of an older version nor one with other weights says which
        return np.empty(0, np.int64) if model.config["fingerprint"] == arrays.fingerprint else None
    return np.union1d(rows["validation"], rows["test"])


def _classes(model: FinalModel, arrays: Arrays, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Class -> its rows among the given ones, in the order of the classes; those without one come last."""
    labels = model.objective.labels(arrays)[rows]
    names = arrays.info.get("classes") or range(int(labels.max(initial=-1)) + 1)
    found = {str(name): rows[labels == number] for number, name in enumerate(names)} | {NO_CLASS: rows[labels < 0]}
    return {name: members for name, members in found.items() if len(members)}


def _targets(name: str, model: FinalModel) -> tuple[Target, ...]:
    """Those of the model's study that say something of a trained model: of a score of its own, whatever the epoch."""
    found = []
    for written in model.config.get("targets", ()):
        try:
            target = Target.from_written(written, lambda measure: model.objective.metric(measure).direction)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise ModelError(f"{name}: config.yaml names a target that is none: {written!r:.80}") from None
        if target.kind == "score" and target.by_epoch is None and not target.measure.startswith("train."):
            found.append(target)
    return tuple(found)


def _judged(target: Target, scores: Mapping[str, float], trained_on: int) -> Judged:
    value = scores.get(target.measure)
    return Judged(target=target, value=value, reached=None if value is None or trained_on else target.reached_by(value))
