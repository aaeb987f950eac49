"""Which labels the rows of each fold have, as loss terms and scores see them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hpo.check_data import fold_list
from hpo.check_subject import Subject
from hpo.measure import forward
from hpo.objective import Fold, Sums
from hpo.training import VALIDATION_BATCHES, FoldRun

#: Seconds for weighing, over all folds, what the loss terms find labelled; what is not seen by then is said.
LOOK_SECONDS = 30.0
WAY_OUT = "Label more groups, search on another fold (folds: {search: N}), or choose another metric"
#: What leaves a score of labelled rows without a value: an R2 of equal labels, a correlation of equal predictions.
_FEW = "there are too few, or labels or predictions are all equal"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What the losses and scores of some rows of a fold could be computed from."""

    fold: int
    whole: bool  #: every row was looked at
    weights: dict[str, float]  #: term -> weight of its labelled entries, as a term counts them
    bad: tuple[str, ...]  #: terms that are not finite
    scores: frozenset[str]

    def has(self, metric: str) -> bool:
        """Whether a score or loss has a value in these rows; their `loss` needs no more than a term."""
        if metric.startswith("loss."):
            return self.weights[metric.removeprefix("loss.")] > 0
        return any(self.weights.values()) if metric == "loss" else metric in self.scores

    def why_not(self, metric: str) -> str:
        """Why a metric has no value, as far as can be told: which term's labels it is computed from is not known."""
        terms = [term for term, weight in self.weights.items() if weight]
        if not terms:
            return "nothing is labelled there"
        if metric.startswith("loss.") or len(terms) < len(self.weights):
            only = f"labelled there is only {', '.join(terms)}"
            return only if metric.startswith("loss.") else f"{only}; if {metric} is computed from that, {_FEW}"
        return f"every loss term finds labels there, but {_FEW}"


def look(subject: Subject, run: FoldRun, fold: int, rows: np.ndarray) -> Look:
    """Pass over rows of a fold until the time for one is over, in random order where they are no parts of wholes."""
    deadline = time.monotonic() + LOOK_SECONDS / len(subject.split.folds)
    whole = run.objective.whole(run.arrays)
    shuffled = np.random.default_rng(subject.spec.seed).permutation(rows)
    order = torch.from_numpy(shuffled if whole is None else np.sort(rows))
    size = VALIDATION_BATCHES * subject.params.data["batch_size"]
    parts = torch.tensor_split(
        order.to(run.device) if run.feed.resident else order, max(math.ceil(len(rows) / size), 1)
    )
    values: dict[str, float] = {}
    weights: dict[str, float] = {}
    sums: Sums = {}
    sums_of = run.objective.sums if whole is None else whole.add
    seen = 0
    run.model.eval()
    with torch.inference_mode():
        for batch in run.feed.batches(parts):
            outputs = forward(run.model, batch)
            for name, (value, weight) in run.objective.losses(outputs, batch, run.params, run.statistics).items():
                values[name] = values.get(name, 0.0) + float(value)
                weights[name] = weights.get(name, 0.0) + float(weight)
            _add(sums, sums_of(outputs, batch))
            seen += 1
            if time.monotonic() > deadline:
                break
        if whole is not None:
            _add(sums, whole.finish())
    scores = run.objective.score({name: value.cpu().numpy() for name, value in sums.items()}, run.arrays.info)
    bad = tuple(name for name, value in values.items() if not math.isfinite(value + weights[name]))
    return Look(fold=fold, whole=seen == len(parts), weights=weights, bad=bad, scores=frozenset(scores))


def _add(sums: Sums, fresh: Sums) -> None:
    for name, value in fresh.items():
        sums[name] = sums[name] + value if name in sums else value


def not_finite(looks: list[Look]) -> Iterator[str]:
    for term in looks[0].weights:
        folds = [look.fold for look in looks if term in look.bad]
        if folds:
            yield f"loss term '{term}' is not finite on the validation rows of {fold_list(folds)}"


def nothing_labelled(subject: Subject, looks: list[Look]) -> Iterator[str]:
    part = "the validation part" if all(look.whole for look in looks) else "the rows looked at in the validation part"
    empty: dict[tuple[int, ...], list[str]] = {}  # terms that lack the same folds in one sentence
    for term in subject.objective.terms:
        if folds := tuple(look.fold for look in looks if look.weights[term] == 0):
            empty.setdefault(folds, []).append(term)
    for folds, terms in empty.items():
        find = f"loss terms {', '.join(terms)} find" if len(terms) > 1 else f"loss term '{terms[0]}' finds"
        yield f"{find} nothing labelled in {part} of {fold_list(folds)}"
    metric = subject.spec.metric.name
    search = subject.spec.folds.search
    is_loss = metric == "loss" or metric.startswith("loss.")  # told by the terms above
    missing = [look.fold for look in looks if not look.has(metric) and not (look.fold == search and look.whole)]
    if missing and not is_loss:
        yield f"{metric} could not be computed in {part} of {fold_list(missing)}: without it a training has no value"


def no_value(subject: Subject, looks: list[Look]) -> Iterator[str]:
    """What all trials would fail of: the metric cannot be computed on the fold that they are searched on."""
    metric, search = subject.spec.metric.name, subject.spec.folds.search
    for look in looks:
        if look.fold == search and look.whole and not look.has(metric):
            text = f"{metric} cannot be computed on the validation rows of the search fold {search}"
            yield f"{text}: {look.why_not(metric)}; no trial would have a value. {WAY_OUT}"


def nothing_to_learn(subject: Subject, run: FoldRun, fold: Fold) -> Iterator[str]:
    """What no trial could learn: no training row has what the metric is computed from.

    Args:
        subject: of the check.
        run: that has trained on some of the rows; if the metric was computed there, nothing more is looked at.
        fold: all rows.
    """
    metric = subject.spec.metric.name
    if metric in run.epochs[-1].train:
        return
    found = look(subject, run, fold.index, fold.train)
    if found.whole and not found.has(metric):
        where = "the search fold" if fold.index == subject.spec.folds.search else "fold"
        text = f"{metric} cannot be computed on the training rows of {where} {fold.index}"
        yield f"{text}: {found.why_not(metric)}. {WAY_OUT}"
