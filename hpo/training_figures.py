"""How baseline and best trained, side by side: loss terms, their balance, gradients, scores per class."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from hpo.evidence import DirectionOf, baseline_trial, best_trial, family_of, finite
from hpo.figure_style import (
    OTHER,
    count_axis,
    dash_of,
    faded,
    label,
    styled,
    term_colour,
    trial_name,
    value_axis,
)
from hpo.learned_nothing import references
from hpo.objective import Epoch, Metric
from hpo.records import TrialRecord

#: A reference that is more than this share of the highest value away from the lines would press them together.
FAR = 0.5
#: What tells references apart, which are grey and thin.
NOTHING = ("dot", "dashdot", "longdashdot")
#: One column of a figure: what stands below it, and the epochs.
Panel = tuple[str, Sequence[Epoch]]


def panels(trials: Sequence[TrialRecord], metric: Metric) -> list[Panel]:
    """Baseline and best, as far as they have epochs; one panel where they are the same trial."""
    best, baseline = best_trial(trials, metric), baseline_trial(trials)
    found = [(role, t) for role, t in (("baseline", baseline), ("best", best)) if t is not None and t.epochs]
    return [
        (f"epoch of the {role},<br>{trial_name(t)}", t.epochs)
        for role, t in (found[-1:] if best is baseline else found)
    ]


def losses(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """Every term before weighting: training dashed with its spread as a band, validation solid.

    Fast validations, which see a part of the rows only, are single rings beside the line. The axis is that of the
    lines: bands and rings may leave it. The weighted sum of what has learned nothing is a thin line for each, unless
    it would stretch that axis by more than half its height.
    """
    shown = panels(trials, metric)
    figure = _columns(shown)
    measured = [part for _, epochs in shown for e in epochs for part in _in_lines(e)]
    names = list(dict.fromkeys(name for part in measured for name in part if _is_loss(name)))
    terms = [name for name in names if name != "loss"]
    for column, (_, epochs) in enumerate(shown, start=1):
        for name in names:
            colour = OTHER if name == "loss" else term_colour(terms.index(name))
            for trace in _loss_lines(epochs, name, colour, legend=column == 1):
                figure.add_trace(trace, row=1, col=column)
    keys: list[dict[str, Any]] = [
        {"name": "training (any colour)", "mode": "lines", "line": {"color": OTHER, "dash": "dash"}},
        {"name": "validation", "mode": "lines", "line": {"color": OTHER}},
    ]
    if any(not e.full for _, epochs in shown for e in epochs):
        ring = {"color": OTHER, "symbol": "circle-open"}
        keys.append({"name": "on a part of the validation rows", "mode": "markers", "marker": ring})
    for key in keys:
        figure.add_trace(go.Scatter(x=[None], y=[None], **key), row=1, col=1)
    values = [value for part in measured for name, value in part.items() if name in names]
    near = [_near(epochs, values) for _, epochs in shown]
    named = list(dict.fromkeys(name for found in near for name in found))
    for place, name in enumerate(named):
        having = [column for column, found in enumerate(near) if name in found]
        for column in having:
            line = _reference_line(name, near[column][name], len(shown[column][1]), NOTHING[place % len(NOTHING)])
            figure.add_trace(line.update(showlegend=column == having[0]), row=1, col=column + 1)
    values += [value for found in near for value in found.values()]
    figure.update_yaxes(**value_axis(values, span=10))  # else the sum would press the small terms to the ground
    if figure.layout.yaxis.type == "log":  # where the lower end of a band may be next to 0, and the lines are not
        figure.update_yaxes(range=[math.log10(min(values)) - 0.2, math.log10(max(values)) + 0.2])
    figure.update_yaxes(title_text="loss (mean)", col=1)
    return _finished(figure, shown, 480)


def _in_lines(epoch: Epoch) -> list[Mapping[str, float]]:
    return [epoch.train, epoch.validation] if epoch.full else [epoch.train]


def _near(epochs: Sequence[Epoch], values: Sequence[float]) -> dict[str, float]:
    """Reference -> its weighted sum of the losses, lowest first, of those that would not press the lines together."""
    found = {name: measured["loss"] for name, measured in references(epochs).items() if "loss" in measured}
    reach = FAR * max((abs(value) for value in values), default=0.0)
    low, high = min(values, default=0.0) - reach, max(values, default=0.0) + reach
    return {name: value for name, value in sorted(found.items(), key=lambda pair: pair[1]) if low <= value <= high}


def _reference_line(name: str, value: float, epochs: int, dash: str) -> go.Scatter:
    """It is named in the legend: at the line its name would lie on others, which mostly come close to it."""
    shown = f"{label(name, 20)} (nothing learned)"
    return go.Scatter(
        x=[0, epochs],
        y=[value, value],
        mode="lines",
        line={"color": OTHER, "width": 1.5, "dash": dash},
        name=shown,
        legendgroup=shown,
        hovertemplate=f"{shown}: %{{y:.4g}}<extra></extra>",
    )


def balance(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """Ratios between weighted terms, on a logarithmic axis with lines at 1 and at 10 either way."""
    shown = panels(trials, metric)
    figure = _columns(shown)
    pairs = list(dict.fromkeys(pair for _, epochs in shown for e in epochs for pair in e.ratios()))
    for column, (_, epochs) in enumerate(shown, start=1):
        for index, pair in enumerate(pairs):
            style = {"color": term_colour(index), "dash": dash_of(index), "width": 2}
            line = _line(epochs, [e.ratios().get(pair) for e in epochs], label(pair, 40), style)
            figure.add_trace(line.update(showlegend=column == 1), row=1, col=column)
        for at, dash in ((0.1, "dot"), (1, "solid"), (10, "dot")):
            figure.add_hline(y=at, line={"color": OTHER, "width": 1.2, "dash": dash}, row=1, col=column)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title_text="ratio of weighted terms", col=1)
    return _finished(figure, shown, 560)


def weights(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """Weight of each term per epoch, as far as the curriculum has it."""
    shown = panels(trials, metric)
    figure = _columns(shown)
    terms = list(dict.fromkeys(term for _, epochs in shown for e in epochs for term in e.weights))
    for column, (_, epochs) in enumerate(shown, start=1):
        for index, term in enumerate(terms):
            # Equal weights lie on each other: the later ones are thinner.
            width = max(1.5, 7 - 1.5 * index)
            style = {"color": term_colour(index), "dash": dash_of(index), "width": width, "shape": "hv"}
            line = _line(epochs, [e.weights.get(term) for e in epochs], label(term, 30), style)
            figure.add_trace(line.update(showlegend=column == 1), row=1, col=column)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text="weight", col=1)
    return _finished(figure, shown, 360)


def gradients(trials: Sequence[TrialRecord], metric: Metric) -> go.Figure:
    """Norm of the whole gradient, before clipping, and of each weighted term's where it was recorded."""
    shown = panels(trials, metric)
    figure = _columns(shown)
    terms = list(dict.fromkeys(term for _, epochs in shown for e in epochs for term in e.gradient_norms))
    for column, (_, epochs) in enumerate(shown, start=1):
        whole = _line(epochs, [e.gradient_norm for e in epochs], "whole gradient", {"color": OTHER, "width": 3})
        lines = [whole]
        for index, term in enumerate(terms):
            style = {"color": term_colour(index), "dash": dash_of(index), "width": 2}
            lines.append(_line(epochs, [e.gradient_norms.get(term) for e in epochs], label(term, 30), style))
        for line in lines:
            figure.add_trace(line.update(showlegend=column == 1), row=1, col=column)
    values = [v for _, epochs in shown for e in epochs for v in (e.gradient_norm, *e.gradient_norms.values())]
    figure.update_yaxes(**value_axis(values))
    figure.update_yaxes(title_text="gradient norm", col=1)
    return _finished(figure, shown, 400)


