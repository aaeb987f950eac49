"""What `hpo evaluate` says of models: tables for people, plain values for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpo.evaluation import Column, Evaluation
from hpo.proof import target_cell
from hpo.wording import MISSING, counted

#: In place of reached or missed.
TRAINED_ON = "trained on these rows"


def lines(found: Evaluation) -> Iterator[str]:
    """Measures, of several models with a column each; targets; then measures by class, a table per column."""
    single = found.ensemble is None
    columns = [*found.models, *([found.ensemble] if found.ensemble else [])]
    names = [*_short([model.name for model in found.models]), "ensemble"][: len(columns)]
    heads = [] if single else [("measure", *names)]
    scores = [column.scores for column in columns]
    yield from _aligned([*heads, *((name, *(_value(of, name) for of in scores)) for name in _measures(scores))])
    if columns[0].targets:
        yield ""
        judged = zip(*(_targets(column) for column in columns), strict=True)
        cells = [(str(one.target), *row) for one, row in zip(columns[0].targets, judged, strict=True)]
        yield from _aligned([("target", *([""] if single else names)), *cells])
    for name, column in zip(names, columns, strict=True):
        if column.by_class:
            yield ""
            title = "measure" if single else f"measure, {name}"
            yield from _aligned(_by_class(title, column, found.classes))


def as_plain(found: Evaluation) -> dict[str, Any]:
    """All of it as JSON has it: a model under the path that it was named by."""
    rows = {"scored": found.scored, "of": found.of, "classes": dict(found.classes)}
    models = {model.name: _plain(model) for model in found.models}
    together = {"ensemble": _plain(found.ensemble)} if found.ensemble else {}
    return {"rows": rows, "note": found.note, "models": models, **together}


def _plain(column: Column) -> dict[str, Any]:
    judged = [
        {"target": str(one.target), **one.target.as_written(), "value": one.value, "reached": one.reached}
        for one in column.targets
    ]
    return {
        "scores": dict(column.scores),
        "by_class": {k: dict(v) for k, v in column.by_class.items()},
        "targets": judged,
        "trained_on": column.trained_on,
    }


def _targets(column: Column) -> list[str]:
    """What stands beside each target; rows that were trained on reach none."""
    return [
        f"{one.value:.4g} {TRAINED_ON}"
        if column.trained_on and one.value is not None
        else target_cell(one.target, one.value, one.reached)
        for one in column.targets
    ]


def _by_class(title: str, column: Column, classes: Mapping[str, int]) -> list[tuple[str, ...]]:
    heads = (title, *(f"{name} ({counted(rows, 'row')})" for name, rows in classes.items()))
    scores = [column.by_class[name] for name in classes]
    return [heads, *((name, *(_value(of, name) for of in scores)) for name in _measures(scores))]


def _measures(scores: Sequence[Mapping[str, float]]) -> list[str]:
    """Names that any of them has."""
    return list(dict.fromkeys(name for of in scores for name in of))


def _value(scores: Mapping[str, float], name: str) -> str:
    return f"{scores[name]:.4g}" if name in scores else MISSING


def _short(names: Sequence[str]) -> list[str]:
    """Paths by as many of their last parts as tell them apart."""
    parts = [Path(name).resolve().parts for name in names]
    for length in range(1, max(map(len, parts))):
        short = ["/".join(of[-length:]) for of in parts]
        if len(set(short)) == len(names):
            return short
    return list(names)


def _aligned(table: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for first, *cells in table:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join((first.ljust(max(widths[0], 28)), *padded)).rstrip()
