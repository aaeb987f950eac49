"""Models on new recordings: `predict` needs no labels, `evaluate` says that it does; ensembles of several models."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.torch import save_file

from hpo.arrays import open_arrays
from hpo.objective import Params
from objectives.abr.data import CLASSES, LABELS, SAMPLES, STATICS
from objectives.abr.objective import Abr
from tests.objectives.test_abr_epl import LEVELS
from tests.objectives.test_abr_epl import write as write_epl

Run = Callable[..., subprocess.CompletedProcess[str]]
ROWS = [["B7", "60.5", "0", "512"], ["A1", "90", "8", "1024"], ["A1", "95", "8", "1024"]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return untrained(tmp_path, "model")


def untrained(tmp_path: Path, name: str) -> Path:
    """The folder of an untrained model, in the form of a final one; its subjects are S1, S2, ..."""
    abr, folder = Abr(), tmp_path / name
    arrays = open_arrays(abr, None, {}, tmp_path / "cache")
    params = Params.from_flat(abr.parameters())
    statistics = abr.statistics(arrays, np.arange(len(arrays)))
    folder.mkdir()
    save_file(abr.model(params, statistics).state_dict(), folder / "weights.safetensors")
    save_file(statistics, folder / "statistics.safetensors")
    config = {"objective": "abr", "objective_hash": None, "params": params.flat(), "data": "recordings"}
    config |= {"fingerprint": arrays.fingerprint, "info": dict(arrays.info)}
    config |= {"metric": {"name": "macro_f1", "direction": "maximize"}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def write(path: Path, labels: tuple[str, ...], known: tuple[tuple[str, ...], ...] = ((), (), ())) -> None:
    """ROWS, with labels that are empty, or those that are known."""
    waves = [[str(0.01 * (k + row)) for k in range(SAMPLES)] for row in range(len(ROWS))]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["subject", *STATICS, *labels, *(f"s{k}" for k in range(SAMPLES))])
        rows = zip(ROWS, known, waves, strict=True)
        table.writerows([*row, *(own or [""] * len(labels)), *wave] for row, own, wave in rows)


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


#: Class, whether there is a peak, its latency and amplitude; of each of ROWS.
KNOWN = (("0", "0", "", ""), ("3", "1", "6.5", "1.5"), ("3", "1", "6.0", "2.0"))


def columns(table: Path) -> dict[str, np.ndarray]:
    """What is predicted, a column of numbers each."""
    rows = list(csv.DictReader(table.read_text().splitlines()))
    names = [name for name in rows[0] if name.startswith(("p.", "predicted_"))]
    return {name: np.asarray([float(row[name]) for row in rows]) for name in names}


def test_an_ensemble_is_scored_and_predicts_beside_its_members(hpo: Run, model: Path, tmp_path: Path) -> None:
    """By hand: means of latencies, and geometric means of the classes' probabilities."""
    other = untrained(tmp_path, "other")
    config = yaml.safe_load((model / "config.yaml").read_text())
    targets = [{"score": "latency_mae_ms", "at_most": 100.0}, {"score": "macro_f1", "at_least": 1.0, "by_epoch": 3}]
    (model / "config.yaml").write_text(yaml.safe_dump(config | {"targets": targets}))
    write(tmp_path / "waveforms.csv", LABELS, KNOWN)

    said = []
    for words in (("model",), ("other",), ("model", "--with", "other")):
        done = hpo("predict", words[0], "waveforms.csv", *words[1:], "-o", "predicted.csv")
        assert done.returncode == 0, done.stderr
        said.append(columns(tmp_path / "predicted.csv"))
    one, two, both = said
    classes = [f"p.{name}" for name in CLASSES]
    # A table has seven digits.
    for name in ("predicted_latency_ms", "predicted_amplitude_uv"):
        np.testing.assert_allclose(both[name], (one[name] + two[name]) / 2, rtol=1e-5)
    product = np.sqrt([one[name] * two[name] for name in classes])
    np.testing.assert_allclose([both[name] for name in classes], product / product.sum(0), rtol=1e-5)

    done = hpo("evaluate", "model", "--with", "other", "--data", "waveforms.csv", "--by-class", "--json")
    assert done.returncode == 0, done.stderr
    assert "\nnote: other data than the models were trained on, by their fingerprint; rows that" in done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == {"scored": 3, "of": 3, "classes": {CLASSES[0]: 1, CLASSES[3]: 2}}
    error = float(np.abs(both["predicted_latency_ms"][1:] - [6.5, 6.0]).mean())
    ensemble = found["ensemble"]
    assert ensemble["scores"]["latency_mae_ms"] == pytest.approx(error, rel=1e-5)
    assert ensemble["by_class"][CLASSES[3]]["latency_mae_ms"] == pytest.approx(error, rel=1e-5)
    assert "latency_mae_ms" not in ensemble["by_class"][CLASSES[0]]
    (target,) = ensemble["targets"]
    assert (target["target"], target["reached"]) == ("latency_mae_ms at most 100", True)

    config = yaml.safe_load((other / "config.yaml").read_text())
    info = config["info"] | {"classes": list(CLASSES)[::-1]}
    (other / "config.yaml").write_text(yaml.safe_dump(config | {"info": info}))
    refused = hpo("evaluate", "model", "--with", "other", "--data", "no data")  # said before data are looked at
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "other and model cannot be combined: its classes are >30 dB, 15-30 dB," in refused.stderr
