"""Figures of a study: pure functions from records to plotly figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.evidence import FoldPair, baseline_trial, best_epoch, best_trial, finite, value_of
from hpo.figure_style import (
    BASELINE,
    BEST,
    FAILED,
    FAINT,
    OTHER,
    PRUNED,
    axis_title,
    count_axis,
    label,
    styled,
    trial_name,
    value_axis,
)
from hpo.objective import Metric
from hpo.records import TrialRecord

#: Above this many trials the curves show the best `CURVES_SHOWN` and the configurations only.
CURVES_LIMIT, CURVES_SHOWN = 200, 50


def history(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """Value of every trial in order, the best so far as a line; below, the trials that have no value."""
    trials = [t for t in trials if t.state != "WAITING"]
    lost = [t for t in trials if value_of(t, metric) is None and t.state != "RUNNING"]
    rows: dict[str, Any] = {"rows": 2, "row_heights": [0.88, 0.12], "vertical_spacing": 0.03} if lost else {"rows": 1}
    figure = make_subplots(cols=1, shared_xaxes=True, **rows)
    groups = (
        # A star covers the dot of a configuration.
        ("complete", [t for t in trials if t.state == "COMPLETE" and t.configuration is None], OTHER, "circle"),
        ("pruned", [t for t in trials if t.state == "PRUNED"], PRUNED, "triangle-down-open"),
        ("running", [t for t in trials if t.state == "RUNNING"], FAILED, "circle-open"),
    )
    for name, members, colour, symbol in groups:
        valued = [t for t in members if value_of(t, metric) is not None]
        if valued:
            figure.add_trace(_dots(valued, metric, name, colour, symbol), row=1, col=1)
    figure.add_trace(_running_best(trials, metric), row=1, col=1)
    named = [t for t in trials if t.configuration is not None and value_of(t, metric) is not None]
    if named:
        figure.add_trace(_stars(named, metric, max(t.number for t in trials)), row=1, col=1)
    shown = [value_of(t, metric) for t in trials]
    figure.update_yaxes(title_text=axis_title(metric), **value_axis(shown), row=1, col=1)
    figure.update_xaxes(**count_axis("trial", [t.number for t in trials]))
    styled(figure, 430)
    if lost:
        figure.add_trace(_without_value(lost), row=2, col=1)
        figure.update_xaxes(title_text="", row=1, col=1)
        strip = {"showgrid": False, "showline": False, "ticks": "", "range": [-1, 1]}
        figure.update_yaxes(**strip, tickvals=[0], ticktext=["no value"], row=2, col=1)
    return figure


def _dots(trials: Sequence[TrialRecord], metric: Metric, name: str, colour: str, symbol: str) -> go.Scatter:
    return go.Scatter(
        x=[t.number for t in trials],
        y=[value_of(t, metric) for t in trials],
        mode="markers",
        name=name,
        marker={"color": colour, "symbol": symbol, "size": 8},
        text=[f"{trial_name(t)}, {len(t.epochs)} epochs" for t in trials],
        hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
    )


def _beside(index: int, place: float) -> str:
    """Where the name of a star stands: above and below in turn, and within the figure, whose width is 1."""
    return f"{'bottom' if index % 2 else 'top'} {'left' if place > 0.7 else 'right'}"


def _stars(trials: Sequence[TrialRecord], metric: Metric, last: int) -> go.Scatter:
    return go.Scatter(
        x=[t.number for t in trials],
        y=[value_of(t, metric) for t in trials],
        mode="markers+text",
        name="configuration",
        marker={"color": BASELINE, "symbol": "star", "size": 14},
        text=[label(t.configuration, 24) for t in trials],
        textposition=[_beside(i, t.number / (last or 1)) for i, t in enumerate(trials)],
        hovertemplate="%{text}<br>trial %{x}: %{y:.4g}<extra></extra>",
        cliponaxis=False,
    )


def _running_best(trials: Sequence[TrialRecord], metric: Metric) -> go.Scatter:
    x: list[int] = []
    y: list[float] = []
    for trial in sorted(trials, key=lambda t: t.number):
        value = value_of(trial, metric)
        if trial.state == "COMPLETE" and value is not None:
            x.append(trial.number)
            y.append(value if not y or metric.better(value, than=y[-1]) else y[-1])
    if x:
        x, y = [*x, max(t.number for t in trials)], [*y, y[-1]]
    line = {"color": BEST, "width": 2.5, "shape": "hv"}
    return go.Scatter(x=x, y=y, mode="lines", name="best so far", line=line, hoverinfo="skip")


def _without_value(trials: Sequence[TrialRecord]) -> go.Scatter:
    return go.Scatter(
        # A trace without any point has no place for plotly's crisp lines on a narrow page, which its console tells.
        x=[t.number for t in trials] if trials else [None],
        y=[0] * len(trials) if trials else [None],
        mode="markers",
        name="ended without a value",
        showlegend=bool(trials),
        marker={"color": FAILED, "symbol": "x-thin", "size": 8, "line": {"color": FAILED, "width": 2}},
        text=[f"{trial_name(t)}: {label(t.end or t.state)}" for t in trials],
        hovertemplate="%{text}<extra></extra>",
    )


def shown_in_curves(trials: Sequence[TrialRecord], metric: Metric) -> list[TrialRecord]:
    """All trials with epochs; of a large study the best and the configurations."""
    trained = [t for t in trials if t.epochs]
    if len(trials) <= CURVES_LIMIT:
        return trained
    sign = 1.0 if metric.direction == "minimize" else -1.0
    complete = [t for t in trained if t.state == "COMPLETE" and value_of(t, metric) is not None]
    ranked = sorted(complete, key=lambda t: sign * (value_of(t, metric) or 0.0))
    kept = {t.number for t in ranked[:CURVES_SHOWN]} | {t.number for t in trials if t.configuration is not None}
    return [t for t in trained if t.number in kept]


def curves(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """The metric per epoch of every trial; best and baseline in colour, a star at the epoch that counts."""
    best, baseline = best_trial(trials, metric), baseline_trial(trials)
    figure = go.Figure()
    shown = shown_in_curves(trials, metric)
    seen: set[str] = set()
    for trial in (t for t in shown if t is not best and t is not baseline):
        kind = "pruned" if trial.state == "PRUNED" else "other"
        figure.add_trace(_curve(trial, metric, FAINT, 1.0, f"{kind} trials", showlegend=kind not in seen))
        seen.add(kind)
    for chosen, colour, role in ((None if best is baseline else baseline, BASELINE, "baseline"), (best, BEST, "best")):
        if chosen is not None and chosen.epochs:
            name = f"{'best = baseline' if best is baseline else role}: {trial_name(chosen)}"
            figure.add_trace(_curve(chosen, metric, colour, 3.0, name, showlegend=True))
            figure.add_trace(_best_mark(chosen, metric, colour))
    values = [e.get(metric.name) for t in shown for e in t.epochs]
    figure.update_yaxes(title_text=axis_title(metric), **value_axis(values))
    figure.update_xaxes(**count_axis("epoch", [len(t.epochs) for t in shown]))
    return styled(figure, 430)


def _curve(trial: TrialRecord, metric: Metric, colour: str, width: float, name: str, *, showlegend: bool) -> go.Scatter:
    """One line through the epochs validated on all rows; that of a pruned trial is dotted and ends in a cross."""
    pruned = trial.state == "PRUNED"
    epochs = [e for e in trial.epochs if e.full]
    last = len(epochs) - 1
    point = 0 if len(epochs) == len(trial.epochs) > 1 else 5  # where there are gaps, or a line of one point
    return go.Scatter(
        x=[e.number for e in epochs],
        y=[finite(e.get(metric.name)) for e in epochs],
        mode="lines+markers",
        line={"color": colour, "width": width, "dash": "dot" if pruned else "solid"},
        marker={
            "color": colour,
            "symbol": ["x" if pruned and i == last else "circle" for i in range(last + 1)],
            "size": [6 if pruned and i == last else point for i in range(last + 1)],
            "line": {"width": 0},
        },
        name=name,
        legendgroup=name,
        showlegend=showlegend,
        text=[trial_name(trial)] * len(epochs),
        hovertemplate="%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
    )


def _best_mark(trial: TrialRecord, metric: Metric, colour: str) -> go.Scatter:
    epoch = best_epoch(trial, metric)
    x, y = ([epoch.number], [epoch.get(metric.name)]) if epoch else ([], [])
    marker = {"symbol": "star", "size": 13, "color": colour}
    return go.Scatter(x=x, y=y, mode="markers", marker=marker, showlegend=False, hoverinfo="skip")


def folds(pairs: Sequence[FoldPair], metric: Metric) -> go.Figure:
    """Baseline and best on every fold of a promotion, a line between the two; the dashed lines are the means.

    What has no value on any fold is left out: no baseline is retrained where it is the best trial.
    """
    figure = go.Figure()
    places = [f"fold {p.fold}" for p in pairs]
    many = len({p.seed for p in pairs}) > 1
    places = [f"{place}, seed {p.seed}" for place, p in zip(places, pairs, strict=True)] if many else places
    joined: list[tuple[str | None, float | None]] = []
    for place, pair in zip(places, pairs, strict=True):
        joined += [(place, pair.before), (place, pair.after), (None, None)]
    line = {"color": FAINT, "width": 2}
    figure.add_trace(
        go.Scatter(x=[x for x, _ in joined], y=[y for _, y in joined], mode="lines", line=line, showlegend=False)
    )
    for name, colour, symbol, values in (
        ("baseline", BASELINE, "circle-open", [p.before for p in pairs]),
        ("best", BEST, "circle", [p.after for p in pairs]),
    ):
        marker = {"color": colour, "symbol": symbol, "size": 11, "line": {"color": colour, "width": 2}}
        present = [v for v in values if v is not None]
        if present:
            figure.add_trace(go.Scatter(x=places, y=values, mode="markers", name=name, marker=marker, showlegend=True))
            figure.add_hline(y=math.fsum(present) / len(present), line={"color": colour, "width": 1.5, "dash": "dash"})
    figure.update_yaxes(title_text=axis_title(metric))
    return styled(figure, 360)
