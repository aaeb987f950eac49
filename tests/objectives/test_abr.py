"""The ABR objective: what is prepared, how missing labels and the latency behave."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hpo.arrays import open_arrays
from hpo.objective import DataError
from objectives.abr import Abr
from tests.objectives.cases import FOLDS, SEED, Case, recordings


@pytest.fixture(scope="module")
def made_up(cache: Path) -> Case:
    return Case(Abr(), open_arrays(Abr(), None, {}, cache))


@pytest.fixture(scope="module")
def recorded(cache: Path) -> Case:
    return Case(Abr(), open_arrays(Abr(), recordings("abr"), {}, cache))


def test_made_up_data_say_so(made_up: Case) -> None:
    info = made_up.arrays.info
    assert info["synthetic"] is True
    assert info["classes"] == ["below threshold", "0-10 dB", "15-30 dB", ">30 dB"]
    assert info["notes"] == []


def test_recordings_note_what_was_masked(recorded: Case) -> None:
    info = recorded.arrays.info
    assert info["synthetic"] is False
    assert info["notes"] == [
        "latency and amplitude of 7 picks before 4 ms or after the window's end (10 ms) are treated as missing; "
        "the rows stay"
    ]


def test_counts_name_classes_subjects_and_missing_labels(recorded: Case) -> None:
    counts = recorded.objective.counts(recorded.arrays)
    assert counts["class"] == {
        "unlabelled": 444, "below threshold": 81, "0-10 dB": 81, "15-30 dB": 108, ">30 dB": 78
    }  # fmt: skip
    assert counts["subject"] == {
        "N1": 76, "N2": 52, "N3": 60, "N4": 64, "N5": 64, "N6": 68, "N7": 60, "P3": 117, "P6": 114, "P8": 117
    }  # fmt: skip
    assert counts["missing label"] == {"class": 444, "presence": 734, "peak latency": 747, "peak amplitude": 747}


def test_every_fold_of_the_recordings_has_every_kind_of_label(recorded: Case) -> None:
    arrays = recorded.arrays
    split = recorded.objective.split(arrays, 3, SEED)
    assert len(split.test) == 0  # three subjects have classes: all are needed for the folds
    for fold in split.folds:
        classes, present = arrays["hearing_class"][fold.validation], arrays["present"][fold.validation]
        assert {0, 1, 2} <= set(classes.tolist())  # class 3 was recorded in two subjects only
        assert {0, 1} <= set(present.tolist())
        assert np.isfinite(arrays["latency_ms"][fold.validation]).any()


def test_subjects_are_set_aside_for_a_test_only_where_the_folds_can_spare_them(made_up: Case) -> None:
    arrays, objective = made_up.arrays, made_up.objective
    split = objective.split(arrays, 3, SEED)
    tested = set(arrays["subject"][split.test].tolist())
    assert 2 <= len(tested) <= 3
    assert not tested & set(arrays["subject"][split.refit().train].tolist())
    assert set(arrays["hearing_class"][split.test].tolist()) >= {0, 1, 2, 3}
    assert len(objective.split(arrays, 8, SEED).test) == 0  # nine subjects have classes, eight folds need eight


def test_more_folds_than_subjects_are_refused_with_their_names(recorded: Case) -> None:
    with pytest.raises(DataError, match=r"11 folds need at least 11 groups, the data have 10: N1, N2, .*P8"):
        recorded.objective.split(recorded.arrays, 11, SEED)


def test_statistics_come_from_training_rows_and_labelled_entries_only(made_up: Case) -> None:
    arrays = made_up.arrays
    rows = made_up.objective.split(arrays, FOLDS, SEED).folds[0].train
    statistics = made_up.objective.statistics(arrays, rows)
    latency = arrays["latency_ms"][rows]
    np.testing.assert_allclose(statistics["latency"], [np.nanmean(latency), np.nanstd(latency)], rtol=1e-5)
    np.testing.assert_allclose(statistics["statics"][0], arrays["statics"][rows].mean(0), rtol=1e-4)
    assert statistics["class_rows"].sum() == (arrays["hearing_class"][rows] >= 0).sum()
    nowhere = np.flatnonzero(np.isnan(arrays["latency_ms"]))[:1]
    assert made_up.objective.statistics(arrays, nowhere)["latency"].tolist() == [0.0, 1.0]


def test_terms_without_labels_count_nothing_and_send_no_nan(made_up: Case) -> None:
    arrays = made_up.arrays
    bare = np.flatnonzero((arrays["hearing_class"] < 0) & (arrays["present"] < 0))[:6]
    params = made_up.params(loss__focal_gamma=2.0)
    statistics = made_up.objective.statistics(arrays, bare)
    model = made_up.objective.model(params, statistics)
    batch = made_up.batch(bare)
    outputs = model(batch)
    terms = made_up.objective.losses(outputs, batch, params, statistics)
    for name in ("class", "presence", "peak_latency", "peak_amplitude"):
        assert [value.item() for value in terms[name]] == [0, 0]
    assert terms["signal"][1] == 6 * 200
    torch.stack([value for value, _ in terms.values()]).sum().backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())
    sums = {name: value.detach().numpy() for name, value in made_up.objective.sums(outputs, batch).items()}
    assert set(made_up.objective.score(sums, arrays.info)) == {"signal_rmse", "signal_correlation"}


def test_a_latency_shifts_with_its_waveform(made_up: Case) -> None:
    time = torch.arange(200.0)
    peak = torch.tensor([100.0, 120.0, 150.0])
    batch = {
        "waveform": torch.exp(-0.5 * ((time - peak[:, None]) / 5) ** 2),
        "latency_ms": torch.tensor([5.0, 6.0, torch.nan]),
    }
    shifted = made_up.objective.augment(batch, made_up.params(augment__shift=20.0), torch.Generator().manual_seed(1))
    moved_ms = shifted["latency_ms"] - batch["latency_ms"]
    assert torch.isnan(moved_ms).tolist() == [False, False, True]
    assert (moved_ms[:2].abs() <= 1.0).all()
    assert (moved_ms[:2].abs() > 0.01).all()
    centre = (shifted["waveform"] * time).sum(-1) / shifted["waveform"].sum(-1)
    torch.testing.assert_close((centre - peak)[:2] / 20, moved_ms[:2], rtol=0, atol=1e-3)


def test_a_latency_that_leaves_the_window_is_masked(made_up: Case) -> None:
    batch = {"waveform": torch.randn(200, 200), "latency_ms": torch.full((200,), 9.9)}
    shifted = made_up.objective.augment(batch, made_up.params(augment__shift=20.0), torch.Generator().manual_seed(0))
    latency = shifted["latency_ms"]
    assert torch.isnan(latency).any()
    assert latency.nan_to_num(0).max() <= 10.0


def test_noise_is_in_shares_of_the_waveforms_own_spread_and_not_in_the_target(made_up: Case) -> None:
    wave = torch.randn(50, 200) * torch.logspace(-2, 0, 50)[:, None]
    batch = {"waveform": wave, "latency_ms": torch.full((50,), torch.nan)}
    noisy = made_up.objective.augment(batch, made_up.params(augment__noise=0.5), torch.Generator().manual_seed(0))
    assert torch.equal(noisy["clean"], wave)
    share = (noisy["waveform"] - wave).std(-1) / wave.std(-1)
    assert ((share - 0.5).abs() < 0.15).all()  # six standard deviations of a spread from 200 samples


def test_predictions_leave_missing_truth_empty(recorded: Case) -> None:
    arrays = recorded.arrays
    rows = np.array([np.flatnonzero(arrays["hearing_class"] < 0)[0], np.flatnonzero(arrays["hearing_class"] == 3)[0]])
    params = recorded.params()
    model = recorded.objective.model(params, recorded.objective.statistics(arrays, np.arange(100))).eval()
    batch = recorded.batch(rows)
    with torch.no_grad():
        table = recorded.objective.predict(model(batch), batch, arrays.info)
    assert table["truth"].tolist() == ["", ">30 dB"]
    assert np.isnan(table["wave_v_present"]).all()
    assert {"p.wave_v", "predicted_latency_ms", "predicted_amplitude_uv", "p.below threshold"} <= set(table)
