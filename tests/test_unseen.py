"""The report's part on rows that no model was trained on, and the commands that give out their table."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from click.testing import CliRunner, Result
from optuna.trial import TrialState

from hpo.cli.group import hpo
from hpo.figure_style import TERMS
from hpo.objective import Objective
from hpo.promotion import plan, run_job
from hpo.unseen import Unseen, unseen
from tests.toy import STUDY, Launched, Toy, launch


class Drawn(Toy):
    """Has a figure of its own."""

    def figures(
        self, predictions: Mapping[str, np.ndarray], examples: Mapping[str, np.ndarray], info: Mapping[str, Any]
    ) -> list[tuple[str, str, go.Figure]]:
        figure = go.Figure(go.Scatter(x=predictions["row"], y=predictions["number"], mode="markers"))
        return [
            ("Own & numbers", f"{len(predictions['row'])} rows of {info['rows']}", figure.update_layout(height=300))
        ]


def no_code() -> Objective:
    raise AssertionError("no code is run for that")


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """A study of two trials, promoted."""
    threads, root = torch.get_num_threads(), tmp_path_factory.mktemp("unseen")
    torch.set_num_threads(1)
    (root / "runs").mkdir()
    text = STUDY.replace("tests.toy:Toy", "tests.test_unseen:Drawn")
    found = launch(f"sqlite:///{root / 'runs/hpo.db'}", root, text, objective=Drawn())
    for value in (0.5, 0.6):
        lease, search = found.trial(), found.search
        search.choose(lease)
        found.store.results.finish_trial(lease, partial(search.tell, lease, TrialState.COMPLETE, value), value=value)
    plan(found.store, found.record, found.spec)
    while (job := found.job()) is not None:
        run_job(job, found.around)
    yield found
    found.store.close()
    torch.set_num_threads(threads)


def look(launched: Launched, objective: Any = Drawn, candidate: int | None = 1) -> Unseen:
    jobs = launched.store.reading.jobs(launched.record.study_id)
    return unseen(launched.files, launched.record, jobs, candidate, objective)


def command(launched: Launched, *words: str) -> Result:
    return CliRunner().invoke(hpo, [*words, "--runs", str(launched.files.root)], prog_name="hpo")


def test_the_objectives_figures_get_the_look_of_all_others(launched: Launched) -> None:
    part = look(launched)
    assert part.cautions == []
    assert "Trial 1, retrained on each of 3 folds, has predicted the 100 rows" in part.sentences[0]
    (plot,) = part.plots
    assert (plot.key, plot.title, plot.caption) == ("own-0", "Own & numbers", "100 rows of 120")
    assert plot.figure.layout.height == 300 and plot.figure.layout.colorway == TERMS
    assert plot.figure.layout.paper_bgcolor == "rgba(0,0,0,0)"


def test_without_predictions_no_code_is_run(launched: Launched) -> None:
    assert look(launched, no_code, candidate=None) == Unseen()
    elsewhere = launched.store.reading.jobs(launched.record.study_id)
    other = type(launched.files)(launched.files.root.parent / "others")
    part = unseen(other, launched.record, elsewhere, 1, no_code)
    assert part.plots == [] and "another machine's runs folder may hold them" in part.sentences[0]


class Broken(Drawn):
    def figures(self, *_: Any) -> Any:
        return dict[str, Any]()["p.walk"]


class Unwritable(Drawn):
    """Its figure holds what no page can."""

    def figures(self, *_: Any) -> Any:
        return [("Objects", "", go.Figure(go.Scatter(x=[1], y=[1], customdata=np.asarray([object()]))))]


def changed() -> Objective:
    raise LookupError("own.py has changed since the study was launched")


@pytest.mark.parametrize(
    ("objective", "why"),
    [
        (Broken, "figures() raised KeyError: 'p.walk'"),
        (Unwritable, "figures() raised TypeError"),
        (changed, "its code is not at hand: own.py has changed since the study was launched"),
    ],
)
def test_a_figure_that_cannot_be_had_costs_no_report(launched: Launched, objective: Any, why: str) -> None:
    part = look(launched, objective)
    assert part.plots == [] and len(part.sentences) == 1
    assert why in part.cautions[0]


def test_a_report_names_the_users_code_and_holds_its_figure(launched: Launched) -> None:
    sys.modules.pop("tests.test_unseen", None)  # named once per process, before it runs
    done = command(launched, "report", "toy")
    assert done.exit_code == 0, done.output
    assert done.stderr == "runs installed code: tests.test_unseen:Drawn\n"
    page = Path(done.stdout.strip()).read_text()
    assert "Own &amp; numbers" in page and "100 rows of 120" in page
    assert "hpo export toy --predictions -o predicted.csv" in page


def test_export_joins_the_folds(launched: Launched, tmp_path: Path) -> None:
    done = command(launched, "export", "toy", "--predictions", "-o", str(tmp_path / "rows.csv"))
    assert done.output == f"100 rows, predicted by trial 1 over 3 folds -> {tmp_path / 'rows.csv'}\n"
    rows = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert [int(row["row"]) for row in rows] == launched.around.split.refit().train.tolist()
    printed = command(launched, "export", "toy", "--predictions", "--trial", "0", "-o", "-")
    assert printed.stdout.splitlines()[0] == "row,fold,prediction,number"
    assert printed.stdout.splitlines() != (tmp_path / "rows.csv").read_text().splitlines()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--predictions", "--trial", "9"), "no predictions of trial 9 of study toy in .*: promoted are trials 0, 1"),
        (("--trial", "1"), "--trial goes with --predictions"),
    ],
)
def test_export_of_what_is_not_there_says_what_is(launched: Launched, words: tuple[str, ...], said: str) -> None:
    done = command(launched, "export", "toy", *words, "-o", "-")
    assert done.exit_code == 2
    assert re.search(said, done.output), done.output


def test_status_names_the_folder_of_the_predictions(launched: Launched) -> None:
    found = json.loads(command(launched, "status", "toy", "--json").stdout)
    assert found["predictions"] == str(launched.files.predictions(launched.record.folder))
    assert len(list(Path(found["predictions"]).glob("trial-*/fold-*/*.csv"))) == 6


def test_diagnose_says_what_baseline_and_best_show(launched: Launched) -> None:
    found = json.loads(command(launched, "diagnose", "toy", "--json").stdout)
    looked_at = [(t["trial"], t["configuration"], t["role"]) for t in found["trials"]]
    assert looked_at == [(0, "before", "baseline"), (1, None, "best")]
    assert (found["study"], found["metric"], found["symptoms"]) == ("toy", "accuracy", [])
    assert [t["references"] for t in found["trials"]] == [{}, {}], "the toy has none"
    text = command(launched, "diagnose", "toy").stdout
    assert text.startswith("trial 0 (configuration before, baseline), 0 epochs\n  no epoch yet\n")
    missing = command(launched, "diagnose", "toy", "7")
    assert missing.exit_code == 2 and "study toy has no trial 7; it has 2, counted from 0" in missing.output
