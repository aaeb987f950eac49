"""Who works on what: tickets, takeovers, fencing, and everything that is written under a lease."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from hpo.records import StudyRecord
from hpo.store import Lease, LeaseLost, Store, Watch
from tests.store import parts
from tests.store.parts import epoch, params, tells, trial
from tests.store.racers import RACERS, Racers, choose_same, claim, claim_jobs, take_returned, take_silent

NEVER, AT_ONCE = 1e9, 0.0


def record_of(store: Store, lease: Lease) -> Any:
    return store.reading.trials(lease.study_id, [lease.number or 0])[0]


def theirs(store: Store, name: str = "made-up", **options: Any) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=store.database, **options)


# ---- the budget


@pytest.mark.parametrize(("limit", "enqueued"), [(40, 12), (3, 12), (1, 0)])
def test_eight_workers_take_exactly_the_tickets_there_are(
    store: Store, database: str, race: Racers, limit: int, enqueued: int
) -> None:
    points = {f"c{k}": {"lr": 0.1 * (k + 1)} for k in range(enqueued)}
    study_id = store.studies.create("made-up", points, **parts.facts()).study_id
    found = list(itertools.chain(*race(claim, database, study_id, limit)))
    assert sorted(number for _, number, _ in found) == list(range(limit))
    assert len({trial_id for trial_id, _, _ in found}) == limit
    assert {number: name for _, number, name in found if name} == {k: f"c{k}" for k in range(min(limit, enqueued))}
    assert store.reading.tickets(study_id) == limit == store.leases.open(study_id)
    states = store.reading.states(study_id)
    assert (states["RUNNING"], states["WAITING"]) == (limit, max(0, enqueued - limit))
    assert len(parts.contents(store)["hpo_leases"]) == limit


def test_no_ticket_is_left_when_the_budget_is_spent(store: Store, study: StudyRecord) -> None:
    leases = [trial(store, study.study_id, limit=2) for _ in range(2)]
    before = parts.contents(store)
    assert store.leases.new_trial(study.study_id, "w", 0, 2) is None
    assert parts.contents(store) == before
    store.results.finish_trial(leases[0], lambda: None, value=None, end="code_error")
    assert store.leases.new_trial(study.study_id, "w", 0, 2) is None  # a failure keeps its ticket
    assert store.leases.new_trial(study.study_id, "w", 0, 3) is not None


def test_a_new_trial_needs_a_point_an_enqueued_one_has_its_own(store: Store) -> None:
    """`room` is asked with the number of trials that have yet to choose their point."""
    study_id = store.studies.create("made-up", {"before": {"lr": 0.1}}, **parts.facts()).study_id
    asked: list[int] = []

    def room(unchosen: int) -> bool:
        asked.append(unchosen)
        return len(asked) == 1

    assert store.leases.new_trial(study_id, "w", 0, 9, room) is not None
    assert asked == []
    second = store.leases.new_trial(study_id, "w", 0, 9, room)
    assert second is not None
    store.results.choose(second, params(0.1), [])
    before = parts.contents(store)
    assert store.leases.new_trial(study_id, "w", 0, 9, room) is None
    assert asked == [1, 1]  # the enqueued one before and after the second has chosen
    assert parts.contents(store) == before


def test_a_ticket_is_taken_whole_or_not_at_all(
    store: Store, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error between Optuna's trial and our lease leaves neither."""
    before = parts.contents(store)

    def fail(*_: Any) -> Any:
        raise ConnectionError("the database is gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(store.leases), "_get", fail)
        with pytest.raises(ConnectionError):
            store.leases.new_trial(study.study_id, "w", 0, 9)
    assert parts.contents(store) == before


def test_a_new_lease_says_what_to_do(store: Store, study: StudyRecord) -> None:
    lease = store.leases.new_trial(study.study_id, "w", 3, 1)
    assert lease == Lease(
        lease_id=lease.lease_id if lease else 0,
        token=1,
        study_id=study.study_id,
        fold=3,
        attempt=1,
        losses=0,
        trial_id=lease.trial_id if lease else 0,
        number=0,
        job_id=None,
        candidate=None,
        seed=0,
        configuration=None,
        params=None,
        end=None,
    )


# ---- taking over


def test_a_returned_lease_is_taken_by_one_of_eight(
    store: Store, study: StudyRecord, database: str, race: Racers
) -> None:
    leases = [trial(store, study.study_id) for _ in range(5)]
    for lease in leases:
        store.leases.give_back(lease)
    found = list(itertools.chain(*race(take_returned, database, study.study_id)))
    assert sorted(found) == [(lease.lease_id, 2) for lease in leases]


def test_a_silent_lease_is_taken_by_one_of_eight(store: Store, study: StudyRecord, database: str, race: Racers) -> None:
    """Two who take over at the same moment: one conditional UPDATE decides."""
    for round_ in range(3):
        lease = trial(store, study.study_id)
        won = [result for result in race(take_silent, database, study.study_id) if result is not None]
        assert len(won) == 1
        token, winner = won[0]
        assert token == 2
        assert record_of(store, lease).worker == winner
        store.results.finish_trial(lease, lambda: None, value=None)
        assert store.reading.tickets(study.study_id) == round_ + 1


def test_a_takeover_goes_on_with_the_same_trial(store: Store, study: StudyRecord) -> None:
    first = trial(store, study.study_id, "first")
    store.results.choose(first, params(0.25), [])
    taken = store.leases.take_over(study.study_id, "second", Watch(AT_ONCE))
    assert taken == replace(first, token=2, attempt=2, losses=1, params=params(0.25))
    again = store.leases.take_over(study.study_id, "third", Watch(AT_ONCE))
    assert again is not None
    assert (again.token, again.attempt, again.losses) == (3, 3, 2)
    found = record_of(store, first)
    assert (found.number, found.worker, found.attempt, found.state) == (0, "third", 3, "RUNNING")


@pytest.mark.parametrize(
    ("happens", "taken"),
    [
        pytest.param(lambda s, lease: None, True, id="nothing"),
        pytest.param(lambda s, lease: s.leases.renew(lease), False, id="a beat"),
        pytest.param(lambda s, lease: s.results.finish_trial(lease, lambda: None, value=None), False, id="the end"),
        pytest.param(lambda s, lease: s.leases.take_over(lease.study_id, "x", Watch(AT_ONCE)), False, id="a takeover"),
    ],
)
def test_what_happens_between_look_and_takeover_decides(
    store: Store, study: StudyRecord, database: str, happens: Callable[[Any, Lease], Any], taken: bool
) -> None:
    """The watcher has seen token 1 and beat 0; the UPDATE asks for exactly those."""
    lease, other = trial(store, study.study_id), Store(database)

    class Meanwhile(Watch):
        def stale(self, leases: Any) -> list[tuple[int, int, int]]:
            seen = list(leases)
            assert seen == [(lease.lease_id, 1, 0)]
            happens(other, lease)
            return seen

    found = store.leases.take_over(study.study_id, "late", Meanwhile(AT_ONCE))
    assert (found is not None) is taken
    other.close()


def test_only_silence_is_a_loss(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    store.leases.give_back(lease)
    taken = store.leases.take_over(study.study_id, "second", Watch(NEVER))
    assert taken is not None
    assert (taken.token, taken.attempt, taken.losses) == (2, 2, 0)
    assert store.leases.take_over(study.study_id, "third", Watch(NEVER)) is None


def test_a_process_seen_dead_gives_back_at_once_what_it_held(store: Store, study: StudyRecord) -> None:
    mine, other = trial(store, study.study_id, "dead"), trial(store, study.study_id, "alive")
    done = trial(store, study.study_id, "dead")
    store.results.finish_trial(done, lambda: None, value=None)
    assert store.leases.give_back_lost("dead") == 1
    assert store.leases.give_back_lost("dead") == 0
    taken = store.leases.take_over(study.study_id, "next", Watch(NEVER))
    assert taken is not None
    assert (taken.lease_id, taken.losses) == (mine.lease_id, 1)
    assert store.leases.renew(other)


def test_who_was_asked_to_end_loses_nothing(store: Store, study: StudyRecord) -> None:
    trial(store, study.study_id, "slow")
    assert store.leases.give_back_lost("slow", losses=0) == 1
    taken = store.leases.take_over(study.study_id, "next", Watch(NEVER))
    assert taken is not None
    assert taken.losses == 0


def test_what_workers_brought_to_an_end_is_counted(store: Store, study: StudyRecord) -> None:
    for worker, ends in (("a", True), ("a", False), ("b", True), ("c", True)):
        lease = trial(store, study.study_id, worker)
        if ends:
            store.results.finish_trial(lease, lambda: None, value=None)
    assert [store.leases.ended_by(names) for names in ([], ["a"], ["a", "b"], ["x"])] == [0, 1, 2, 0]


def test_losses_count_until_an_epoch_is_new(store: Store, study: StudyRecord) -> None:
    """Replaying what was there is no progress: a trial that kills each worker after epoch 2 must come to an end."""
    lease, found = trial(store, study.study_id), []
    for last in (2, 2, 2, 3, 3):  # the epochs that each worker gets to, from a checkpoint of what there was
        for number in range(1, last + 1):
            store.results.record(lease, [epoch(number)], (number, 0.5), lambda *_: False)
        taken = store.leases.take_over(study.study_id, "w", Watch(AT_ONCE))
        assert taken is not None
        lease = taken
        found.append(lease.losses)
    assert found == [1, 2, 3, 1, 2]


def test_leases_of_other_studies_are_left_alone(store: Store, study: StudyRecord) -> None:
    other = store.studies.create("other", {}, **parts.facts())
    lease = trial(store, other.study_id)
    assert store.leases.take_over(study.study_id, "w", Watch(AT_ONCE)) is None
    store.leases.give_back(lease)
    assert store.leases.take_over(study.study_id, "w", Watch(AT_ONCE)) is None
    assert (store.leases.open(study.study_id), store.leases.open(other.study_id)) == (0, 1)


def test_renewing_tells_whether_the_lease_is_still_ours(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    assert store.leases.renew(lease)
    taken = store.leases.take_over(study.study_id, "second", Watch(AT_ONCE))
    assert taken is not None
    assert not store.leases.renew(lease)
    assert store.leases.renew(taken)
    store.leases.give_back(taken)
    assert not store.leases.renew(taken)


# ---- fencing

#: Everything a worker writes; each gets the store and the lease it believes to hold.
WRITES: dict[str, Callable[[Store, Lease], Any]] = {
    "record": lambda s, lease: s.results.record(lease, [epoch(7, 0.9)], (7, 0.9), lambda *_: False),
    "record without a report": lambda s, lease: s.results.record(lease, [epoch(7)], None, lambda *_: False),
    "choose": lambda s, lease: s.results.choose(lease, params(0.7), parts.suggested(lease)),
    "finish_trial": lambda s, lease: s.results.finish_trial(lease, tells(s, lease, 0.9), value=0.9),
    "finish_job": lambda s, lease: s.results.finish_job(lease, 3, {"f1": 0.9}),
    "give_back": lambda s, lease: s.leases.give_back(lease),
    "new_trial": lambda s, lease: s.leases.new_trial(lease.study_id, "w", 0, 99),
    "mark_exhausted": lambda s, lease: s.studies.mark_exhausted(lease.study_id),
    "finish promotion": lambda s, lease: s.promotions.finish(lease.study_id, 0, "/model", None),
    "Trial.report": lambda s, lease: optuna.trial.Trial(theirs(s), lease.trial_id or 0).report(0.9, 7),
    "Trial.set_user_attr": lambda s, lease: optuna.trial.Trial(theirs(s), lease.trial_id or 0).set_user_attr("a", 1),
    "Trial.set_constraint": lambda s, lease: optuna.trial.Trial(theirs(s), lease.trial_id or 0).set_constraint("n", 1),
    "Trial.suggest": lambda s, lease: optuna.trial.Trial(theirs(s), lease.trial_id or 0).suggest_float("y", 0, 1),
    "Study.tell": lambda s, lease: theirs(s).tell(lease.number or 0, 0.9),
    "Study.enqueue_trial": lambda s, lease: theirs(s).enqueue_trial({"lr": 1.0}),
    "Study.ask": lambda s, lease: theirs(s).ask(),
    "Study.set_user_attr": lambda s, lease: theirs(s).set_user_attr("a", 1),
}
#: How a lease is lost while its holder sleeps.
LOSSES: dict[str, Callable[[Store, Lease], Any]] = {
    "taken over": lambda s, lease: s.leases.take_over(lease.study_id, "second", Watch(AT_ONCE)),
    "given back": lambda s, lease: s.leases.give_back(lease),
    "finished": lambda s, lease: s.results.finish_trial(lease, lambda: None, value=0.4),
    "seen dead": lambda s, lease: s.leases.give_back_lost("w"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_stale_holder_writes_nothing(store: Store, study: StudyRecord, loss: str) -> None:
    """Neither in our tables nor in Optuna's, whichever way it was lost and whatever it tries."""
    lease = trial(store, study.study_id)
    store.results.record(lease, [epoch(1)], (1, 0.5), lambda *_: False)
    LOSSES[loss](store, lease)
    before = parts.contents(store)
    for name, write in WRITES.items():
        refused: Any = pytest.raises(LeaseLost, match=f"lease {lease.lease_id} was taken over by another worker")
        if loss == "finished" and name in ("finish_trial", "finish_job"):
            refused = nullcontext()  # its own end once more: the reply to the first may have been lost
        with store.leases.under(lease), refused:
            write(store, lease)
        assert parts.contents(store) == before, name


def test_the_holder_writes_all_that(store: Store, study: StudyRecord) -> None:
    """Or the table above would prove nothing."""
    store.promotions.plan(study.study_id, 0, None, True, [])
    for name, write in WRITES.items():
        lease = trial(store, study.study_id)
        before = parts.contents(store)
        with store.leases.under(lease):
            write(store, lease)
        assert parts.contents(store) != before, name


def test_the_new_holder_goes_on_where_the_stale_one_is_refused(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    taken = store.leases.take_over(study.study_id, "second", Watch(AT_ONCE))
    assert taken is not None
    with store.leases.under(taken):
        store.results.record(taken, [epoch(1, 0.3)], (1, 0.3), lambda *_: False)
    with store.leases.under(lease), pytest.raises(LeaseLost):
        store.results.record(lease, [epoch(1, 0.9)], (1, 0.9), lambda *_: False)
    assert theirs(store).trials[0].intermediate_values == {1: 0.3}
    assert record_of(store, lease).epochs == (epoch(1, 0.3),)


def test_a_takeover_waits_for_the_open_transaction(store: Store, study: StudyRecord, database: str) -> None:
    """What the holder has begun to write is whole before another one owns the lease, and the taker then sees it."""
    from concurrent.futures import ThreadPoolExecutor

    lease, other = trial(store, study.study_id), Store(database)
    with ThreadPoolExecutor(1) as pool:
        with store.leases.under(lease), store.database.transaction():
            store.results.record(lease, [epoch(1)], (1, 0.5), lambda *_: False)
            taking = pool.submit(other.leases.take_over, study.study_id, "second", Watch(AT_ONCE))
            with pytest.raises(TimeoutError):
                taking.result(timeout=0.3)
            store.results.record(lease, [epoch(2)], (2, 0.6), lambda *_: False)
        taken = taking.result(timeout=240)
    assert taken is not None
    assert len(record_of(other, taken).epochs) == 2
    other.close()


# ---- what is recorded


def test_recording_again_changes_nothing(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    curve = [epoch(number, 0.1 * number) for number in (1, 2, 3)]
    for one in curve:
        store.results.record(lease, [one], (one.number, one.validation["f1"]), lambda *_: False)
    before = parts.contents(store)
    for one in curve:
        store.results.record(lease, [one], (one.number, one.validation["f1"]), lambda *_: False)
    store.results.record(lease, curve, None, lambda *_: False)
    assert parts.contents(store) == before
    assert record_of(store, lease).epochs == tuple(curve)
    assert theirs(store).trials[0].intermediate_values == pytest.approx({1: 0.1, 2: 0.2, 3: 0.3})


def test_an_epoch_trained_again_replaces_the_first(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    for seconds in (1.0, 9.0):
        store.results.record(lease, [epoch(1, 0.5, seconds)], (1, 0.5), lambda *_: False)
    assert [one.seconds for one in record_of(store, lease).epochs] == [9.0]
    assert store.reading.compute_hours(study.study_id) == pytest.approx(9 / 3600)


def test_a_missing_value_is_not_reported(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    assert store.results.record(lease, [epoch(1)], None, lambda *_: pytest.fail()) is False
    assert theirs(store).trials[0].intermediate_values == {}


# ---- pruning


def rung(store: Store) -> list[dict[str, Any]]:
    return [{k: v for k, v in t.system_attrs.items() if k.startswith("completed_rung")} for t in theirs(store).trials]


@pytest.fixture
def loser(store: Store, study: StudyRecord) -> tuple[Lease, Callable[[int, float], bool]]:
    """A trial that successive halving will prune at its first epoch, and the pruner's decision on it."""
    pruner = optuna.pruners.SuccessiveHalvingPruner(1, 2)
    for value in (0.8, 0.9, 0.7, 0.95):
        better = trial(store, study.study_id)
        assert better.trial_id is not None
        decide = decision(store, pruner, better)
        store.results.record(better, [epoch(1, value)], (1, value), decide)
    lease = trial(store, study.study_id)
    return lease, decision(store, pruner, lease)


def decision(store: Store, pruner: optuna.pruners.BasePruner, lease: Lease) -> Callable[[int, float], bool]:
    assert lease.trial_id is not None
    return lambda *_: pruner.prune(theirs(store), store.database.get_trial(lease.trial_id or 0))


def test_the_decision_is_on_record_with_the_pruner_s_own(
    store: Store, loser: tuple[Lease, Callable[[int, float], bool]]
) -> None:
    lease, decide = loser
    with store.leases.under(lease):
        assert store.results.record(lease, [epoch(1, 0.1)], (1, 0.1), decide)
    assert rung(store)[4] == {"completed_rung_0": 0.1}
    found = record_of(store, lease)
    assert (found.end, found.end_text) == ("pruned", "pruned after epoch 1")
    store.leases.give_back(lease)
    taken = store.leases.take_over(lease.study_id, "second", Watch(NEVER))
    assert taken is not None
    assert taken.end == "pruned"  # whoever goes on ends the trial instead of training it


def test_a_kill_between_pruner_and_record_leaves_neither(
    store: Store, loser: tuple[Lease, Callable[[int, float], bool]]
) -> None:
    """Otherwise the rung would stay, the next look would find no new rung, and the loser would be promoted."""
    lease, decide = loser
    before = parts.contents(store)

    def killed(step: int, value: float) -> bool:
        assert decide(step, value)
        assert rung(store)[4]
        raise KeyboardInterrupt

    with store.leases.under(lease), pytest.raises(KeyboardInterrupt):
        store.results.record(lease, [epoch(1, 0.1)], (1, 0.1), killed)
    assert parts.contents(store) == before
    with store.leases.under(lease):
        assert store.results.record(lease, [epoch(1, 0.1)], (1, 0.1), decide)


# ---- parameters


def test_the_study_evaluates_no_point_twice(store: Store, study: StudyRecord) -> None:
    first, second = trial(store, study.study_id), trial(store, study.study_id)
    assert store.results.choose(first, params(0.1), parts.suggested(first, 0.1))
    before = parts.contents(store)
    assert not store.results.choose(second, params(0.1), parts.suggested(second, 0.1))
    assert parts.contents(store) == before
    assert store.results.choose(second, params(0.2), parts.suggested(second, 0.2))
    assert [t.params for t in theirs(store).trials] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]
    assert store.results.used_params(study.study_id) == {params(0.1).key(), params(0.2).key()}


def test_one_of_eight_gets_a_point(store: Store, study: StudyRecord, database: str, race: Racers) -> None:
    assert sorted(race(choose_same, database, study.study_id)) == [False] * (RACERS - 1) + [True]


def test_another_study_may_have_the_same_point(store: Store, study: StudyRecord) -> None:
    other = store.studies.create("other", {}, **parts.facts())
    assert all(store.results.choose(trial(store, s.study_id), params(0.1), []) for s in (study, other))


def test_a_named_configuration_is_evaluated_in_any_case(store: Store) -> None:
    points = {"before": {"lr": 0.1}, "same": {"lr": 0.1}, "again": {"lr": 0.1}}
    record = store.studies.create("made-up", points, **parts.facts())
    leases = [trial(store, record.study_id) for _ in points]
    for lease in leases:
        assert store.results.choose(lease, params(0.1), parts.suggested(lease, 0.1))
    assert [record_of(store, lease).params["optimizer.lr"] for lease in leases] == [0.1] * 3
    searched = trial(store, record.study_id)
    assert not store.results.choose(searched, params(0.1), [])


def test_searched_are_the_values_that_a_sampler_chose(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    store.results.choose(lease, params(0.3, loss__focal_gamma=2.0), parts.suggested(lease, 0.3))
    found = record_of(store, lease)
    assert found.searched == {"optimizer.lr": 0.3}
    assert found.params == params(0.3, loss__focal_gamma=2.0).flat()


# ---- the end


def test_optuna_is_told_and_the_lease_closed_together(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    store.results.finish_trial(lease, tells(store, lease, 0.5), value=0.5)
    found = record_of(store, lease)
    assert (found.state, found.value, store.leases.open(study.study_id)) == ("COMPLETE", 0.5, 0)
    assert theirs(store).trials[0].value == 0.5
    assert store.reading.best_trial(study.study_id, "maximize") == found


def test_neither_happens_when_one_cannot(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    before = parts.contents(store)

    def told_and_killed() -> None:
        theirs(store).tell(0, 0.5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.results.finish_trial(lease, told_and_killed, value=0.5)
    assert parts.contents(store) == before
    assert store.leases.renew(lease)


def test_a_trial_told_by_somebody_else_has_no_value_of_ours(store: Store, study: StudyRecord) -> None:
    """The dashboard of another tool may tell anything; the best trial is one that a lease recorded."""
    trial(store, study.study_id)
    theirs(store).tell(0, 99.0)
    assert store.reading.best_trial(study.study_id, "maximize") is None


@pytest.mark.parametrize(("direction", "best"), [("maximize", 1), ("minimize", 2)])
def test_the_best_trial_is_the_first_with_the_best_value(store: Store, direction: str, best: int) -> None:
    record = store.studies.create("made-up", {}, **parts.facts(direction=direction))
    values = (0.5, 0.9, 0.1, 0.9, 0.1)
    for value in values:
        lease = trial(store, record.study_id)
        store.results.finish_trial(lease, tells(store, lease, value), value=value)
    pruned = trial(store, record.study_id)
    better = 1.0 if direction == "maximize" else -1.0  # than any, but not comparable
    store.results.finish_trial(pruned, tells(store, pruned, None, TrialState.PRUNED), value=better)
    found = store.reading.best_trial(record.study_id, direction)
    assert found is not None
    assert found.number == best


# ---- jobs


def test_every_job_is_claimed_once_by_eight_workers(
    store: Store, study: StudyRecord, database: str, race: Racers
) -> None:
    for number in range(2):
        lease = trial(store, study.study_id)
        store.results.choose(lease, params(0.1 * (number + 1)), [])
    jobs = [(candidate, fold, 0) for candidate in (1, 0) for fold in range(5)]
    store.promotions.plan(study.study_id, 1, 0, True, jobs)
    found = list(itertools.chain(*race(claim_jobs, database, study.study_id)))
    assert sorted(found) == sorted((candidate, fold) for candidate, fold, _ in jobs)
    assert store.leases.open(study.study_id) == 12
    assert store.leases.open(study.study_id, trials_only=True) == 2
    assert store.reading.tickets(study.study_id) == 2  # jobs use none


def test_a_job_has_the_parameters_of_its_candidate(store: Store, study: StudyRecord) -> None:
    lease = trial(store, study.study_id)
    store.results.choose(lease, params(0.3), [])
    store.promotions.plan(study.study_id, 0, None, True, [(0, 2, 7)])
    job = store.leases.new_job(study.study_id, "w")
    assert job is not None
    assert (job.params, job.fold, job.seed, job.candidate, job.trial_id) == (params(0.3), 2, 7, 0, None)
    assert store.leases.new_job(study.study_id, "w") is None
    with store.leases.under(job):
        store.results.record(job, [epoch(1, 0.4)], (1, 0.4), lambda *_: pytest.fail())  # a job has no pruner
        store.results.finish_job(job, 1, {"f1": 0.4})
    found = store.reading.jobs(study.study_id)[0]
    assert (found.state, found.best_epoch, found.scores, found.epochs) == ("done", 1, {"f1": 0.4}, (epoch(1, 0.4),))


def test_a_failed_job_says_why(store: Store, study: StudyRecord) -> None:
    store.results.choose(trial(store, study.study_id), params(0.3), [])
    store.promotions.plan(study.study_id, 0, None, True, [(0, 2, 0)])
    job = store.leases.new_job(study.study_id, "w")
    assert job is not None
    store.results.finish_job(job, None, None, "ValueError: no")
    found = store.reading.jobs(study.study_id)[0]
    assert (found.state, found.scores, found.end_text) == ("failed", None, "ValueError: no")
