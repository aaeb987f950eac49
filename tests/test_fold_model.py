"""Models of the folds of a promotion: each is that of its best epoch, knows its rows, and fails no job."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState

from hpo.arrays import Feed
from hpo.final_model import load_model
from hpo.promotion import plan, run_job
from hpo.store import Lease, Watch
from tests.toy import CPU, STUDY, Launched, launch

#: Five epochs at such a rate that the best one is not the last.
TEXT = STUDY.replace("epochs: 3", "epochs: 5").replace("metric: accuracy", "metric: loss").replace("3e-2", "9e-2")


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    """A study with two trials on record, the baseline and a better one, whose promotion is planned."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, TEXT)
    for value in (0.6, 0.5):
        lease, search = found.trial(), found.search
        search.choose(lease)
        told = partial(search.tell, lease, TrialState.COMPLETE, value)
        found.store.results.finish_trial(lease, told, value=value)
    plan(found.store, found.record, found.spec)
    yield found
    found.store.close()
    torch.set_num_threads(threads)


def job(launched: Launched) -> Lease:
    lease = launched.job()
    assert lease is not None
    return lease


def place(launched: Launched, lease: Lease) -> Path:
    return launched.files.fold_model(launched.record.folder, lease.candidate or 0, lease.fold)


def log_of(launched: Launched, lease: Lease) -> str:
    return launched.files.job_log(launched.record.folder, lease.job_id or 0).read_text()


def test_every_fold_of_best_and_baseline_leaves_the_model_of_its_best_epoch(launched: Launched) -> None:
    """Against a training of the same seeds that ends with that epoch."""
    leases = []
    while (lease := launched.job()) is not None:
        run_job(lease, launched.around)
        leases.append(lease)
    assert sorted((lease.candidate, lease.fold) for lease in leases) == [(c, f) for c in (0, 1) for f in range(3)]
    records = {job.job_id: job for job in launched.store.reading.jobs(launched.record.study_id)}
    assert any(record.best_epoch not in (None, 5) for record in records.values()), (
        "the test wants a best before the end"
    )
    for lease in leases:
        record, model = records[lease.job_id or 0], load_model(place(launched, lease), objective="tests.toy:Toy")
        assert lease.params is not None and record.best_epoch is not None
        alone = launched.around.run(lease, lease.params)
        for _ in range(record.best_epoch):
            alone.epoch()
        for name, value in alone.model.state_dict().items():
            assert torch.equal(model.network.state_dict()[name], value), name
        assert model.evaluate(alone.arrays, alone.fold.validation) == pytest.approx(record.scores)
        assert f"model {place(launched, lease)}\n" in log_of(launched, lease)


def test_its_folder_says_which_fold_it_is_and_which_rows_it_has_not_seen(launched: Launched) -> None:
    lease = job(launched)
    run_job(lease, launched.around)
    folder, split = place(launched, lease), launched.around.split
    assert folder.name == "fold-0-of-trial-0001"
    (record,) = [r for r in launched.store.reading.jobs(launched.record.study_id) if r.job_id == lease.job_id]
    fold, model = split.folds[0], load_model(folder, objective="tests.toy:Toy")
    assert {name: model.config[name] for name in ("folds", "fold", "trial", "epochs", "training_rows")} == {
        "folds": 3,
        "fold": 0,
        "trial": 1,
        "epochs": record.best_epoch,
        "training_rows": len(fold.train),
    }
    assert json.loads((folder / "metrics.json").read_text()) == {
        "validation": record.scores,
        "epochs": {"best": record.best_epoch, "trained": 5},
        "unseen": {"validation": len(fold.validation), "test": len(split.test)},
    }
    rows = model.rows(launched.record.fingerprint)
    assert rows is not None
    for name, expected in {"train": fold.train, "validation": fold.validation, "test": split.test}.items():
        np.testing.assert_array_equal(rows[name], expected)
    card = (folder / "README.md").read_text()
    assert "# toy: fold 0 of trial 1" in card
    assert f"trained on {len(fold.train)} rows of fold 0 of 3 (counted from 0); weights of epoch" in card
    assert f"{len(fold.validation)} validation rows of its fold, which chose the epoch, nor on the 20 test" in card
    assert f"| loss | {record.scores['loss']:.4g} |" in card if record.scores else False


def test_fold_models_are_not_counted_as_uses_of_the_test_rows(launched: Launched) -> None:
    while (lease := launched.job()) is not None:
        run_job(lease, launched.around)
    plan(launched.store, launched.record, launched.spec)
    (launched.files.model(launched.record.folder, 12).parent / "trial-0012-v2").mkdir()  # somebody's own
    run_job(job(launched), launched.around)
    path = launched.files.model(launched.record.folder, 1)
    assert len(list(path.parent.iterdir())) == 8
    assert json.loads((path / "metrics.json").read_text())["test_uses"] == 1


def test_a_job_that_another_worker_repeats_leaves_one_model(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one dies between the folder and the database; nothing of the folder is written again."""

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    lease = job(launched)
    with monkeypatch.context() as patch:
        patch.setattr(type(launched.store.results), "finish_job", killed)
        with pytest.raises(KeyboardInterrupt):
            run_job(lease, launched.around)
    folder = place(launched, lease)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}
    half = folder.with_name(f".{folder.name}.{lease.lease_id}.{lease.token}")
    half.mkdir()
    second = launched.store.leases.take_over(launched.record.study_id, "second", Watch(0.0))
    assert second is not None and second.job_id == lease.job_id
    run_job(second, launched.around)
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()} == before
    assert [other.name for other in folder.parent.iterdir()] == [folder.name], "what was half written is gone"


def _full(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


def _broken(*_: Any, **__: Any) -> None:
    raise KeyError("width")


@pytest.mark.parametrize(
    ("goes_wrong", "said"),
    [
        (_full, "the model of fold 0 could not be written ([Errno 28] No space left on device); its scores hold"),
        (_broken, "no model of fold 0, its scores hold:\nTraceback"),
    ],
)
def test_what_goes_wrong_is_said_and_fails_no_job(
    launched: Launched, monkeypatch: pytest.MonkeyPatch, goes_wrong: Callable[..., None], said: str
) -> None:
    lease = job(launched)
    monkeypatch.setattr("hpo.model_folder.save_file", goes_wrong)
    run_job(lease, launched.around)
    found = [r.state for r in launched.store.reading.jobs(launched.record.study_id) if r.job_id == lease.job_id]
    assert found == ["done"]
    assert said in log_of(launched, lease)
    assert list(place(launched, lease).parent.iterdir()) == []


def test_a_model_predicts_its_own_validation_rows_as_the_promotion_did(launched: Launched) -> None:
    lease = job(launched)
    run_job(lease, launched.around)
    where = launched.files.fold_predictions(launched.record.folder, 1, 0, 0)
    (table,) = where.glob("*.npz")
    with np.load(table) as columns:
        rows, number = columns["prediction/row"], columns["prediction/number"]
    model = load_model(place(launched, lease), objective="tests.toy:Toy")
    with torch.inference_mode():
        found = model(Feed(launched.around.arrays, CPU).take(torch.from_numpy(rows)))["number"]
    np.testing.assert_allclose(found, number, rtol=1e-5)
