"""Predictions on rows that a model was not trained on: each row once, by the right model, written by one holder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from optuna.trial import TrialState

from hpo.arrays import Arrays
from hpo.objective import Batch, Outputs
from hpo.out_of_fold import EXAMPLES, example_rows, leave_predictions, out_of_fold
from hpo.predictions import Predictions, Unreadable, as_csv, extent, join, load, long, of_candidate, save
from hpo.promotion import plan, run_job
from hpo.records import JobRecord
from hpo.store import Lease, Watch
from hpo.training import FoldRun, Interrupted
from hpo.work import Log
from tests.toy import FRAMES, STUDY, Clips, Launched, Toy, frames_of, launch


class Shown(Toy):
    """Says which row is which, and shows its features."""

    def identify(self, arrays: Arrays) -> dict[str, np.ndarray]:
        return {"name": np.asarray([f"row {i}" for i in range(len(arrays))], dtype=object)}

    def examples(self, outputs: Outputs, batch: Batch, info: Mapping[str, Any]) -> dict[str, np.ndarray]:
        return {"features": batch["features"].numpy(), "logits": outputs["logits"].numpy()}


@pytest.fixture
def launched(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Launched]:
    """A study with two trials on record, whose promotion can be planned; of another objective where one is named."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    found = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, STUDY, objective=getattr(request, "param", Shown)())
    for value in (0.5, 0.6):
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


def train_all(launched: Launched) -> list[JobRecord]:
    while (lease := launched.job()) is not None:
        run_job(lease, launched.around)
    return launched.store.reading.jobs(launched.record.study_id)


def joined(launched: Launched, candidate: int = 1) -> Predictions | None:
    jobs = launched.store.reading.jobs(launched.record.study_id)
    return of_candidate(launched.files, launched.record.folder, jobs, candidate)


def folder_of(launched: Launched, lease: Lease) -> Path:
    assert lease.candidate is not None
    return launched.files.fold_predictions(launched.record.folder, lease.candidate, lease.fold, lease.seed)


def log_of(launched: Launched, lease: Lease) -> str:
    assert lease.job_id is not None
    return launched.files.job_log(launched.record.folder, lease.job_id).read_text()


def test_every_row_but_the_test_rows_is_predicted_once(launched: Launched) -> None:
    train_all(launched)
    split = launched.around.split
    for candidate in (0, 1):
        found = joined(launched, candidate)
        assert found is not None and found.folds == (0, 1, 2)
        assert found.table["row"].tolist() == split.refit().train.tolist()
        for fold in split.folds:
            assert set(found.table["row"][found.table["fold"] == fold.index]) == set(fold.validation.tolist())
        assert found.table["name"].tolist() == [f"row {row}" for row in found.table["row"]]


@pytest.mark.parametrize("launched", [Clips], indirect=True)
def test_a_clip_has_a_line_for_each_of_its_frames(launched: Launched) -> None:
    """Over all folds, in the order of rows and frames; what lies behind the end of a clip is no line."""
    train_all(launched)
    found = joined(launched)
    assert found is not None
    rows, features = launched.around.split.refit().train, launched.around.arrays["features"]
    length = dict(enumerate(frames_of(features).tolist()))
    expected = [(row, frame) for row in rows.tolist() for frame in range(length[row])]
    assert len(set(length.values())) == FRAMES
    table = {name: column.tolist() for name, column in found.table.items()}
    assert list(zip(table["row"], table["frame"], strict=True)) == expected
    assert table["name"] == [f"clip {row}" for row, _ in expected]
    assert table["score"] == [features[row, frame].item() for row, frame in expected]
    of_row = dict(zip(table["row"], table["prediction"], strict=True))
    assert table["prediction"] == [of_row[row] for row, _ in expected]
    assert extent(found.table) == f"100 rows with {len(expected)} entries"
    (path,) = folder_of_fold(launched, 0).glob("*.csv")
    lines = list(csv.DictReader(path.read_text().splitlines()))
    held = set(launched.around.split.folds[0].validation.tolist())
    assert [(int(line["row"]), int(line["frame"])) for line in lines] == [e for e in expected if e[0] in held]


def folder_of_fold(launched: Launched, fold: int) -> Path:
    return launched.files.fold_predictions(launched.record.folder, 1, fold, 0)


