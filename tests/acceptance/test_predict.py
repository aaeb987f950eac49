"""A final model on recordings that nobody has labelled: `predict` needs no labels, `evaluate` says that it does."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from hpo.arrays import open_arrays
from hpo.objective import Params
from objectives.abr.data import LABELS, SAMPLES, STATICS
from objectives.abr.objective import Abr
from tests.objectives.test_abr_epl import LEVELS
from tests.objectives.test_abr_epl import write as write_epl

Run = Callable[..., subprocess.CompletedProcess[str]]
ROWS = [["B7", "60.5", "0", "512"], ["A1", "90", "8", "1024"], ["A1", "95", "8", "1024"]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The folder of an untrained model, in the form of a final one; its subjects are S1, S2, ..."""
    abr, folder = Abr(), tmp_path / "model"
    arrays = open_arrays(abr, None, {}, tmp_path / "cache")
    params = Params.from_flat(abr.parameters())
    statistics = abr.statistics(arrays, np.arange(len(arrays)))
    folder.mkdir()
    save_file(abr.model(params, statistics).state_dict(), folder / "weights.safetensors")
    save_file(statistics, folder / "statistics.safetensors")
    config = {"objective": "abr", "objective_hash": None, "params": params.flat(), "data": "recordings"}
    config |= {"fingerprint": arrays.fingerprint, "info": dict(arrays.info)}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def write(path: Path, labels: tuple[str, ...]) -> None:
    waves = [[str(0.01 * (k + row)) for k in range(SAMPLES)] for row in range(len(ROWS))]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", *STATICS, *labels, *(f"s{k}" for k in range(SAMPLES))])
        table.writerows([*row, *[""] * len(labels), *wave] for row, wave in zip(ROWS, waves, strict=True))


@pytest.mark.parametrize("labels", [(), LABELS[1:], LABELS], ids=["none", "some", "empty"])
def test_unlabelled_recordings_are_predicted_row_by_row(
    hpo: Run, model: Path, tmp_path: Path, labels: tuple[str, ...]
) -> None:
    write(tmp_path / "waveforms.csv", labels)
    done = hpo("predict", "model", ".", "-o", "predicted.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "predicted.csv").read_text().splitlines()))
    assert [[row["row"], row["subject"], row["level_db"], row["freq_khz"]] for row in rows] == [
        ["0", "B7", "60.5", "0"],
        ["1", "A1", "90", "8"],
        ["2", "A1", "95", "8"],
    ]
    for row in rows:
        truth = ("truth", "wave_v_present", "wave_v_latency_ms", "wave_v_amplitude_uv")
        assert {name for name, cell in row.items() if cell == ""} == set(truth)
        assert 0 < float(row["p.wave_v"]) < 1 and row["prediction"]


def test_recordings_of_an_instrument_are_predicted_as_it_wrote_them(hpo: Run, model: Path, tmp_path: Path) -> None:
    source = tmp_path / "epl"
    source.mkdir()
    write_epl(source, "ABR-7-1")
    write_epl(source, "ABR-7-2")
    done = hpo("predict", "model", "epl", "-o", "predicted.csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((tmp_path / "predicted.csv").read_text().splitlines()))
    assert [(row["file"], row["subject"], row["level_db"]) for row in rows] == [
        (name, "7", str(level)) for name in ("ABR-7-1", "ABR-7-2") for level in LEVELS
    ]
    (source / "ABR-7-2").write_bytes((source / "ABR-7-1").read_bytes()[:5000])
    refused = hpo("predict", "model", "epl", "-o", "predicted.csv")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "ABR-7-2, line 92: has 4 values, LEVELS names 5 levels" in refused.stderr


def test_scores_need_labels(hpo: Run, model: Path, tmp_path: Path) -> None:
    write(tmp_path / "waveforms.csv", LABELS[1:])
    refused = hpo("evaluate", "model", "--data", "waveforms.csv")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "waveforms.csv, line 1: no column hearing_class; label columns may be empty" in refused.stderr
