"""The layout of a figure on a narrow page: panels in one column, the legend below.

Only the layout differs, so that the page's script can change over when a window is made smaller or a phone is turned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import plotly.graph_objects as go

#: Pixels of width below which a figure is narrow; that of the figure, which is the page's without its margins.
NARROW = 600
#: Pixels: a panel, one of many panels, between panels (ticks, two lines of title), a row of the legend.
PANEL, SMALL, BETWEEN, ROW = 240, 150, 96, 22
#: Above so many panels they are small.
MANY = 4
#: Characters of a legend's text that half a narrow page has room for.
HALF = 17


def narrow(figure: go.Figure) -> dict[str, Any]:
    """What its layout is on a narrow page, whole.

    Args:
        figure: finished; panels side by side are stacked row by row, panels in one column stay as they are.
    """
    layout: dict[str, Any] = deepcopy(figure.layout.to_plotly_json())
    rows = _legend_rows(figure)
    margin = {"l": 48, "r": 10, "t": 48 if layout.get("annotations") else 24, "b": 70 + ROW * rows}
    panels = _panels(layout)
    if len({tuple(x.get("domain", (0, 1))) for x, _ in panels}) > 1:
        height = _stack(layout, panels)
    else:
        own = layout.get("margin", {})
        height = layout["height"] - own.get("t", 56) - own.get("b", 48)
    layout["margin"] = margin
    layout["height"] = height + margin["t"] + margin["b"]
    below = {"orientation": "h", "xref": "container", "x": 0, "yref": "container", "y": 0, "yanchor": "bottom"}
    size = {"entrywidthmode": "fraction", "entrywidth": 0.5 if _short(figure) else 1.0, "font": {"size": 12}}
    layout["legend"] = layout.get("legend", {}) | below | size
    return layout


def _panels(layout: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Pairs of an x and a y axis in reading order."""
    pairs = []
    for name, axis in layout.items():
        if name.startswith("xaxis"):
            anchor = axis.get("anchor", "y")
            pairs.append((axis, layout.get("yaxis" + anchor[1:], {})))
    return sorted(pairs, key=lambda pair: (-pair[1].get("domain", (0, 1))[1], pair[0].get("domain", (0, 1))[0]))


def _stack(layout: dict[str, Any], panels: list[tuple[dict[str, Any], dict[str, Any]]]) -> int:
    """Give each panel the whole width and its own axis; titles above panels move along. Pixels that they take."""
    each = SMALL if len(panels) > MANY else PANEL
    total = len(panels) * each + (len(panels) - 1) * BETWEEN
    titles = [_titles(layout, x, y) for x, y in panels]
    y_title: dict[str, Any] = {}
    for place, (x, y) in enumerate(panels):
        top = 1 - place * (each + BETWEEN) / total
        for title in titles[place]:
            title.update(x=0.5, y=top)
        x["domain"], y["domain"] = [0.0, 1.0], [max(0.0, top - each / total), top]
        x["showticklabels"] = y["showticklabels"] = True
        y_title = y.get("title") or y_title  # of the first in the row, which the others left out
        y["title"] = y_title
    return total


def _titles(layout: dict[str, Any], x: dict[str, Any], y: dict[str, Any]) -> list[dict[str, Any]]:
    """The annotations that plotly's `subplot_titles` puts above a panel."""
    middle, top = sum(x["domain"]) / 2, y["domain"][1]
    return [
        note
        for note in layout.get("annotations", ())
        if note.get("yref") == "paper" and math.dist((note["x"], note["y"]), (middle, top)) < 1e-3
    ]


def _names(figure: go.Figure) -> Iterator[str]:
    """Texts of the legend: traces, and shapes that ask for it."""
    for trace in figure.data:
        if trace.name and trace.showlegend is not False:
            yield str(trace.name)
    yield from (str(shape.name) for shape in figure.layout.shapes if shape.showlegend)


def _short(figure: go.Figure) -> bool:
    return all(len(name) <= HALF for name in _names(figure))


def _legend_rows(figure: go.Figure) -> int:
    count = len(list(_names(figure)))
    return math.ceil(count / 2) if _short(figure) else count
