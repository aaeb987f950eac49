"""The confusion matrix of a classification, drawn so that a dozen classes with long names are read on a phone too.

It takes the columns `truth` and `prediction` of an objective's predictions and imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
import plotly.graph_objects as go

Columns = Mapping[str, np.ndarray]
#: A title, what to look for, and the figure.
Shown = tuple[str, str, go.Figure]

#: Behind the dark words that the pointer brings up: plotly would take the colour of the cell or pixel.
HOVER = {"bgcolor": "#F0F0F0"}
#: Characters of a class's name at an axis.
LONGEST = 22


def confusion(predictions: Columns, classes: Sequence[str], title: str, entries: str = "rows") -> Shown | None:
    """Truth down, prediction across, as counts; the shade is the share of the truth. None where nothing has a class."""
    counts = counted(predictions, classes)
    support = counts.sum(1, keepdims=True)
    if not counts.any():
        return None
    names = [escape(name) for name in classes]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=names,
            z=counts / np.maximum(support, 1),
            text=np.where(counts > 0, counts.astype(str), ""),
            customdata=counts,
            texttemplate="%{text}",
            textfont={"size": 11 if len(classes) > 8 else 13},
            zmin=0,
            zmax=1,
            # An empty cell has a tint, so that the gaps between cells lead the eye along rows and columns.
            colorscale=[[0, "rgba(0,114,178,0.05)"], [1, "rgba(0,114,178,0.6)"]],
            xgap=1,
            ygap=1,
            showscale=False,  # it would take the room of two classes
            hoverlabel=HOVER,
            hovertemplate="truth %{y}<br>predicted %{x}<br>%{customdata} "
            f"{entries}, %{{z:.0%}} of the truth<extra></extra>",
        )
    )
    ticks = {"type": "category", "tickvals": names, "ticktext": [short(name) for name in classes], "showgrid": False}
    # Without a standoff the title lies across names that were turned.
    figure.update_xaxes(title_text="predicted", title_standoff=12, autotickangles=[0, 90], **ticks)
    figure.update_yaxes(title_text="truth", autorange="reversed", **ticks)
    caption = (
        f"{counts.sum()} {entries} with a class, {np.trace(counts) / counts.sum():.0%} of them on the diagonal; always "
        f"to say the most frequent class would be right for {support.max() / counts.sum():.0%}. The shade is the "
        "share of a row; a column that is filled throughout is a class that the network says of everything."
    )
    return title, caption, figure.update_layout(height=max(430, 240 + 28 * len(classes)))


def counted(predictions: Columns, classes: Sequence[str]) -> np.ndarray:
    """How often which class was said of which.

    Args:
        predictions: `truth`, a name of `classes` or "" where a row has none, and `prediction`, a name of `classes`.
        classes: all names.

    Returns:
        int64 `[class, class]`, truth down, prediction across; rows without a class are left out.
    """
    number = {name: k for k, name in enumerate(classes)}
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for truth, said in zip(predictions["truth"].tolist(), predictions["prediction"].tolist(), strict=True):
        if truth in number:
            counts[number[truth], number[said]] += 1
    return counts


def short(name: str) -> str:
    """A name as plotly shows it literally, cut to what an axis has room for."""
    return escape(name if len(name) <= LONGEST else name[: LONGEST - 1] + "…")
