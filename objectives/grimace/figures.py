"""What a reader of pain scores looks at: predicted against true ones, errors per moment, fold and animal, features.

Every function takes the columns of the objective's predictions (or examples) for clips that the model was not trained
on. This file imports no torch. Texts that data may name are escaped: plotly takes them for markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from objectives.confusion_figure import HOVER, Columns, short
from objectives.confusion_figure import Shown as Shown  # of `figures`
from objectives.grimace.features import features, fit, in_words
from objectives.grimace.sample_frames import frames

#: Of Okabe and Ito, and symbols, of the moments in their order; a sixth begins again. Then of no moment.
COLOURS = ("#0072B2", "#009E73", "#D55E00", "#CC79A7", "#E69F00")
SYMBOLS = ("circle", "square", "diamond", "cross", "x")
UNSAID_COLOUR, UNSAID_SYMBOL = "rgba(128,128,128,0.75)", "circle-open"
#: Bars: a network that says too little, and too much.
UNDER, OVER = "#56B4E9", "#D55E00"
#: What stands for a moment that nobody named, and for all of them.
UNSAID, ALL = "not said", "all"
#: Subjects with a bar.
SUBJECTS = 40


def figures(predictions: Columns, examples: Columns, info: Mapping[str, Any]) -> list[Shown]:
    """Those that have something to show.

    Args:
        predictions: `row`, `fold`, `video`, `subject`, `moment` ("" = not said), `score` (NaN = not scored),
            `prediction`, and of each feature F `feature.F` (NaN = not scored) and `prediction.F`; one entry per clip
            of all validation parts.
        examples: `row`, `fold`, `video`, `moment`, `truth` (NaN = not scored), `said` and `clip`, uint8
            `[rows, k, 3, side, side]`, k frames of the clip; may be empty.
        info: `classes`, the moments in order, and `features`, names.
    """
    found = [
        scores(predictions, info["classes"]),
        errors(predictions, info["classes"]),
        subjects(predictions),
        features(predictions, info["features"]),
        frames(examples, info["classes"]),
    ]
    return [shown for shown in found if shown is not None]


def scores(predictions: Columns, moments: Sequence[str]) -> Shown | None:
    """Predicted against true score, a point per clip, coloured by moment; on the line both agree."""
    scored = np.isfinite(predictions["score"])
    if not scored.any():
        return None
    truth, said = predictions["score"][scored], predictions["prediction"][scored]
    figure = go.Figure()
    mae = {}
    for name, of_moment, colour, symbol in _series(predictions["moment"][scored], moments):
        mae[name] = float(np.abs(said - truth)[of_moment].mean())
        rows = np.flatnonzero(scored)[of_moment]
        figure.add_scatter(
            x=truth[of_moment],
            y=said[of_moment],
            mode="markers",
            name=f"{short(name)}: MAE {mae[name]:.3g} ({len(rows)})",
            marker={"size": 8, "opacity": 0.75, "color": colour, "symbol": symbol},
            text=[_where(predictions, row) for row in rows],
            hovertemplate="%{text}<br>true %{x:.3g}, predicted %{y:.3g}<extra></extra>",
        )
    ends = [float(min(truth.min(), said.min())), float(max(truth.max(), said.max()))]
    line = {"color": UNSAID_COLOUR, "width": 1.5, "dash": "dash"}
    figure.add_shape(type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line=line)
    figure.update_xaxes(title_text="true score")
    figure.update_yaxes(title_text="predicted score")
    return "Pain score: predicted and true", _of_scores(truth, said, mae), figure.update_layout(height=480)


def _of_scores(truth: np.ndarray, said: np.ndarray, mae: Mapping[str, float]) -> str:
    error, middle = np.abs(said - truth), np.median(truth)
    told = [name for name in mae if name != UNSAID]
    best, worst = min(told, key=mae.__getitem__, default=""), max(told, key=mae.__getitem__, default="")
    apart = ""
    if best != worst:
        times = f"{mae[worst] / mae[best]:.2g} times" if mae[best] else "above"
        apart = f" The error of {worst}, the worst moment, is {times} that of {best}, the best."
    return (
        f"{len(truth)} scored clips of all folds together: mean absolute error {error.mean():.3g}, "
        f"{in_words(*fit(truth, said))}. Always to say "
        f"the median, {middle:.3g}, would be off by {np.abs(truth - middle).mean():.3g}; an R² of 0 is that of always "
        f"saying the mean.{apart} On the dashed line both agree; a flat cloud means that the network says the mean, "
        "a colour wholly below the line is a moment whose pain it misses. In brackets the number of clips."
    )


def errors(predictions: Columns, moments: Sequence[str]) -> Shown | None:
    """The mean absolute error of each moment (across) in each fold (down), and of all."""
    scored = np.isfinite(predictions["score"])
    if not scored.any():
        return None
    error = np.abs(predictions["prediction"] - predictions["score"])[scored]
    fold, moment = predictions["fold"][scored], predictions["moment"][scored]
    columns = {name: of_moment for name, of_moment, _, _ in _series(moment, moments)}
    columns |= {ALL: np.full(len(error), True)} if len(columns) > 1 else {}
    rows = {f"fold {number}": fold == number for number in np.unique(fold).tolist()}
    rows |= {"all folds": np.full(len(error), True)} if len(rows) > 1 else {}
    cells = [[error[of_fold & of_moment] for of_moment in columns.values()] for of_fold in rows.values()]
    mae = np.asarray([[cell.mean() if len(cell) else np.nan for cell in row] for row in cells])
    names = [short(name) for name in columns]
    figure = go.Figure(
        go.Heatmap(
            x=names,
            y=list(rows),
            z=mae,
            text=[[f"{value:.3g}" if np.isfinite(value) else "" for value in row] for row in mae],
            customdata=[[len(cell) for cell in row] for row in cells],
            texttemplate="%{text}",
            zmin=0,
            colorscale=[[0, "rgba(213,94,0,0.04)"], [1, "rgba(213,94,0,0.6)"]],
            xgap=1,
            ygap=1,
            showscale=False,
            hoverlabel=HOVER,
            hoverongaps=False,
            hovertemplate="%{y}, moment %{x}<br>mean absolute error %{z:.3g} of %{customdata} clips<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="moment", title_standoff=12, type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return "Error per moment and fold", _of_errors(fold, error, mae), figure.update_layout(height=170 + 30 * len(rows))


def _of_errors(fold: np.ndarray, error: np.ndarray, mae: np.ndarray) -> str:
    of_fold = {number: error[fold == number].mean() for number in np.unique(fold).tolist()}
    best, worst = min(of_fold, key=of_fold.__getitem__), max(of_fold, key=of_fold.__getitem__)
    apart = (
        f" Fold {worst} is the worst with {of_fold[worst]:.3g}, fold {best} the best with {of_fold[best]:.3g}: folds "
        "leave out different animals, and so far does the answer depend on which."
        if best != worst
        else ""
    )
    gaps = " An empty cell has no scored clip." if np.isnan(mae).any() else ""
    return (
        "Mean absolute error of the clips of a moment in the validation part of a fold; at the edges that of all clips "
        "together, each clip counting once. A column of strong colour is a hard moment, such a row a hard "
        f"animal.{apart}{gaps}"
    )


def subjects(predictions: Columns) -> Shown | None:
    """The mean signed error of each subject: below 0 the network misses pain, above it sees what is not there."""
    scored = np.isfinite(predictions["score"])
    if not scored.any():
        return None
    error = (predictions["prediction"] - predictions["score"])[scored]
    of = predictions["subject"][scored]
    each = {name: error[of == name] for name in np.unique(of).tolist()}
    # Largest first where not all have room; then in the order of their errors.
    kept = sorted(each, key=lambda name: -abs(each[name].mean()))[:SUBJECTS]
    names = sorted(kept, key=lambda name: float(each[name].mean()))
    bias = [float(each[name].mean()) for name in names]
    spread = [_standard_error(each[name]) for name in names]
    figure = go.Figure(
        go.Bar(
            x=bias,
            y=list(range(len(names))),
            orientation="h",
            marker={"color": [OVER if value > 0 else UNDER for value in bias]},
            error_x={"array": spread, "color": UNSAID_COLOUR, "thickness": 1.5, "width": 4},
            customdata=[[escape(name), len(each[name]), np.abs(each[name]).mean()] for name in names],
            hovertemplate="%{customdata[0]}: %{x:+.3g} over %{customdata[1]} clips<br>mean absolute error "
            "%{customdata[2]:.3g}<extra></extra>",
        )
    )
    ticks = [f"{short(name)} ({len(each[name])})" for name in names]
    figure.update_xaxes(title_text="predicted minus true, mean")
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=ticks, showgrid=False)
    figure.add_vline(x=0, line={"color": UNSAID_COLOUR, "width": 1.5})
    beyond = sum(abs(value) > 2 * own for value, own in zip(bias, spread, strict=True) if own)
    rest = len(each) - len(names)
    left_out = f" {rest} subjects whose mean is nearer to 0 are left out." if rest else ""
    caption = (
        f"Mean of predicted minus true score over the clips of a subject (in brackets), with its standard error; over "
        f"all clips it is {error.mean():+.3g}. {beyond} of {len(names)} bars are longer than twice their standard "
        "error: of such an animal all scores are too high, or too low, as where its fur, its camera or its light is "
        f"like no other's.{left_out}"
    )
    return "Error of each subject", caption, figure.update_layout(height=130 + 24 * max(4, len(names)))


def _standard_error(error: np.ndarray) -> float:
    """Of the mean; 0 for a single clip, of which nothing is known."""
    return float(error.std(ddof=1) / np.sqrt(len(error))) if len(error) > 1 else 0.0


def _series(moment: np.ndarray, moments: Sequence[str]) -> Iterator[tuple[str, np.ndarray, str, str]]:
    """Name, its clips (bool), colour and symbol of each moment that occurs, in order; those of no moment last."""
    for number, name in enumerate(moments):
        if (found := moment == name).any():
            yield name, found, COLOURS[number % len(COLOURS)], SYMBOLS[number % len(SYMBOLS)]
    if (found := ~np.isin(moment, list(moments))).any():
        yield UNSAID, found, UNSAID_COLOUR, UNSAID_SYMBOL


def _where(predictions: Columns, row: int) -> str:
    video, subject = escape(str(predictions["video"][row])), escape(str(predictions["subject"][row]))
    return f"{video}<br>subject {subject}, fold {predictions['fold'][row]}"
