"""Figures of surfaces hold numpy's and scikit-learn's numbers, show every mistake, and say what a constant would do."""

from __future__ import annotations

import base64
import subprocess
import sys
from io import BytesIO
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_cdt
from sklearn.metrics import confusion_matrix, f1_score, mean_absolute_error

from hpo.narrow import narrow
from hpo.predictions import Predictions
from hpo.unseen import own_plots
from objectives.confusion_figure import Shown
from objectives.surface import figures as surface_figures
from objectives.surface import sample_slices as slice_figures
from objectives.surface.examples import LARGEST
from tests.toy import Toy

TITLES = ["Example slices", "Surface Dice of each volume", "Share of foreground: said and true"]
FOLDS, WINDOWS = 3, 8


def predictions(volumes: int = 12, groups: int = 6, windows: int = WINDOWS) -> dict[str, np.ndarray]:
    """Windows of volumes; the last volume has no score, every ninth window no labelled voxel."""
    draw = np.random.default_rng(0)
    of = np.repeat(np.arange(volumes), windows)
    group = of * groups // volumes
    truth = draw.uniform(0, 1, len(of)).astype(np.float32)
    near = np.where(np.arange(volumes) == volumes - 1, np.nan, draw.uniform(0.3, 0.9, volumes))[of]
    return {
        "row": np.arange(len(of)),
        "fold": group % FOLDS,
        "volume": np.asarray([f"<b>{k}&.tif" for k in of]),
        "group": np.asarray([f"<i>scroll {k} & co" for k in group]),
        "truth": np.where(np.arange(len(of)) % 9 == 0, np.nan, truth).astype(np.float32),
        "prediction": (0.3 + 0.5 * truth).astype(np.float32),
        "volume.dice": near + 0.02,
        "volume.surface_dice@1": near,
        "volume.surface_dice@2": near + 0.05,
        "volume.cldice": np.where(of == 0, np.nan, near),
        "volume.competition": near - 0.1,
    }


def examples(rows: int = 12, side: int = 20) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    truth = draw.choice(np.asarray([0, 1, 2], np.uint8), (rows, side, side), p=[0.4, 0.5, 0.1])
    columns = {name: column[::WINDOWS][:rows] for name, column in predictions().items() if name in ("fold", "volume")}
    return columns | {
        "row": np.arange(rows) * WINDOWS,
        "image": draw.integers(0, 256, (rows, side, side), np.uint8),
        "truth": truth,
        "probability": draw.random((rows, side, side), np.float32),
        "slice": np.arange(rows) + 7,
    }


def parts(shown: Shown | None) -> tuple[str, go.Figure]:
    assert shown is not None
    return shown[1], shown[2]


# -- volumes


def test_each_volume_is_a_point_with_its_line_and_all_its_scores() -> None:
    p = predictions()
    caption, figure = parts(surface_figures.volumes(p))
    first = np.arange(11) * WINDOWS
    near = p["volume.surface_dice@1"][first]
    x = np.concatenate([trace.x for trace in figure.data])
    assert np.sort(x) == pytest.approx(np.sort(near))
    for fold, trace in enumerate(figure.data):
        own = near[p["fold"][first] == fold]
        assert trace.name == f"fold {fold}: mean {own.mean():.3f} ({len(own)})"
        assert np.asarray(trace.error_x.array) == pytest.approx(np.full(len(own), 0.05))
        assert not np.any(trace.error_x.arrayminus)
    assert len({(trace.marker.color, trace.marker.symbol) for trace in figure.data}) == FOLDS
    k = figure.data[0].text.index(next(text for text in figure.data[0].text if text.startswith("&lt;b&gt;0&amp;")))
    value = figure.data[0].x[k]
    assert figure.data[0].text[k] == (
        "&lt;b&gt;0&amp;.tif<br>group &lt;i&gt;scroll 0 &amp; co, fold 0"
        f"<br>surface Dice at 1 voxel {value:.3f}<br>surface Dice at 2 voxels {value + 0.05:.3f}"
        f"<br>Dice {value + 0.02:.3f}<br>clDice \u2013<br>competition score {value - 0.1:.3f}"
    )
    assert f"11 volumes, each by the model of the fold that left it out: a mean of {near.mean():.3f}" in caption
    assert f"of {near.mean() + 0.05:.3f} at 2" in caption
    assert "Volumes without a score, as where nothing is labelled: 1." in caption
    mean = [near[p["group"][first] == name].mean() for name in np.unique(p["group"])]
    assert (
        f"Group <i>scroll {np.argmin(mean)} & co is the worst with a mean of {min(mean):.3f}" in caption
    )  # escaped later


