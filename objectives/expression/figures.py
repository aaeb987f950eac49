"""What a reader of expressions looks at: emotions said of emotions, F1 per emotion and per action unit, faces.

Every function takes the columns of the objective's predictions (or examples) for rows that the model was not trained
on. This file imports no torch. Texts that data may name are escaped: plotly takes them for markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from objectives.confusion_figure import Columns, confusion, counted, short
from objectives.confusion_figure import Shown as Shown  # of `figures`
from objectives.expression.faces import faces

#: Of Okabe and Ito: bars, bars of rare classes, marks of a trivial answer.
PLAIN, RARE, TRIVIAL = "#56B4E9", "#E69F00", "#D55E00"


def figures(predictions: Columns, examples: Columns, info: Mapping[str, Any]) -> list[Shown]:
    """Those that have something to show.

    Args:
        predictions: `row`, `fold`, `truth` (a class, "" = none), `prediction`, `p.CLASS`, and of each unit U the
            columns `truth.U` (1.0, 0.0, NaN = not labelled) and `p.U`; one entry per row of all validation parts.
        examples: the same for some of these rows, with `image` uint8 `[rows, 3, side, side]`; may be empty.
        info: `classes`, `units`, `minority` (classes whose share of the rows is under `minority_share`).
    """
    found = [
        confusion(predictions, info["classes"], "Emotion: truth and prediction"),
        f1_of_classes(predictions, info),
        f1_of_units(predictions, info["units"]),
        faces(examples, info["units"]),
    ]
    return [shown for shown in found if shown is not None]


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How well one class or unit was found; it occurs in the truth at least once."""

    name: str
    f1: float
    rows: int  #: of which it is true
    said: int  #: of which the network says it
    known: int  #: that have a label, yes or no

    @property
    def share(self) -> float:
        return self.rows / self.known

    @property
    def always(self) -> float:
        """The F1 of saying it of every row: precision is its share p, recall is 1."""
        return 2 * self.share / (1 + self.share)


def rates_of_classes(predictions: Columns, classes: Sequence[str]) -> list[Rate]:
    """Of each class that occurs, the most frequent one first; `f1_score(average=None)` of scikit-learn."""
    counts = counted(predictions, classes)
    rows, said, known = counts.sum(1), counts.sum(0), int(counts.sum())
    return [
        _rate(classes[k], int(counts[k, k]), int(rows[k]), int(said[k]), known)
        for k in np.argsort(-rows, kind="stable").tolist()
        if rows[k]
    ]


def rates_of_units(predictions: Columns, units: Sequence[str]) -> list[Rate]:
    """Of each unit that is active in a row, over the rows in which somebody looked for it; a yes is over a half."""
    rates = []
    for unit in units:
        if f"truth.{unit}" not in predictions:
            continue
        truth = predictions[f"truth.{unit}"]
        known = np.isfinite(truth)
        active, said = truth[known] > 0.5, predictions[f"p.{unit}"][known] > 0.5
        if active.any():
            rates.append(_rate(unit, int((active & said).sum()), int(active.sum()), int(said.sum()), int(known.sum())))
    return rates


def _rate(name: str, hits: int, rows: int, said: int, known: int) -> Rate:
    return Rate(name=name, f1=2 * hits / (rows + said), rows=rows, said=said, known=known)


