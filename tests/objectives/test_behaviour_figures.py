"""Figures of behaviour show every frame where it was, keep the rarest action visible, and count segments per clip."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from hpo.predictions import Predictions
from hpo.unseen import own_plots
from objectives.behaviour import figures as behaviour_figures
from objectives.behaviour.ethogram import COLOURED, MARKS, PALETTE, SESSIONS, ethogram
from objectives.behaviour.figures import Shown, figures, segments
from objectives.segments import segment_scores, segment_sums
from tests.toy import Toy

CLASSES = ["rest", "walk", "<b>lick", "shake"]
INFO: dict[str, Any] = {"classes": CLASSES, "fps": {"one": 20.0, "<i>two %{x}": 25.0}}
TITLES = [
    "Actions along the time of each session",
    "Action of each frame: truth and prediction",
    "Segments of each action",
]


def columns(
    said: dict[str, np.ndarray], truth: dict[str, np.ndarray], clip: int = 100, classes: list[str] = CLASSES
) -> dict[str, np.ndarray]:
    """Sessions of numbers of classes, -1 in the truth = not annotated, cut into clips; the rows are shuffled."""
    parts = [
        {
            "session": np.full(len(labels), name),
            "fold": np.full(len(labels), fold),
            "frame": np.arange(len(labels)),
            "row": 1000 * fold + np.arange(len(labels)) // clip,
            "truth": np.asarray([*classes, ""])[truth[name]],
            "prediction": np.asarray(classes)[labels],
        }
        for fold, (name, labels) in enumerate(said.items())
    ]
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.random.default_rng(7).permutation(len(whole["row"]))
    return {key: column[order] for key, column in whole.items()}


def drawn(seed: int = 0, frames: int = 1000) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Two sessions of runs; `shake` is true in five frames of the second alone and never predicted."""
    draw, said, truth = np.random.default_rng(seed), {}, {}
    for name in ("one", "<i>two %{x}"):
        truth[name] = np.repeat(draw.choice(3, frames, p=[0.4, 0.4, 0.2]), draw.integers(1, 40, frames))[:frames]
        said[name] = np.where(draw.random(frames) < 0.1, draw.integers(0, 3, frames), truth[name])
        truth[name][:15] = -1
    truth[name][703:708] = 3
    return said, truth


def without(columns: dict[str, np.ndarray], left_out: np.ndarray) -> dict[str, np.ndarray]:
    return {name: column[~left_out] for name, column in columns.items()}


def shown(found: Shown | None) -> tuple[str, go.Figure]:
    assert found is not None
    return found[1], found[2]


def heatmaps(figure: go.Figure) -> tuple[list[go.Heatmap], list[go.Heatmap]]:
    """Those with colours, and those with words."""
    found = [trace for trace in figure.data if trace.type == "heatmap"]
    return [trace for trace in found if trace.text is None], [trace for trace in found if trace.text is not None]


def marks(figure: go.Figure) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Colour -> time and height of each mark's upper end."""
    lines = [trace for trace in figure.data if trace.type == "scatter" and trace.mode == "lines"]
    return {line.line.color: (line.x[::3], line.y[::3]) for line in lines}


def test_bands_hold_every_frame_where_it_was_and_blanks_elsewhere() -> None:
    said, truth = drawn()
    p = columns(said, truth)
    p = without(p, (p["session"] == "one") & (p["frame"] >= 300) & (p["frame"] < 400) | (p["frame"] < 10))
    _, figure = shown(ethogram(p, INFO))
    bands, _ = heatmaps(figure)
    assert len(bands) == 2
    for band, (name, rate) in zip(bands, sorted(INFO["fps"].items()), strict=True):
        expected = np.stack([truth[name], said[name]])[:, 10:]
        if name == "one":
            expected[:, 290:390] = -1
        np.testing.assert_array_equal(band.z, expected)
        assert (band.x0, band.dx) == (10 / rate, 1 / rate)
    assert figure.layout.xaxis.title.text == "seconds"
    assert figure.layout.xaxis.range == (0, 1000 / 20)


def test_the_colour_of_a_class_is_that_of_its_key_and_blank_is_no_colour() -> None:
    _, figure = shown(ethogram(columns(*drawn()), INFO))
    band = heatmaps(figure)[0][0]
    keys = {trace.name: trace.marker.color for trace in figure.data if trace.type == "scatter" and trace.name}
    assert list(keys) == ["rest", "walk", "&lt;b&gt;lick", "shake"]
    for number, colour in enumerate(["rgba(0,0,0,0)", *keys.values()], start=-1):
        place = (number - band.zmin) / (band.zmax - band.zmin)
        below = [entry for entry in band.colorscale if entry[0] < place]
        above = [entry for entry in band.colorscale if entry[0] > place]
        assert below[-1][1] == above[0][1] == colour, number


