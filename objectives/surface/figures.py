"""What a reader of segmented surfaces looks at: slices, the surface Dice of volumes, how much is called foreground.

Every function takes the columns of the objective's predictions (or examples) for windows that the model was not trained
on. This file imports no torch. Texts that data may name are escaped: plotly takes them for markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from objectives.confusion_figure import Columns, short
from objectives.confusion_figure import Shown as Shown  # of `figures`
from objectives.surface.sample_slices import slices

#: Of Okabe and Ito, and symbols, of the folds in their order; a sixth begins again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
SYMBOLS = ("circle", "diamond", "square", "cross", "x")
LINE = "rgba(128,128,128,0.75)"
#: Columns of the scores of a volume, and what the pointer calls them.
SCORES = {
    "volume.surface_dice@1": "surface Dice at 1 voxel",
    "volume.surface_dice@2": "surface Dice at 2 voxels",
    "volume.dice": "Dice",
    "volume.cldice": "clDice",
    "volume.competition": "competition score",
}
NEAR, FAR = tuple(SCORES)[:2]
#: Lines with a name of their own, whether of volumes or of groups; the height of one, and of all together, pixels.
NAMED, LINE_HEIGHT, MOST_HEIGHT = 40, 20, 900
#: Points of the figure of windows.
POINTS = 3000


def figures(predictions: Columns, examples: Columns, info: Mapping[str, Any]) -> list[Shown]:
    """Those that have something to show.

    Args:
        predictions: `row`, `fold`, `volume`, `group`, `truth` (foreground share of the window's labelled voxels, NaN =
            none), `prediction` (share said to be foreground), and `volume.dice`, `volume.surface_dice@1`,
            `volume.surface_dice@2`, `volume.cldice`, `volume.competition` of the window's whole volume (NaN = could
            not be computed); one entry per window of all validation parts.
        examples: `row`, `fold`, and what `objectives.surface.examples` gives; may be empty.
        info: nothing is taken from it.
    """
    found = [slices(examples), volumes(predictions), shares(predictions)]
    return [shown for shown in found if shown is not None]


def volumes(predictions: Columns) -> Shown | None:
    """The surface Dice at 1 voxel, a point per volume, its line as far as that at 2; sorted, group after group."""
    _, first = np.unique(predictions["volume"], return_index=True)
    scored = first[np.isfinite(predictions[NEAR][first])]
    if not len(scored):
        return None
    place = _places(predictions, scored)
    figure = go.Figure()
    for fold, ours, colour, symbol in _folds(predictions["fold"][scored]):
        rows = scored[ours]
        near, far = predictions[NEAR][rows], predictions[FAR][rows]
        figure.add_scatter(
            x=near,
            y=place[ours],
            mode="markers",
            name=f"fold {fold}: mean {near.mean():.3f} ({len(rows)})",
            marker={"size": 9 if len(scored) <= NAMED else 6, "color": colour, "symbol": symbol},
            error_x={"array": far - near, "arrayminus": 0 * near, "color": LINE, "thickness": 1.5, "width": 0},
            text=[_of_volume(predictions, row) for row in rows],
            hovertemplate="%{text}<extra></extra>",
        )
    ticks = _ticks(predictions, scored, place)
    figure.update_xaxes(title_text="surface Dice", range=[0, 1.02])
    figure.update_yaxes(tickvals=list(ticks), ticktext=list(ticks.values()), showgrid=False)
    figure.update_yaxes(range=[float(place.max()) + 1, -1])
    height = 150 + min(MOST_HEIGHT, LINE_HEIGHT * max(6, round(float(place.max())) + 1))
    caption = _of_volumes(predictions, scored, len(first) - len(scored), named=bool(ticks))
    return "Surface Dice of each volume", caption, figure.update_layout(height=height)


def _places(predictions: Columns, scored: np.ndarray) -> np.ndarray:
    """The line of each volume: groups by their mean, in them volumes, the best first; a line left free in between."""
    near, group = predictions[NEAR][scored], predictions["group"][scored]
    _, number, count = np.unique(group, return_inverse=True, return_counts=True)
    mean = np.bincount(number, near) / count
    order = np.lexsort((-near, number, -mean[number]))
    new = np.diff(number[order], prepend=number[order[:1]]) != 0
    free = 1.0 if count.max() > 1 else 0.0
    place = np.empty(len(scored))
    place[order] = np.arange(len(scored)) + free * new.cumsum()
    return place


def _ticks(predictions: Columns, scored: np.ndarray, place: np.ndarray) -> dict[float, str]:
    """Where which name stands: those of volumes, or else of groups, or else none."""
    group = predictions["group"][scored]
    if len(scored) <= NAMED:
        names = zip(place.tolist(), predictions["volume"][scored].tolist(), strict=True)
        return {at: short(str(name)) for at, name in sorted(names)}
    groups = np.unique(group).tolist()
    if len(groups) > NAMED:
        return {}
    return {float(place[group == name].mean()): f"{short(str(name))} ({(group == name).sum()})" for name in groups}


def _of_volume(predictions: Columns, row: int) -> str:
    volume, group = escape(str(predictions["volume"][row])), escape(str(predictions["group"][row]))
    values = {name: float(predictions[column][row]) for column, name in SCORES.items()}
    told = [f"{name} {value:.3f}" if np.isfinite(value) else f"{name} \u2013" for name, value in values.items()]
    return "<br>".join([f"{volume}", f"group {group}, fold {predictions['fold'][row]}", *told])


def _of_volumes(predictions: Columns, scored: np.ndarray, left_out: int, *, named: bool) -> str:
    near, far, group = (predictions[name][scored] for name in (NEAR, FAR, "group"))
    mean = {name: float(near[group == name].mean()) for name in np.unique(group).tolist()}
    best, worst = max(mean, key=mean.__getitem__), min(mean, key=mean.__getitem__)
    apart = (
        f" Group {worst} is the worst with a mean of {mean[worst]:.3f}, group {best} the best with {mean[best]:.3f}; "
        "groups that differ more than the volumes in them are scrolls that the network does not know."
        if 1 < len(mean) < len(scored)
        else ""
    )
    unnamed = "" if named else " There are too many volumes and groups to name them here: the pointer does."
    missing = f" Volumes without a score, as where nothing is labelled: {left_out}." if left_out else ""
    return (
        f"{len(scored)} volumes, each by the model of the fold that left it out: a mean of {near.mean():.3f} at a "
        f"tolerance of 1 voxel, the point, and of {np.nanmean(far):.3f} at 2, the end of its line. A long line is a "
        f"surface that is found but lies a voxel off, a short one at a low score a surface that is not "
        f"found.{apart}{missing}{unnamed}"
    )


def shares(predictions: Columns) -> Shown | None:
    """The share that is said to be foreground against the true one, a point per window."""
    known = np.flatnonzero(np.isfinite(predictions["truth"]))
    if not len(known):
        return None
    shown = known[np.linspace(0, len(known) - 1, min(POINTS, len(known))).round().astype(int)]
    truth, said = predictions["truth"], predictions["prediction"]
    figure = go.Figure()
    for fold, ours, colour, symbol in _folds(predictions["fold"][shown]):
        rows = shown[ours]
        figure.add_scatter(
            x=truth[rows],
            y=said[rows],
            mode="markers",
            name=f"fold {fold}",
            marker={"size": 7 if len(shown) < 500 else 5, "opacity": 0.6, "color": colour, "symbol": symbol},
            text=[f"{escape(str(predictions['volume'][row]))}, row {predictions['row'][row]}" for row in rows],
            hovertemplate="%{text}<br>true %{x:.1%}, said %{y:.1%}<extra></extra>",
        )
    constant = float(truth[known].mean())
    for name, ends, dash in (("both agree", (0, 1), "dash"), ("a constant", (constant, constant), "dot")):
        line = {"color": LINE, "width": 2, "dash": dash}
        figure.add_scatter(x=(0, 1), y=ends, mode="lines", name=name, line=line, hoverinfo="skip")
    figure.update_xaxes(title_text="true share of foreground", tickformat=".0%", range=[-0.03, 1.03])
    figure.update_yaxes(title_text="share said to be foreground", tickformat=".0%", range=[-0.03, 1.03])
    caption = _of_shares(truth[known], said[known], len(shown))
    return "Share of foreground: said and true", caption, figure.update_layout(height=480)


def _of_shares(truth: np.ndarray, said: np.ndarray, shown: int) -> str:
    off, trivial = np.abs(said - truth).mean(), np.abs(truth - truth.mean()).mean()
    thinned = f" {shown} of them are drawn, evenly chosen." if shown < len(truth) else ""
    return (
        f"{len(truth)} windows with a labelled voxel, as the share of their labelled voxels that is foreground: "
        f"{truth.mean():.1%} in the mean, {said.mean():.1%} as the network says.{thinned} It is off by {off:.1%} in "
        f"the mean; always to say {truth.mean():.1%}, the dotted line, by {trivial:.1%}. From window to window the "
        f"true share has a standard deviation of {truth.std():.1%}, what is said one of {said.std():.1%}: points along "
        "a level line are a network that says the same of every window, at the top that of the majority. A point on "
        "the dashed line has the right amount of foreground, be it in the right place or not."
    )


def _folds(fold: np.ndarray) -> Iterator[tuple[int, np.ndarray, str, str]]:
    """Number, its entries (bool), colour and symbol of each fold."""
    for place, number in enumerate(np.unique(fold).tolist()):
        yield number, fold == number, COLOURS[place % len(COLOURS)], SYMBOLS[place % len(SYMBOLS)]