def test_volumes_are_sorted_in_groups_that_are_sorted() -> None:
    p = predictions()
    _, figure = parts(surface_figures.volumes(p))
    points = sorted(
        (y, x, text.split("<br>")[1].partition(",")[0])
        for trace in figure.data
        for y, x, text in zip(trace.y, trace.x, trace.text, strict=True)
    )
    groups = list(dict.fromkeys(group for _, _, group in points))
    assert [group for _, _, group in points] == sorted((group for _, _, group in points), key=groups.index)
    own = [[x for _, x, group in points if group == name] for name in groups]
    assert all(values == sorted(values, reverse=True) for values in own)
    assert (mean := [np.mean(values) for values in own]) == sorted(mean, reverse=True)
    gaps = np.diff([y for y, _, _ in points])
    assert gaps.tolist() == [2.0 if a != b else 1.0 for (_, _, a), (_, _, b) in pairwise(points)]
    assert list(figure.layout.yaxis.tickvals) == [y for y, _, _ in points]
    low, high = figure.layout.yaxis.range[1], figure.layout.yaxis.range[0]
    assert low < points[0][0] and points[-1][0] < high, "the best on top"


@pytest.mark.parametrize(
    ("volumes", "groups", "named", "unnamed"), [(5, 5, 4, False), (60, 6, 6, False), (800, 800, 0, True)]
)
def test_few_volumes_are_named_or_else_their_groups(volumes: int, groups: int, named: int, unnamed: bool) -> None:
    caption, figure = parts(surface_figures.volumes(predictions(volumes, groups, windows=1)))
    assert len(figure.layout.yaxis.ticktext) == named
    assert ("the pointer does" in caption) == unnamed
    assert ("is the worst" in caption) == (groups < volumes), "where each group is a volume, the points say it"
    assert 200 < figure.layout.height <= 150 + surface_figures.MOST_HEIGHT
    if named == 6:
        assert figure.layout.yaxis.ticktext[0] == "&lt;i&gt;scroll 0 &amp; co (10)"


# -- shares


def test_said_share_stands_against_the_true_one_beside_that_of_a_constant() -> None:
    p = predictions()
    caption, figure = parts(surface_figures.shares(p))
    known = np.isfinite(p["truth"])
    truth, said = p["truth"][known], p["prediction"][known]
    *folds, agree, constant = figure.data
    assert np.sort(np.concatenate([trace.x for trace in folds])).tolist() == np.sort(truth).tolist()
    for fold, trace in enumerate(folds):
        own = known & (p["fold"] == fold)
        assert np.array_equal(trace.x, p["truth"][own]) and np.array_equal(trace.y, p["prediction"][own])
    first = np.flatnonzero(known)[0]
    assert folds[0].text[0] == f"&lt;b&gt;0&amp;.tif, row {first}"
    assert (tuple(agree.x), tuple(agree.y)) == ((0, 1), (0, 1))
    assert tuple(constant.y) == (pytest.approx(truth.mean()),) * 2
    off, trivial = mean_absolute_error(truth, said), mean_absolute_error(truth, np.full(len(truth), truth.mean()))
    assert f"{len(truth)} windows with a labelled voxel" in caption
    assert (
        f"off by {off:.1%} in the mean; always to say {truth.mean():.1%}, the dotted line, by {trivial:.1%}" in caption
    )
    assert f"standard deviation of {truth.std():.1%}, what is said one of {said.std():.1%}" in caption
    assert "are drawn" not in caption


