"""One look for all figures, and texts that cannot act.

Colours are Okabe and Ito's (https://jfly.uni-koeln.de/color/), which readers with any common colour vision tell
apart; shape and dash carry the same distinction again for print. Backgrounds are transparent and no mark is black or
white, so that a figure stands on a light or a dark page. Nothing uses WebGL, which printing and servers lack.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import Any

import plotly.graph_objects as go

from hpo.evidence import finite
from hpo.harmless import harmless
from hpo.objective import Metric
from hpo.records import TrialRecord

BEST, BASELINE = "#D55E00", "#0072B2"  # vermilion, blue
OTHER, PRUNED, FAILED = "rgba(128,128,128,0.75)", "#CC9A00", "#CC79A7"
FAINT, FAINTER, GRID = "rgba(128,128,128,0.45)", "rgba(128,128,128,0.25)", "rgba(128,128,128,0.22)"
TERMS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#0072B2", "#D55E00", "#CDBB1F")
DASHES = ("solid", "dash", "dot", "dashdot")

#: Values that span this factor or more are drawn on a logarithmic axis.
LOG_SPAN = 100.0


def label(text: object, longest: int = 60) -> str:
    """A text that plotly shows as it is: no markup of plotly's HTML subset, no `%{...}` of its templates."""
    plain = harmless(" ".join(str(text).split()))
    plain = plain if len(plain) <= longest else plain[: longest - 1] + "…"
    return escape(plain).replace("{", "&#123;")


def wants_log(values: Iterable[object], span: float = LOG_SPAN) -> bool:
    """Whether values are positive throughout and span at least two decades, or another factor."""
    numbers = [n for v in values if (n := finite(v)) is not None]
    return bool(numbers) and min(numbers) > 0 and max(numbers) / min(numbers) >= span


def value_axis(values: Iterable[object], span: float = LOG_SPAN) -> dict[str, Any]:
    """A linear axis, or a logarithmic one with as many labels as its decades leave room for."""
    numbers = [n for v in values if (n := finite(v)) is not None]
    if not wants_log(numbers, span):
        return {"type": "linear"}
    decades = math.log10(max(numbers) / min(numbers))
    if decades < 3:  # else a tick between two powers would say 5, and not of what
        return {"type": "log", "dtick": "D2", "tickformat": "~g"}
    return {"type": "log", "dtick": math.ceil(decades / 8)}


def count_axis(title: str, numbers: Iterable[int]) -> dict[str, Any]:
    """An axis of trials or epochs; few of them get whole ticks, of which plotly would otherwise make halves."""
    whole = {"dtick": 1} if max(numbers, default=0) <= 12 else {}
    return {"title_text": title, "rangemode": "tozero"} | whole


def trial_name(trial: TrialRecord) -> str:
    configuration = f" “{label(trial.configuration)}”" if trial.configuration is not None else ""
    return f"trial {trial.number}{configuration}"


def axis_title(metric: Metric) -> str:
    return f"{label(metric.name, 40)} ({'higher' if metric.direction == 'maximize' else 'lower'} is better)"


def term_colour(index: int) -> str:
    """Colour of the n-th term, pair or class; after the last one it starts again, with another dash."""
    return TERMS[index % len(TERMS)]


def dash_of(index: int) -> str:
    """What tells lines of one colour apart."""
    return DASHES[index // len(TERMS) % len(DASHES)]


def faded(colour: str) -> str:
    """A colour of `TERMS` as the fill of a band."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.16)"


def styled(figure: go.Figure, height: int) -> go.Figure:
    """One look for all figures: no boxes, faint grid, legend above."""
    axis: dict[str, Any] = {
        "gridcolor": GRID,
        "zeroline": False,
        "linecolor": FAINT,
        "automargin": True,
        "ticks": "outside",
    }
    axis |= {"tickcolor": FAINT, "showline": True, "exponentformat": "e"}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 24, "t": 56, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif", "size": 13},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "bgcolor": "rgba(0,0,0,0)"},
        hovermode="closest",
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": FAINT, "activecolor": BASELINE},
    )
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis, title_standoff=10)  # else long labels of ticks would push under the title
    return figure
