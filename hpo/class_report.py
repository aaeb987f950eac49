"""The classification report of a training's best epoch: precision, recall and F1 per class, and what is above nothing.

Laid out as scikit-learn's `classification_report(output_dict=True)`: rows of classes, then `macro avg` and the like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.evidence import finite
from hpo.objective import Epoch
from hpo.wording import fixed, number

Report = Mapping[str, Mapping[str, float]]
#: Share of an even share below which a class is rare.
UNEVEN = 0.5
COLUMNS = ("precision", "recall", "f1-score")


def is_class(row: str) -> bool:
    """Whether a row is about one class, rather than an average over them or their accuracy."""
    return not row.endswith(" avg") and row.replace("_", " ") not in ("accuracy", "balanced accuracy")


def side_by_side(before: Epoch | None, after: Epoch | None) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Heads and rows of one table: the baseline's epoch beside the best one's; no rows where neither has a report."""
    reports = [epoch.report for epoch in (before, after) if epoch is not None and epoch.report]
    if not reports:
        return (), []
    heads = (
        [head for column in COLUMNS for head in (f"{column}, baseline", "best")] if len(reports) == 2 else [*COLUMNS]
    )
    if len(reports) == 2:
        heads.append("difference")
    every = list(dict.fromkeys(row for report in reports for row in report))
    rows = [_row(row, reports) for row in sorted(every, key=lambda row: not is_class(row))]
    return ("class", "support", *heads), rows


def _row(name: str, reports: list[Report]) -> tuple[Any, ...]:
    def value(report: Report, column: str) -> float | None:
        row = report.get(name)
        return finite(row.get(column)) if isinstance(row, Mapping) else None

    def written(value: float | None) -> str:
        return fixed(value, 3)

    support = next((s for report in reversed(reports) if (s := value(report, "support")) is not None), None)
    cells = [written(value(report, column)) for column in COLUMNS for report in reports]
    if len(reports) == 2:
        first, second = (value(report, "f1-score") for report in reports)
        known = first is not None and second is not None
        cells.append(fixed(second - first, 3, sign=True) if known else fixed(None, 3))  # type: ignore[operator]
    return (name, number(support if support is None else round(support)), *cells)


def uneven(report: Report | None) -> bool:
    """Whether a class has less than half of what it would have if all were equally frequent; not without a report."""
    rows = [row.get("support", 0.0) for name, row in (report or {}).items() if is_class(name)]
    return bool(rows) and min(rows) < UNEVEN * sum(rows) / len(rows)


def majority(report: Report | None, score: str) -> float | None:
    """What always saying the most frequent class comes to; None for other scores, or without a report.

    For K classes and a share p of the most frequent one: accuracy p, its F1 2p / (1 + p), that of all others 0.
    """
    supports = [finite(row.get("support")) or 0.0 for name, row in (report or {}).items() if is_class(name)]
    present = [support for support in supports if support > 0]
    if not present:
        return None
    share = max(present) / sum(present)
    f1 = 2 * share / (1 + share)
    values = {"accuracy": share, "balanced_accuracy": 1 / len(present), "macro_f1": f1 / len(present)}
    return (values | {"weighted_f1": share * f1, "micro_f1": share}).get(score)
