"""Studies: created once whoever races, found by name, changed as far as one may, deleted with all they have."""

from __future__ import annotations

from collections import Counter
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage

from hpo.records import StudyRecord
from hpo.store import Exists, LeaseLost, Store, Unknown
from tests.store import parts
from tests.store.racers import Racers, create_study


def test_a_record_gives_back_what_was_created(store: Store) -> None:
    facts = parts.facts(objective_hash="ab" * 32, data="/data", hours=1.5, direction="minimize")
    record = store.studies.create("made-up", {}, **facts)
    assert {name: getattr(record, name) for name in facts} == facts
    assert (record.name, record.stop, record.exhausted) == ("made-up", None, False)
    assert store.studies.get("made-up") == record
    assert store.studies.all() == [record]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_optuna_knows_direction_and_metric(store: Store, direction: str) -> None:
    store.studies.create("made-up", {}, **parts.facts(direction=direction))
    theirs = optuna.load_study(study_name="made-up", storage=store.database)
    assert theirs.direction.name.lower() == direction
    assert theirs.user_attrs["hpo"].startswith("made by hpo")


def test_eight_processes_create_one_study(store: Store, database: str, race: Racers) -> None:
    for round_ in range(3):
        found = set(race(create_study, database, f"study-{round_}"))
        assert len(found) == 1
        study_id, _ = found.pop()
        assert store.reading.states(study_id)["WAITING"] == 2  # its configurations, once
    assert len(store.studies.all()) == 3


def test_configurations_are_tried_first_and_in_their_order(store: Store) -> None:
    points: dict[str, dict[str, Any]] = {"before": {"lr": 0.1}, "after": {"lr": 0.2}, "again": {"lr": 0.1}}
    record = store.studies.create("made-up", points, **parts.facts())
    leases = [parts.trial(store, record.study_id) for _ in range(4)]
    assert [lease.configuration for lease in leases] == ["before", "after", "again", None]
    theirs = optuna.load_study(study_name="made-up", storage=store.database)
    assert [trial.system_attrs.get("fixed_params") for trial in theirs.trials] == [*points.values(), None]


def test_a_change_is_whole(store: Store, study: StudyRecord) -> None:
    store.studies.change(study.study_id, {"more": {"lr": 0.3}}, trials=50, hours=2.0, stop=None)
    changed = store.studies.get("made-up")
    assert (changed.trials, changed.hours) == (50, 2.0)
    assert parts.trial(store, study.study_id).configuration == "more"
    before = parts.contents(store)
    with pytest.raises(TypeError):
        store.studies.change(study.study_id, {"worse": {"lr": object()}}, trials=99)
    assert parts.contents(store) == before


def test_a_configuration_is_added_once_however_many_launch_it(store: Store, study: StudyRecord) -> None:
    for _ in range(2):
        store.studies.change(study.study_id, {"more": {"lr": 0.3}}, trials=50)
    assert store.reading.states(study.study_id)["WAITING"] == 1


def test_a_name_is_taken_once(store: Store, study: StudyRecord) -> None:
    before = parts.contents(store)
    assert store.studies.exists("made-up")
    assert not store.studies.exists("other")
    with pytest.raises(Exists, match="made-up"):
        store.studies.create("made-up", {"before": {"lr": 0.1}}, **parts.facts())
    assert parts.contents(store) == before


def test_stopping_is_asked_for_and_taken_back(store: Store, study: StudyRecord) -> None:
    assert store.studies.stop_requested(study.study_id) is None
    for how in ("requested", "now", None):
        store.studies.request_stop(study.study_id, how)
        assert store.studies.stop_requested(study.study_id) == how == store.studies.get("made-up").stop
    assert store.studies.stop_requested(999) is None


@pytest.mark.parametrize(
    ("names", "asked", "message"),
    [
        ([], "digits", "no study 'digits' in this database; there are: none yet"),
        (["digits"], "digit", r"no study 'digit' in this database; did you mean digits\?"),
        (["abr", "digits"], "zzz", "no study 'zzz' in this database; there are: abr, digits"),
    ],
)
def test_an_unknown_name_is_answered_with_those_there_are(
    store: Store, names: list[str], asked: str, message: str
) -> None:
    for name in names:
        store.studies.create(name, {}, **parts.facts())
    with pytest.raises(Unknown, match=message):
        store.studies.get(asked)


