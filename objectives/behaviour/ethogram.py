"""True and predicted actions along the time of every session, drawn so that the rarest action can be seen.

It takes columns of the behaviour objective's predictions and imports no torch. Texts that data may name are escaped:
plotly takes them for markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from objectives.confusion_figure import HOVER, Columns, Shown, short
from objectives.problems import some

#: Of the classes in their order: Okabe and Ito's, the black one as grey, then four of Paul Tol's `muted` that are least
#: like them, without its darkest, which a dark page would swallow. A thirteenth class begins again.
PALETTE: tuple[str, ...] = (
    *("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#808080"),
    *("#882255", "#999933", "#AA4499", "#117733"),
)
#: Sessions drawn below each other, and pixels of each: a line of text and two bands.
SESSIONS, TALL = 16, 64
#: A class with a smaller share of the annotated frames is marked wherever it is: its segments may be under a pixel.
RARE = 0.05
#: Pixels of such a mark, and how many have room beside each other.
MARK, MARKS = 2.5, 600
#: Frames in colour, and places with words for the pointer, in all sessions: together under 700 kB.
COLOURED, HOVERED = 150_000, 8_000


@dataclass(frozen=True, kw_only=True)
class Track:
    """One session along its time."""

    name: str
    folds: tuple[int, ...]  #: mostly one, unless clips of a session may part
    first: int  #: number of its first frame
    bands: np.ndarray  #: int `[2, frame]`, numbers of the true and the predicted class, -1 = none

    @property
    def end(self) -> int:
        return self.first + self.bands.shape[1]

    @property
    def title(self) -> str:
        truth, said = self.bands
        right = f"{(truth == said)[truth >= 0].mean():.0%} right" if (truth >= 0).any() else "not annotated"
        return f"{short(self.name)}, fold {', '.join(map(str, self.folds))}: {right}"


def ethogram(predictions: Columns, info: Mapping[str, Any]) -> Shown | None:
    """Two bands per session, truth above prediction, a colour per class; None where nothing is predicted.

    Args:
        predictions: as `objectives.behaviour_figures.figures` takes them.
        info: `classes`, and `fps`: time is in seconds where it has all the sessions that are shown, else in frames.
    """
    classes, every = info["classes"], tracks(predictions, info["classes"])
    if not every:
        return None
    rare = _rare(every, len(classes))
    shown = _most_telling(every, rare)
    rates = [info["fps"].get(track.name) for track in shown]
    in_seconds = all(rates)
    figure = go.Figure()
    scales = [1 / rate if in_seconds else 1.0 for rate in rates]  # an axis unit per frame
    longest = max(track.end * scale for track, scale in zip(shown, scales, strict=True))
    total = sum(track.bands.shape[1] for track in shown)
    for place, (track, scale) in enumerate(zip(shown, scales, strict=True)):
        figure.add_trace(_bands(track, place, scale, -(-total // COLOURED), len(classes)))
        figure.add_trace(_words(track, place, scale, -(-total // HOVERED), classes, in_seconds))
        # On paper, not at time 0: it stays where a reader zooms in.
        text = {"text": track.title, "showarrow": False, "xanchor": "left", "yanchor": "middle", "font": {"size": 12}}
        figure.add_annotation(x=0, xref="paper", y=place + 0.2, yref="y", **text)
    for k in rare:
        figure.add_trace(_marks(shown, scales, k, longest / MARKS))
    for k, name in enumerate(classes):
        key = {"symbol": "square", "size": 12, "color": _colour(k)}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=short(name), marker=key)
    figure.update_xaxes(title_text="seconds" if in_seconds else "frame", range=[0, longest], showgrid=False)
    figure.update_yaxes(
        range=[len(shown), 0],
        fixedrange=True,
        showgrid=False,
        showline=False,
        ticks="",
        ticklabelstandoff=4,
        tickvals=[place + y for place in range(len(shown)) for y in (0.51, 0.82)],
        ticktext=["true", "predicted"] * len(shown),
    )
    figure.update_layout(height=170 + TALL * len(shown), legend={"itemclick": False, "itemdoubleclick": False})
    return "Actions along the time of each session", _caption(shown, every, rare, classes), figure


def tracks(predictions: Columns, classes: Sequence[str]) -> list[Track]:
    """Each session's bands, in the order of the names; frames that are in no row have neither truth nor prediction."""
    truth, said = (numbers(predictions[column], classes) for column in ("truth", "prediction"))
    names, session = np.unique(predictions["session"], return_inverse=True)
    found = []
    for k, name in enumerate(names.tolist()):
        ours = session == k
        frame = predictions["frame"][ours]
        bands = np.full((2, frame.max() - frame.min() + 1), -1, np.min_scalar_type(-len(classes)))
        bands[:, frame - frame.min()] = truth[ours], said[ours]
        folds = tuple(np.unique(predictions["fold"][ours]).tolist())
        found.append(Track(name=str(name), folds=folds, first=int(frame.min()), bands=bands))
    return found