def families(
    trials: Sequence[TrialRecord], metric: Metric, direction_of: DirectionOf, shares: Sequence[str] = ()
) -> dict[str, list[str]]:
    """Families of scores per class, such as `f1.*`, whose better direction is the metric's, and of shares.

    Family -> names.

    Args:
        trials: of the study.
        metric: of the study.
        direction_of: scores and patterns of scores; None for an unknown name.
        shares: patterns of what is neither good nor bad, such as `foreground.*`.
    """
    names = dict.fromkeys(n for _, epochs in panels(trials, metric) for e in epochs for n in e.validation)
    found: dict[str, list[str]] = {}
    for name in names:
        family = "" if _is_loss(name) or name == metric.name else family_of(name, direction_of)
        if share := next((pattern for pattern in shares if fnmatchcase(name, pattern)), ""):
            found.setdefault(share.removesuffix(".*"), []).append(name)
        elif family and direction_of(name) == metric.direction:
            found.setdefault(family, []).append(name)
    return {family: members for family, members in found.items() if len(members) > 1}


def per_class(trials: Sequence[TrialRecord], metric: Metric, family: str, names: Sequence[str]) -> go.Figure:
    """A family of scores on validation, a line per class; the metric is the thick grey line."""
    shown = panels(trials, metric)
    figure = _columns(shown)
    for column, (_, whole) in enumerate(shown, start=1):
        epochs = [e for e in whole if e.full]
        style: dict[str, Any] = {"color": OTHER, "width": 4}
        lines = [_line(epochs, [e.get(metric.name) for e in epochs], f"{label(metric.name)} (metric)", style)]
        for index, name in enumerate(names):
            style = {"color": term_colour(index), "dash": dash_of(index), "width": 2}
            shown_name = label(name.removeprefix(f"{family}."), 30)
            lines.append(_line(epochs, [e.get(name) for e in epochs], shown_name, style))
        for line in lines:
            figure.add_trace(line.update(showlegend=column == 1), row=1, col=column)
    figure.update_yaxes(rangemode="tozero")
    figure.update_yaxes(title_text=f"{label(family, 30)}, validation", col=1)
    return _finished(figure, shown, 420)


