"""The page of a range test: its figure shows the numbers, and a browser shows the figure."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.lr_range import Point, Reading
from hpo.lr_range_page import curve, write_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
POINTS = [
    Point(rate=10 ** (x - 7), loss=3 - x / 5 + 0.1 * (x % 0.2), smooth_rate=10 ** (x - 7.2), smooth_loss=3 - x / 5)
    for x in np.arange(0, 7, 0.1).tolist()
]
MARKS: dict[str, Any] = {"fastest_rate": 1e-4, "lowest_rate": 1e-2, "broken_rate": 0.5, "suggested": (1e-3, 1e-2)}
READING = Reading(start=3, scatter=0.1, lowest=1.6, limit=3, **MARKS)
NOTHING = Reading(start=3, scatter=0.1, lowest=3, limit=3, **dict.fromkeys(MARKS))
HEAD: dict[str, Any] = {
    "title": "a <b>study</b>",
    "synthetic": True,
    "facts": [("data", "</script>")],
    "sentences": ["It falls."],
}


def test_the_figure_holds_every_step_and_every_mark() -> None:
    figure = curve(POINTS, READING, (1e-5, 1e-1))
    dots, line = figure.data
    assert list(dots.x) == [p.rate for p in POINTS] and list(dots.y) == [p.loss for p in POINTS]
    assert list(line.x) == [p.smooth_rate for p in POINTS] and list(line.y) == [p.smooth_loss for p in POINTS]
    marks = {shape.name: shape.x0 for shape in figure.layout.shapes if shape.x0 == shape.x1}
    assert marks == {"falls fastest": 1e-4, "lowest": 1e-2, "breaks": 0.5}
    shaded = next(shape for shape in figure.layout.shapes if shape.type == "rect")
    assert (shaded.x0, shaded.x1) == READING.suggested
    assert len(curve(POINTS, NOTHING, (1e-3, 1e-3)).layout.shapes) == 1, "the study's own rate alone"


def test_an_explosion_does_not_flatten_the_curve() -> None:
    last = Point(rate=1.0, loss=1e9, smooth_rate=0.5, smooth_loss=50.0)
    low, high = curve([*POINTS, last], READING, (1e-5, 1e-1)).layout.yaxis.range
    assert low < 1.6 and 3 < high < 10


def test_the_axis_holds_the_whole_mean_up_to_the_break() -> None:
    """The first losses happened to be low, and the mean rose before it fell: nothing of that is cut off."""
    risen = [replace(p, smooth_loss=p.smooth_loss + 2 * (3 <= k < 20)) for k, p in enumerate(POINTS)]
    mean = [p.smooth_loss for p in risen]
    low, high = curve(risen, READING, (1e-5, 1e-1)).layout.yaxis.range
    assert low < min(mean) and max(mean) < high < 2 * max(mean)


def test_texts_of_others_are_shown_and_do_nothing(tmp_path: Path) -> None:
    write_page(tmp_path / "new" / "page.html", POINTS, READING, (1e-5, 1e-1), HEAD)
    page = (tmp_path / "new" / "page.html").read_text()
    assert "a &lt;b&gt;study&lt;/b&gt;" in page and "&lt;/script&gt;" in page
    assert page.count('class="banner"') == 1 and "It falls." in page
    assert page.count("<tr>") == 1 + 1 + len(POINTS) // 10, "a row of facts, a head, every tenth step"


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_draws_it_under_its_own_policy(tmp_path: Path) -> None:
    write_page(tmp_path / "page.html", POINTS, READING, (1e-5, 1e-1), HEAD)
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=8000"),
        *("--dump-dom", (tmp_path / "page.html").as_uri()),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in ran.stderr, ran.stderr
    drawn = re.findall(r"<text\b[^>]*>(.*?)</text>", ran.stdout, flags=re.DOTALL)
    legend = {"one step", "mean", "falls fastest", "lowest", "breaks", "the study's optimizer.lr"}
    assert legend <= {unescape(text) for text in drawn}
