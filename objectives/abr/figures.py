"""What a reader of brainstem responses looks at: peaks against the picks of experts, classes, restored waveforms.

Every function takes the columns of `Abr.predict` (or `Abr.examples`) for rows that the model was not trained on. This
file imports no torch. Texts that data may name are escaped: plotly takes them for markup.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from itertools import zip_longest
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from objectives.confusion_figure import Columns, confusion
from objectives.confusion_figure import Shown as Shown  # of `figures`

#: Of Okabe and Ito: recorded, restored and predicted, picked by an expert.
RECORDED, RESTORED, PICKED = "rgba(128,128,128,0.8)", "#D55E00", "#0072B2"
#: Panels of examples, in two columns; at most half of them for rows with a picked peak.
PANELS = 8


def figures(predictions: Columns, examples: Columns, info: Mapping[str, Any]) -> list[Shown]:
    """Those that have something to show."""
    found = [
        peaks(predictions, "latency_ms", "Latency of wave V", "ms"),
        peaks(predictions, "amplitude_uv", "Amplitude of wave V", "µV"),
        confusion(predictions, info["classes"], "Hearing class: truth and prediction"),
        waveforms(examples, float(info["sampling_rate_hz"])),
    ]
    return [shown for shown in found if shown is not None]


def peaks(predictions: Columns, name: str, title: str, unit: str) -> Shown | None:
    """Predicted against picked, a point per picked peak, coloured by fold; on the line both agree."""
    truth, predicted, fold = (predictions[key] for key in (f"wave_v_{name}", f"predicted_{name}", "fold"))
    picked = np.isfinite(truth)
    if not picked.any():
        return None
    figure = go.Figure()
    for number in np.unique(fold[picked]).tolist():
        ours = picked & (fold == number)
        mae = np.abs(predicted[ours] - truth[ours]).mean()
        figure.add_trace(
            go.Scatter(
                x=truth[ours],
                y=predicted[ours],
                mode="markers",
                name=f"fold {number}: MAE {mae:.3g} {unit}",
                marker={"size": 8, "opacity": 0.8, "symbol": number % 6},
                text=[f"row {row}" for row in predictions["row"][ours]],
                hovertemplate=f"%{{text}}<br>picked %{{x:.3g}} {unit}<br>predicted %{{y:.3g}} {unit}<extra></extra>",
            )
        )
    ends = [float(np.min([truth[picked], predicted[picked]])), float(np.max([truth[picked], predicted[picked]]))]
    line = {"color": RECORDED, "width": 1.5, "dash": "dash"}
    figure.add_shape(type="line", x0=ends[0], y0=ends[0], x1=ends[1], y1=ends[1], line=line)
    figure.update_xaxes(title_text=f"picked by an expert, {unit}")
    figure.update_yaxes(title_text=f"predicted, {unit}")
    error, middle = np.abs(predicted - truth)[picked], np.median(truth[picked])
    caption = (
        f"{picked.sum()} picked peaks, mean absolute error {error.mean():.3g} {unit}; always to say the median, "
        f"{middle:.3g} {unit}, would be off by {np.abs(truth[picked] - middle).mean():.3g} {unit}. On the dashed line "
        "prediction and pick agree; a flat cloud means that the network says the mean, a colour beside the line "
        "that one fold's subjects differ."
    )
    return title, caption, figure.update_layout(height=460)


def waveforms(examples: Columns, rate_hz: float) -> Shown | None:
    """Some recordings, what the network makes of them, and where expert and network put wave V."""
    if "waveform" not in examples:
        return None
    rows = chosen(examples)
    figure = make_subplots(
        rows=-(-len(rows) // 2), cols=2, subplot_titles=[_title(examples, k) for k in rows], vertical_spacing=0.08
    )
    time = np.arange(examples["waveform"].shape[1]) * 1e3 / rate_hz
    for place, k in enumerate(rows):
        cell = {"row": place // 2 + 1, "col": place % 2 + 1}
        for name, key, colour, width in (
            ("recorded", "waveform", RECORDED, 1.5),
            ("restored by the network", "restored", RESTORED, 2.0),
        ):
            line = {"color": colour, "width": width}
            figure.add_trace(
                go.Scatter(
                    x=time,
                    y=examples[key][k],
                    mode="lines",
                    name=name,
                    line=line,
                    legendgroup=name,
                    showlegend=place == 0,
                    hovertemplate=f"{name}<br>%{{x:.2f}} ms: %{{y:.3g}} µV<extra></extra>",
                ),
                **cell,
            )
        for trace in _marks(examples, k, time):
            figure.add_trace(trace, **cell)
    for name, symbol, colour in (("wave V as picked", "circle-open", PICKED), ("as predicted", "x", RESTORED)):
        key = go.Scatter(x=[None], y=[None], mode="markers", name=name, marker=_marker(symbol, colour))
        figure.add_trace(key, row=1, col=1)
    figure.update_xaxes(title_text="ms after onset", row=-(-len(rows) // 2))
    figure.update_yaxes(title_text="µV", col=1)
    figure.update_annotations(font_size=11)
    caption = (
        "Rows of the validation folds, drawn with the study's seed: half of them with a picked peak where there are "
        "such, the others of every class. The restored curve should keep the waves and lose the noise; where it is "
        "flat, the term signal has taught nothing. With augment.noise at 0 it has learned to copy, never to denoise: "
        "what it has more than the recording is then the network's own noise. A cross far from its circle is a wrong "
        "peak; a cross without a circle is a wave V that nobody looked for or found."
    )
    height = 170 + 200 * -(-len(rows) // 2)
    above = {"y": 1 + 60 / (height - 170), "yanchor": "bottom"}  # of the titles of the first row
    return "Example waveforms", caption, figure.update_layout(height=height, legend=above, margin={"t": 120, "b": 50})


def chosen(examples: Columns) -> list[int]:
    """Examples to show: up to half with a picked peak, the rest of the classes in turn, in the order of the rows."""
    fold, picked = examples["fold"], np.isfinite(examples["wave_v_latency_ms"])
    # The how-manieth example of its fold each is: one of every fold comes before the second of any.
    order = sorted(range(len(fold)), key=lambda k: (int(np.sum(fold[:k] == fold[k])), int(fold[k])))
    peaks = [k for k in order if picked[k]]
    classes = [
        [k for k in order if not picked[k] and examples["truth"][k] == name] for name in np.unique(examples["truth"])
    ]
    turns = [k for members in zip_longest(*classes) for k in members if k is not None]
    shown = [*peaks[: PANELS // 2], *turns, *peaks[PANELS // 2 :]][:PANELS]
    return sorted(shown, key=lambda k: (int(fold[k]), int(examples["row"][k])))


def _title(examples: Columns, k: int) -> str:
    truth = str(examples["truth"][k]) or "no class"
    said = f"{escape(truth)}<br>predicted: {escape(str(examples['prediction'][k]))}"
    return f"row {examples['row'][k]}, fold {examples['fold'][k]}: {said}"


def _marks(examples: Columns, k: int, time: np.ndarray) -> list[go.Scatter]:
    """The picked peak, and the predicted one where there is a pick or the network says that there is a wave V."""
    picked, predicted = float(examples["wave_v_latency_ms"][k]), float(examples["predicted_latency_ms"][k])
    places = [("picked", picked, "waveform", "circle-open", PICKED)] if np.isfinite(picked) else []
    if np.isfinite(picked) or examples["p.wave_v"][k] > 0.5:
        places.append(("predicted", predicted, "restored", "x", RESTORED))
    return [
        go.Scatter(
            x=[at],
            y=[float(np.interp(at, time, examples[curve][k]))],
            mode="markers",
            marker=_marker(symbol, colour),
            showlegend=False,
            hovertemplate=f"wave V, {name}<br>%{{x:.2f}} ms<extra></extra>",
        )
        for name, at, curve, symbol, colour in places
    ]


def _marker(symbol: str, colour: str) -> dict[str, Any]:
    return {"symbol": symbol, "color": colour, "size": 11, "line": {"width": 2.5, "color": colour}}
