"""Some faces of the validation rows with what is true of them and what the network says."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np
from PIL import Image
from plotly.subplots import make_subplots

from objectives.confusion_figure import Columns, Shown
from objectives.picture_panels import NEITHER, RIGHT, WRONG, add_picture, add_words, plain

#: Panels, in three columns, and the longest side of an image in pixels: even twelve of noise stay under 300 kB.
PANELS, COLUMNS, SIDE = 12, 3, 76
#: Characters of a line beside a face, for a phone has room for no more, and lines; the pointer shows what is cut.
LINE, LINES = 21, 10


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
        hover = "<br>".join(plain(text) for text in (*_where(examples, k), *said))
        truth = str(examples["truth"][k])
        colour = NEITHER if not truth else RIGHT if truth == str(examples["prediction"][k]) else WRONG
        add_picture(figure, image, cell, colour=colour, hover=hover)
        add_words(figure, _beside(said), cell, x=1.06)
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


def _where(examples: Columns, k: int) -> Iterator[str]:
    yield f"row {examples['row'][k]}, fold {examples['fold'][k]}"
    if "file" in examples:
        yield str(examples["file"][k])


def _beside(sentences: Sequence[str]) -> str:
    """Short lines, the first one bold; each is escaped after it was cut to length."""
    lines = [line for text in sentences for line in textwrap.wrap(text, LINE)]
    lines = lines if len(lines) <= LINES else [*lines[: LINES - 1], "…"]
    first, *others = (plain(line) for line in lines)
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
