"""A promotion is planned by everybody and there once."""

from __future__ import annotations

import pytest

from hpo.records import StudyRecord
from hpo.store import Store, Watch
from tests.store import parts
from tests.store.racers import RACERS, Racers, plan


@pytest.mark.parametrize("rivals", [False, True])
def test_eight_planners_make_one_plan(
    store: Store, study: StudyRecord, database: str, race: Racers, rivals: bool
) -> None:
    """Also when each believes in another candidate: the first plan stands, with its jobs and no others."""
    found = set(race(plan, database, study.study_id, rivals))
    assert len(found) == 1
    candidate, baseline = found.pop()
    assert baseline == 0
    numbers = {candidate, 0}
    jobs = [(job.candidate, job.fold) for job in store.reading.jobs(study.study_id)]
    assert sorted(jobs) == sorted((number, fold) for number in numbers for fold in range(5))
    contents = parts.contents(store)
    assert len(contents["hpo_finals"]) == 1
    assert len(contents["hpo_jobs"]) == len(jobs)
    assert rivals or candidate == 3
    assert candidate in range(RACERS)


def test_planning_again_keeps_what_has_been_done(store: Store, study: StudyRecord) -> None:
    store.results.choose(parts.trial(store, study.study_id), parts.params(0.1), [])
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0)])
    job = store.leases.new_job(study.study_id, "w")
    assert job is not None
    store.results.finish_job(job, 4, {"f1": 0.5})
    before = parts.contents(store)
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0)])
    assert parts.contents(store) == before
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0), (0, 1, 0)])
    assert [job.state for job in store.reading.jobs(study.study_id)] == ["done", "waiting"]


def test_a_larger_budget_promotes_anew_and_keeps_the_results(store: Store, study: StudyRecord) -> None:
    for lr in (0.1, 0.2):
        store.results.choose(parts.trial(store, study.study_id), parts.params(lr), [])
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0)])
    job = store.leases.new_job(study.study_id, "w")
    assert job is not None
    store.results.finish_job(job, 4, {"f1": 0.5})
    store.promotions.reset(study.study_id)
    assert store.promotions.planned(study.study_id) is None
    assert store.reading.final(study.study_id) is None
    store.promotions.plan(study.study_id, 1, 0, True, [(1, 0, 0), (0, 0, 0)])
    found = store.reading.jobs(study.study_id)
    assert [(job.candidate, job.role, job.state) for job in found] == [(0, "baseline", "done"), (1, "best", "waiting")]


def test_a_refit_belongs_to_one_promotion(store: Store, study: StudyRecord) -> None:
    finished(store, study.study_id, {0: {"f1": 0.5}, -1: {"f1": 0.4}})
    store.promotions.reset(study.study_id)
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0), (0, -1, 0)])
    assert [(job.fold, job.state) for job in store.reading.jobs(study.study_id)] == [(0, "done"), (-1, "waiting")]


def test_nobody_works_for_a_promotion_that_is_history(store: Store, study: StudyRecord) -> None:
    """Its jobs may be waiting, or given back half done, when the budget grows and another trial wins."""
    for lr in (0.1, 0.2):
        store.results.choose(parts.trial(store, study.study_id), parts.params(lr), [])
    trials = store.leases.open(study.study_id)
    store.promotions.plan(study.study_id, 0, None, True, [(0, 0, 0), (0, 1, 0)])
    begun = store.leases.new_job(study.study_id, "w")
    assert begun is not None
    store.leases.give_back(begun)
    assert store.leases.open(study.study_id) == trials + 1
    store.promotions.reset(study.study_id)
    store.promotions.plan(study.study_id, 1, None, True, [(1, 0, 0)])
    assert store.leases.open(study.study_id) == trials
    assert store.leases.take_over(study.study_id, "w", Watch(1e9)) is None
    job = store.leases.new_job(study.study_id, "w")
    assert job is not None
    assert (job.candidate, job.fold) == (1, 0)
    assert store.leases.new_job(study.study_id, "w") is None


def test_failed_jobs_can_be_tried_again(store: Store, study: StudyRecord) -> None:
    finished(store, study.study_id, {0: {"f1": 0.5}, 1: None})
    store.promotions.finish(study.study_id, 0, None, "it broke")
    assert store.promotions.retry_failed(study.study_id) == 1
    final = store.reading.final(study.study_id)
    assert final is not None
    assert (final.status, final.end_text) == ("running", None)
    again = store.leases.new_job(study.study_id, "w")
    assert again is not None
    assert (again.fold, again.losses, again.token) == (1, 0, 1)


def test_a_refit_of_an_earlier_candidate_ends_nothing(store: Store, study: StudyRecord) -> None:
    finished(store, study.study_id, {0: {"f1": 0.5}})
    before = parts.contents(store)
    store.promotions.finish(study.study_id, 7, "/late", None)
    assert parts.contents(store) == before


def finished(store: Store, study_id: int, scores: dict[int, dict[str, float] | None], refit: bool = True) -> None:
    """Jobs of candidate 0 per fold, with their scores; None fails."""
    store.results.choose(parts.trial(store, study_id), parts.params(0.1), [])
    store.promotions.plan(study_id, 0, None, refit, [(0, fold, 0) for fold in scores])
    for fold, found in scores.items():
        job = store.leases.new_job(study_id, "w")
        assert job is not None
        assert job.fold == fold
        store.results.finish_job(job, 3, found, None if found else "it broke")


def test_the_outcome_is_mean_and_spread_over_the_folds_that_have_a_score(store: Store, study: StudyRecord) -> None:
    finished(store, study.study_id, {0: {"f1": 0.5, "mae": 1.0}, 1: {"f1": 0.7}, 2: {"f1": 0.6}})
    final = store.reading.final(study.study_id)
    assert final is not None
    assert final.scores == pytest.approx({"f1": 0.6, "mae": 1.0})
    assert final.spread == pytest.approx({"f1": 0.1, "mae": 0.0})  # sample standard deviation of 0.5, 0.6, 0.7
    assert (final.baseline_scores, final.test_scores) == ({}, {})


@pytest.mark.parametrize(
    ("scores", "refit", "end", "status"),
    [
        ({}, True, None, "waiting"),
        ({0: {"f1": 0.5}}, True, None, "running"),
        ({0: {"f1": 0.5}}, False, None, "done"),
        ({0: {"f1": 0.5}, 1: None}, True, None, "failed"),
        ({0: {"f1": 0.5}}, True, ("/model", None), "done"),
        ({0: {"f1": 0.5}, 1: None}, True, ("/model", None), "done"),
        ({0: {"f1": 0.5}}, True, (None, "no space"), "failed"),
    ],
)
def test_where_a_promotion_stands(
    store: Store,
    study: StudyRecord,
    scores: dict[int, dict[str, float] | None],
    refit: bool,
    end: tuple[str | None, str | None] | None,
    status: str,
) -> None:
    finished(store, study.study_id, scores, refit)
    if end:
        planned = store.promotions.planned(study.study_id)
        assert planned is not None
        store.promotions.finish(study.study_id, planned[0], *end)
    final = store.reading.final(study.study_id)
    assert final is not None
    assert final.status == status
    assert final.path == (end[0] if end else None)
    if status == "failed":
        assert final.end_text == ("no space" if end else "it broke")


def test_no_promotion_is_none(store: Store, study: StudyRecord) -> None:
    assert store.promotions.planned(study.study_id) is None
    assert store.reading.final(study.study_id) is None
    assert store.reading.jobs(study.study_id) == []
