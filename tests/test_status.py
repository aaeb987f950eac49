"""Takeovers as they are seen by somebody who looks again and again, whatever the clocks say."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from hpo.cli.view import LaunchView
from hpo.records import StudyRecord
from hpo.status import QUIET_SECONDS, Takeovers, active, silent, status
from hpo.store import Store, Watch, tables
from tests.store.parts import epoch, facts, params, trial

AT_ONCE = 0.0


@pytest.fixture
def study(store: Store) -> StudyRecord:
    record = store.studies.create("made-up", {}, **facts())
    for name in ("w1", "w2"):
        store.workers.register(record.study_id, name, "node-17", 77, "cpu")
    return record


def test_a_takeover_is_told_once(store: Store, study: StudyRecord) -> None:
    lease, takeovers = trial(store, study.study_id, "w1"), Takeovers()
    store.results.choose(lease, params(), [])
    for number in range(1, 6):
        store.results.record(lease, [epoch(number)], None, lambda *_: False)

    def seen() -> list[str]:
        return takeovers.seen(store.reading.work(study.study_id))

    assert seen() == []
    store.leases.give_back_lost("w1")
    assert seen() == []
    (waits,) = status(store, study)["work"]
    assert (waits["trial"], waits["held"], waits["worker"], waits["epoch"]) == (0, False, "w1", 5)
    assert store.leases.take_over(study.study_id, "w2", Watch(AT_ONCE)) is not None
    (now,) = store.reading.work(study.study_id)
    when = f"{now.held_since:%H:%M:%S}"
    assert seen() == [f"trial 0: taken over from w1 by w2 at {when} UTC (attempt 2, 5 epochs on record)"]
    assert seen() == []
    (taken,) = status(store, study)["work"]
    assert (taken["held"], taken["worker"], taken["host"], taken["attempt"]) == (True, "w2", "node-17", 2)


def test_a_launch_tells_it_too(
    store: Store, study: StudyRecord, capsys: pytest.CaptureFixture[str], wait_until: Callable[..., None]
) -> None:
    trial(store, study.study_id, "w1")
    view = LaunchView(store, study)
    view.update()
    store.leases.give_back_lost("w1")
    assert store.leases.take_over(study.study_id, "w2", Watch(AT_ONCE)) is not None
    printed: list[str] = []

    def told() -> bool:
        view.update()
        printed.append(capsys.readouterr().out)
        return "trial 0: taken over from w1 by w2 at " in "".join(printed)

    wait_until(told, "the takeover")
    assert "(attempt 2, no epoch on record)" in "".join(printed)


def test_a_silent_worker_is_lost_once_its_work_is_taken_over_and_may_come_back(
    store: Store, study: StudyRecord
) -> None:
    """`hpo stop` and `hpo delete` do not wait for it."""
    trial(store, study.study_id, "w1")
    assert store.leases.take_over(study.study_id, "w2", Watch(AT_ONCE)) is not None
    assert [worker.name for worker in active(store.reading.workers(study.study_id))] == ["w2"]
    store.workers.seen("w1", "waiting")
    assert [worker.name for worker in active(store.reading.workers(study.study_id))] == ["w2", "w1"]


def test_work_that_is_done_or_never_began_is_not_under_way(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id, "w1")
    assert [unit.name for unit in store.reading.work(study.study_id)] == ["trial 0"]
    store.results.finish_trial(lease, lambda: None, value=None)
    assert store.reading.work(study.study_id) == []


@pytest.mark.parametrize("hours", [-1, 1])
def test_who_is_there_does_not_depend_on_the_clock_of_who_looks(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """Nor of who works: both are times of the database."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600 * hours)
    store.workers.seen("w1", "training")
    assert [worker.name for worker in active(store.reading.workers(study.study_id))] == ["w2", "w1"]
    assert all(worker.silent_seconds < 30 for worker in store.reading.workers(study.study_id))


def test_times_are_the_databases_utc(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id, "w1")
    (unit,) = store.reading.work(study.study_id)
    assert unit.lease_id == lease.lease_id
    ours = datetime.now(UTC).replace(tzinfo=None)  # the database runs on this machine
    assert abs((unit.held_since - ours).total_seconds()) < 60


@pytest.mark.parametrize(
    ("seconds", "is_silent", "is_active"), [(5, False, True), (15, True, True), (QUIET_SECONDS, True, False)]
)
def test_silence_is_measured_from_the_last_beat(
    store: Store, study: StudyRecord, seconds: float, is_silent: bool, is_active: bool
) -> None:
    worker = tables.workers
    with store.database.transaction() as connection:
        seen = connection.execute(sa.select(worker.c.seen).where(worker.c.name == "w1")).scalar_one()
        past = worker.update().where(worker.c.name == "w1").values(seen=seen - timedelta(seconds=seconds))
        connection.execute(past)
    found = {record.name: record for record in store.reading.workers(study.study_id)}["w1"]
    assert seconds <= found.silent_seconds < seconds + 5
    assert silent(found.silent_seconds) is is_silent
    assert ("w1" in [record.name for record in active([found])]) is is_active


def test_the_bound_is_that_of_the_grace_period(monkeypatch: pytest.MonkeyPatch) -> None:
    assert silent(None) and silent(11) and not silent(9)
    monkeypatch.setenv("HPO_LEASE_SECONDS", "2")
    assert silent(0.7) and not silent(0.5)
