"""Pictures in a figure: small ones inside the page itself, each with its frame at the left of its panel.

This file imports no torch.
"""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO
from typing import Any, Literal

import plotly.graph_objects as go
from PIL import Image

from objectives.confusion_figure import HOVER

#: Of Okabe and Ito: the frame of a picture of which the network is right, wrong, or neither.
RIGHT, WRONG, NEITHER = "#009E73", "#D55E00", "rgba(128,128,128,0.75)"


def add_picture(
    figure: go.Figure,
    image: Image.Image,
    cell: dict[str, int],
    *,
    colour: str,
    hover: str,
    form: Literal["PNG", "JPEG"] = "PNG",
) -> None:
    """Put an image into the panel `cell`, with a frame of that colour; beside it "x domain" begins anew at 1.

    Args:
        figure: of `make_subplots`.
        image: as large as the page shall hold it.
        cell: `row` and `col`.
        colour: of the frame.
        hover: what the pointer brings up: lines that `plain` made, joined by <br>.
        form: JPEG loses what a frame of a video has lost before, and takes a fifth of the page.
    """
    template = f"{hover}<extra></extra>"
    figure.add_trace(go.Image(source=_data_uri(image, form), hovertemplate=template, hoverlabel=HOVER), **cell)
    frame = {"showline": True, "mirror": True, "linecolor": colour, "linewidth": 3, "tickvals": [], "ticks": ""}
    # The image takes the left of its panel, and the axis shrinks to it, so that "domain" ends where it ends.
    held = {"constrain": "domain", "showgrid": False} | frame
    figure.update_xaxes(range=[-0.5, image.width - 0.5], constraintoward="left", **held, **cell)
    figure.update_yaxes(range=[image.height - 0.5, -0.5], constraintoward="top", **held, **cell)


def add_words(figure: go.Figure, text: str, cell: dict[str, int], x: float) -> None:
    """Lines of markup at the right of the panel's picture, from `x` on, in widths of the picture."""
    place: dict[str, Any] = {"xref": "x domain", "yref": "y domain", "xanchor": "left", "yanchor": "top"}
    figure.add_annotation(text=text, x=x, y=1.03, align="left", showarrow=False, font={"size": 11}, **place, **cell)


def plain(text: str) -> str:
    """A text that plotly takes neither for markup nor for a template."""
    return escape(text).replace("{", "&#123;")


def _data_uri(image: Image.Image, form: Literal["PNG", "JPEG"]) -> str:
    file = BytesIO()
    image.save(file, form, optimize=True, **({"quality": 85} if form == "JPEG" else {}))
    return f"data:image/{form.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"