def test_a_network_that_says_the_majority_is_a_level_line_and_told_so() -> None:
    p = predictions() | {"prediction": np.ones(12 * WINDOWS, np.float32)}
    caption, figure = parts(surface_figures.shares(p))
    assert {value for trace in figure.data[:-2] for value in trace.y} == {1.0}
    assert "100.0% as the network says" in caption and "what is said one of 0.0%" in caption


def test_many_windows_are_thinned_out_and_counted_whole() -> None:
    p = predictions(12, 6, 400)
    caption, figure = parts(surface_figures.shares(p))
    assert sum(len(trace.x) for trace in figure.data[:-2]) == surface_figures.POINTS
    assert f"{np.isfinite(p['truth']).sum()} windows" in caption
    assert f"{surface_figures.POINTS} of them are drawn" in caption


# -- slices


def pictures(figure: go.Figure) -> list[np.ndarray]:
    """The four of the first example, `[side, side, 3]`, which are two panels."""
    found = []
    for trace in figure.data[:2]:
        head, _, data = trace.source.partition(",")
        assert head == "data:image/png;base64"
        pair = np.asarray(Image.open(BytesIO(base64.b64decode(data))))
        side = len(pair)
        assert pair.shape[1] == 2 * side + slice_figures.GAP
        found += [pair[:, :side], pair[:, -side:]]
    return found


def test_an_example_is_its_image_truth_probability_and_every_mistake() -> None:
    e = examples()
    _, figure = parts(slice_figures.slices(e))
    k = slice_figures.chosen(e)[0]
    image, labelled, probability, mistakes = pictures(figure)
    by = image.shape[0] // 20
    assert image.shape[0] >= slice_figures.SIDE and by * 20 == image.shape[0]
    assert np.array_equal(image[::by, ::by, 0], e["image"][k])
    assert np.array_equal(probability[::by, ::by, 1], np.rint(255 * e["probability"][k]).astype(np.uint8))
    truth, said = e["truth"][k].repeat(by, 0).repeat(by, 1), (e["probability"][k] > 0.5).repeat(by, 0).repeat(by, 1)
    missed = (mistakes == slice_figures.MISSED).all(-1)
    assert np.array_equal(missed, (truth == 1) & ~said), "the whole voxel, so that no colour is needed to tell it"
    invented, expected = (mistakes == slice_figures.INVENTED).all(-1), (truth == 0) & said
    assert not (invented & ~expected).any() and 0.3 < invented.sum() / expected.sum() < 0.7, "stripes"
    for picture in (labelled, mistakes):
        unknown = (picture == slice_figures.UNKNOWN).all(-1) & (truth == 2)
        assert 0.3 < unknown.sum() / (truth == 2).sum() < 0.7, "stripes"
    edge = (labelled == slice_figures.EDGE).all(-1)
    near = distance_transform_cdt(truth != 0, "taxicab") <= slice_figures.WIDE
    assert edge.any() and np.array_equal(edge, (truth == 1) & near)


def words(figure: go.Figure) -> list[str]:
    """What stands above examples, without the heads of pictures."""
    return [note.text for note in figure.layout.annotations if note.text.startswith("<b>")]


def test_words_above_an_example_are_its_counts_and_no_markup() -> None:
    e = examples()
    e["volume"] = np.asarray([f"<b>%{{z}}{k}" + "x" * 60 for k in range(12)])
    _, figure = parts(slice_figures.slices(e))
    k = slice_figures.chosen(e)[0]
    known = e["truth"][k] != 2
    truth, said = e["truth"][k][known] == 1, e["probability"][k][known] > 0.5
    (_, invented), (missed, _) = confusion_matrix(truth, said)
    first, second = words(figure)[0].split("<br>")
    assert first.startswith("<b>&lt;b&gt;%{z}") and "…</b>, " in first, "of annotations plotly makes no template"
    assert first.endswith(f"</b>, slice {e['slice'][k]}, row {e['row'][k]}, fold {e['fold'][k]}")
    assert second == f"Dice {f1_score(truth, said):.2f}, missed {missed}, invented {invented}"
    assert "x" * 60 in figure.data[0].hovertemplate and "%{" not in figure.data[0].hovertemplate