def test_masks_of_all_columns_leave_entries_out_also_after_a_join() -> None:
    first = {
        "row": np.arange(3),
        "text": np.asarray([["a", "b"], ["c", "d"], ["e", "f"]], dtype=object),
        "seen": np.ma.MaskedArray([[1.5, 2.5], [3.5, 4.5], [5.5, 6.5]], np.asarray([[0, 1], [0, 0], [0, 0]], bool)),
        "kept": np.ma.MaskedArray([7, 8, 9], [False, False, True]),
    }
    plain = {"row": np.asarray([3]), "text": np.asarray([["g", "h"]]), "seen": np.zeros((1, 2)), "kept": np.ones(1)}
    table = long(join([first, plain]))
    assert {name: column.tolist() for name, column in table.items()} == {
        "row": [0, 1, 1, 3, 3],
        "text": ["a", "c", "d", "g", "h"],
        "seen": [1.5, 3.5, 4.5, 0, 0],
        "kept": [7, 8, 8, 1, 1],
    }
    assert not any(isinstance(column, np.ma.MaskedArray) for column in table.values())
    assert extent(table) == "3 rows with 5 entries"
    single = {"row": np.arange(2), "p": np.asarray([[0.5], [0.25]])}
    assert {name: column.tolist() for name, column in long(single).items()} == {"row": [0, 1], "p": [0.5, 0.25]}
    assert extent(long(single)) == "2 rows"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"row": (4,), "p": (4, 5), "q": (4, 6)}, r"'q' of predictions has the shape \(4, 6\), 'p' has \(4, 5\)"),
        ({"row": (4,), "p": (4, 5), "q": (3,)}, r"'q' of predictions has the shape \(3,\), 'p' has \(4, 5\)"),
        ({"row": (4,), "q": (3,)}, r"'q' of predictions has the shape \(3,\), 'row' has \(4,\)"),
        ({"row": (4,), "q": ()}, r"'q' of predictions has the shape \(\), 'row' has \(4,\)"),
        ({"row": (4,), "p": (3, 5)}, r"'row' of predictions has the shape \(4,\), 'p' has \(3, 5\)"),
        ({"row": (4,), "p": (4, 5, 2)}, r"'p' of predictions has the shape \(4, 5, 2\), 'row' has \(4,\)"),
    ],
)
def test_columns_that_do_not_fit_are_named_with_their_shapes(columns: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        long({name: np.zeros(shape) for name, shape in columns.items()})


def test_predictions_are_those_of_the_best_epoch_of_an_independent_run(launched: Launched) -> None:
    leases = [job(launched) for _ in range(3)]
    for lease in leases:
        run_job(lease, launched.around)
    done = launched.store.reading.jobs(launched.record.study_id)
    found = joined(launched)
    assert found is not None and found.folds == (0, 1, 2)
    for lease, record in zip(leases, done[:3], strict=True):
        run = fresh(launched, lease)
        for _ in range(record.best_epoch or 0):
            run.epoch()
        batch = run.feed.take(torch.from_numpy(run.fold.validation))
        run.model.eval()
        with torch.no_grad():
            expected = run.objective.predict(run.model(batch), batch, run.arrays.info)
        for name in expected:
            ours = found.table[name][found.table["fold"] == lease.fold]
            assert ours.tolist() == expected[name].tolist(), name


def fresh(launched: Launched, lease: Lease) -> FoldRun:
    assert lease.params is not None
    return launched.around.run(lease, lease.params)


def test_the_best_epoch_of_several_is_the_one_that_predicts(launched: Launched) -> None:
    run = fresh(launched, job(launched))
    while not run.finished:
        run.epoch()
    last = {name: value.clone() for name, value in run.model.state_dict().items()}
    run.best_state = {name: value + 1 for name, value in last.items()}
    before = out_of_fold(run).table
    run.best_state = None
    run.model.load_state_dict(last)
    assert before["number"].tolist() != out_of_fold(run).table["number"].tolist()


def test_people_read_a_table_in_which_nothing_computes(launched: Launched) -> None:
    lease = job(launched)
    run_job(lease, launched.around)
    (path,) = folder_of(launched, lease).glob("*.csv")
    assert f"predictions {path}" in log_of(launched, lease)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert list(rows[0]) == ["row", "fold", "name", "prediction", "number"]
    assert [int(row["row"]) for row in rows] == launched.around.split.folds[lease.fold].validation.tolist()
    table = {"=name": np.asarray(["=1+1", "plain"]), "value": np.asarray([np.nan, 1 / 3], np.float32)}
    assert as_csv(table).splitlines() == ["'=name,value", "'=1+1,", "plain,0.3333333"]


def test_examples_are_some_rows_of_every_kind(launched: Launched) -> None:
    lease = job(launched)
    run_job(lease, launched.around)
    found = load(folder_of(launched, lease), lease.fold)
    assert found is not None
    rows = found.examples["row"]
    assert len(rows) == EXAMPLES and set(rows) <= set(launched.around.split.folds[lease.fold].validation)
    assert np.array_equal(found.examples["features"], launched.around.arrays["features"][rows])
    kinds = np.repeat([0, 1, 2, -1], [500, 400, 3, 97])
    drawn = example_rows(kinds, np.arange(1000), seed=0)
    assert np.unique(kinds[drawn], return_counts=True)[1].tolist() == [4, 5, 4, 3]
    assert drawn.tolist() == example_rows(kinds, np.arange(1000), seed=0).tolist()
    assert example_rows(kinds, np.asarray([3, 999, 7]), seed=0).tolist() == [3, 7, 999]


def test_a_worker_that_wakes_up_late_replaces_nothing(launched: Launched) -> None:
    first = job(launched)
    second = launched.store.leases.take_over(launched.record.study_id, "second", Watch(0.0))
    assert second is not None and second.token == first.token + 1
    run_job(second, launched.around)
    before = joined(launched)
    late = Predictions({"row": np.arange(2), "prediction": np.asarray(["stale", "stale"])}, {}, (0,))
    save(folder_of(launched, first), first.lease_id, first.token, late)
    after = joined(launched)
    assert before is not None and after is not None
    assert after.table["prediction"].tolist() == before.table["prediction"].tolist()
    assert "stale" not in after.table["prediction"]
    # Whoever follows clears up, and writes the same.
    leave_predictions(trained(launched, second), second, launched.around, Log(launched.files.root / "log"))
    assert sorted(path.suffix for path in folder_of(launched, first).iterdir()) == [".csv", ".npz"]


def trained(launched: Launched, lease: Lease) -> FoldRun:
    run = fresh(launched, lease)
    while not run.finished:
        run.epoch()
    return run


def test_a_full_disk_fails_no_job(launched: Launched, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    lease = job(launched)
    monkeypatch.setattr("hpo.predictions.write_whole", full)
    run_job(lease, launched.around)
    assert launched.store.reading.jobs(launched.record.study_id)[0].state == "done"
    assert "the predictions of fold 0 could not be written ([Errno 28] No space left on device)" in log_of(
        launched, lease
    )
    assert joined(launched) is None


@pytest.mark.parametrize("error", [KeyError("p.walk"), SystemExit(3)])
def test_an_error_in_the_objectives_predictions_fails_no_job(
    launched: Launched, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: Any) -> None:
        raise error

    lease = job(launched)
    monkeypatch.setattr(Shown, "predict", broken)
    run_job(lease, launched.around)
    assert launched.store.reading.jobs(launched.record.study_id)[0].state == "done"
    assert "no predictions of fold 0, its scores hold:\nTraceback" in log_of(launched, lease)


def test_a_stop_between_two_batches_gives_the_job_back_and_its_successor_predicts_the_same(launched: Launched) -> None:
    lease = job(launched)
    epochs = launched.spec.budget.epochs

    def stop() -> bool:
        """Once the training is over, between the batches of the prediction."""
        log = launched.files.job_log(launched.record.folder, lease.job_id or 0)
        return log.is_file() and f"epoch {epochs}/{epochs}" in log.read_text()

    with pytest.raises(Interrupted):
        run_job(lease, launched.with_stop(stop))
    assert joined(launched) is None
    second = launched.store.leases.take_over(launched.record.study_id, "second", Watch(1e9))
    assert second is not None and second.job_id == lease.job_id
    run_job(second, launched.around)
    assert "resumed after epoch 3" in log_of(launched, second)
    found, alone = joined(launched), out_of_fold(trained(launched, second))
    assert found is not None
    for name, column in alone.table.items():
        assert found.table[name].tolist() == column.tolist(), name


def test_a_damaged_table_is_named(launched: Launched) -> None:
    lease = job(launched)
    run_job(lease, launched.around)
    (path,) = folder_of(launched, lease).glob("*.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(Unreadable, match=path.name):
        joined(launched)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"no zip file"])
def test_whatever_lies_there_instead_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "1-1.npz").write_bytes(content)
    with pytest.raises(Unreadable, match=r"1-1\.npz: \w"):
        load(tmp_path, 0)


def test_flipped_bytes_are_an_unreadable_table_or_a_table(tmp_path: Path) -> None:
    """Zip, zlib and numpy notice in different ways; bytes that none of them looks at do no harm."""
    table = {"row": np.arange(200), "value": np.random.default_rng(0).random(200)}
    whole = save(tmp_path, 1, 1, Predictions(table, {}, (0,))).with_suffix(".npz").read_bytes()
    for place in range(0, len(whole), 7):
        damaged = whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :]
        (tmp_path / "1-1.npz").write_bytes(damaged)
        with suppress(Unreadable):
            load(tmp_path, 0)


def test_without_a_promotion_there_are_none(launched: Launched) -> None:
    assert joined(launched) is None
