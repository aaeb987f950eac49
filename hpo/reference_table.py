"""Predictors that have learned nothing beside trained models, in one table: is a good number more than theirs?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isclose

from hpo.evidence import DirectionOf, best_epoch, family_of, finite, ordered_names
from hpo.learned_nothing import references
from hpo.objective import Direction, Metric
from hpo.records import TrialRecord
from hpo.wording import decimals_for, fixed

#: Two references this near are one: another order of a sum makes such a difference.
SAME = 1e-4
CAPTION = (
    "Predictors that say the same whatever they are shown, on the validation rows, beside the epochs that gave "
    "baseline and best their values. A loss, or the study's metric, no better than theirs shows nothing learned, "
    "however good it looks by itself. Where parameters of the loss, or the fold, differ between baseline and best, "
    "so do theirs, on a line for each."
)
#: Added where a row has the mark.
MARKED = (
    " In rows with * they are better than what was trained: such a measure may, by itself, favour who says nothing, as "
    "who predicts nothing makes no false prediction. Loss and metric tell whether something was learned."
)
MARK = " *"
Row = tuple[str, ...]


def beside(trained: Mapping[str, TrialRecord], metric: Metric, direction_of: DirectionOf) -> tuple[Row, list[Row]]:
    """Heads and rows: a loss, term or headline score per row; no rows where nothing was measured.

    A score other than the metric has a mark where a reference is better than all that were trained.

    Args:
        trained: `baseline` and `best`, or one of them -> the trial.
        metric: of the study.
        direction_of: of every measure; families of scores such as `f1.*` are left out, but for the metric.
    """
    given = [references(trial.epochs) for trial in trained.values()]
    names = list(dict.fromkeys(name for one in given for name in one))
    found = {m for one in given for values in one.values() for m in values}
    measures = [m for m in found if m == metric.name or not family_of(m, direction_of)]
    kept = [best_epoch(trial, metric) for trial in trained.values()]
    rows = []
    for measure in ordered_names(measures, metric.name):
        own = [finite(epoch.get(measure)) if epoch else None for epoch in kept]
        floors = [[one.get(name, {}).get(measure) for name in names] for one in given]
        known = [floor for floor in floors if any(value is not None for value in floor)]
        tells = measure in (metric.name, "loss") or measure.startswith("loss.")
        direction = None if tells else direction_of(measure)
        if all(_same(known[0], floor) for floor in known):
            rows.append(_row(measure, known[0], own, direction))
            continue
        for role, floor, value in zip(trained, floors, own, strict=True):
            alone = [value if role == other else None for other in trained]
            rows.append(_row(f"{measure}, {role}", floor, alone, direction))
    return ("measure", *names, *trained), rows


def _same(first: Sequence[float | None], other: Sequence[float | None]) -> bool:
    pairs = zip(first, other, strict=True)
    return all(a == b or (a is not None and b is not None and isclose(a, b, rel_tol=SAME)) for a, b in pairs)


def _row(name: str, floor: Sequence[float | None], own: Sequence[float | None], direction: Direction | None) -> Row:
    values = [*floor, *own]
    mark = MARK if direction and _ahead(floor, own, Metric(name, direction)) else ""
    return (name + mark, *(fixed(value, decimals_for(*values)) for value in values))


def _ahead(floor: Sequence[float | None], own: Sequence[float | None], metric: Metric) -> bool:
    """Whether a reference is better than everything that was trained."""
    trained = [value for value in own if value is not None]
    return bool(trained) and any(
        value is not None and all(metric.better(value, than=other) for other in trained) for value in floor
    )
