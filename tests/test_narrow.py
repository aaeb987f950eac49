"""On a narrow page panels stand one below the other, and no legend takes their place."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from hpo import parameter_figures, training_figures
from hpo.figure_style import styled
from hpo.narrow import BETWEEN, PANEL, ROW, SMALL, narrow
from hpo.objective import Metric
from hpo.report import write_report
from hpo.unseen import Unseen
from hpo.verdict import Case
from tests import made_up

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
F1 = Metric("f1.macro", "maximize")


def panels(layout: dict[str, Any]) -> list[tuple[list[float], list[float]]]:
    """Domains of each pair of axes, in the order of their numbers."""
    names = [name for name in layout if name.startswith("xaxis")]
    return [(layout[name]["domain"], layout[name.replace("x", "y", 1)]["domain"]) for name in names]


def inner(layout: dict[str, Any]) -> float:
    """Pixels that the panels have."""
    return float(layout["height"] - layout["margin"]["t"] - layout["margin"]["b"])


@pytest.mark.parametrize(
    ("figure", "count", "each"),
    [
        (training_figures.losses(made_up.trials(), F1), 2, PANEL),
        (parameter_figures.scatters(made_up.trials(), F1), 4, PANEL),
        (styled(make_subplots(rows=3, cols=2), 400), 6, SMALL),
    ],
)
def test_panels_fill_the_width_in_reading_order(figure: go.Figure, count: int, each: int) -> None:
    layout = narrow(figure)
    found = panels(layout)
    assert len(found) == count and all(x == [0.0, 1.0] for x, _ in found)
    high = inner(layout)
    for place, (_, (bottom, top)) in enumerate(found):
        assert (1 - top) * high == pytest.approx(place * (each + BETWEEN), abs=1e-6)
        assert (top - bottom) * high == pytest.approx(each, abs=1e-6)
    names = [name for name in layout if name.startswith("yaxis")]
    assert all(layout[name]["showticklabels"] for name in names), "no panel reads its values off another"


def test_titles_go_with_their_panels() -> None:
    figure = styled(make_subplots(rows=2, cols=2, subplot_titles="abcd"), 400)
    layout = narrow(figure)
    tops = [y[1] for _, y in panels(layout)]
    assert [note["y"] for note in layout["annotations"]] == tops
    assert {note["x"] for note in layout["annotations"]} == {0.5}
    assert figure.layout.annotations[0].x != 0.5, "the wide figure is as it was"


@pytest.mark.parametrize(("names", "rows"), [("abcde", 3), (["a", "a name of many letters", "c"], 3)])
def test_the_figure_grows_by_its_legend(names: list[str], rows: int) -> None:
    """Two short names stand in a row; the plot itself keeps its height."""
    bare = styled(go.Figure(go.Scatter(x=[1], y=[1], showlegend=False)), 400)
    full = go.Figure(bare).add_traces([go.Scatter(x=[1], y=[1], name=name) for name in names])
    assert narrow(full)["height"] - narrow(bare)["height"] == rows * ROW
    assert inner(narrow(full)) == inner(narrow(bare)) == 400 - 56 - 48
    assert narrow(full)["legend"]["y"] == 0


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize(("width", "is_narrow"), [(500, "true"), (1000, "false")])
def test_a_browser_picks_the_layout_by_its_width(tmp_path: Path, width: int, is_narrow: str) -> None:
    case = Case(made_up.study(), made_up.trials(), [], None, made_up.direction_of)
    write_report(case, Unseen(), tmp_path / "page.html")
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=8000"),
        *(f"--window-size={width},900", "--dump-dom", (tmp_path / "page.html").as_uri()),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in ran.stderr, ran.stderr
    drawn = dict(re.findall(r'<div class="plot[^"]*" id="([^"]+)"[^>]*data-narrow="(\w+)"', ran.stdout))
    assert set(drawn.values()) == {is_narrow} and "losses" in drawn
    assert ("parallel" in drawn) is (is_narrow == "false"), "no narrow page can show parallel coordinates"
