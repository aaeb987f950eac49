"""Some faces of the validation rows with what is true of them and what the network says."""

from __future__ import annotations

import base64
import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO
from itertools import zip_longest

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from objectives.confusion_figure import HOVER, Columns, Shown

#: Panels, in three columns, and the longest side of an image in pixels: even twelve of noise stay under 300 kB.
PANELS, COLUMNS, SIDE = 12, 3, 76
#: Characters of a line beside a face, for a phone has room for no more, and lines; the pointer shows what is cut.
LINE, LINES = 21, 10
#: Of Okabe and Ito: the frame of a face whose emotion was found, was not, or is not known.
RIGHT, WRONG, UNKNOWN = "#009E73", "#D55E00", "rgba(128,128,128,0.75)"


def faces(examples: Columns, units: Sequence[str]) -> Shown | None:
    """A panel per face, words on its right; None where there are no images.

    Args:
        examples: as `objectives.expression_figures.figures` takes them.
        units: names of the action units; those without a column, or NaN in a row, are not mentioned.
    """
    if not len(examples.get("image", ())):
        return None
    rows = chosen(examples)
    figure = make_subplots(rows=-(-len(rows) // COLUMNS), cols=COLUMNS, horizontal_spacing=0.02, vertical_spacing=0.04)
    for place, k in enumerate(rows):
        cell = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        image = _small(examples["image"][k])
        said = list(_sentences(examples, k, units))
        hover = "<br>".join(_plain(text) for text in (*_where(examples, k), *said)) + "<extra></extra>"
        figure.add_trace(go.Image(source=_data_uri(image), hovertemplate=hover, hoverlabel=HOVER), **cell)
        truth = str(examples["truth"][k])
        colour = UNKNOWN if not truth else RIGHT if truth == str(examples["prediction"][k]) else WRONG
        frame = {"showline": True, "mirror": True, "linecolor": colour, "linewidth": 3, "tickvals": [], "ticks": ""}
        # The image takes the left of its panel, and the axis shrinks to it, so that "domain" ends where it ends.
        held = {"constrain": "domain", "showgrid": False} | frame
        figure.update_xaxes(range=[-0.5, image.width - 0.5], constraintoward="left", **held, **cell)
        figure.update_yaxes(range=[image.height - 0.5, -0.5], constraintoward="top", **held, **cell)
        figure.add_annotation(
            text=_beside(said),
            xref="x domain",
            yref="y domain",
            x=1.06,
            y=1.03,
            xanchor="left",
            yanchor="top",
            align="left",
            showarrow=False,
            font={"size": 11},
            **cell,
        )
    known = [k for k in rows if examples["truth"][k] != ""]
    right = sum(examples["truth"][k] == examples["prediction"][k] for k in known)
    caption = (
        f"Rows of the validation folds, drawn with the study's seed, one of every emotion in turn: rare ones are "
        f"more frequent here than in the data, and {right} right of {len(known)} is no accuracy. The first line is the "
        "truth, the second what the network says with its probability; a wrong answer of high probability, or one that "
        "you would give yourself, is where to look at the labels. Units are compared where somebody looked for them. "
        "This page holds these images: hand it on only to whom you may show them."
    )
    height = 60 + 150 * -(-len(rows) // COLUMNS)
    return "Example faces", caption, figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 36, "b": 16})


def chosen(examples: Columns) -> list[int]:
    """Examples to show: of the emotions in turn, and of none last, every fold before a second of any."""
    fold, truth = examples["fold"].tolist(), examples["truth"].tolist()
    order = sorted(range(len(fold)), key=lambda k: (fold[:k].count(fold[k]), fold[k]))
    names = sorted(set(truth), key=lambda name: (name == "", name))
    members = [[k for k in order if truth[k] == name] for name in names]
    turns = [k for turn in zip_longest(*members) for k in turn if k is not None]
    return sorted(turns[:PANELS], key=lambda k: (names.index(truth[k]), fold[k], int(examples["row"][k])))


def _small(pixels: np.ndarray) -> Image.Image:
    """uint8 `[3, side, side]` (RGB) as an image of at most `SIDE` pixels."""
    image = Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    image.thumbnail((SIDE, SIDE))
    return image


def _data_uri(image: Image.Image) -> str:
    file = BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _where(examples: Columns, k: int) -> Iterator[str]:
    yield f"row {examples['row'][k]}, fold {examples['fold'][k]}"
    if "file" in examples:
        yield str(examples["file"][k])


def _beside(sentences: Sequence[str]) -> str:
    """Short lines, the first one bold; each is escaped after it was cut to length."""
    lines = [line for text in sentences for line in textwrap.wrap(text, LINE)]
    lines = lines if len(lines) <= LINES else [*lines[: LINES - 1], "…"]
    first, *others = (_plain(line) for line in lines)
    return "<br>".join([f"<b>{first}</b>", *others])


def _sentences(examples: Columns, k: int, units: Sequence[str]) -> Iterator[str]:
    """Truth, answer, and of the units what was found, missed or said without being there."""
    truth, said = str(examples["truth"][k]), str(examples["prediction"][k])
    share = f"{examples[f'p.{said}'][k]:.0%}"
    yield truth or "no emotion given"
    if truth == said:
        yield f"✓ right, {share}"
    else:
        yield f"✗ wrong: {said}, {share}" if truth else f"said: {said}, {share}"
    found: dict[str, list[str]] = {"found": [], "missed": [], "false": []}
    labelled = [unit for unit in units if f"truth.{unit}" in examples and np.isfinite(examples[f"truth.{unit}"][k])]
    for unit in labelled:
        active, yes = examples[f"truth.{unit}"][k] > 0.5, examples[f"p.{unit}"][k] > 0.5
        if active or yes:
            found["found" if active and yes else "missed" if active else "false"].append(unit)
    yield from (f"{what}: {', '.join(names)}" for what, names in found.items() if names)
    if units and not labelled:
        yield "units: nobody looked"


def _plain(text: str) -> str:
    """A text that plotly takes neither for markup nor for a template."""
    return escape(text).replace("{", "&#123;")
