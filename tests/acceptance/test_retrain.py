"""A finished study and the real commands: its folds go on, a model is fine-tuned, Ctrl-C loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

Run = Callable[..., subprocess.CompletedProcess[str]]

STUDY = """
study: small
objective: digits
metric: macro_f1
folds: {count: 2, search: 0}
budget: {trials: 1, epochs: 2}
pruner: none
fixed:
  stopping: {min_epochs: 1, patience: 0}
space:
  optimizer: {lr: {float: [1e-3, 1e-2], log: true}}
configurations:
  before: {optimizer: {lr: 1e-3}}
  recommended: {optimizer: {lr: 3e-3}, model: {dropout: 0.3}}
targets:
  - {score: f1.8, at_least: 0.5}
"""


@pytest.mark.slow
def test_folds_go_on_a_model_is_fine_tuned_and_ctrl_c_loses_nothing(hpo: Run, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(STUDY)
    launched = hpo("launch", "small.yaml", "--devices", "cpu", "--no-report")
    assert launched.returncode == 0, launched.stdout + launched.stderr
    (models,) = (tmp_path / "runs/models").iterdir()

    done = hpo("continue", "small", "--configuration", "recommended", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert all(fold["kept_before"] in (1, 2) and fold["kept_after"] in (1, 2) for fold in record["folds"])
    before, after = (record["mean"][part]["macro_f1"] for part in ("before", "after"))
    assert after > before, "twice as long, at three times the rate"
    assert set(record["mean"]["after"]) == {"macro_f1", "f1.8"}

    fold = models / "continued" / "fold-1-of-trial-0000"
    words = ["finetune", str(fold), "--emphasis", "8", "--epochs", "100", "--output", "tuned"]
    command = [sys.executable, "-P", "-m", "hpo", *words]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("epoch 3/100 "))
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130 and rest.endswith("stopped; the same command goes on from the last epoch\n")
    assert not (tmp_path / "tuned").exists()
    gone_on = hpo(*words)
    assert gone_on.returncode == 0, gone_on.stderr
    assert "goes on after epoch " in gone_on.stderr and "epoch 1/100 " not in gone_on.stderr
    assert not (tmp_path / ".tuned.unfinished").exists()
    config = yaml.safe_load((tmp_path / "tuned/config.yaml").read_text())
    assert config["started_from"]["model"] == str(fold) and config["params"]["sampling.emphasis"] == "8"

    special = hpo("finetune", str(fold), "--only", "8", "--epochs", "2", "--metric", "f1.8", "--output", "eights")
    assert special.returncode == 0, special.stderr
    both = hpo("evaluate", "tuned", "--with", "eights")
    assert both.returncode == 0, both.stderr
    assert "rows that none of the models was trained on" in both.stderr
