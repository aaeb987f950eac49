"""The page of a learning-rate range test: the curve, what it says, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from hpo.figure_style import BASELINE, BEST, FAINT, FAINTER, PRUNED, TERMS, styled, value_axis, wants_log
from hpo.files import write_whole
from hpo.lr_range import Point, Reading
from hpo.page import HEAD, Plot, render
from hpo.wording import number

#: Every so many steps a row of the table, for readers without JavaScript.
TABLE_EVERY = 10


def write_page(
    path: Path, points: Sequence[Point], reading: Reading, space: tuple[float, float], head: dict[str, Any]
) -> None:
    """Write one file without any request to a network.

    Args:
        path: of the page; missing folders are made.
        points: the steps.
        reading: what they say.
        space: the lowest and the highest rate of the study.
        head: `title`, `synthetic`, `facts` (pairs) and `sentences`.
    """
    rows = [[number(p.rate), number(p.loss), number(p.smooth_loss)] for p in points[::TABLE_EVERY]]
    plot = Plot(
        key="curve",
        title="Loss over the learning rate",
        caption="One dot per step of the optimizer, the rate growing from step to step. The line is an exponential "
        "mean of losses and of rates alike. Breaks: the rate of the first of the losses that brought the mean above "
        f"{number(reading.limit)}, its start or four times its lowest; the mean follows some steps later. Shaded: the "
        "rates to search.",
        figure=curve(points, reading, space),
    )
    write_whole(path.absolute(), render(head | {"rows": rows}, [plot], TEMPLATE).encode())


def curve(points: Sequence[Point], reading: Reading, space: tuple[float, float]) -> go.Figure:
    """Single losses as dots, their mean as a line; marks where it falls fastest, turns and breaks."""
    figure = go.Figure()
    if reading.suggested is not None:
        figure.add_vrect(*reading.suggested, fillcolor=FAINTER, line_width=0, layer="below")
    dots: dict[str, Any] = {"mode": "markers", "name": "one step", "marker": {"color": FAINT, "size": 5}}
    line: dict[str, Any] = {"mode": "lines", "name": "mean", "line": {"color": BASELINE, "width": 2.5}}
    shown = "lr %{x:.3g}<br>loss %{y:.4g}<extra></extra>"
    figure.add_scatter(x=[p.rate for p in points], y=[p.loss for p in points], hovertemplate=shown, **dots)
    figure.add_scatter(
        x=[p.smooth_rate for p in points], y=[p.smooth_loss for p in points], hovertemplate=shown, **line
    )
    for name, rate, colour, dash in (
        ("falls fastest", reading.fastest_rate, TERMS[2], "dash"),
        ("lowest", reading.lowest_rate, PRUNED, "dot"),
        ("breaks", reading.broken_rate, BEST, "solid"),
    ):
        if rate is not None:
            figure.add_vline(rate, name=name, showlegend=True, line={"color": colour, "dash": dash, "width": 2})
    _show_space(figure, space)
    figure.update_xaxes(type="log", title_text="learning rate", dtick=1)
    figure.update_yaxes(title_text="weighted training loss", **_loss_axis(points, reading))
    return styled(figure, 460)


def _show_space(figure: go.Figure, space: tuple[float, float]) -> None:
    """The study's own rates as a bar below the curve, a dot where there is one."""
    low, high = space
    name, line = "the study's optimizer.lr", {"color": TERMS[3], "width": 6}
    bar: dict[str, Any] = {"type": "line", "yref": "paper", "y0": 0.02, "y1": 0.02, "name": name, "showlegend": True}
    figure.add_shape(x0=low / 1.02, x1=high * 1.02, line=line, **bar)


def _loss_axis(points: Sequence[Point], reading: Reading) -> dict[str, Any]:
    """The whole mean up to the break; after it, which may be astronomical, as far above the start as below."""
    smooth = [p.smooth_loss for p in points]
    if wants_log(smooth):
        return value_axis(smooth)
    low = min(min(p.loss for p in points), min(smooth))
    whole = [p.smooth_loss for p in points if reading.broken_rate is None or p.rate < reading.broken_rate]
    high = max(*whole, min(max(smooth), 2 * reading.start - reading.lowest))
    return {"range": [low - 0.12 * (high - low), high + 0.12 * (high - low)]}


TEMPLATE = (
    """{% set kind = "hpo check" %}"""
    + HEAD
    + """
<body>
<p class="kicker">hpo check --lr-range</p>
<h1>{{ title }}</h1>
{% if synthetic %}
<p class="banner">SYNTHETIC DATA. Every number on this page comes from generated data and says nothing about real \
recordings.</p>
{% endif %}
{% for sentence in sentences %}
<p class="{{ 'lead' if loop.first }}">{{ sentence }}</p>
{% endfor %}
<noscript><p class="notice">The figure needs JavaScript; the table is readable without.</p></noscript>
{% for plot in plots.values() %}
<section class="figure">
<h3>{{ plot.title }}</h3>
<p class="caption">{{ plot.caption }}</p>
<div class="plot" id="{{ plot.key }}" style="min-height: {{ plot.figure.layout.height }}px"></div>
<script type="application/json" id="{{ plot.key }}-data">{{ plot.json() }}</script>
</section>
{% endfor %}
<h2>What was tried</h2>
<div class="scroll"><table class="facts"><tbody>
{% for key, value in facts %}
<tr><th scope="row">{{ key }}</th><td>{{ value }}</td></tr>
{% endfor %}
</tbody></table></div>
<details><summary>The numbers</summary>
<div class="scroll"><table>
<thead><tr><th scope="col" class="n">learning rate</th><th scope="col" class="n">loss</th>
<th scope="col" class="n">mean loss</th></tr></thead>
<tbody>
{% for row in rows %}
<tr>{% for cell in row %}<td class="n">{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</tbody></table></div>
</details>
<script nonce="{{ nonce }}">{{ plotly }}</script>
<script nonce="{{ nonce }}">{{ script }}</script>
</body>
</html>
"""
)
