"""The real command, from a YAML file to a final model, on SQLite and PostgreSQL."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY
from tests.faults.parts import Field, finished

Run = Callable[..., subprocess.CompletedProcess[str]]
Wait = Callable[[Callable[[], bool], str], None]

SMALL = """
study: small
objective: digits
metric: macro_f1
folds: {count: 2, search: 0}
budget: {trials: 6, epochs: 4}
pruner: {name: asha, min_resource: 2}
fixed:
  stopping: {min_epochs: 2, patience: 0}
space:
  optimizer: {lr: {float: [1e-3, 1e-2], log: true}, weight_decay: {float: [1e-4, 1e-1], log: true}}
configurations:
  before: {optimizer: {lr: 1e-3, weight_decay: 1e-2}}
  recommended: {optimizer: {lr: 3e-3, weight_decay: 5e-2}}
"""


def start(folder: Path, storage: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-m", "hpo", *words]
    environ = os.environ | {"HPO_STORAGE": storage}
    return subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def status(hpo: Run, url: str) -> dict[str, Any]:
    """Of the only study there is."""
    answer: dict[str, Any] = json.loads(hpo("status", "--json", storage=url).stdout)
    return answer


def exported(hpo: Run, url: str, study: str = "small") -> list[dict[str, str]]:
    return list(csv.DictReader(hpo("export", study, "-o", "-", storage=url).stdout.splitlines()))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_study_runs_from_file_to_final_model(hpo: Run, study: Path, url: str, tmp_path: Path) -> None:
    done = hpo("launch", "small.yaml", "--workers", "2", storage=url)
    assert done.returncode == 0, done.stdout + done.stderr

    now = status(hpo, url)
    assert set(now) >= {"study", "states", "budget", "best", "workers", "final", "compute_hours"}
    assert now["states"]["COMPLETE"] + now["states"]["PRUNED"] == 6 and now["budget"]["used"] == 6
    assert now["best"]["params"]["optimizer.gradient_clip"] == 1.0, "defaults are on record, too"
    shown = hpo("status", "small", storage=url).stdout.splitlines()
    assert shown[0].split() == ["study", "small,", "objective", "digits"]
    assert "\n".join(shown[1:]) in done.stdout, "the launch ends with what the status shows"
    labels = [line[:10].strip() for line in shown if line[0] != " "]
    assert labels == ["study", "trials", "best", "promotion", "measured", "test", "model"]
    assert "6 of 6 trials begun" in done.stdout and "promotion  5 of 5 trainings done\n" in done.stdout
    final = now["final"]
    assert final["status"] == "done" and set(final["scores"]) == set(final["baseline_scores"])
    assert 0 < final["test_scores"]["macro_f1"] <= 1

    model = Path(final["path"])
    names = {"weights.safetensors", "statistics.safetensors", "config.yaml", "rows.json", "metrics.json", "README.md"}
    assert {file.name for file in model.iterdir()} == names
    scored = json.loads(hpo("evaluate", str(model), "--json").stdout)
    assert scored["note"].startswith(f"scored on {scored['rows']['scored']} rows that the model was not trained on")
    scores = scored["models"][str(model)]["scores"]
    assert scores == pytest.approx(final["test_scores"]), "those rows are the test rows"
    predicted = hpo("predict", str(model), "-o", "predicted.csv")
    assert predicted.returncode == 0, predicted.stderr
    assert len((tmp_path / "predicted.csv").read_text().splitlines()) == 1 + 1134

    page = Path(hpo("report", "small", storage=url).stdout.strip()).read_text()
    assert "macro_f1" in page and "before" in page
    assert re.search(
        r"epoch 2/4 .*train loss .*validation .*macro_f1 .*lr ", hpo("logs", "small", "0", storage=url).stdout
    )
    head, row = hpo("studies", storage=url).stdout.splitlines()
    assert head.split() == ["study", "objective", "trials", "metric", "best"]
    assert row.split()[:4] == ["small", "digits", "6/6", "macro_f1"]
    assert not list((tmp_path / "runs").glob("studies/*/checkpoints/*")), "finished work leaves no checkpoints"


def test_two_launches_share_one_budget(hpo: Run, study: Path, url: str, tmp_path: Path) -> None:
    words = ("launch", "small.yaml", "--trials", "8", "--no-promote", "--no-report")
    both = [start(tmp_path, url, *words) for _ in range(2)]
    outputs = [process.communicate(timeout=500)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    rows = exported(hpo, url)
    points = {tuple(value for name, value in row.items() if "." in name) for row in rows}
    assert len(rows) == 8 and len(points) == 8
    assert set(Counter(row["state"] for row in rows)) <= {"COMPLETE", "PRUNED"}


def test_ctrl_c_gives_back_and_the_same_command_goes_on(hpo: Run, field: Field) -> None:
    field.hold(trials=2, epochs=40)
    words = ("launch", "faults.yaml", "--workers", "2", "--no-promote", "--checkpoint-every", "0")
    launched = field.start(*words)
    field.wait(lambda: field.training() == 2, "an epoch of both trials")
    launched.send_signal(signal.SIGINT)
    field.processes.remove(launched)
    assert "the same command goes on" in finished(launched, code=130)

    states = status(hpo, field.url)["states"]
    assert states["RUNNING"] == 2 and states["FAIL"] == 0
    field.let_go()
    assert "report     " in finished(field.start(*words))
    rows = exported(hpo, field.url, "faults")
    assert [row["state"] for row in rows] == ["COMPLETE", "COMPLETE"]
    assert [row["attempt"] for row in rows] == ["2", "2"]
    for number in (0, 1):
        trained = re.findall(r" epoch (\d+)/40", field.trial_log(number))
        assert trained == [str(n) for n in range(1, 41)], "no epoch was trained twice"
        assert "resumed after epoch" in field.trial_log(number)


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(hpo: Run, field: Field) -> None:
    field.hold(trials=2, epochs=40)
    launched = field.start("launch", "faults.yaml", "--no-promote", "--no-report", "--checkpoint-every", "0")
    field.wait(lambda: field.epochs() >= 3, "epochs")
    os.kill(status(hpo, field.url)["workers"][0]["pid"], signal.SIGKILL)
    field.let_go()
    assert "its work goes on elsewhere" in finished(launched)
    rows = exported(hpo, field.url, "faults")
    assert [row["state"] for row in rows] == ["COMPLETE", "COMPLETE"]
    assert [row["attempt"] for row in rows] == ["2", "1"]


def test_a_changed_file_is_refused_before_a_trial_is_burned(hpo: Run, study: Path, tmp_path: Path) -> None:
    assert hpo("launch", "small.yaml", "--trials", "1", "--no-promote", "--no-report").returncode == 0
    study.write_text(SMALL.replace("1e-3, 1e-2", "1e-3, 1e-1").replace("seed: 0", "seed: 1"))
    refused = hpo("launch", "small.yaml")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "optimizer.lr" in refused.stderr and "--new-name" in refused.stderr
    more = hpo("launch", "small.yaml", "--new-name", "other", "--trials", "1", "--no-promote", "--no-report")
    assert more.returncode == 0, more.stderr
    names = [row["study"] for row in json.loads(hpo("studies", "--json").stdout)]
    assert names == ["small", "other"]
    by_name = hpo("launch", "other")
    assert by_name.returncode == 2
    assert f"study 'other' exists and was launched from {study}: name the file, as in" in by_name.stderr
    assert "\n  hpo launch small.yaml --new-name other\n" in by_name.stderr


def test_the_readmes_own_objective_runs_beside_a_models_py(hpo: Run, tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text()
    objective = re.findall(r"```python\n(import torch.*?)```", readme, re.S)[0]
    study = re.findall(r"```yaml\n(.*?)```", readme, re.S)[0]
    assert len(objective.splitlines()) + len(study.splitlines()) < 60
    (tmp_path / "my_objective.py").write_text(objective)
    (tmp_path / "my_study.yaml").write_text(study)
    (tmp_path / "models.py").write_text("raise RuntimeError('the models.py of the user was imported')")
    done = hpo("launch", "my_study.yaml", "--trials", "3", "--workers", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "runs your code" in done.stderr and "model      " in done.stdout
    more = re.findall(r"```python\n(    defaults.*?)```", readme, re.S)[0]
    (tmp_path / "my_objective.py").write_text(objective.replace("    def predict(", f"{more}\n    def predict("))
    (tmp_path / "my_study.yaml").write_text(
        study.replace("space:", "fixed: {augment: {mixup: 0.2}}\nspace:").replace("study: wine", "study: more")
    )
    done = hpo("launch", "my_study.yaml", "--trials", "1", "--no-promote", "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    log = hpo("logs", "more", "0").stdout
    assert "augment.mixup=0.2" in log and re.search(r"class_1( +[01]\.\d{3}){3} +14$", log, re.M)