def f1_of_classes(predictions: Columns, info: Mapping[str, Any]) -> Shown | None:
    """A bar per class that occurs, the most frequent on top, rare classes in another colour and hatched."""
    rates = rates_of_classes(predictions, info["classes"])
    if not rates:
        return None
    rare = [rate for rate in rates if rate.name in info["minority"]]
    figure, share = go.Figure(), f"{100 * info['minority_share']:.3g}%"
    _add_bars(figure, [rate for rate in rates if rate not in rare], f"{share} of the rows or more", PLAIN, "")
    _add_bars(figure, rare, f"under {share} of the rows", RARE, "/")
    _lay_out(figure, rates, [f"{short(rate.name)} ({rate.rows})" for rate in rates])
    first, macro = rates[0], np.mean([rate.f1 for rate in rates])
    caption = (
        f"In brackets the number of rows. The mean of these bars, the macro F1 of all folds' rows together, is "
        f"{macro:.3f}; always to say {first.name}, the most frequent, would reach {first.always:.2f} for it, 0 for "
        f"all others and {first.always / len(rates):.3f} in the mean. An emotion without a bar was never found."
        f"{_left_out(info['classes'], rates, 'No rows, so no F1')}"
    )
    return "F1 of each emotion", caption, figure


def f1_of_units(predictions: Columns, units: Sequence[str]) -> Shown | None:
    """A bar per unit that is active in a row, with a mark at what always saying yes would reach."""
    rates = rates_of_units(predictions, units)
    if not rates:
        return None
    figure = go.Figure()
    _add_bars(figure, rates, "F1", PLAIN, "")
    figure.add_scatter(
        x=[rate.always for rate in rates],
        y=[escape(rate.name) for rate in rates],
        mode="markers",
        name="always yes",
        marker={"symbol": "diamond-open", "color": TRIVIAL, "size": 10, "line": {"width": 2.5}},
        hovertemplate="%{y}<br>always saying yes: F1 %{x:.3f}<extra></extra>",
    )
    _lay_out(figure, rates, [f"{short(rate.name)} ({rate.share:.0%} of {rate.known})" for rate in rates])
    mean, always = np.mean([rate.f1 for rate in rates]), np.mean([rate.always for rate in rates])
    above = sum(rate.f1 > rate.always for rate in rates)
    caption = (
        "In brackets the share of rows in which the unit is active, of the rows in which somebody looked; rows without "
        f"labels count nowhere. Mean {mean:.3f}; always saying yes would reach {always:.3f}, per unit the mark, which "
        f"{above} of {len(rates)} exceed: a bar that ends before its mark is worth less than no network, and no bar "
        f"at all is a unit that was never found.{_left_out(units, rates, 'Never active, or nobody looked, so no F1')}"
    )
    return "F1 of each action unit", caption, figure


def _left_out(names: Sequence[str], rates: Sequence[Rate], why: str) -> str:
    missing = [name for name in names if name not in {rate.name for rate in rates}]
    return f" {why}: {', '.join(missing)}." if missing else ""


def _add_bars(figure: go.Figure, rates: Sequence[Rate], name: str, colour: str, hatch: str) -> None:
    if rates:
        figure.add_bar(
            x=[rate.f1 for rate in rates],
            y=[escape(rate.name) for rate in rates],
            orientation="h",
            name=name,
            marker={"color": colour, "pattern": {"shape": hatch, "fillmode": "replace", "solidity": 0.45}},
            customdata=[[rate.rows, rate.said, rate.known] for rate in rates],
            hovertemplate=(
                "%{y}: F1 %{x:.3f}<br>true of %{customdata[0]} rows of %{customdata[2]}, said of %{customdata[1]}"
                "<extra></extra>"
            ),
        )


def _lay_out(figure: go.Figure, rates: Sequence[Rate], ticks: Sequence[str]) -> None:
    """Names on the left in the order given, from the top; the F1 in numbers on the right, clear of every mark."""
    names = [escape(rate.name) for rate in rates]
    figure.add_scatter(
        x=[1.02] * len(rates),
        y=names,
        text=[f"{rate.f1:.2f}" for rate in rates],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    figure.update_xaxes(title_text="F1", range=[0, 1.2], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    order = {"categoryorder": "array", "categoryarray": names[::-1]}
    figure.update_yaxes(type="category", tickvals=names, ticktext=ticks, showgrid=False, **order)
    figure.update_layout(barmode="overlay", bargap=0.35, showlegend=True, height=150 + 24 * max(4, len(rates)))