def numbers(names: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """int64, the number of each name in `classes`; -1 for any other text."""
    number = {name: k for k, name in enumerate(classes)}
    return np.asarray([number.get(name, -1) for name in names.tolist()], np.int64)


def _rare(every: Sequence[Track], classes: int) -> list[int]:
    """Classes under the share `RARE` of the annotated frames, the rarest last; none where nothing is annotated."""
    truth, said = (_frames_of_each(every, band, classes) for band in (0, 1))
    order = np.argsort(-truth, kind="stable").tolist()
    return [k for k in order if truth[k] + said[k] and truth[k] < RARE * truth.sum()]


def _frames_of_each(every: Sequence[Track], band: int, classes: int) -> np.ndarray:
    number = np.concatenate([track.bands[band] for track in every])
    return np.bincount(number[number >= 0], minlength=classes)


def _most_telling(every: Sequence[Track], rare: Sequence[int]) -> list[Track]:
    """All; of many those with the most frames of rare classes, then of any class, in the order that they have."""
    worth = [(int(np.isin(track.bands[0], rare).sum()), int((track.bands[0] >= 0).sum())) for track in every]
    best = sorted(range(len(every)), key=lambda k: worth[k], reverse=True)[:SESSIONS]
    return [every[k] for k in sorted(best)]


def _bands(track: Track, place: int, scale: float, step: int, classes: int) -> go.Heatmap:
    """Every `step`-th frame. As an image it is drawn at once, however many there are, where bars are not."""
    colours = ["rgba(0,0,0,0)", *map(_colour, range(classes))]
    stops = [(end / len(colours), colour) for k, colour in enumerate(colours) for end in (k, k + 1)]
    return go.Heatmap(
        z=track.bands[:, ::step],
        zmin=-1.5,
        zmax=classes - 0.5,
        colorscale=stops,
        showscale=False,
        showlegend=False,
        x0=track.first * scale,
        dx=step * scale,
        y0=place + 0.51,
        dy=0.31,
        ygap=2,
        hoverinfo="skip",
    )


def _words(track: Track, place: int, scale: float, step: int, classes: Sequence[str], in_seconds: bool) -> go.Heatmap:
    """What the pointer reads over both bands: a second image, which nobody sees, for words are what takes room."""
    true = [*(f"true {escape(name)}" for name in classes), "not annotated"]  # the last one is number -1
    said = [*(f"predicted {escape(name)}" for name in classes), "in no validation clip"]
    words = [f"{true[of_truth]}, {said[of_network]}" for of_truth, of_network in track.bands[:, ::step].T.tolist()]
    return go.Heatmap(
        z=np.zeros((1, len(words)), np.int8),
        text=[words],
        colorscale=["rgba(0,0,0,0)", "rgba(0,0,0,0)"],
        showscale=False,
        showlegend=False,
        x0=track.first * scale,
        dx=step * scale,
        y0=place + 0.665,
        dy=0.62,
        name=escape(track.name),
        hoverlabel=HOVER,
        hovertemplate=f"%{{fullData.name}}, {'%{x:.2f} s' if in_seconds else 'frame %{x}'}<br>%{{text}}<extra></extra>",
    )


def _marks(shown: Sequence[Track], scales: Sequence[float], k: int, nearest: float) -> go.Scatter:
    """A line at the middle of each run of a class, of a width in pixels; one where several are near.

    Lines stand on the outer part of their band: on all of it those of a prediction that flickers would hide the band.
    """
    x, y = [], []
    for place, (track, scale) in enumerate(zip(shown, scales, strict=True)):
        for band, top in zip(track.bands == k, (place + 0.31, place + 0.84), strict=True):
            turns = np.flatnonzero(np.diff(band, prepend=False, append=False))
            middle = (track.first + (turns[::2] + turns[1::2] - 1) / 2) * scale
            middle = middle[np.unique(middle // nearest, return_index=True)[1]]
            x.append(np.stack([middle, middle, np.full(len(middle), np.nan)], 1).ravel())
            y.append(np.tile([top, top + 0.18, np.nan], len(middle)))
    line = {"color": _colour(k), "width": MARK}
    points = {"x": np.concatenate(x).astype(np.float32), "y": np.concatenate(y).astype(np.float32)}
    return go.Scatter(**points, mode="lines", line=line, hoverinfo="skip", showlegend=False)


def _colour(k: int) -> str:
    return PALETTE[k % len(PALETTE)]


def _caption(shown: Sequence[Track], every: Sequence[Track], rare: Sequence[int], classes: Sequence[str]) -> str:
    text = "Blank is not annotated, or in no validation clip. "
    if rare:
        text += (
            f"Actions with under {RARE:.0%} of the annotated frames ({some([classes[k] for k in rare])}) have a mark "
            "at the edge of the band wherever they are, so that a few frames of thousands can be seen; a mark says "
            "nothing of their length, which shows where one zooms in. "
        )
    text += "A mark above with none of its colour below is a missed action, one below with none above a false alarm."
    if len(classes) > len(PALETTE):
        text += f" There are {len(PALETTE)} colours for {len(classes)} actions: the pointer tells which it is."
    if len(shown) < len(every):
        text += (
            f" Of {len(every)} sessions {len(every) - len(shown)} are left out: the {len(shown)} shown have the most "
            "frames of those rare actions, or else the most annotated frames."
        )
    return text