def test_a_few_frames_of_a_rare_class_have_a_mark_at_their_time() -> None:
    said, truth = drawn()
    caption, figure = shown(ethogram(columns(said, truth), INFO))
    ((colour, (times, heights)),) = marks(figure).items()
    assert colour == PALETTE[3]
    assert times.tolist() == pytest.approx([705 / 25]), "the middle of frames 703 to 707"
    assert 0 < heights[0] < 0.36, "above the first band of the first session in the order of names"
    assert "under 5% of the annotated frames (shake) have a mark" in caption
    truth["<i>two %{x}"][703:708] = -1
    caption, figure = shown(ethogram(columns(said, truth), INFO))
    assert marks(figure) == {} and "mark at the edge" not in caption


def test_a_rare_class_that_flickers_has_no_more_marks_than_have_room() -> None:
    said, truth = drawn(frames=20_000)
    said["one"][:10_000:2] = 3
    _, figure = shown(ethogram(columns(said, truth), INFO | {"fps": {}}))
    times, _ = marks(figure)[PALETTE[3]]
    assert times[0] == 705 and len(times) == 1 + MARKS / 2, "the one true segment, and half of the axis"
    assert np.diff(times[1:]).min() > 20_000 / MARKS - 2, (
        "each is the first of its part of the axis, every second frame"
    )


def test_the_pointer_reads_session_time_truth_and_prediction() -> None:
    said, truth = drawn()
    _, figure = shown(ethogram(columns(said, truth), INFO))
    _, words = heatmaps(figure)
    assert [trace.name for trace in words] == ["&lt;i&gt;two %{x}", "one"]
    assert words[1].hovertemplate == "%{fullData.name}, %{x:.2f} s<br>%{text}<extra></extra>"
    names = [name.replace("<", "&lt;").replace(">", "&gt;") for name in CLASSES]
    for frame in (0, 20, 500, 999):
        number = truth["one"][frame]
        true = f"true {names[number]}" if number >= 0 else "not annotated"
        assert words[1].text[0][frame] == f"{true}, predicted {names[said['one'][frame]]}"
    assert words[0].text[0][705].startswith("true shake, ")
    alone = columns({"one": said["one"]}, truth)
    _, figure = shown(ethogram(without(alone, alone["frame"] == 50), INFO))
    assert heatmaps(figure)[1][0].text[0][50] == "not annotated, in no validation clip"


def test_time_is_in_frames_where_a_session_does_not_say_its_rate() -> None:
    _, figure = shown(ethogram(columns(*drawn()), INFO | {"fps": {"one": 20.0}}))
    assert figure.layout.xaxis.title.text == "frame" and figure.layout.xaxis.range == (0, 1000)
    bands, words = heatmaps(figure)
    assert [(band.x0, band.dx) for band in bands] == [(0, 1), (0, 1)]
    assert "frame %{x}" in words[0].hovertemplate


def test_titles_of_sessions_say_fold_and_share_of_frames() -> None:
    said, truth = drawn()
    known = truth["one"] >= 0
    right = np.mean(said["one"][known] == truth["one"][known])
    truth["<i>two %{x}"][:] = -1
    _, figure = shown(ethogram(columns(said, truth), INFO))
    assert [note.text for note in figure.layout.annotations] == [
        "&lt;i&gt;two %{x}, fold 1: not annotated",
        f"one, fold 0: {right:.0%} right",
    ]


def test_of_many_sessions_those_with_the_most_rare_frames_are_shown() -> None:
    names = [f"s{k:02d}" for k in range(SESSIONS + 4)]
    truth = {name: np.zeros(200, np.int64) for name in names}
    for name in names[::2]:
        truth[name][50] = 3
    for name in names[1:5:2]:
        truth[name][:100] = -1
    caption, figure = shown(ethogram(columns(truth, truth), {"classes": CLASSES, "fps": {}}))
    # Every second has a rare frame; of the others the two with fewer annotated frames, and the last two, are left out.
    expected = [name for name in names if name not in (names[1], names[3], names[-1], names[-3])]
    assert [note.text.split(",")[0] for note in figure.layout.annotations] == expected
    assert f"Of {SESSIONS + 4} sessions 4 are left out: the {SESSIONS} shown" in caption


def test_classes_beyond_the_palette_begin_it_again_and_the_caption_says_so() -> None:
    classes = [f"c{k}" for k in range(len(PALETTE) + 1)]
    labels = {"one": np.arange(len(classes)).repeat(20)}
    caption, figure = shown(ethogram(columns(labels, labels, classes=classes), {"classes": classes, "fps": {}}))
    assert f"There are {len(PALETTE)} colours for {len(classes)} actions" in caption
    assert figure.data[-1].marker.color == PALETTE[0]
    assert len(set(PALETTE)) == len(PALETTE)


