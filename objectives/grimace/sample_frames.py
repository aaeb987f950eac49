"""Frames of some clips with the true and the predicted score: of each moment the best, a typical and the worst."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image
from plotly.subplots import make_subplots

from objectives.confusion_figure import Columns, Shown
from objectives.picture_panels import NEITHER, RIGHT, WRONG, add_picture, add_words, plain

#: Frames of a clip beside each other, and the side of each in pixels: four of them leave a phone room for words.
FRAMES, SIDE = 4, 56
#: Characters of a line of words, and pixels from panel to panel.
LINE, TALL = 20, 66
#: Colour of the frame around a clip by which of its moment it is.
FRAME = {"best": RIGHT, "typical": NEITHER, "worst": WRONG, "only one": NEITHER}


def frames(examples: Columns, moments: Sequence[str]) -> Shown | None:
    """A panel per clip, its frames from left to right in time, words beside them; None where no clip is scored.

    Args:
        examples: as `objectives.grimace.figures.figures` takes them.
        moments: in order; clips of no moment come last.
    """
    picked = list(chosen(examples, moments)) if len(examples.get("clip", ())) else []
    if not picked:
        return None
    figure = make_subplots(rows=len(picked), cols=1, vertical_spacing=0.22 / len(picked))
    for place, (k, which) in enumerate(picked, start=1):
        cell = {"row": place, "col": 1}
        lines = list(_words(examples, k, which))
        hover = "<br>".join(map(plain, lines))
        add_picture(figure, _strip(examples["clip"][k]), cell, colour=FRAME[which], hover=hover, form="JPEG")
        first, *others = (plain(line if len(line) <= LINE else line[: LINE - 1] + "…") for line in lines)
        add_words(figure, "<br>".join([f"<b>{first}</b>", *others]), cell, x=1.04)
    caption = (
        "Clips of the validation folds, of each moment the one whose prediction is nearest to the truth, one of median "
        "error and the one farthest off, among some that were kept with the study's seed: no clip here is a measure of "
        "how often that happens. The worst ones are where to look for a face that is turned away, hidden or out of the "
        "picture, and for a score that you would not give yourself. This page holds these pictures: hand it on only to "
        "whom you may show them."
    )
    height = 52 + TALL * len(picked)
    return "Example clips", caption, figure.update_layout(height=height, margin={"l": 8, "r": 8, "t": 36, "b": 16})


def chosen(examples: Columns, moments: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Entries to show, and which of its moment each is: `best`, `typical`, `worst`, or `only one`."""
    error = np.abs(examples["said"] - examples["truth"])
    number = {name: k for k, name in enumerate(moments)}
    of = np.asarray([number.get(name, len(moments)) for name in examples["moment"].tolist()])
    for moment in range(len(moments) + 1):
        ours = np.flatnonzero((of == moment) & np.isfinite(error))
        ours = ours[np.argsort(error[ours], kind="stable")].tolist()
        if len(ours) == 1:
            yield ours[0], "only one"
        elif ours:
            middle = ours[1:-1]
            yield ours[0], "best"
            yield from ((k, "typical") for k in middle[(len(middle) - 1) // 2 :][:1])
            yield ours[-1], "worst"


def _words(examples: Columns, k: int, which: str) -> Iterator[str]:
    truth, said = float(examples["truth"][k]), float(examples["said"][k])
    yield f"{examples['moment'][k] or 'no moment'}: {which}"
    yield f"true {truth:.3g}, said {said:.3g}"
    yield str(examples["video"][k])
    yield f"row {examples['row'][k]}, fold {examples['fold'][k]}"


def _strip(clip: np.ndarray) -> Image.Image:
    """uint8 `[k, 3, side, side]` (RGB): at most `FRAMES` of them, spread evenly, side by side."""
    picked = clip[np.linspace(0, len(clip) - 1, min(FRAMES, len(clip))).round().astype(int)]
    images = [Image.fromarray(np.ascontiguousarray(np.moveaxis(frame, 0, -1))) for frame in picked]
    for image in images:
        image.thumbnail((SIDE, SIDE))
    strip = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)))
    left = 0
    for image in images:
        strip.paste(image, (left, 0))
        left += image.width
    return strip