# ---- deleting


def filled(store: Store, name: str) -> StudyRecord:
    """A study with at least a row in every table."""
    record = store.studies.create(name, {"before": {"lr": 0.1}}, **parts.facts(folder=name))
    store.workers.register(record.study_id, f"worker of {name}", "host", 1, "cpu")
    for _ in range(2):
        lease = parts.trial(store, record.study_id, f"worker of {name}")
        store.results.choose(lease, parts.params(0.1 * (lease.number or 0)), parts.suggested(lease))
        store.results.record(lease, [parts.epoch(1), parts.epoch(2)], (2, 0.5), lambda *_: True)
        store.database.set_trial_user_attr(lease.trial_id or 0, "note", name)
        store.results.finish_trial(lease, parts.tells(store, lease, 0.5), value=0.5)
    store.promotions.plan(record.study_id, 1, 0, True, [(1, 0, 0), (0, 0, 0)])
    job = store.leases.new_job(record.study_id, f"worker of {name}")
    assert job is not None
    store.results.record(job, [parts.epoch(1)], None, lambda *_: False)
    return record


def rows(contents: parts.Contents) -> dict[str, int]:
    return {name: len(found) for name, found in contents.items()}


def test_deleting_a_study_removes_every_row_of_it_and_nothing_else(store: Store, study: StudyRecord) -> None:
    before = parts.contents(store)
    record = filled(store, "other")
    full = parts.contents(store)
    assert {name for name in full if not full[name]} == {"trial_heartbeats"}  # which we have no use for
    store.studies.delete(record.study_id)
    assert parts.contents(store) == before


def test_deleting_one_of_two_full_studies_keeps_the_other(store: Store) -> None:
    first = filled(store, "first")
    alone = parts.contents(store)
    store.studies.delete(filled(store, "second").study_id)
    assert parts.contents(store) == alone
    filled(store, "third")
    store.studies.delete(first.study_id)
    assert [record.name for record in store.studies.all()] == ["third"]
    assert rows(parts.contents(store)) == rows(alone)


def test_what_the_dashboard_deletes_takes_our_rows_along(store: Store, study: StudyRecord) -> None:
    """It works on our own storage; so a study is deleted by Optuna's call, not by ours."""
    before = parts.contents(store)
    filled(store, "other")
    optuna.delete_study(study_name="other", storage=store.database)
    assert parts.contents(store) == before


def test_what_another_tool_deletes_leaves_nothing_to_the_next_study(store: Store, database: str) -> None:
    """`optuna.delete_study` in a notebook: on SQLite such a connection keeps no foreign keys."""
    empty = parts.contents(store)
    filled(store, "theirs")
    plain = RDBStorage(database)
    optuna.delete_study(study_name="theirs", storage=plain)
    plain.remove_session()
    plain.engine.dispose()
    record = store.studies.create("next", {}, **parts.facts())
    assert store.studies.all() == [record]
    assert (store.reading.tickets(record.study_id), store.reading.workers(record.study_id)) == (0, [])
    store.studies.delete(record.study_id)
    assert parts.contents(store) == empty


def test_a_worker_of_a_deleted_study_is_refused(store: Store, study: StudyRecord) -> None:
    lease = parts.trial(store, study.study_id)
    store.studies.delete(study.study_id)
    before = parts.contents(store)
    assert not store.leases.renew(lease)
    with store.leases.under(lease), pytest.raises(LeaseLost, match=f"lease {lease.lease_id} was taken over"):
        store.results.record(lease, [parts.epoch(1)], (1, 0.5), lambda *_: False)
    assert parts.contents(store) == before


def test_a_name_can_be_used_again_after_deletion(store: Store) -> None:
    for _ in range(2):
        record = filled(store, "made-up")
        assert Counter(store.reading.states(record.study_id)) == Counter(COMPLETE=2)
        store.studies.delete(record.study_id)
