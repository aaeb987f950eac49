"""What a reader of behaviour looks at: actions along time, confused frames, segments that were found.

Every function takes the columns of the objective's predictions for frames that the model was not trained on. This file
imports no torch. Texts that data may name are escaped: plotly takes them for markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from objectives.behaviour.ethogram import ethogram, numbers
from objectives.confusion_figure import Columns, confusion, short
from objectives.confusion_figure import Shown as Shown  # of `figures`
from objectives.segments import ALL, OVERLAPS, segment_report, segment_scores, segment_sums

#: The overlap whose F1 stands beside its bars in numbers.
WRITTEN = OVERLAPS[1]
#: Of bars at the overlaps of `OVERLAPS`, and of the edit score.
SHADES, EDIT = ("#B5DDF5", "#56B4E9", "#0072B2"), "#E69F00"


def figures(predictions: Columns, examples: Columns, info: Mapping[str, Any]) -> list[Shown]:
    """Those that have something to show.

    Args:
        predictions: `row` (a clip), `fold`, `session`, `frame` (its number in the session), `truth` (a class, "" = not
            annotated) and `prediction`; one entry per frame of all validation clips, in any order.
        examples: nothing is taken from them.
        info: `classes`, names in order, and `fps`, frames per second of the sessions that say.
    """
    found = [
        ethogram(predictions, info),
        frames(predictions, info["classes"]),
        segments(predictions, info["classes"]),
    ]
    return [shown for shown in found if shown is not None]


def frames(predictions: Columns, classes: Sequence[str]) -> Shown | None:
    """The confusion of frames."""
    return confusion(predictions, classes, "Action of each frame: truth and prediction", "frames")


def segments(predictions: Columns, classes: Sequence[str]) -> Shown | None:
    """The F1 of segments of each class, a bar within a bar per overlap; None where nothing is annotated."""
    said, truth = clips(predictions, classes)
    sums = segment_sums(said, truth, len(classes))
    report, scores = segment_report(sums, classes), segment_scores(sums, classes)
    if not report:
        return None
    names = [ALL, *sorted(set(report) - {ALL}, key=lambda name: -report[name]["segments"])]
    figure = go.Figure()
    for overlap, colour in zip(OVERLAPS, SHADES, strict=True):
        figure.add_bar(
            x=[report[name][f"segment_f1@{overlap}"] for name in names],
            y=list(range(len(names))),
            orientation="h",
            name=f"F1 at {overlap}",
            marker={"color": colour},
            text=[escape(name) for name in names],
            textposition="none",
            hovertemplate=f"%{{text}}: F1 %{{x:.3f}} at an overlap of {overlap}<extra></extra>",
        )
    figure.add_bar(
        x=[scores["edit"]],
        y=[len(names)],
        orientation="h",
        name="edit score",
        marker={"color": EDIT, "pattern": {"shape": "/", "fillmode": "replace", "solidity": 0.45}},
        hovertemplate="edit score %{x:.3f}<extra></extra>",
    )
    written = [f"{report[name][f'segment_f1@{WRITTEN}']:.2f}" for name in names]
    figure.add_scatter(
        x=[1.02] * (len(names) + 1),
        y=list(range(len(names) + 1)),
        text=[*written, f"{scores['edit']:.2f}"],
        mode="text",
        textposition="middle right",
        cliponaxis=False,
        hoverinfo="skip",
        showlegend=False,
    )
    ticks = [*(f"{short(name)} ({report[name]['segments']:.0f})" for name in names), "edit score"]
    figure.update_xaxes(title_text="F1 or edit score", range=[0, 1.2], tickvals=[0, 0.2, 0.4, 0.6, 0.8, 1])
    figure.update_yaxes(autorange="reversed", tickvals=list(range(len(ticks))), ticktext=ticks, showgrid=False)
    figure.update_layout(barmode="overlay", bargap=0.35, height=170 + 26 * len(ticks))
    return "Segments of each action", _of_segments(sums, truth, scores, classes), figure


def clips(predictions: Columns, classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true numbers of classes, int64 `[clip, time]`, -1 = no such frame, or not annotated."""
    names, row = np.unique(predictions["row"], return_inverse=True)
    first = np.full(len(names), np.iinfo(np.int64).max)
    np.minimum.at(first, row, predictions["frame"])
    time = predictions["frame"] - first[row]
    said, truth = (np.full((len(names), time.max(initial=-1) + 1), -1, np.int64) for _ in range(2))
    said[row, time] = numbers(predictions["prediction"], classes)
    truth[row, time] = numbers(predictions["truth"], classes)
    return said, truth


def _of_segments(
    sums: Mapping[str, np.ndarray], truth: np.ndarray, scores: Mapping[str, float], classes: Sequence[str]
) -> str:
    usual = int(np.bincount(truth[truth >= 0]).argmax())
    trivial = segment_scores(segment_sums(np.full_like(truth, usual), truth, len(classes)), classes)
    hits, false, missed = sums["segments"][0].sum(0)
    least, most = OVERLAPS[0], OVERLAPS[-1]
    return (
        f"In brackets the number of true segments. A predicted one is found if it shares at least {least} "
        f"({', '.join(map(str, OVERLAPS[1:]))}) of the union with a true one of its action, each of which counts once "
        f"(Lea et al. 2017). Bars lie on each other; the number is that at {WRITTEN}. {hits + false:.0f} segments are "
        f"predicted where there are {hits + missed:.0f}: many more mean a prediction that flickers. The edit score is "
        f"how much of the order of actions is right, whenever they are, as a mean over {sums['edit'][1]:.0f} clips. "
        f"Always to say {classes[usual]} would reach {trivial[f'segment_f1@{least}']:.3f} at {least}, "
        f"{trivial[f'segment_f1@{most}']:.3f} at {most} and an edit score of {trivial['edit']:.3f}; the network "
        f"reaches {scores[f'segment_f1@{least}']:.3f}, {scores[f'segment_f1@{most}']:.3f} and {scores['edit']:.3f}."
    )
