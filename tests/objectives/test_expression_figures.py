"""Figures of expressions hold scikit-learn's F1 and say what a trivial answer would come to."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from sklearn.metrics import f1_score

from hpo.predictions import Predictions
from hpo.unseen import own_plots
from objectives.expression import figures as expression_figures
from tests.toy import Toy

CLASSES = ["sadly disgusted", "happy", "<b>x", "angry", "nobody's"]
UNITS = ["AU1", "AU12", "AU45", "AU99"]
INFO: dict[str, Any] = {"classes": CLASSES, "units": UNITS, "minority": ["<b>x"], "minority_share": 0.125}
ROWS = 200


def predictions() -> dict[str, np.ndarray]:
    """Every tenth row has no emotion, every third no units; AU45 is never active, AU99 has no labels at all."""
    draw = np.random.default_rng(0)
    truth = np.where(np.arange(ROWS) % 10 == 0, 5, draw.choice(4, ROWS, p=[0.3, 0.5, 0.05, 0.15]))
    share = draw.dirichlet(np.ones(5), ROWS)
    columns = {
        "row": np.arange(ROWS),
        "fold": np.arange(ROWS) % 4,
        "file": np.asarray([f"{k:03d}.png" for k in range(ROWS)]),
        "truth": np.asarray([*CLASSES, ""])[truth],
        "prediction": np.asarray(CLASSES)[share.argmax(1)],
    }
    columns |= {f"p.{name}": share[:, k] for k, name in enumerate(CLASSES)}
    for unit, active in zip(UNITS, (0.6, 0.1, 0.0, np.nan), strict=True):
        labels = np.where(np.arange(ROWS) % 3 == 0, np.nan, draw.random(ROWS) < active)
        columns[f"truth.{unit}"] = labels if np.isfinite(active) else np.full(ROWS, np.nan)
        columns[f"p.{unit}"] = draw.random(ROWS)
    return columns


def bars(figure: go.Figure) -> dict[str, tuple[float, str]]:
    """Name -> F1 and the name of its series."""
    return {y: (x, bar.name) for bar in figure.data if bar.type == "bar" for x, y in zip(bar.x, bar.y, strict=True)}


def shown(found: expression_figures.Shown | None) -> tuple[str, go.Figure]:
    assert found is not None
    return found[1], found[2]


def test_the_f1_of_classes_is_scikit_learns_and_the_most_frequent_stands_on_top() -> None:
    p = predictions()
    caption, figure = shown(expression_figures.f1_of_classes(p, INFO))
    known = p["truth"] != ""
    truth, said = p["truth"][known], p["prediction"][known]
    names, counts = np.unique(truth, return_counts=True)
    order = names[np.argsort(-counts, kind="stable")].tolist()
    expected = dict(zip(order, f1_score(truth, said, labels=order, average=None), strict=True))
    found = bars(figure)
    assert {name: f1 for name, (f1, _) in found.items()} == {
        name.replace("<b>", "&lt;b&gt;"): pytest.approx(f1) for name, f1 in expected.items()
    }
    assert [name.replace("&lt;b&gt;", "<b>") for name in figure.layout.yaxis.categoryarray[::-1]] == order
    rows = dict(zip(names.tolist(), counts.tolist(), strict=True))
    assert figure.layout.yaxis.ticktext[0] == f"happy ({rows['happy']})"
    assert f"macro F1 of all folds' rows together, is {f1_score(truth, said, labels=order, average='macro'):.3f}" in (
        caption
    )
    trivial = np.full(len(truth), "happy")
    assert f"would reach {f1_score(truth, trivial, labels=['happy'], average='macro'):.2f} for it" in caption
    mean = f1_score(truth, trivial, labels=order, average="macro", zero_division=0)
    assert f"and {mean:.3f} in the mean" in caption
    assert caption.endswith("No rows, so no F1: nobody's.")


def test_rare_classes_are_told_apart_by_colour_and_hatching() -> None:
    _, figure = shown(expression_figures.f1_of_classes(predictions(), INFO))
    assert {name for name, (_, series) in bars(figure).items() if series == "under 12.5% of the rows"} == {"&lt;b&gt;x"}
    plain, rare = (bar for bar in figure.data if bar.type == "bar")
    assert plain.marker.color != rare.marker.color
    assert (plain.marker.pattern.shape, rare.marker.pattern.shape) == ("", "/")
    _, without = shown(expression_figures.f1_of_classes(predictions(), INFO | {"minority": []}))
    assert [bar.name for bar in without.data if bar.type == "bar"] == ["12.5% of the rows or more"]


def test_the_f1_of_units_counts_labelled_rows_and_marks_what_always_yes_reaches() -> None:
    p = predictions()
    caption, figure = shown(expression_figures.f1_of_units(p, UNITS))
    (bar, marks) = (trace for trace in figure.data if trace.showlegend is not False)
    assert list(bar.y) == list(marks.y) == ["AU1", "AU12"], "a unit without a yes has no F1, not one of 0"
    for unit, f1, always, tick in zip(bar.y, bar.x, marks.x, figure.layout.yaxis.ticktext, strict=True):
        known = np.isfinite(p[f"truth.{unit}"])
        truth, said = p[f"truth.{unit}"][known], p[f"p.{unit}"][known] > 0.5
        assert f1 == pytest.approx(f1_score(truth, said))
        assert always == pytest.approx(f1_score(truth, np.ones_like(truth)))
        assert tick == f"{unit} ({truth.mean():.0%} of {known.sum()})"
    above = sum(f1 > always for f1, always in zip(bar.x, marks.x, strict=True))
    assert f"Mean {np.mean(bar.x):.3f}; always saying yes would reach {np.mean(marks.x):.3f}" in caption
    assert f"which {above} of 2 exceed" in caption
    assert caption.endswith("Never active, or nobody looked, so no F1: AU45, AU99.")


def test_every_bar_has_its_number_in_words() -> None:
    for found in (
        expression_figures.f1_of_classes(predictions(), INFO),
        expression_figures.f1_of_units(predictions(), UNITS),
    ):
        _, figure = shown(found)
        written = next(trace for trace in figure.data if trace.type == "scatter" and trace.mode == "text")
        assert dict(zip(written.y, written.text, strict=True)) == {
            name: f"{f1:.2f}" for name, (f1, _) in bars(figure).items()
        }


def test_what_has_no_label_has_no_figure() -> None:
    p = predictions()
    titles = ["Emotion: truth and prediction", "F1 of each emotion", "F1 of each action unit"]
    assert [title for title, _, _ in expression_figures.figures(p, {}, INFO)] == titles
    assert [title for title, _, _ in expression_figures.figures(p, {}, INFO | {"units": []})] == titles[:2]
    bare = {name: column for name, column in p.items() if "AU" not in name}
    assert [title for title, _, _ in expression_figures.figures(bare, {}, INFO)] == titles[:2]
    nobody = p | {f"truth.{unit}": np.full(ROWS, np.nan) for unit in UNITS}
    assert [title for title, _, _ in expression_figures.figures(nobody, {}, INFO)] == titles[:2]
    assert [title for title, _, _ in expression_figures.figures(p | {"truth": np.full(ROWS, "")}, {}, INFO)] == (
        titles[2:]
    )
    assert expression_figures.figures(nobody | {"truth": np.full(ROWS, "")}, {}, INFO) == []
    none = {name: column[:0] for name, column in p.items()}
    assert expression_figures.figures(none, none, INFO) == []


def test_the_report_takes_them_with_both_layouts() -> None:
    class Drawn(Toy):
        def figures(self, predictions: Any, examples: Any, info: Any) -> list[expression_figures.Shown]:
            return expression_figures.figures(predictions, examples, info)

    some = predictions()
    some_examples = {name: column[:20] for name, column in some.items()}
    some_examples["image"] = np.zeros((20, 3, 8, 8), np.uint8)
    plots = own_plots(Drawn(), Predictions(some, some_examples, (0, 1, 2, 3)), INFO)
    assert [plot.key for plot in plots] == ["own-0", "own-1", "own-2", "own-3"]
    assert all("\\u003cb\\u003ex" not in plot.json() for plot in plots), "as the page would write it"


def test_it_imports_no_torch() -> None:
    check = "import sys, objectives.expression.figures; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
