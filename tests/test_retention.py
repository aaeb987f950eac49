"""Checkpoints of what is done go, except those of the best trials; whatever is under way keeps its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState

from hpo.files import RunFiles, write_whole
from hpo.records import StudyRecord
from hpo.retention import retire_checkpoints
from hpo.store import Store
from tests.store import parts

#: Of six trials, by number; the last two are under way and given back.
VALUES = [0.5, 0.9, None, 0.7]


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(tmp_path / "runs")


def record_of(store: Store, files: RunFiles, direction: str) -> StudyRecord:
    """A study with six trials and a job, each with a checkpoint of 100 bytes."""
    record = store.studies.create("made-up", {}, **parts.facts(direction=direction))
    leases = [parts.trial(store, record.study_id) for _ in range(6)]
    for lease, value in zip(leases, VALUES, strict=False):
        with store.leases.under(lease):
            lr = 1e-3 * lease.lease_id
            store.results.choose(lease, parts.params(lr), parts.suggested(lease, lr))
            state = None if value is not None else TrialState.PRUNED
            store.results.finish_trial(lease, parts.tells(store, lease, value, state), value=value)
    store.leases.give_back(leases[5])
    store.promotions.plan(record.study_id, 1, None, True, [(1, 0, 0)])
    job = store.leases.new_job(record.study_id, "w")
    assert job is not None
    store.results.finish_job(job, 1, {"f1": 0.5})
    for lease in [*leases, job]:
        write_whole(files.checkpoints(record.folder, lease.lease_id) / "1" / "epoch-1", b"x" * 100)
    return record


@pytest.mark.parametrize(
    ("direction", "keep", "kept"),
    [
        ("maximize", 0, []),
        ("maximize", 1, [1]),
        ("maximize", 2, [1, 3]),
        ("maximize", 9, [0, 1, 3]),
        ("minimize", 1, [0]),
        ("minimize", 2, [0, 3]),
    ],
)
def test_the_best_keep_theirs(store: Store, files: RunFiles, direction: str, keep: int, kept: list[int]) -> None:
    record = record_of(store, files, direction)
    assert files.checkpoint_bytes(record.folder) == 700
    for _ in range(2):
        retire_checkpoints(store, files, record, keep)
        assert [lease - 1 for lease in files.checkpointed(record.folder)] == [*kept, 4, 5]
        assert files.checkpoint_bytes(record.folder) == 100 * (2 + len(kept))


def test_a_trial_that_is_no_longer_among_the_best_loses_its_own(store: Store, files: RunFiles) -> None:
    record = record_of(store, files, "maximize")
    retire_checkpoints(store, files, record, 1)
    better = parts.trial(store, record.study_id)
    with store.leases.under(better):
        store.results.finish_trial(better, parts.tells(store, better, 0.95), value=0.95)
    write_whole(files.checkpoints(record.folder, better.lease_id) / "1" / "epoch-1", b"x")
    retire_checkpoints(store, files, record, 1)
    assert files.checkpointed(record.folder) == [5, 6, better.lease_id]


def test_another_study_s_are_not_touched(store: Store, files: RunFiles) -> None:
    record = record_of(store, files, "maximize")
    other = store.studies.create("other", {}, **parts.facts(folder="other-99"))
    write_whole(files.checkpoints(other.folder, 1) / "1" / "epoch-1", b"x")
    retire_checkpoints(store, files, record, 0)
    retire_checkpoints(store, files, other, 0)
    assert files.checkpointed(other.folder) == [1]


def test_nothing_there_is_nothing_to_do(store: Store, files: RunFiles) -> None:
    record = store.studies.create("made-up", {}, **parts.facts())
    retire_checkpoints(store, files, record, 0)
    assert files.checkpointed(record.folder) == []
    assert files.checkpoint_bytes(record.folder) == 0
