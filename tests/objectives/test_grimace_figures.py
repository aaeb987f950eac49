"""Figures of pain scores hold numpy's and scikit-learn's numbers, and say what a trivial answer would come to."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, r2_score

from hpo.predictions import Predictions
from hpo.unseen import own_plots
from objectives.confusion_figure import Shown
from objectives.grimace import features as feature_figures
from objectives.grimace import figures as grimace_figures
from objectives.grimace import sample_frames as frame_figures
from objectives.grimace.data import MOMENTS
from tests.toy import Toy

FEATURES = ["Ears_frontal", "<b>Orbital & cheeks", "unscored"]
INFO: dict[str, Any] = {"classes": list(MOMENTS), "features": FEATURES}
ROWS, FOLDS = 120, 3
TITLES = [
    "Pain score: predicted and true",
    "Error per moment and fold",
    "Error of each subject",
    "Features: predicted and true",
    "Example clips",
]


def predictions() -> dict[str, np.ndarray]:
    """Nine subjects in three folds; no M3, every seventh clip without moment, every fifth without score."""
    draw = np.random.default_rng(0)
    rows = np.arange(ROWS)
    truth = draw.uniform(0, 8, ROWS).astype(np.float32)
    subject = rows % 9
    columns = {
        "row": rows,
        "fold": subject % FOLDS,
        "video": np.asarray([f"<i>{k}&.mp4" for k in rows]),
        "subject": np.asarray([f"<b>mouse {k} & co" for k in range(9)])[subject],
        "moment": np.asarray(["M0", "M1", "M2", "", "M4"])[np.where(rows % 7 == 0, 3, rows // 9 % 3 * 2)],
        "score": np.where(rows % 5 == 0, np.nan, truth).astype(np.float32),
        "prediction": (0.5 * truth + 2 + 0.3 * (subject - 4) + draw.normal(0, 0.5, ROWS)).astype(np.float32),
    }
    for number, name in enumerate(FEATURES):
        true = draw.uniform(0, 2, ROWS)
        columns[f"feature.{name}"] = np.where((rows % 4 == 0) | (number == 2), np.nan, true)
        columns[f"prediction.{name}"] = true + 2 * number + draw.normal(0, 0.2, ROWS)  # of the second: order alone
    return columns


def examples(rows: int = 48, frames: int = 4, side: int = 16) -> dict[str, np.ndarray]:
    p = predictions()
    columns = {name: p[name][:rows] for name in ("row", "fold", "video", "moment")}
    clip = np.random.default_rng(1).integers(0, 256, (rows, frames, 3, side, side), np.uint8)
    return columns | {"truth": p["score"][:rows], "said": p["prediction"][:rows], "clip": clip}


def parts(shown: Shown | None) -> tuple[str, go.Figure]:
    assert shown is not None
    return shown[1], shown[2]


def scored(p: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which clips have a score, the scores and the predictions of these."""
    known = np.isfinite(p["score"])
    return known, p["score"][known], p["prediction"][known]


# -- scores


def test_scores_stand_against_the_truth_with_the_error_of_each_moment() -> None:
    p = predictions()
    caption, figure = parts(grimace_figures.scores(p, MOMENTS))
    known, truth, said = scored(p)
    moment = p["moment"][known]
    of = {name: mean_absolute_error(truth[moment == name], said[moment == name]) for name in ("M0", "M2", "M4", "")}
    assert [trace.name for trace in figure.data] == [
        f"{name or 'not said'}: MAE {mae:.3g} ({(moment == name).sum()})" for name, mae in of.items()
    ]
    for name, trace in zip(of, figure.data, strict=True):
        assert np.array_equal(trace.x, truth[moment == name]) and np.array_equal(trace.y, said[moment == name])
        assert len(trace.text) == len(trace.x)
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure.data}) == 4
    (line,) = figure.layout.shapes
    assert (line.x0, line.x1) == (line.y0, line.y1), "the line of agreement"
    assert f"{known.sum()} scored clips of all folds together: mean absolute error" in caption
    assert f"{mean_absolute_error(truth, said):.3g}, r {pearsonr(truth, said)[0]:.2f}" in caption
    assert f"R² {r2_score(truth, said):.2f}".replace("-", "\u2212") in caption
    trivial = mean_absolute_error(truth, np.full(len(truth), np.median(truth)))
    assert f"the median, {np.median(truth):.3g}, would be off by {trivial:.3g}" in caption
    told = {name: mae for name, mae in of.items() if name}
    worst, best = max(told, key=told.__getitem__), min(told, key=told.__getitem__)
    assert f"error of {worst}, the worst moment, is {told[worst] / told[best]:.2g} times that of {best}" in caption


