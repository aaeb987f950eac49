"""Figures of the searched parameters: each against the value, and all together as parallel coordinates.

There is no importance ranking on purpose: Optuna's default sees complete trials only, and pruning removes exactly
the trials that show which parameter matters (learning rate decided everything; it said 0.07, see DESIGN.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from hpo.evidence import baseline_trial, best_trial, finite, value_of
from hpo.figure_style import (
    BASELINE,
    BEST,
    FAINTER,
    OTHER,
    PRUNED,
    axis_title,
    label,
    styled,
    trial_name,
    value_axis,
    wants_log,
)
from hpo.figures import shown_in_curves
from hpo.objective import Metric
from hpo.records import TrialRecord
from hpo.wording import number

COLUMNS = 3
#: So many names of axes fit beside each other.
LEVEL = 6
#: Pixels of a row of axes where there are several, and of the names below it.
ROW_HEIGHT, NAMES_HEIGHT = 260, 75
#: From the worst rank to the best; both ends are visible on light and dark pages.
RANKS = [[0.0, "rgb(165,165,165)"], [0.5, "rgb(205,160,110)"], [1.0, "rgb(213,94,0)"]]


def searched_names(trials: Sequence[TrialRecord]) -> list[str]:
    """Every parameter the sampler chose in some trial, in the order it first appears."""
    return list(dict.fromkeys(name for t in trials for name in t.searched))


def constants(trials: Sequence[TrialRecord], metric: Metric) -> dict[str, Any]:
    """Searched parameters of which all trials with a value tried the same, or none at all: name -> that, or None."""
    valued = [t for t in trials if value_of(t, metric) is not None]
    tried = {name: [t.params[name] for t in valued if name in t.params] for name in searched_names(trials)}
    return {name: values[0] if values else None for name, values in tried.items() if len({*map(repr, values)}) < 2}


def varied_names(trials: Sequence[TrialRecord], metric: Metric) -> list[str]:
    """The other ones, which have something to show."""
    same = constants(trials, metric)
    return [name for name in searched_names(trials) if name not in same]


def scatters(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """The value of every trial against each varied parameter; logarithmic where a parameter spans two decades."""
    names = varied_names(trials, metric)
    rows = max(1, math.ceil(len(names) / COLUMNS))
    columns = min(COLUMNS, max(1, len(names)))
    spacing = min(0.5 / rows, 85 / (230 * rows))
    # No panel where there is no parameter left.
    specs: list[Any] = [
        [{} if c + columns * r < max(1, len(names)) else None for c in range(columns)] for r in range(rows)
    ]
    gaps = {"horizontal_spacing": 0.03, "vertical_spacing": spacing if rows > 1 else 0}
    figure = make_subplots(rows=rows, cols=columns, specs=specs, shared_yaxes=True, **gaps)
    valued = [t for t in trials if value_of(t, metric) is not None]
    for index, name in enumerate(names):
        place = {"row": index // COLUMNS + 1, "col": index % COLUMNS + 1}
        for trace in _parameter_dots(valued, metric, name, legend=index == 0):
            figure.add_trace(trace, **place)
        figure.update_xaxes(title_text=label(name, 36), **_x_axis([t.params.get(name) for t in valued]), **place)
    figure.update_yaxes(**value_axis([value_of(t, metric) for t in valued]))
    figure.update_yaxes(title_text=axis_title(metric) if rows == 1 else label(metric.name, 30), col=1)
    return styled(figure, 110 + 230 * rows)


def _x_axis(values: Sequence[Any]) -> dict[str, Any]:
    if wants_log(values):
        return {"type": "log", "dtick": 1}
    numbers = [finite(v) for v in values if v is not None]
    if any(n is None for n in numbers):
        return {"type": "category"}
    small = {"tickformat": "~g"} if 0 < max((abs(n) for n in numbers if n is not None), default=1) < 1e-3 else {}
    return {"type": "linear", "nticks": 5, "tickangle": 0} | small


def _parameter_dots(trials: Sequence[TrialRecord], metric: Metric, name: str, *, legend: bool) -> list[go.Scatter]:
    best, baseline = best_trial(trials, metric), baseline_trial(trials)
    role = "best = baseline" if best is baseline else "best"
    groups: tuple[tuple[str, list[TrialRecord], dict[str, Any]], ...] = (
        ("pruned", [t for t in trials if t.state == "PRUNED"], {"color": PRUNED, "symbol": "triangle-down-open"}),
        ("complete", [t for t in trials if t.state == "COMPLETE"], {"color": OTHER, "symbol": "circle"}),
        (
            "baseline",
            [t for t in trials if t is baseline is not best],
            {"color": BASELINE, "symbol": "star", "size": 13},
        ),
        (role, [t for t in trials if t is best], {"color": BEST, "symbol": "star", "size": 13}),
    )
    return [
        go.Scatter(
            x=[_shown(t.params[name]) for t in members if name in t.params],
            y=[value_of(t, metric) for t in members if name in t.params],
            mode="markers",
            name=group,
            legendgroup=group,
            showlegend=legend,
            marker={"size": 7} | marker,
            text=[trial_name(t) for t in members if name in t.params],
            hovertemplate="%{text}<br>%{x}: %{y:.4g}<extra></extra>",
        )
        for group, members, marker in groups
        if members
    ]


def _shown(value: Any) -> float | str:
    """A number as it is, anything else as a harmless category."""
    number = finite(value)
    return label(value, 24) if number is None else number


@dataclass(frozen=True)
class _Axis:
    """One vertical axis of the parallel coordinates: places in 0..1 with their texts."""

    name: str
    ticks: tuple[tuple[float, str], ...]
    log: bool = False
    low: float = 0.0
    high: float = 1.0

    def place(self, value: Any) -> float | None:
        number = finite(value)
        if number is not None and not self._categorical:
            return _between(number, self.low, self.high, self.log)
        return next((at for at, text in self.ticks if text == label(value, 24)), None)

    @property
    def _categorical(self) -> bool:
        return math.isnan(self.low)


def _between(value: float, low: float, high: float, log: bool) -> float:
    if low == high:
        return 0.5
    return math.log(value / low) / math.log(high / low) if log else (value - low) / (high - low)


def _axis(name: str, values: Sequence[Any]) -> _Axis:
    present = [v for v in values if v is not None]
    numbers = [n for v in present if (n := finite(v)) is not None]
    if not present or len(numbers) < len(present):
        texts = sorted({label(v, 24) for v in present})
        places = [0.5] if len(texts) == 1 else [i / (len(texts) - 1) for i in range(len(texts))]
        return _Axis(name, tuple(zip(places, texts, strict=True)), low=math.nan)
    log, low, high = wants_log(numbers), min(numbers), max(numbers)
    middle = math.sqrt(low * high) if log else (low + high) / 2
    marks = [low] if low == high else [low, middle, high]
    ticks = tuple((_between(m, low, high, log), _brief(m)) for m in marks)
    return _Axis(name, ticks, log, low, high)


def _brief(value: float) -> str:
    """Six characters at most where axes stand close: three digits, small numbers with two and an exponent."""
    digits = f"{value:.1e}" if 0 < abs(value) < 0.01 else f"{value:.3g}"
    return number(float(digits)) if "e" not in digits else digits.replace("e-0", "e-").replace(".0e", "e")


def parallel(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """Each trial as a line through its parameters to its value; the better its rank, the stronger its colour.

    Many parameters stand in several rows, in the order of the study, each of which ends with the value.
    """
    best, baseline = best_trial(trials, metric), baseline_trial(trials)
    shown = [t for t in shown_in_curves(trials, metric) if value_of(t, metric) is not None]
    value = _axis(metric.name, [value_of(t, metric) for t in shown])
    parameters = [_axis(name, [t.params.get(name) for t in shown]) for name in varied_names(trials, metric)]
    rows = [[*parameters[part], value] for part in _rows(len(parameters))]
    sign = 1.0 if metric.direction == "maximize" else -1.0
    complete = sorted((t for t in shown if t.state == "COMPLETE"), key=lambda t: sign * (value_of(t, metric) or 0.0))
    ranks = {t.number: i / max(1, len(complete) - 1) for i, t in enumerate(complete)}
    # Drawn last is on top: pruned, complete from worst to best, baseline, best.
    shown = sorted(shown, key=lambda t: (t is best, t is baseline, ranks.get(t.number, -1.0)))
    height = 420 if len(rows) == 1 else 110 + ROW_HEIGHT * len(rows)
    figure = styled(make_subplots(rows=len(rows), cols=1, vertical_spacing=NAMES_HEIGHT / height), height)
    for row, axes in enumerate(rows, start=1):
        for trial in shown:
            role = _role(trial, best, baseline)
            line = _parallel_line(trial, value_of(trial, metric), axes, ranks.get(trial.number), role)
            figure.add_trace(line.update(showlegend=line.showlegend and row == 1), row=row, col=1)
        for index, axis in enumerate(axes):
            figure.add_trace(_axis_texts(index, axis), row=row, col=1)
            figure.add_vline(
                x=index, line={"color": "rgba(128,128,128,0.6)", "width": 1}, layer="below", row=row, col=1
            )
        names = [label(a.name, 28).replace(".", ".<br>", 1) + (" (log)" if a.log else "") for a in axes]
        # Texts stand to the right of their axis, so that the last one needs room there; rows of unlike length line up.
        across = {"range": [-0.25, len(rows[0]) - 0.9], "tickvals": list(range(len(axes))), "ticktext": names}
        figure.update_xaxes(across, tickangle=0, showgrid=False, showline=False, ticks="", row=row, col=1)
    figure.update_yaxes(visible=False, range=[-0.08, 1.08])
    return figure.update_layout(margin={"r": 110, "b": 60})


def _rows(count: int) -> list[slice]:
    """So many parameters in as few rows as hold them, of nearly equal length; none is longer than the first."""
    rows = max(1, math.ceil(count / (LEVEL - 1)))
    ends = [math.ceil(count * row / rows) for row in range(rows + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


def _role(trial: TrialRecord, best: TrialRecord | None, baseline: TrialRecord | None) -> str:
    if trial is best:
        return "best = baseline" if trial is baseline else "best"
    return "baseline" if trial is baseline else "complete" if trial.state == "COMPLETE" else "pruned"


def _parallel_line(
    trial: TrialRecord, value: float | None, axes: Sequence[_Axis], rank: float | None, role: str
) -> go.Scatter:
    values = [*(trial.params.get(axis.name) for axis in axes[:-1]), value]
    colour = FAINTER if rank is None else sample_colorscale(RANKS, [rank])[0]
    chosen = role not in ("complete", "pruned")
    colour = BASELINE if role == "baseline" else BEST if chosen else colour
    return go.Scatter(
        x=list(range(len(axes))),
        y=[axis.place(value) for axis, value in zip(axes, values, strict=True)],
        mode="lines",
        line={"color": colour, "width": 3.5 if chosen else 1.3, "dash": "dot" if rank is None else "solid"},
        name=f"{role}: {trial_name(trial)}",
        legendgroup=role,
        showlegend=chosen,
        text=[f"{trial_name(trial)}<br>{label(a.name)}: {label(v)}" for a, v in zip(axes, values, strict=True)],
        hovertemplate="%{text}<extra></extra>",
    )


def _axis_texts(index: int, axis: _Axis) -> go.Scatter:
    return go.Scatter(
        x=[index] * len(axis.ticks),
        y=[at for at, _ in axis.ticks],
        mode="text",
        text=[f" {text}" for _, text in axis.ticks],
        textposition="middle right",
        textfont={"size": 11},
        cliponaxis=False,
        showlegend=False,
        hoverinfo="skip",
    )