def test_eleven_sessions_that_flicker_stay_under_a_megabyte() -> None:
    draw = np.random.default_rng(0)
    names = [f"a session with a name {k}" for k in range(11)]
    classes = [f"an action {k}" for k in range(13)]
    truth = {name: np.repeat(draw.integers(0, 13, 1250), 4) for name in names}
    said = {name: draw.integers(0, 13, 5000) for name in names}
    own = columns(said, truth, 360, classes)
    info = {"classes": classes, "fps": {}}
    assert sum(len(plot.json()) for plot in plots(own, info)) < 1e6
    longer = {name: np.resize(labels, 40_000) for name, labels in truth.items()}
    bands, _ = heatmaps(shown(ethogram(columns(longer, longer, 360, classes), info))[1])
    assert COLOURED / 2 < sum(band.z.shape[1] for band in bands) <= COLOURED
    np.testing.assert_array_equal(bands[0].z[0], longer[names[0]][::3])


def test_segments_are_counted_per_clip_and_set_beside_a_trivial_answer() -> None:
    said, truth = drawn()
    ours, true = (np.concatenate([part[name].reshape(10, 100) for name in said]) for part in (said, truth))
    sums = segment_sums(ours, true, 4)
    scores = segment_scores(sums, CLASSES)
    caption, figure = shown(segments(columns(said, truth), CLASSES))
    *bars, edit = (trace for trace in figure.data if trace.type == "bar")
    assert [bar.x[0] for bar in bars] == [scores[f"segment_f1@{overlap}"] for overlap in (0.1, 0.3, 0.5)]
    assert edit.x[0] == pytest.approx(scores["edit"])
    counts = dict(zip(CLASSES, sums["segments"][2], strict=True))
    hits, false, missed = counts["<b>lick"]
    ticks = list(figure.layout.yaxis.ticktext)
    place = ticks.index(f"&lt;b&gt;lick ({hits + missed:.0f})")
    assert bars[2].x[place] == 2 * hits / (2 * hits + false + missed)
    assert ticks[-2:] == ["shake (1)", "edit score"] and bars[2].x[-1] == 0
    trivial = [segment_scores(segment_sums(np.full((20, 100), k), true, 4), CLASSES) for k in range(4)]
    usual = int(np.bincount(true[true >= 0]).argmax())
    first, last, order = (trivial[usual][key] for key in ("segment_f1@0.1", "segment_f1@0.5", "edit"))
    assert (
        f"say {CLASSES[usual]} would reach {first:.3f} at 0.1, {last:.3f} at 0.5 and an edit score of {order:.3f}"
        in (caption)
    )
    assert "as a mean over 20 clips" in caption


def test_every_bar_of_segments_has_its_number_in_words() -> None:
    _, figure = shown(segments(columns(*drawn()), CLASSES))
    written = next(trace for trace in figure.data if trace.type == "scatter")
    _, middle, _, edit = (trace for trace in figure.data if trace.type == "bar")
    assert list(written.text) == [f"{value:.2f}" for value in (*middle.x, *edit.x)]


def test_a_clip_left_out_in_the_middle_of_a_row_ends_a_segment() -> None:
    steady = {"one": np.zeros(100, np.int64)}
    p = columns(steady, steady)
    _, figure = shown(segments(without(p, p["frame"] == 50), CLASSES))
    assert figure.layout.yaxis.ticktext[0] == "all classes (2)"


def test_what_is_not_annotated_has_only_its_predictions_and_nothing_has_no_figure() -> None:
    said, truth = drawn()
    assert [title for title, _, _ in figures(columns(said, truth), {}, INFO)] == TITLES
    assert shown(figures(columns(said, truth), {}, INFO)[1])[0].startswith("1970 frames with a class")
    nobody = columns(said, {name: np.full_like(labels, -1) for name, labels in truth.items()})
    assert [title for title, _, _ in figures(nobody, {}, INFO)] == TITLES[:1]
    assert marks(shown(ethogram(nobody, INFO))[1]) == {}, "nothing is rare where nothing is known"
    assert figures(without(nobody, np.ones(len(nobody["row"]), bool)), {}, INFO) == []


def plots(predictions: dict[str, np.ndarray], info: dict[str, Any]) -> list[Any]:
    class Drawn(Toy):
        def figures(self, predictions: Any, examples: Any, info: Any) -> list[Shown]:
            return behaviour_figures.figures(predictions, examples, info)

    return own_plots(Drawn(), Predictions(predictions, {}, (0, 1)), info)


def test_the_report_takes_them_and_no_name_is_markup() -> None:
    found = plots(columns(*drawn()), INFO)
    assert [plot.title for plot in found] == TITLES
    for markup in ("\\u003cb\\u003el", "\\u003ci\\u003e"):
        assert all(markup not in plot.json() for plot in found), "as the page would write it"


def test_it_imports_no_torch() -> None:
    check = "import sys, objectives.behaviour.figures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