def test_one_moment_has_no_worst_and_an_error_of_0_no_ratio() -> None:
    p = predictions() | {"moment": np.full(ROWS, "M1")}
    assert "worst moment" not in parts(grimace_figures.scores(p, MOMENTS))[0]
    perfect = predictions()
    at_m0 = (perfect["moment"] == "M0") & np.isfinite(perfect["score"])
    perfect["prediction"] = np.where(at_m0, perfect["score"], perfect["prediction"])
    assert "the worst moment, is above that of M0, the best" in parts(grimace_figures.scores(perfect, MOMENTS))[0]


def test_scores_that_are_all_equal_have_neither_r_nor_r2() -> None:
    p = predictions() | {"score": np.full(ROWS, 2.0, np.float32)}
    assert ", r \u2013, R² \u2013. Always" in parts(grimace_figures.scores(p, MOMENTS))[0]


def test_the_pointer_names_video_subject_and_fold() -> None:
    p = predictions()
    _, figure = parts(grimace_figures.scores(p, MOMENTS))
    first = np.flatnonzero(np.isfinite(p["score"]) & (p["moment"] == "M0"))[0]
    name = f"&lt;i&gt;{first}&amp;.mp4<br>subject &lt;b&gt;mouse {first % 9} &amp; co, fold {first % 9 % FOLDS}"
    assert figure.data[0].text[0] == name


# -- errors


def test_the_error_of_each_moment_and_fold_is_that_of_its_clips() -> None:
    p = predictions()
    caption, figure = parts(grimace_figures.errors(p, MOMENTS))
    (heat,) = figure.data
    known, truth, said = scored(p)
    moment, fold = p["moment"][known], p["fold"][known]
    assert list(heat.x) == ["M0", "M2", "M4", "not said", "all"]
    assert list(heat.y) == ["fold 0", "fold 1", "fold 2", "all folds"]
    for i in range(4):
        for j, name in enumerate(("M0", "M2", "M4", "", None)):
            cell = ((fold == i) | (i == 3)) & ((moment == name) | (name is None))
            assert heat.z[i][j] == pytest.approx(mean_absolute_error(truth[cell], said[cell]), rel=1e-5)  # float32
            assert heat.text[i][j] == f"{heat.z[i][j]:.3g}" and heat.customdata[i][j] == cell.sum()
    errors = [heat.z[i][4] for i in range(3)]
    assert f"Fold {np.argmax(errors)} is the worst with {max(errors):.3g}" in caption
    assert "empty cell" not in caption


def test_a_moment_that_a_fold_lacks_is_an_empty_cell() -> None:
    p = predictions()
    p["score"] = np.where((p["moment"] == "M2") & (p["fold"] == 1), np.nan, p["score"])
    caption, figure = parts(grimace_figures.errors(p, MOMENTS))
    (heat,) = figure.data
    assert np.isnan(heat.z[1][1]) and heat.text[1][1] == "" and np.isfinite(heat.z[3][1])
    assert "An empty cell has no scored clip." in caption


def test_one_fold_and_one_moment_are_a_single_cell() -> None:
    p = predictions() | {"fold": np.zeros(ROWS, int), "moment": np.full(ROWS, "M1")}
    caption, figure = parts(grimace_figures.errors(p, MOMENTS))
    (heat,) = figure.data
    assert (list(heat.x), list(heat.y)) == (["M1"], ["fold 0"])
    assert heat.z[0][0] == pytest.approx(mean_absolute_error(*scored(p)[1:]), rel=1e-5)  # float32
    assert "the worst with" not in caption


# -- subjects


def test_the_signed_error_of_each_subject_with_its_standard_error() -> None:
    p = predictions()
    caption, figure = parts(grimace_figures.subjects(p))
    (bars,) = figure.data
    known, truth, said = scored(p)
    subject, error = p["subject"][known], said.astype(float) - truth
    expected = {name: error[subject == name] for name in np.unique(subject)}
    order = sorted(expected, key=lambda name: expected[name].mean())
    assert list(bars.x) == [pytest.approx(expected[name].mean(), rel=1e-4) for name in order]  # float32
    spread = [expected[name].std(ddof=1) / len(expected[name]) ** 0.5 for name in order]
    assert list(bars.error_x.array) == [pytest.approx(value, rel=1e-4) for value in spread]
    name = order[0].replace("<b>", "&lt;b&gt;").replace(" & co", " &amp; co")
    assert figure.layout.yaxis.ticktext[0] == f"{name} ({len(expected[order[0]])})"
    beyond = sum(abs(value) > 2 * own for value, own in zip(bars.x, spread, strict=True))
    assert f"over all clips it is {error.mean():+.3g}. {beyond} of 9 bars are longer than twice" in caption
    colours = {grimace_figures.OVER if value > 0 else grimace_figures.UNDER for value in bars.x}
    assert set(bars.marker.color) == colours and len(colours) == 2


