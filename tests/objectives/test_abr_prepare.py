"""Preparing ABR data: the grid of the study, rows of several files, a model of one source given another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.arrays import Arrays, open_arrays
from hpo.objective import DataError
from objectives.abr.data import CLASSES
from objectives.abr.objective import Abr
from tests.objectives import test_abr_csv as table
from tests.objectives import test_abr_epl as epl
from tests.objectives.cases import FOLDS, SEED, Case, recordings


def prepared(tmp_path: Path, source: Path | None, **data: Any) -> Arrays:
    values = {f"data.{name}": value for name, value in data.items()}
    return open_arrays(Abr(), source, values, tmp_path / "cache", labelled=False)


@pytest.mark.parametrize(
    ("rate_hz", "window_ms", "samples"), [(20_000, 10, 200), (24_414.0625, 9, 218), (10_000, 7, 70)]
)
def test_a_study_chooses_rate_and_window(tmp_path: Path, rate_hz: float, window_ms: float, samples: int) -> None:
    case = Case(Abr(), prepared(tmp_path, None, rate_hz=rate_hz, window_ms=window_ms))
    arrays, end_ms = case.arrays, 1e3 * samples / rate_hz
    assert arrays["waveform"].shape == (len(arrays), samples)
    assert (arrays.info["sampling_rate_hz"], arrays.info["window_ms"]) == (rate_hz, pytest.approx(end_ms))
    assert np.nanmax(arrays["latency_ms"]) <= end_ms
    params = case.params(data__rate_hz=rate_hz, data__window_ms=window_ms, augment__shift=20.0)
    batch = case.batch(np.arange(0, 1280, 40))
    moved = case.objective.augment(batch, params, torch.Generator().manual_seed(0))
    shift_ms = (moved["latency_ms"] - batch["latency_ms"]).abs()
    assert 0 < shift_ms[shift_ms.isfinite()].max() <= 20e3 / rate_hz + 1e-4
    assert moved["latency_ms"].nan_to_num(0).max() <= end_ms
    statistics = case.objective.statistics(arrays, np.arange(len(arrays)))
    assert case.objective.model(params, statistics)(batch)["signal"].shape == (32, samples)


def test_without_a_choice_the_grid_is_the_default_one(tmp_path: Path) -> None:
    assert (
        prepared(tmp_path, None).fingerprint == prepared(tmp_path, None, rate_hz=20_000.0, window_ms=10.0).fingerprint
    )
    assert prepared(tmp_path, None).fingerprint != prepared(tmp_path, None, window_ms=9.0).fingerprint


def test_picks_after_the_window_are_masked(tmp_path: Path) -> None:
    rows = [table.row(present="1", latency=latency, amplitude="0.2") for latency in ("6.9", "7.1")]
    arrays = prepared(tmp_path, table.write(tmp_path / "w.csv", rows), window_ms=7.0)
    assert np.isnan(arrays["latency_ms"]).tolist() == [False, True]
    assert arrays["present"].tolist() == [1, 1]
    assert arrays.info["notes"][-1] == (
        "latency and amplitude of 1 picks before 4 ms or after the window's end (7 ms) are treated as missing; "
        "the rows stay"
    )


def test_made_up_responses_cannot_be_longer_than_they_are(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"made-up responses: 200 samples at 20000 Hz end 10 ms .* asks for 12; set data"
    ):
        prepared(tmp_path, None, window_ms=12.0)


def test_rows_of_several_files_are_told_apart(tmp_path: Path) -> None:
    source = tmp_path / "epl"
    source.mkdir()
    epl.write(source, "ABR-7-1")
    epl.write(source, "CAP-7-1", "8.0")
    arrays = prepared(tmp_path, source)
    named = Abr().identify(arrays)
    assert list(named) == ["file", "subject", "level_db", "freq_khz"]
    assert named["file"].tolist() == ["ABR-7-1"] * 5 + ["CAP-7-1"] * 5
    assert set(named["subject"].tolist()) == {"7"}
    with pytest.raises(DataError, match=r"epl: no thresholds and no picks of wave V \(P5\)"):
        open_arrays(Abr(), source, {}, tmp_path / "cache")
    with pytest.raises(DataError, match=r"3 folds need at least 3 groups, the data have 1: 7; add recordings of more"):
        Abr().split(arrays, 3, SEED)


def test_a_model_meets_classes_that_it_was_not_trained_on(tmp_path: Path) -> None:
    """Which classes exist does not depend on the source: names and numbers mean the same everywhere."""
    few = prepared(tmp_path, table.write(tmp_path / "w.csv", [table.row("A", "0"), table.row("B", "1")]))
    assert few.info["classes"] == list(CLASSES)
    source = tmp_path / "epl"
    source.mkdir()
    epl.write(source)
    epl.analyse(source)
    trained, case = Abr(), Case(Abr(), prepared(tmp_path, source))
    model = trained.model(case.params(), trained.statistics(few, np.arange(2))).eval()
    batch = case.batch(np.arange(5))
    with torch.no_grad():
        outputs = model(batch)
    assert trained.predict(outputs, batch, few.info)["truth"].tolist() == [
        "below threshold", "0-10 dB", "0-10 dB", "15-30 dB", ">30 dB"
    ]  # fmt: skip
    assert (
        0 <= trained.score({n: v.numpy() for n, v in trained.sums(outputs, batch).items()}, few.info)["macro_f1"] <= 1
    )


def test_every_fold_of_the_recordings_has_rows_with_a_class(tmp_path: Path) -> None:
    arrays = prepared(tmp_path, recordings("abr"))
    for seed in range(4):
        folds = Abr().split(arrays, FOLDS, seed).folds
        present = [set(arrays["hearing_class"][fold.validation].tolist()) - {-1} for fold in folds]
        assert present[0] == present[1] == {0, 1, 2, 3} and present[2] == {0, 1, 2}  # P8 has no >30 dB