def test_every_volume_is_shown_before_a_second_slice_of_any() -> None:
    e = examples()
    e["volume"] = np.asarray(["a"] * 6 + ["b"] * 5 + ["c"])
    e["fold"] = np.asarray([0] * 6 + [1] * 6)
    e["truth"][10] = 2
    found = slice_figures.chosen(e)
    assert len(found) == slice_figures.EXAMPLES and 10 not in found
    assert [e["volume"][found].tolist().count(name) for name in "abc"] == [4, 3, 1]
    assert e["fold"][found].tolist() == sorted(e["fold"][found].tolist())


def test_a_slice_without_foreground_has_no_dice() -> None:
    e = {name: column[:1] for name, column in examples().items()}
    e |= {"truth": np.zeros((1, 20, 20), np.uint8), "probability": np.zeros((1, 20, 20), np.float32)}
    _, figure = parts(slice_figures.slices(e))
    assert [text.partition("<br>")[2] for text in words(figure)] == ["no foreground, missed 0, invented 0"]


def test_of_a_volume_slices_with_foreground_come_first() -> None:
    e = examples()
    e["volume"] = np.asarray(["a"] * 6 + ["b"] * 6)
    e["truth"][[0, 1, 2, 6]] = 0
    assert sorted(slice_figures.chosen(e)) == [0, 3, 4, 5, 7, 8, 9, 10], "four of each volume"


def test_pictures_are_large_on_a_page_and_on_a_phone_and_never_blurred() -> None:
    e = examples(side=LARGEST)
    caption, figure = parts(slice_figures.slices(e))
    assert f"{LARGEST} x {LARGEST} voxels are seen" in caption
    side = len(pictures(figure)[0])
    assert side == slice_figures.SIDE, "a pixel of the page each where the page is wide enough"
    plain = figure.layout.height - figure.layout.margin.t - figure.layout.margin.b
    for axis in (figure.layout.yaxis, figure.layout.yaxis2):
        assert plain * float(np.diff(axis.domain)[0]) == pytest.approx(slice_figures.SIDE)
    across = 928  # pixels of a page of 62 rem without its margins
    for axis in (figure.layout.xaxis, figure.layout.xaxis2):
        assert across * float(np.diff(axis.domain)[0]) >= 2 * slice_figures.SIDE + slice_figures.GAP
    phone = narrow(figure)
    tall = phone["height"] - phone["margin"]["t"] - phone["margin"]["b"]
    assert tall * float(np.diff(phone["yaxis2"]["domain"])[0]) == pytest.approx(150)
    assert phone["xaxis"]["domain"] == phone["xaxis2"]["domain"] == [0.0, 1.0]
    assert len(figure.to_json()) < 900_000, "of noise, which nothing makes smaller"


# -- all of them


def test_what_has_no_label_has_no_figure() -> None:
    p, e = predictions(), examples()
    assert [title for title, _, _ in surface_figures.figures(p, e, {})] == TITLES
    assert [title for title, _, _ in surface_figures.figures(p, {}, {})] == TITLES[1:]
    nothing = np.full(len(p["row"]), np.nan)
    assert [title for title, _, _ in surface_figures.figures(p | {"truth": nothing}, {}, {})] == TITLES[1:2]
    blind = e | {"truth": np.full_like(e["truth"], 2)}
    unscored = p | {"truth": nothing, "volume.surface_dice@1": nothing}
    assert surface_figures.figures(unscored, blind, {}) == []
    none = {name: column[:0] for name, column in p.items()}
    assert surface_figures.figures(none, {name: column[:0] for name, column in e.items()}, {}) == []


def test_the_report_takes_them_with_both_layouts() -> None:
    class Drawn(Toy):
        def figures(self, predictions: Any, examples: Any, info: Any) -> list[Shown]:
            return surface_figures.figures(predictions, examples, info)

    plots = own_plots(Drawn(), Predictions(predictions(), examples(), (0, 1, 2)), {})
    assert [plot.title for plot in plots] == TITLES
    for plot in plots:
        text = plot.json()
        assert all(f"\\u003c{tag}\\u003e{name}" not in text for tag, name in (("i", "scroll"), ("b", "0\\u0026")))


def test_it_imports_no_torch() -> None:
    check = "import sys, objectives.surface.figures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
