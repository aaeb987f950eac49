"""Example faces: the very pixels, beside them truth, answer and units in words that data cannot turn into markup."""

from __future__ import annotations

import base64
from io import BytesIO

import numpy as np
import plotly.graph_objects as go
import pytest
from PIL import Image

from objectives import picture_panels
from objectives.expression import faces as expression_faces
from objectives.expression.faces import PANELS, SIDE, chosen, faces

CLASSES = ["happy", "sadly disgusted", "<b>x"]
UNITS = ["AU1", "AU12", "AU43"]


def examples(rows: int, side: int = 48) -> dict[str, np.ndarray]:
    """Sixteen per fold, of every class in turn and one in four without an emotion; the network always says happy."""
    draw = np.random.default_rng(rows)
    columns = {
        "row": 10 * np.arange(rows),
        "fold": np.arange(rows) // 16,
        "file": np.asarray([f"<i>{k}.png" for k in range(rows)], "U20"),
        "truth": np.asarray([*CLASSES, ""])[np.arange(rows) % 4],
        "prediction": np.full(rows, "happy"),
        "p.happy": np.full(rows, 0.625),
        "image": draw.integers(0, 256, (rows, 3, side, side), np.uint8),
    }
    for number, unit in enumerate(UNITS):
        columns[f"truth.{unit}"] = np.full(rows, float(number < 2))
        columns[f"p.{unit}"] = np.full(rows, 0.9 if number != 1 else 0.2)
    return columns


def drawn(columns: dict[str, np.ndarray], units: list[str] = UNITS) -> tuple[str, go.Figure]:
    shown = faces(columns, units)
    assert shown is not None
    return shown[1], shown[2]


def pixels(trace: go.Image) -> np.ndarray:
    head, _, data = trace.source.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(BytesIO(base64.b64decode(data))))


def test_small_images_are_shown_pixel_by_pixel() -> None:
    e = examples(8)
    _, figure = drawn(e)
    assert len(figure.data) == 8
    for k, trace in zip(chosen(e), figure.data, strict=True):
        assert np.array_equal(pixels(trace), np.moveaxis(e["image"][k], 0, -1))


def test_large_images_are_made_small_and_the_page_stays_under_300_kilobytes() -> None:
    _, figure = drawn(examples(64, side=224))
    assert len(figure.data) == PANELS
    assert all(pixels(trace).shape == (SIDE, SIDE, 3) for trace in figure.data)
    assert len(figure.to_json()) < 300_000, "and that of noise, which no PNG makes smaller"


def test_truth_answer_and_units_stand_in_words() -> None:
    e = examples(4)
    caption, figure = drawn(e)
    texts = [note.text for note in figure.layout.annotations]
    units = "found: AU1<br>missed: AU12<br>false: AU43"
    assert texts == [  # in the order of the names, none last
        f"<b>&lt;b&gt;x</b><br>✗ wrong: happy, 62%<br>{units}",
        f"<b>happy</b><br>✓ right, 62%<br>{units}",
        f"<b>sadly disgusted</b><br>✗ wrong: happy, 62%<br>{units}",
        f"<b>no emotion given</b><br>said: happy, 62%<br>{units}",
    ]
    assert "1 right of 3 is no accuracy" in caption
    colours = [figure.layout[f"xaxis{place or ''}"].linecolor for place in ("", 2, 3, 4)]
    assert colours == [getattr(picture_panels, name) for name in ("WRONG", "RIGHT", "WRONG", "NEITHER")]


def test_units_that_nobody_looked_for_are_not_said_to_be_false() -> None:
    blind = examples(1) | {f"truth.{unit}": np.full(1, np.nan) for unit in UNITS}
    (note,) = drawn(blind)[1].layout.annotations
    assert note.text == "<b>happy</b><br>✓ right, 62%<br>units: nobody looked"
    (note,) = drawn(examples(1) | {"truth.AU43": np.full(1, np.nan)})[1].layout.annotations
    assert note.text.endswith("found: AU1<br>missed: AU12")
    (note,) = drawn(examples(1), [])[1].layout.annotations
    assert note.text == "<b>happy</b><br>✓ right, 62%"


def test_long_texts_are_cut_beside_the_face_and_whole_under_the_pointer() -> None:
    many = [f"AU{number}" for number in range(1, 61)]
    e = examples(1)
    for unit in many:
        e |= {f"truth.{unit}": np.ones(1), f"p.{unit}": np.zeros(1)}
    _, figure = drawn(e, many)
    (note,) = figure.layout.annotations
    lines = note.text.split("<br>")
    assert len(lines) == expression_faces.LINES and lines[-1] == "…"
    assert f"missed: {', '.join(many)}<extra></extra>" in figure.data[0].hovertemplate


def test_names_from_data_are_no_markup_and_no_template() -> None:
    e = examples(3)
    e["file"][:] = "<a href=x>%{z}"
    _, figure = drawn(e)
    for trace in figure.data:
        assert "&lt;a href=x&gt;%&#123;z}" in trace.hovertemplate
        assert trace.hovertemplate.startswith(("row 0, fold 0<br>", "row 10, fold 0<br>", "row 20, fold 0<br>"))


@pytest.mark.parametrize("rows", [1, 5, 12])
def test_few_examples_are_all_shown(rows: int) -> None:
    assert sorted(chosen(examples(rows))) == list(range(rows))


def test_every_emotion_and_every_fold_comes_before_a_second_of_any() -> None:
    e = examples(64)
    rows = chosen(e)
    assert len(rows) == PANELS
    for name in (*CLASSES, ""):
        assert e["fold"][[k for k in rows if e["truth"][k] == name]].tolist() == [0, 1, 2]


def test_without_images_there_is_no_figure() -> None:
    assert faces({}, UNITS) is None
    assert faces({name: column[:0] for name, column in examples(4).items()}, UNITS) is None
    assert faces({name: column for name, column in examples(4).items() if name != "image"}, UNITS) is None
