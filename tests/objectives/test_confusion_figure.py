"""The drawn confusion matrix holds scikit-learn's numbers and says what a trivial answer would come to."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from sklearn.metrics import confusion_matrix

from objectives.confusion_figure import confusion, short

CLASSES = ["sadly disgusted", "at", "<b>above</b>"]
TITLE = "Truth and prediction"


def predictions(rows: int = 60) -> dict[str, np.ndarray]:
    """Every second row has a class."""
    draw = np.random.default_rng(0)
    truth = np.where(np.arange(rows) % 2 == 0, draw.integers(0, 3, rows), 3)
    return {
        "truth": np.asarray([*CLASSES, ""])[truth],
        "prediction": np.asarray(CLASSES)[draw.integers(0, 3, rows)],
    }


def drawn(columns: dict[str, np.ndarray], classes: list[str] = CLASSES) -> tuple[str, go.Figure]:
    shown = confusion(columns, classes, TITLE)
    assert shown is not None and shown[0] == TITLE
    return shown[1], shown[2]


def test_it_is_scikit_learns() -> None:
    p = predictions()
    labelled = p["truth"] != ""
    expected = confusion_matrix(p["truth"][labelled], p["prediction"][labelled], labels=CLASSES)
    caption, figure = drawn(p)
    (heat,) = figure.data
    assert np.array_equal(heat.customdata, expected)
    np.testing.assert_allclose(heat.z, expected / expected.sum(1, keepdims=True))
    assert f"{labelled.sum()} rows with a class, {np.trace(expected) / expected.sum():.0%} of them" in caption
    assert f"would be right for {expected.sum(1).max() / expected.sum():.0%}" in caption


def test_cells_show_their_count_and_nothing_where_there_is_none() -> None:
    two = {"truth": np.asarray(["at", "at", "at"]), "prediction": np.asarray(["at", "at", "<b>above</b>"])}
    (heat,) = drawn(two)[1].data
    assert [list(row) for row in heat.text] == [["", "", ""], ["", "2", "1"], ["", "", ""]]
    assert heat.z[0].tolist() == [0, 0, 0], "a class without rows is no division by zero"


def test_names_are_escaped_and_cut_where_they_are_shown() -> None:
    _, figure = drawn(predictions())
    (heat,) = figure.data
    for texts in (heat.x, heat.y, figure.layout.xaxis.ticktext, figure.layout.yaxis.ticktext):
        assert "<b>" not in str(texts) and "&lt;b&gt;above" in str(texts)
    assert figure.layout.xaxis.ticktext[0] == "sadly disgusted"
    assert short("a name that nobody has room for") == "a name that nobody ha…"
    alike = ["a name that nobody has room for", "a name that nobody has heard of"]
    pair = {"truth": np.asarray(alike), "prediction": np.asarray(alike)}
    (heat,) = drawn(pair, alike)[1].data
    assert list(heat.x) == alike, "names that look alike once they are cut stay two classes"


def test_the_more_classes_the_higher_it_is() -> None:
    names = [f"class {k}" for k in range(14)]
    many = {"truth": np.asarray(names), "prediction": np.asarray(names)}
    assert drawn(many, names)[1].layout.height > drawn(predictions())[1].layout.height


def test_without_a_class_there_is_no_figure() -> None:
    assert confusion(predictions() | {"truth": np.full(60, "")}, CLASSES, TITLE) is None
    assert confusion({"truth": np.empty(0, "U1"), "prediction": np.empty(0, "U1")}, CLASSES, TITLE) is None