def test_of_many_subjects_those_farthest_off_are_shown() -> None:
    p = predictions() | {"subject": np.asarray([f"s{k}" for k in range(ROWS)])}
    caption, figure = parts(grimace_figures.subjects(p))
    (bars,) = figure.data
    _, truth, said = scored(p)
    most = np.sort(np.abs(said - truth))[-grimace_figures.SUBJECTS :]
    assert np.sort(np.abs(bars.x)) == pytest.approx(most)
    assert f"{len(truth) - grimace_figures.SUBJECTS} subjects whose mean is nearer to 0 are left out" in caption
    assert not any(bars.error_x.array), "of one clip nothing is known of the spread"
    assert f"0 of {grimace_figures.SUBJECTS} bars" in caption


# -- features


def test_features_have_r_and_r2_in_their_titles() -> None:
    p = predictions()
    caption, figure = parts(feature_figures.features(p, FEATURES))
    assert len(figure.data) == 2 and len(figure.layout.shapes) == 2
    escaped = ["Ears_frontal", "&lt;b&gt;Orbital &amp; cheeks"]
    for name, title, note, trace in zip(FEATURES, escaped, figure.layout.annotations, figure.data, strict=False):
        known = np.isfinite(p[f"feature.{name}"])
        truth, said = p[f"feature.{name}"][known], p[f"prediction.{name}"][known]
        assert np.array_equal(trace.x, truth) and np.array_equal(trace.y, said)
        fits = f"r {pearsonr(truth, said)[0]:.2f}, R² {r2_score(truth, said):.2f}".replace("-", "\u2212")
        assert note.text == f"{title} ({known.sum()})<br>{fits}"
    assert "Of <b>Orbital & cheeks the order is right and the values are not" in caption  # the page escapes captions
    assert "Scored in no clip: unscored." in caption


def test_a_feature_without_spread_has_a_dash_for_a_number() -> None:
    draw = np.random.default_rng(3)
    truth, constant = draw.random(30).astype(np.float32), np.full(30, 0.7, np.float32)
    assert all(map(np.isnan, feature_figures.fit(constant, truth)))
    r, r2 = feature_figures.fit(truth, constant)
    assert np.isnan(r) and r2 == pytest.approx(r2_score(truth, constant), rel=1e-5)  # float32
    assert feature_figures.in_words(r, -0.5) == "r \u2013, R² \u22120.50"


def test_more_features_than_panels_are_told_in_words() -> None:
    names = [f"f{k}" for k in range(14)]
    p = {f"{side}.{name}": np.arange(4.0) for name in names for side in ("feature", "prediction")}
    caption, figure = parts(feature_figures.features(p, names))
    assert len(figure.data) == feature_figures.PANELS
    assert "Not shown: f12: r 1.00, R² 1.00, f13: r 1.00, R² 1.00." in caption


# -- frames


def pixels(trace: go.Image) -> np.ndarray:
    head, _, data = trace.source.partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


def test_of_each_moment_the_best_a_typical_and_the_worst_clip() -> None:
    e = examples()
    found = list(frame_figures.chosen(e, MOMENTS))
    error = np.abs(e["said"] - e["truth"])
    for place, moment in enumerate(("M0", "M2", "M4", "")):
        (best, first), (middle, second), (worst, third) = found[3 * place : 3 * place + 3]
        assert (first, second, third) == ("best", "typical", "worst")
        ours = error[(e["moment"] == moment) & np.isfinite(error)]
        assert {e["moment"][k] for k in (best, middle, worst)} == {moment}
        assert (error[best], error[worst]) == (ours.min(), ours.max())
        assert abs(np.sum(ours < error[middle]) - np.sum(ours > error[middle])) <= 1
    assert len(found) == 12


