"""Figures of brainstem responses hold the numbers of the predictions, and say what a trivial answer would come to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error

from objectives.abr import figures as abr_figures

CLASSES = ["below", "at", "<b>above</b>"]
INFO = {"classes": CLASSES, "sampling_rate_hz": 20_000.0}
ROWS = 60


def predictions() -> dict[str, np.ndarray]:
    """Every second row has a class, every third a picked peak."""
    draw = np.random.default_rng(0)
    names = np.asarray([*CLASSES, ""])
    truth = np.where(np.arange(ROWS) % 2 == 0, draw.integers(0, 3, ROWS), 3)
    latency = np.where(np.arange(ROWS) % 3 == 0, draw.normal(6, 0.5, ROWS), np.nan).astype(np.float32)
    return {
        "row": np.arange(ROWS),
        "fold": np.arange(ROWS) % 4,
        "truth": names[truth],
        "prediction": names[draw.integers(0, 3, ROWS)],
        "p.wave_v": draw.random(ROWS),
        "wave_v_latency_ms": latency,
        "predicted_latency_ms": draw.normal(6, 0.5, ROWS).astype(np.float32),
        "wave_v_amplitude_uv": np.full(ROWS, np.nan, np.float32),
        "predicted_amplitude_uv": draw.random(ROWS).astype(np.float32),
    }


def examples() -> dict[str, np.ndarray]:
    waves = np.sin(np.linspace(0, 10, 200))[None] * np.arange(1, 25)[:, None]
    return {name: column[:24] for name, column in predictions().items()} | {"waveform": waves, "restored": 0.9 * waves}


def test_peaks_stand_against_picks_with_the_error_of_each_fold() -> None:
    p = predictions()
    shown = abr_figures.peaks(p, "latency_ms", "Latency", "ms")
    assert shown is not None
    _, caption, figure = shown
    picked = np.isfinite(p["wave_v_latency_ms"])
    truth, said = p["wave_v_latency_ms"][picked], p["predicted_latency_ms"][picked]
    assert f"20 picked peaks, mean absolute error {mean_absolute_error(truth, said):.3g} ms" in caption
    median = mean_absolute_error(truth, np.full(len(truth), np.median(truth)))
    assert f"would be off by {median:.3g} ms" in caption
    assert sum(len(trace.x) for trace in figure.data) == picked.sum()
    for number, trace in enumerate(figure.data):
        ours = p["fold"][picked] == number
        assert trace.name == f"fold {number}: MAE {mean_absolute_error(truth[ours], said[ours]):.3g} ms"
        assert list(trace.x) == truth[ours].tolist() and list(trace.y) == said[ours].tolist()
    (line,) = figure.layout.shapes
    assert (line.x0, line.x1) == (line.y0, line.y1), "the line of agreement"


def test_examples_show_recording_restoration_and_both_peaks() -> None:
    e = examples()
    shown = abr_figures.waveforms(e, INFO["sampling_rate_hz"])  # type: ignore[arg-type]
    assert shown is not None
    figure, rows = shown[2], abr_figures.chosen(e)
    recorded = [trace for trace in figure.data if trace.name == "recorded"]
    assert len(rows) == len(recorded) == abr_figures.PANELS
    assert sum(bool(np.isfinite(e["wave_v_latency_ms"][k])) for k in rows) == abr_figures.PANELS // 2
    assert {str(name) for name in e["truth"][rows]} == {*CLASSES, ""}, "rows of every class"
    for k, trace in zip(rows, recorded, strict=True):
        assert list(trace.y) == e["waveform"][k].tolist()
    assert recorded[0].x[-1] == pytest.approx(9.95)
    circles = [t.x[0] for t in figure.data if t.mode == "markers" and t.marker.symbol == "circle-open" and t.x[0]]
    assert circles == [e["wave_v_latency_ms"][k] for k in rows if np.isfinite(e["wave_v_latency_ms"][k])]
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert all("<b>" not in title for title in titles) and titles[0].startswith(f"row {e['row'][rows[0]]}, fold ")


@pytest.mark.parametrize("count", [1, 3, 5])
def test_few_examples_are_all_shown(count: int) -> None:
    few = {name: column[:count] for name, column in examples().items()}
    assert sorted(abr_figures.chosen(few)) == list(range(count))


def test_what_has_no_label_has_no_figure() -> None:
    p: dict[str, Any] = predictions()
    assert [title for title, _, _ in abr_figures.figures(p, {}, INFO)] == [
        "Latency of wave V",
        "Hearing class: truth and prediction",
    ]
    unlabelled = p | {"truth": np.full(ROWS, ""), "wave_v_latency_ms": np.full(ROWS, np.nan)}
    assert abr_figures.figures(unlabelled, {}, INFO) == []


def test_it_imports_no_torch() -> None:
    check = "import sys, objectives.abr.figures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
