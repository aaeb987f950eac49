"""The middle slices of some windows: image, truth, probability, and which voxels are missed or invented."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from objectives.confusion_figure import Columns, Shown
from objectives.picture_panels import NEITHER, add_picture, add_words, plain
from objectives.surface.data import BACKGROUND, FOREGROUND, IGNORED

#: Panels, and least pixels of the side of a picture, of which there are four in a panel, with a gap between them.
PANELS, SIDE, GAP = 8, 96, 4
#: Voxels of a side; of larger slices the middle is shown, or the page would hold megabytes.
LARGEST = 64
#: Characters of a line of words, and pixels from panel to panel: four pictures leave a phone room for words.
LINE, TALL = 16, 78
#: Of Okabe and Ito: voxels missed and invented, and the edge of what is labelled foreground; then what is ignored.
MISSED, INVENTED, EDGE, UNKNOWN = (213, 94, 0), (86, 180, 233), (240, 228, 66), (128, 128, 128)
PICTURES = ("image", "truth", "probability", "mistakes")
#: A voxel is said to be foreground above it.
HALF = 0.5


def slices(examples: Columns) -> Shown | None:
    """A panel per window, four pictures from left to right, words beside them; None where nothing is labelled.

    Args:
        examples: as `objectives.surface.figures.figures` takes them.
    """
    examples = _middles(examples)
    rows = chosen(examples) if len(examples.get("image", ())) else []
    if not rows:
        return None
    figure = make_subplots(rows=len(rows), cols=1, vertical_spacing=0.18 / len(rows))
    for place, k in enumerate(rows, start=1):
        cell = {"row": place, "col": 1}
        lines = list(_words(examples, k))
        add_picture(figure, _strip(examples, k), cell, colour=NEITHER, hover="<br>".join(map(plain, lines)))
        first, *others = (plain(line if len(line) <= LINE else line[: LINE - 1] + "…") for line in lines)
        add_words(figure, "<br>".join([f"<b>{first}</b>", *others]), cell, x=1.02)
    _add_heads(figure)
    dark = (64, 64, 64)  # the edge is drawn on a picture, and a legend is on white
    for name, colour, line in (
        ("missed", MISSED, MISSED),
        ("invented (striped)", INVENTED, INVENTED),
        ("edge of the truth", dark, EDGE),
        ("ignored (striped)", UNKNOWN, UNKNOWN),
    ):
        marker = {"symbol": "square", "color": f"rgb{colour}", "size": 11, "line": {"width": 3, "color": f"rgb{line}"}}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker), row=1, col=1)
    caption = (
        f"The middle slices of windows of the validation folds, at most {LARGEST} voxels of a side, kept with the "
        "study's seed, one of every volume before a second of any. A voxel above "
        f"{HALF} is said to be foreground. Long lines missed along an edge are a "
        "surface that is too thin, invented ones that it is too thick, which the surface scores forgive up to their "
        "tolerance; a sheet missed or invented as a whole, or a bridge between two, they do not. A picture of "
        "probability that is white throughout is a network that says foreground of everything. This page holds these "
        "pictures: hand it on only to whom you may show them."
    )
    height = 110 + TALL * len(rows)
    return "Example slices", caption, figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 94, "b": 16})


def chosen(examples: Columns) -> list[int]:
    """Examples to show, of those with a labelled voxel: one of every volume before a second of any, folds in turn."""
    volume, fold = examples["volume"].tolist(), examples["fold"].tolist()
    known = [k for k, truth in enumerate(examples["truth"]) if (truth != IGNORED).any()]
    turn = {k: sum(volume[j] == volume[k] for j in known if j < k) for k in known}
    again = {k: sum((fold[j], turn[j]) == (fold[k], turn[k]) for j in known if j < k) for k in known}
    order = sorted(known, key=lambda k: (turn[k], again[k]))
    return sorted(order[:PANELS], key=lambda k: (fold[k], str(volume[k]), int(examples["row"][k])))


def _middles(examples: Columns) -> Columns:
    """The examples, of slices larger than LARGEST the middle alone."""

    def middle(array: np.ndarray) -> np.ndarray:
        top, left = (max(0, side - LARGEST) // 2 for side in array.shape[1:])
        return array[:, top : top + LARGEST, left : left + LARGEST]

    cut = {name: middle(column) for name, column in examples.items() if column.ndim == 3}
    return {**examples, **cut}


def _words(examples: Columns, k: int) -> Iterator[str]:
    truth, said = examples["truth"][k], examples["probability"][k] > HALF
    missed, invented = (truth == FOREGROUND) & ~said, (truth == BACKGROUND) & said
    found = int(((truth == FOREGROUND) & said).sum())
    wrong = int(missed.sum() + invented.sum())
    yield str(examples["volume"][k])
    yield f"Dice {2 * found / (2 * found + wrong):.2f}" if found + wrong else "no foreground"
    yield f"missed {missed.sum()}"
    yield f"invented {invented.sum()}"
    yield f"row {examples['row'][k]}, fold {examples['fold'][k]}"


def _strip(examples: Columns, k: int) -> Image.Image:
    """The four pictures of an example side by side, each voxel a whole number of pixels."""
    image, truth, probability = (examples[name][k] for name in ("image", "truth", "probability"))
    by = -(-SIDE // max(image.shape))
    grey, truth, level = (
        array.repeat(by, 0).repeat(by, 1) for array in (image, truth, np.rint(255 * probability).astype(np.uint8))
    )
    stripes = np.add(*np.indices(grey.shape)) // 3 % 2 == 0
    said, unknown = level > 255 * HALF, (truth == IGNORED) & stripes
    labelled = _painted(_coloured(grey), [(_edges(truth), EDGE), (unknown, UNKNOWN)])
    mistakes = [((truth == FOREGROUND) & ~said, MISSED), ((truth == BACKGROUND) & said & stripes, INVENTED)]
    wrong = _painted(_coloured(grey // 2 + 64), [*mistakes, (unknown, UNKNOWN)])
    gap = np.full((len(grey), GAP, 3), 255, np.uint8)
    pictures = (_coloured(grey), gap, labelled, gap, _coloured(level), gap, wrong)
    return Image.fromarray(np.concatenate(pictures, 1))


def _coloured(grey: np.ndarray) -> np.ndarray:
    """`[h, w]` as `[h, w, 3]`."""
    return np.repeat(grey[..., None], 3, axis=2)


def _painted(picture: np.ndarray, layers: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    for mask, colour in layers:
        picture[mask] = colour
    return picture


def _edges(truth: np.ndarray) -> np.ndarray:
    """Pixels of the foreground that have a neighbour of background."""
    inside, outside = truth == FOREGROUND, np.pad(truth == BACKGROUND, 1)
    return np.asarray(inside & (outside[2:, 1:-1] | outside[:-2, 1:-1] | outside[1:-1, 2:] | outside[1:-1, :-2]))


def _add_heads(figure: go.Figure) -> None:
    """What the four pictures are, above the first panel."""
    place = {"xref": "x domain", "yref": "y domain", "xanchor": "center", "yanchor": "bottom"}
    for number, name in enumerate(PICTURES):
        x = (number + 0.5) / len(PICTURES)
        figure.add_annotation(text=name, x=x, y=1.03, showarrow=False, font={"size": 11}, **place)