@pytest.mark.parametrize(("clips", "expected"), [(1, ["only one"]), (2, ["best", "worst"]), (0, [])])
def test_few_clips_of_a_moment_are_called_what_they_are(clips: int, expected: list[str]) -> None:
    e = {name: column[:clips] for name, column in examples().items()}
    e |= {"moment": np.full(clips, "M2"), "truth": np.arange(clips) * 1.0}
    assert [which for _, which in frame_figures.chosen(e, MOMENTS)] == expected


def test_frames_stand_beside_each_other_in_time() -> None:
    e = examples(side=frame_figures.SIDE, frames=7)
    e["clip"] = np.repeat(np.arange(0, 210, 30).astype(np.uint8), 3 * frame_figures.SIDE**2).reshape(
        1, *e["clip"].shape[1:]
    )
    e["clip"] = np.repeat(e["clip"], 48, 0)
    _, figure = parts(frame_figures.frames(e, MOMENTS))
    shown = pixels(figure.data[0])
    assert shown.shape == (frame_figures.SIDE, 4 * frame_figures.SIDE, 3)
    # JPEG rounds a plain square by a few levels of 256 at its edges.
    for frame, level in enumerate((0, 60, 120, 180)):
        square = shown[8:-8, frame * frame_figures.SIDE + 8 : (frame + 1) * frame_figures.SIDE - 8]
        assert np.abs(square.astype(int) - level).max() <= 4


def test_words_beside_a_clip_are_short_and_no_markup() -> None:
    e = examples()
    e["video"] = np.asarray(["<b>%{z}" + "x" * 60] * 48)
    _, figure = parts(frame_figures.frames(e, MOMENTS))
    k, which = next(frame_figures.chosen(e, MOMENTS))
    first, second, third, fourth = figure.layout.annotations[0].text.split("<br>")
    assert (first, which) == ("<b>M0: best</b>", "best")
    assert second == f"true {e['truth'][k]:.3g}, said {e['said'][k]:.3g}"
    assert third == "&lt;b&gt;%&#123;z}" + "x" * (frame_figures.LINE - 8) + "…"
    assert fourth == f"row {e['row'][k]}, fold {e['fold'][k]}"
    assert "x" * 60 in figure.data[0].hovertemplate and "%{" not in figure.data[0].hovertemplate


def test_large_clips_of_noise_stay_small_on_the_page() -> None:
    _, figure = parts(frame_figures.frames(examples(48, 4, 112), MOMENTS))
    assert len(figure.to_json()) < 300_000, "and that of noise, which nothing makes smaller"


# -- all of them


def test_what_has_no_label_has_no_figure() -> None:
    p, e = predictions(), examples()
    titles = [title for title, _, _ in grimace_figures.figures(p, e, INFO)]
    assert titles == TITLES
    assert [title for title, _, _ in grimace_figures.figures(p, {}, INFO)] == TITLES[:4]
    bare = {name: column for name, column in p.items() if "." not in name}
    without = INFO | {"features": []}
    assert [title for title, _, _ in grimace_figures.figures(bare, {}, without)] == TITLES[:3]
    unscored = p | {"score": np.full(ROWS, np.nan)}
    assert [title for title, _, _ in grimace_figures.figures(unscored, {}, INFO)] == TITLES[3:4]
    blind = e | {"truth": np.full(48, np.nan)}
    assert grimace_figures.figures(unscored, blind, without) == []
    none = {name: column[:0] for name, column in p.items()}
    assert grimace_figures.figures(none, {name: column[:0] for name, column in e.items()}, INFO) == []


def test_no_moments_at_all_are_one_series_and_one_column() -> None:
    p = predictions() | {"moment": np.full(ROWS, "")}
    _, figure = parts(grimace_figures.scores(p, MOMENTS))
    assert [trace.name.partition(":")[0] for trace in figure.data] == ["not said"]
    assert list(parts(grimace_figures.errors(p, MOMENTS))[1].data[0].x) == ["not said"]


def test_the_report_takes_them_with_both_layouts() -> None:
    class Drawn(Toy):
        def figures(self, predictions: Any, examples: Any, info: Any) -> list[Shown]:
            return grimace_figures.figures(predictions, examples, info)

    plots = own_plots(Drawn(), Predictions(predictions(), examples(), (0, 1, 2)), INFO)
    assert [plot.title for plot in plots] == TITLES
    for plot in plots:
        text = plot.json()
        assert all(f"\\u003c{tag}\\u003e{name}" not in text for tag, name in (("b", "mouse"), ("b", "Orb"), ("i", "1")))


def test_it_imports_no_torch() -> None:
    check = "import sys, objectives.grimace.figures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