def _columns(shown: Sequence[Panel]) -> go.Figure:
    return make_subplots(rows=1, cols=max(1, len(shown)), shared_yaxes=True, horizontal_spacing=0.04)


def _finished(figure: go.Figure, shown: Sequence[Panel], height: int) -> go.Figure:
    for column, (title, epochs) in enumerate(shown, start=1):
        # Panels are named below, because above a legend of many rows would lie on their names on a narrow page.
        figure.update_xaxes(**count_axis(title, [len(epochs)]), title_font_size=13, col=column)
    styled(figure, height)
    return figure.update_layout(margin={"b": 70})


def _line(epochs: Sequence[Epoch], values: Iterable[float | None], name: str, line: Mapping[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=[e.number for e in epochs],
        y=[finite(value) for value in values],
        mode="lines+markers",
        # A line of one point would not be seen.
        marker={"size": 7 if len(epochs) < 2 else 1, "color": line["color"]},
        line=dict(line),
        name=name,
        legendgroup=name,
        hovertemplate=f"{name}<br>epoch %{{x}}: %{{y:.4g}}<extra></extra>",
    )


def _is_loss(name: str) -> bool:
    return name == "loss" or name.startswith("loss.")


def _loss_lines(epochs: Sequence[Epoch], name: str, colour: str, *, legend: bool) -> list[go.Scatter]:
    """Band of the spread, training and validation of one term; fast validations where there are any."""
    shown = "weighted sum" if name == "loss" else label(name.removeprefix("loss."), 30)
    style: dict[str, Any] = {"color": colour, "width": 3 if name == "loss" else 2}
    full, fast = [e for e in epochs if e.full], [e for e in epochs if not e.full]
    training = _line(epochs, [e.train.get(name) for e in epochs], shown, style | {"dash": "dash"})
    validation = _line(full, [e.validation.get(name) for e in full], shown, style | {"dash": "solid"})
    traces = [*_band(epochs, name, colour, shown), training.update(showlegend=False)]
    traces.append(validation.update(showlegend=legend))
    if fast:
        rings = _line(fast, [e.validation.get(name) for e in fast], shown, style)
        rings.update(mode="markers", showlegend=False, name=f"{shown}, on a part of the rows")
        traces.append(rings.update(marker={"size": 6, "symbol": "circle-open", "color": colour}))
    return traces


def _band(epochs: Sequence[Epoch], name: str, colour: str, shown: str) -> list[go.Scatter]:
    """One standard deviation of the batches' means each way, within their smallest and largest."""
    spread = [(e, e.spread[term]) for e in epochs if (term := name.removeprefix("loss.")) in e.spread]
    if not spread:
        return []
    numbers = [e.number for e, _ in spread]
    low = [max(e.train.get(name, s["min"]) - s["sd"], s["min"]) for e, s in spread]
    high = [min(e.train.get(name, s["max"]) + s["sd"], s["max"]) for e, s in spread]
    return [
        go.Scatter(
            x=[*numbers, *reversed(numbers)],
            y=[*low, *reversed(high)],
            fill="toself",
            fillcolor=faded(colour),
            line={"width": 0},
            mode="lines",
            name=f"{shown}, spread of the batches",
            legendgroup=shown,
            showlegend=False,
            hoverinfo="skip",
        )
    ]
