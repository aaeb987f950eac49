"""Slices of some windows: image, truth, probability, and which voxels are missed or invented."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots
from scipy.ndimage import binary_dilation

from objectives.confusion_figure import Columns, Shown, short
from objectives.picture_panels import NEITHER, add_picture, plain
from objectives.surface.data import BACKGROUND, FOREGROUND, IGNORED

#: Examples, and least pixels of the side of a picture, as many as a wide page shows of it; the gap between two.
EXAMPLES, SIDE, GAP = 8, 192, 4
#: The four pictures of an example, two in a panel: panels lie beside each other, on a phone below each other.
PAIRS = (("image", "truth"), ("probability", "mistakes"))
#: Where the two panels lie, which are twice as wide as high on a page of 62 rem.
ACROSS = ((0.0, 0.425), (0.435, 0.86))
#: Pixels from example to example, for words, above all examples, and of a line of words.
BETWEEN, ABOVE, LINE = 66, 94, 15
#: Pixels that the edge of the truth is wide: one alone would go where a picture is made smaller.
WIDE = 2
#: Of Okabe and Ito: voxels missed and invented, and the edge of what is labelled foreground; then what is ignored.
MISSED, INVENTED, EDGE, UNKNOWN = (213, 94, 0), (86, 180, 233), (240, 228, 66), (128, 128, 128)
#: A voxel is said to be foreground above it.
HALF = 0.5


def slices(examples: Columns) -> Shown | None:
    """Two panels of two pictures per window, words above them; None where nothing is labelled.

    Args:
        examples: as `objectives.surface.figures.figures` takes them.
    """
    rows = chosen(examples) if len(examples.get("image", ())) else []
    if not rows:
        return None
    tall = len(rows) * SIDE + (len(rows) - 1) * BETWEEN
    figure = make_subplots(rows=len(rows), cols=2, vertical_spacing=BETWEEN / tall)
    for place, k in enumerate(rows, start=1):
        name, *words = map(plain, _words(examples, k))
        for column, (heads, pair) in enumerate(zip(PAIRS, _pairs(examples, k), strict=True), start=1):
            cell = {"row": place, "col": column}
            add_picture(figure, pair, cell, colour=NEITHER, hover="<br>".join([name, *words]))
            for x, head in zip((0.25, 0.75), heads, strict=True):
                _add_line(figure, head, cell, x=x, xanchor="center", yshift=2)
        text = f"<b>{short(str(examples['volume'][k]))}</b>, {words[0]}<br>{', '.join(words[1:])}"
        _add_line(figure, text, {"row": place, "col": 1}, x=0, yshift=LINE + 2)
    for column, ends in enumerate(ACROSS, start=1):
        figure.update_xaxes(domain=ends, col=column)
    dark = (64, 64, 64)  # the edge is drawn on a picture, and a legend is on white
    for name, colour, line in (
        ("missed", MISSED, MISSED),
        ("invented (striped)", INVENTED, INVENTED),
        ("edge of the truth", dark, EDGE),
        ("ignored (striped)", UNKNOWN, UNKNOWN),
    ):
        marker = {"symbol": "square", "color": f"rgb{colour}", "size": 11, "line": {"width": 3, "color": f"rgb{line}"}}
        figure.add_trace(go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=marker), row=1, col=1)
    figure.update_layout(
        height=tall + ABOVE + 16,
        margin={"l": 8, "r": 8, "t": ABOVE, "b": 16},
        legend={"yref": "container", "y": 1, "yanchor": "top"},
    )
    return "Example slices", _caption(*examples["image"].shape[1:]), figure


def _caption(lines: int, columns: int) -> str:
    return (
        "Windows of the validation folds, drawn with the study's seed, one of every volume before a second of any, "
        "those with foreground first. Of each the slice with most true foreground, the middle one where there is none; "
        f"its number counts the slices of the volume from 0. {lines} x {columns} voxels are seen, of larger windows "
        f"the middle. A voxel is called foreground where its probability is above {HALF}; such a one on labelled "
        "background is invented, striped blue, any other on labelled foreground missed, orange. A yellow line is the "
        "edge of the truth, grey stripes are ignored. Each window is seen on its own here; in the scores of volumes "
        "the probabilities of overlapping windows are blended, which mends some mistakes, above all near their edges. "
        "Long lines missed along an edge are a surface that is too thin, invented ones that it is too thick, which the "
        "surface scores forgive up to their tolerance; a sheet missed or invented as a whole, or a bridge between two, "
        "they do not. A picture of probability that is white throughout is a network that says foreground of "
        "everything. This page holds these pictures: hand it on only to whom you may show them."
    )


def chosen(examples: Columns) -> list[int]:
    """Examples to show, of those with a labelled voxel: one of every volume before a second of any, folds in turn.

    Of a volume those with foreground come first.
    """
    volume, fold = examples["volume"].tolist(), examples["fold"].tolist()
    known = [k for k, truth in enumerate(examples["truth"]) if (truth != IGNORED).any()]
    known.sort(key=lambda k: FOREGROUND not in examples["truth"][k])
    turn = _turns(known, volume)
    again = _turns(known, [(turn.get(k), of) for k, of in enumerate(fold)])
    order = sorted(known, key=lambda k: (turn[k], again[k]))
    return sorted(order[:EXAMPLES], key=lambda k: (fold[k], str(volume[k]), int(examples["row"][k])))


def _turns(known: Sequence[int], kinds: Sequence[Hashable]) -> dict[int, int]:
    """The how-manieth of its kind each example is."""
    seen: Counter[Hashable] = Counter()
    turns = {}
    for k in known:
        turns[k] = seen[kinds[k]]
        seen[kinds[k]] += 1
    return turns


def _words(examples: Columns, k: int) -> Iterator[str]:
    truth, said = examples["truth"][k], examples["probability"][k] > HALF
    missed, invented = (truth == FOREGROUND) & ~said, (truth == BACKGROUND) & said
    found = int(((truth == FOREGROUND) & said).sum())
    wrong = int(missed.sum() + invented.sum())
    yield str(examples["volume"][k])
    yield ", ".join(f"{name} {examples[name][k]}" for name in ("slice", "row", "fold"))
    yield f"Dice {2 * found / (2 * found + wrong):.2f}" if found + wrong else "no foreground"
    yield f"missed {missed.sum()}"
    yield f"invented {invented.sum()}"


def _pairs(examples: Columns, k: int) -> Iterator[Image.Image]:
    """The pictures of PAIRS, two side by side, each voxel a whole number of pixels."""
    image, truth, probability = (examples[name][k] for name in ("image", "truth", "probability"))
    by = -(-SIDE // max(image.shape))
    grey, truth, level = (
        array.repeat(by, 0).repeat(by, 1) for array in (image, truth, np.rint(255 * probability).astype(np.uint8))
    )
    said = (probability > HALF).repeat(by, 0).repeat(by, 1)
    stripes = np.add(*np.indices(grey.shape)) // 3 % 2 == 0
    unknown = (truth == IGNORED) & stripes
    labelled = _painted(_coloured(grey), [(_edges(truth), EDGE), (unknown, UNKNOWN)])
    mistakes = [((truth == FOREGROUND) & ~said, MISSED), ((truth == BACKGROUND) & said & stripes, INVENTED)]
    wrong = _painted(_coloured(grey // 2 + 64), [*mistakes, (unknown, UNKNOWN)])
    gap = np.full((len(grey), GAP, 3), 255, np.uint8)
    for left, right in ((_coloured(grey), labelled), (_coloured(level), wrong)):
        yield Image.fromarray(np.concatenate((left, gap, right), 1))


def _coloured(grey: np.ndarray) -> np.ndarray:
    """`[h, w]` as `[h, w, 3]`."""
    return np.repeat(grey[..., None], 3, axis=2)


def _painted(picture: np.ndarray, layers: list[tuple[np.ndarray, tuple[int, int, int]]]) -> np.ndarray:
    for mask, colour in layers:
        picture[mask] = colour
    return picture


def _edges(truth: np.ndarray) -> np.ndarray:
    """Pixels of the foreground up to WIDE pixels from background."""
    return np.asarray((truth == FOREGROUND) & binary_dilation(truth == BACKGROUND, iterations=WIDE))


def _add_line(figure: go.Figure, text: str, cell: dict[str, int], **place: Any) -> None:
    """Words right above a panel's pictures."""
    above = {"xref": "x domain", "yref": "y domain", "y": 1, "xanchor": "left", "yanchor": "bottom", "align": "left"}
    figure.add_annotation(text=text, showarrow=False, font={"size": 11}, borderpad=0, **above | place, **cell)
