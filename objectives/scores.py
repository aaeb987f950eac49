"""Scores from additive sums: a batch yields sums, sums of batches add, and the functions here divide once per split.

The parts that see tensors run under `torch.func.vmap` and return shapes that do not depend on the batch; they count in
float64, so that thousands of batches add without loss. A score that cannot be computed (nothing labelled, class absent)
is left out of the result: it is neither 0 nor NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from hpo.objective import Direction

#: Names of `classification_scores`, all of them better when larger.
CLASSIFICATION: Mapping[str, Direction] = MappingProxyType(
    dict.fromkeys(("macro_f1", "weighted_f1", "micro_f1", "accuracy", "balanced_accuracy", "f1.*"), "maximize")
)

#: Rows of `classification_report` that are no class.
AVERAGES = ("micro avg", "macro avg", "weighted avg", "accuracy", "balanced accuracy")


def confusion(logits: Tensor, target: Tensor) -> Tensor:
    """Count truth against prediction.

    Args:
        logits: float `[rows, class]`; the largest wins.
        target: int64 `[rows]`; -1 = not labelled.

    Returns:
        float64 `[class, class]`, truth down, prediction across.
    """
    classes = torch.arange(logits.shape[-1], device=logits.device)
    truth = (target[:, None] == classes).double()  # a row of zeros for -1
    predicted = (logits.argmax(-1)[:, None] == classes).double()
    return truth.T @ predicted


def classification_scores(counts: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """The F1 family of a confusion matrix.

    Averages run over the classes that occur in the truth of the split, equal to scikit-learn's with
    `labels=np.unique(truth)`. (Its default adds classes that were only predicted and gives them F1 0: the score of a
    fold without a class would then depend on one stray prediction.)

    Args:
        counts: `[class, class]`, truth down, prediction across.
        names: of the classes.

    Returns:
        `macro_f1`, `weighted_f1`, `micro_f1`, `accuracy`, `balanced_accuracy` and `f1.NAME` of every class that
        occurs; nothing at all where no row is labelled.
    """
    report = classification_report(counts, names)
    if not report:
        return {}
    averages = {f"{kind}_f1": report[f"{kind} avg"]["f1-score"] for kind in ("macro", "weighted", "micro")}
    rates = {"accuracy": report["accuracy"]["recall"], "balanced_accuracy": report["balanced accuracy"]["recall"]}
    present = np.flatnonzero(counts.sum(1) > 0).tolist()
    return averages | rates | {f"f1.{names[k]}": report[names[k]]["f1-score"] for k in present}


def classification_report(counts: np.ndarray, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The table of scikit-learn's `classification_report(output_dict=True, zero_division=np.nan)`.

    As there with `labels=np.unique(truth)`; a precision that cannot be computed, because the class was never
    predicted, is left out of its row and of the averages. Accuracy is the share of all rows that was found, balanced
    accuracy the mean over the classes of that share: recalls, so that is their column.

    Args:
        counts: `[class, class]`, truth down, prediction across.
        names: of the classes.

    Returns:
        Class name -> `precision`, `recall`, `f1-score`, `support`, for every class that occurs; the same for
        `micro avg`, `macro avg`, `weighted avg`; `recall` and `support` for `accuracy`, `balanced accuracy`. Empty
        where no row is labelled.
    """
    support, predicted, hits = counts.sum(1), counts.sum(0), np.diag(counts)
    present = np.flatnonzero(support > 0)
    if not len(present):
        return {}
    total = float(support.sum())
    rows = {names[k]: _row(hits[k], predicted[k], support[k]) for k in present.tolist()}
    report = {**rows, "micro avg": _row(hits[present].sum(), predicted[present].sum(), total)}
    report["macro avg"] = _average(rows, dict.fromkeys(rows, 1.0), total)
    report["weighted avg"] = _average(rows, {name: row["support"] for name, row in rows.items()}, total)
    report["accuracy"] = {"recall": float(hits.sum()) / total, "support": total}
    report["balanced accuracy"] = {"recall": report["macro avg"]["recall"], "support": total}
    return report


def _row(hits: float, predicted: float, support: float) -> dict[str, float]:
    """Precision (missing where nothing was predicted), recall and F1 of one class that occurs."""
    precision = {"precision": float(hits / predicted)} if predicted else {}
    rates = {"recall": float(hits / support), "f1-score": float(2 * hits / (support + predicted))}
    return {**precision, **rates, "support": float(support)}


def _average(rows: Mapping[str, Mapping[str, float]], weights: Mapping[str, float], support: float) -> dict[str, float]:
    """The mean of each column over the rows that have it."""
    average: dict[str, float] = {}
    for column in ("precision", "recall", "f1-score"):
        known = [name for name, row in rows.items() if column in row]
        if known:
            values = [rows[name][column] for name in known]
            average[column] = float(np.average(values, weights=[weights[name] for name in known]))
    return {**average, "support": support}


def binary_counts(logits: Tensor, target: Tensor) -> Tensor:
    """Count the four outcomes of yes/no questions; a yes is a logit above 0.

    Args:
        logits: float `[rows]` or `[rows, question]`.
        target: 0 or 1, of the same shape; below 0 or NaN = not labelled.

    Returns:
        float64 `[4]` or `[4, question]`: true yes, false yes, missed yes, true no.
    """
    yes, no, said = target > 0.5, (target >= 0) & (target <= 0.5), logits > 0
    outcomes = torch.stack([said & yes, said & no, ~said & yes, ~said & no])
    return outcomes.double().sum(1)


def binary_f1(counts: np.ndarray) -> float | None:
    """F1 of one question from its four outcomes `[4]`; None where the truth holds no yes."""
    hits, false, missed, _ = counts
    if hits + missed == 0:
        return None
    return float(2 * hits / (2 * hits + false + missed))


def regression_sums(prediction: Tensor, target: Tensor) -> Tensor:
    """Moments of predicted and true values, over all entries.

    Args:
        prediction: float `[...]`.
        target: float of the same shape; NaN = not labelled.

    Returns:
        float64 `[8]`: number, sum of |p - t|, (p - t)^2, p, t, p^2, t^2, p t.
    """
    labelled = torch.isfinite(target)
    p = torch.where(labelled, prediction, torch.zeros_like(prediction)).double()
    t = torch.where(labelled, target, torch.zeros_like(target)).double()
    moments = [labelled.double(), (p - t).abs(), (p - t) ** 2, p, t, p * p, t * t, p * t]
    return torch.stack([moment.sum() for moment in moments])


def regression_scores(sums: np.ndarray) -> dict[str, float]:
    """Errors and agreement from the moments of `regression_sums`.

    Returns:
        `mae` and `rmse` in the unit of the values, `r2` (against the mean of the truth) and Pearson's `correlation`.
        Nothing where no entry is labelled; `r2` and `correlation` only where the values vary.
    """
    n, absolute, squared, p, t, pp, tt, pt = (float(value) for value in sums)
    if n == 0:
        return {}
    scores = {"mae": absolute / n, "rmse": math.sqrt(squared / n)}
    spread_p, spread_t = pp - p * p / n, tt - t * t / n
    # Differences of large sums: what is left of equal values is rounding, about 1e-16 of the sums themselves.
    if spread_t > 1e-12 * tt:
        scores["r2"] = 1 - squared / spread_t
        if spread_p > 1e-12 * pp:
            scores["correlation"] = (pt - p * t / n) / math.sqrt(spread_p * spread_t)
    return scores
