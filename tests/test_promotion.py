"""From the best trial to a final model: one plan whoever makes it, medians over the folds, and a whole folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median_low, stdev
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from optuna.trial import TrialState

from hpo.arrays import Arrays
from hpo.final_model import load_model
from hpo.objective import DataError, Epoch, Outputs, Params, Term
from hpo.promotion import REFIT, plan, run_job
from hpo.records import JobRecord
from hpo.store import MOST_LOSSES, Lease, LeaseLost, Store, Watch
from hpo.training import Interrupted
from hpo.trial import run_trial
from tests.toy import STUDY, Launched, Toy, launch

PLANNERS = 6


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., Launched]]:
    """Launch a study whose two trials have been told these values; the first is the configuration `before`."""
    stores: list[Store] = []

    def make(text: str = STUDY, values: tuple[float | None, ...] = (0.5, 0.6), **changes: Any) -> Launched:
        launched = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text, **changes)
        stores.append(launched.store)
        for value in values:
            told(launched, value)
        return launched

    yield make
    for store in stores:
        store.close()


def told(launched: Launched, value: float | None) -> None:
    """A trial with parameters that ended with this value, or failed."""
    lease, search = launched.trial(), launched.search
    search.choose(lease)
    ended = TrialState.FAIL if value is None else TrialState.COMPLETE
    launched.store.results.finish_trial(lease, lambda: search.tell(lease, ended, value), value=value)


def promote(launched: Launched) -> list[JobRecord]:
    """What a worker does when the search is over."""
    while True:
        plan(launched.store, launched.record, launched.spec)
        job = launched.job()
        if job is None:
            return jobs(launched)
        run_job(job, launched.around)


def jobs(launched: Launched) -> list[JobRecord]:
    return launched.store.reading.jobs(launched.record.study_id)


def final(launched: Launched) -> Any:
    return launched.store.reading.final(launched.record.study_id)


def folds_of(found: list[JobRecord], role: str) -> list[JobRecord]:
    return [job for job in found if job.role == role and job.fold >= 0]


# ---- planning


def test_a_larger_budget_keeps_the_promotion_while_the_same_trial_wins(made: Callable[..., Launched]) -> None:
    launched = made(values=(0.5, 0.9))
    promote(launched)
    before = final(launched)
    told(launched, 0.7)
    assert promote(launched) == jobs(launched)
    assert final(launched) == before and before.status == "done"


def test_a_larger_budget_promotes_the_new_winner_up_to_its_refit(made: Callable[..., Launched]) -> None:
    """And the earlier winner once more, when it wins again: its folds are done, and one look must plan the refit."""
    launched = made(values=(0.5, 0.7))
    promote(launched)
    told(launched, 0.9)
    promote(launched)
    assert (final(launched).candidate, final(launched).status) == (2, "done")
    launched.store.promotions.reset(launched.record.study_id)  # all folds are done; only the refit is left to plan
    plan(launched.store, launched.record, launched.spec)
    waiting = [(job.candidate, job.fold) for job in jobs(launched) if job.state == "waiting"]
    assert waiting == [(2, -1)]
    promote(launched)
    assert final(launched).status == "done"


def test_the_best_and_the_baseline_are_trained_on_every_fold(made: Callable[..., Launched]) -> None:
    launched = made(values=(0.5, 0.9, 0.7))
    plan(launched.store, launched.record, launched.spec)
    found = [(job.role, job.candidate, job.fold, job.state) for job in jobs(launched)]
    best = [("best", 1, fold, "waiting") for fold in range(3)]
    assert found == best + [("baseline", 0, fold, "waiting") for fold in range(3)]


@pytest.mark.parametrize(
    ("text", "values", "baseline"),
    [
        pytest.param(STUDY, (0.9, 0.5), 0, id="the best is the baseline"),
        pytest.param(STUDY + "promotion: {baseline: false}\n", (0.5, 0.9), None, id="not wanted"),
    ],
)
def test_without_a_baseline_of_its_own_only_the_best_is_trained(
    made: Callable[..., Launched], text: str, values: tuple[float, ...], baseline: int | None
) -> None:
    launched = made(text, values)
    best = int(np.argmax(values))
    plan(launched.store, launched.record, launched.spec)
    assert launched.store.promotions.planned(launched.record.study_id) == (best, baseline)
    assert [(job.candidate, job.fold) for job in jobs(launched)] == [(best, fold) for fold in range(3)]


def test_a_baseline_that_never_got_its_parameters_is_left_out(made: Callable[..., Launched]) -> None:
    """Its worker died three times before the first epoch, say for lack of memory in the sampler."""
    launched = made(values=())
    lost, search = launched.trial(), launched.search
    failed = lambda: search.tell(lost, TrialState.FAIL, None)  # noqa: E731
    launched.store.results.finish_trial(lost, failed, value=None, end="worker_lost")
    told(launched, 0.9)
    plan(launched.store, launched.record, launched.spec)
    assert launched.store.promotions.planned(launched.record.study_id) == (1, None)
    promote(launched)
    assert (final(launched).status, final(launched).baseline_scores) == ("done", {})


def test_without_configurations_the_defaults_are_the_baseline(made: Callable[..., Launched]) -> None:
    launched = made(STUDY.partition("configurations")[0], (0.5, 0.9))
    plan(launched.store, launched.record, launched.spec)
    assert launched.store.promotions.planned(launched.record.study_id) == (1, 0)
    baseline = launched.store.reading.trials(launched.record.study_id, [0])[0]
    assert (baseline.configuration, baseline.params["optimizer.lr"]) == ("default", 1e-3)


def test_a_baseline_that_failed_in_the_search_is_tried_over_the_folds(made: Callable[..., Launched]) -> None:
    launched = made(values=(None, 0.9))
    plan(launched.store, launched.record, launched.spec)
    assert launched.store.promotions.planned(launched.record.study_id) == (1, 0)


def test_without_a_complete_trial_there_is_nothing_to_promote(made: Callable[..., Launched]) -> None:
    launched = made(values=(None, None))
    plan(launched.store, launched.record, launched.spec)
    assert jobs(launched) == []
    assert final(launched) is None


def test_planners_that_race_make_one_plan(made: Callable[..., Launched], tmp_path: Path) -> None:
    launched, together = made(), Barrier(PLANNERS)

    def race(_: int) -> None:
        store = Store(f"sqlite:///{tmp_path / 'hpo.db'}")
        together.wait(240)
        for _ in range(3):
            plan(store, launched.record, launched.spec)
        store.close()

    with ThreadPoolExecutor(PLANNERS) as pool:
        list(pool.map(race, range(PLANNERS)))
    assert [(job.candidate, job.fold) for job in jobs(launched)] == [(c, fold) for c in (1, 0) for fold in range(3)]


def test_the_refit_is_planned_once_all_folds_of_best_and_baseline_are_done(made: Callable[..., Launched]) -> None:
    launched = made()
    plan(launched.store, launched.record, launched.spec)
    seen = []
    for candidate in (1, 1, 1, 0, 0, 0):
        job = launched.job()
        assert job is not None
        assert job.candidate == candidate
        run_job(job, launched.around)
        for _ in range(2):
            plan(launched.store, launched.record, launched.spec)
        seen.append([job.fold for job in jobs(launched)].count(REFIT))
    assert seen == [0, 0, 0, 0, 0, 1]


# ---- the whole of it


def test_a_promotion_ends_in_a_model_that_is_proven(made: Callable[..., Launched]) -> None:
    launched = made()
    found = promote(launched)
    assert [job.state for job in found] == ["done"] * 7
    best, baseline = folds_of(found, "best"), folds_of(found, "baseline")
    outcome = final(launched)
    for role, mean, spread in (
        (best, outcome.scores, outcome.spread),
        (baseline, outcome.baseline_scores, outcome.baseline_spread),
    ):
        values = [job.scores["accuracy"] for job in role if job.scores]
        assert mean["accuracy"] == pytest.approx(fmean(values))
        assert spread["accuracy"] == pytest.approx(stdev(values))
    for job in best:
        curve = [epoch.validation["accuracy"] for epoch in job.epochs]
        assert job.best_epoch == 1 + int(np.argmax(curve))
        assert job.scores == job.epochs[job.best_epoch - 1].validation
    assert outcome.status == "done"
    path = Path(outcome.path)
    assert path == launched.files.model(launched.record.folder, 1)
    files = ["README.md", "config.yaml", "metrics.json", "rows.json", "statistics.safetensors", "weights.safetensors"]
    assert sorted(file.name for file in path.iterdir()) == files
    assert json.loads((path / "metrics.json").read_text())["folds"]["mean"] == pytest.approx(outcome.scores)
    assert not list(launched.files.study(launched.record.folder).glob("checkpoints/*"))


def test_the_refit_trains_for_the_median_of_the_best_epochs_on_all_but_the_test_rows(
    made: Callable[..., Launched],
) -> None:
    launched = made(STUDY.replace("epochs: 3", "epochs: 8").replace("metric: accuracy", "metric: loss"), (0.1, 0.5))
    found = promote(launched)
    epochs = [job.best_epoch for job in folds_of(found, "best")]
    refit = next(job for job in found if job.fold == REFIT)
    outcome = final(launched)
    config = yaml.safe_load((Path(outcome.path) / "config.yaml").read_text())
    assert len(set(epochs)) > 1, "the test wants folds that differ"
    assert len(refit.epochs) == config["epochs"] == median_low(e for e in epochs if e)
    assert (config["training_rows"], config["test_rows"]) == (100, 20)
    assert [epoch.validation for epoch in refit.epochs] == [{}] * len(refit.epochs)
    model = load_model(outcome.path, objective="tests.toy:Toy")
    test = launched.around.run(_lease(-1), model.params)
    test.model = model.network
    assert outcome.test_scores == pytest.approx(test.evaluate(launched.around.split.test))


def test_the_cosine_of_a_refit_is_that_of_its_folds(made: Callable[..., Launched]) -> None:
    """A refit that ends early does not squeeze the curve."""
    launched = made(STUDY.replace("epochs: 3", "epochs: 6"))
    found = promote(launched)
    fold, refit = folds_of(found, "best")[0], next(job for job in found if job.fold == REFIT)
    shared = min(len(fold.epochs), len(refit.epochs))
    assert [e.lr for e in refit.epochs[:shared]] == pytest.approx([e.lr for e in fold.epochs[:shared]])


def _lease(fold: int) -> Lease:
    facts: dict[str, Any] = {"lease_id": 1, "token": 1, "study_id": 1, "attempt": 1, "losses": 0, "job_id": 1}
    nothing: dict[str, Any] = dict.fromkeys(["trial_id", "number", "configuration", "params", "end"])
    return Lease(**facts, **nothing, fold=fold, candidate=1, seed=0)


@pytest.mark.parametrize(
    ("drops", "best", "expected"),
    [
        pytest.param([[3, 7], [4, 8], [5, 9]], [12, 12, 12], [4, 8], id="medians"),
        pytest.param([[3], [4, 8], [5, 9]], [12, 12, 12], [4, 8], id="a drop of two folds of three"),
        pytest.param([[3], [4], [5, 9]], [12, 12, 12], [4], id="a drop of one fold is left out"),
        pytest.param([[3, 7], [4, 8], [5, 9]], [6, 12, 12], [4, 8], id="after the best epoch they do not count"),
        pytest.param([[3], [4], [5]], [3, 3, 12], [], id="nor when the best one follows at once"),
        pytest.param([[], [], []], [12, 12, 12], [], id="none"),
    ],
)
def test_the_drops_of_a_plateau_replay_at_their_medians(
    made: Callable[..., Launched], drops: list[list[int]], best: list[int], expected: list[int]
) -> None:
    text = STUDY.replace("epochs: 3", "epochs: 12").replace(
        "fixed:", "fixed:\n  schedule: {name: plateau, factor: 0.5, patience: 0}"
    )
    launched = made(text + "promotion: {baseline: false}\n")
    lr = launched.store.reading.best_trial(launched.record.study_id, "maximize").params["optimizer.lr"]  # type: ignore[union-attr]
    plan(launched.store, launched.record, launched.spec)
    for fold in range(3):
        job = launched.job()
        assert job is not None
        curve = [plateau_epoch(number, lr * 0.5 ** sum(d < number for d in drops[fold])) for number in range(1, 13)]
        launched.store.results.record(job, curve, None, lambda *_: False)
        launched.store.results.finish_job(job, best[fold], {"accuracy": 0.5})
    refit = next(job for job in promote(launched) if job.fold == REFIT)
    found = [round(float(np.log2(lr / epoch.lr))) for epoch in refit.epochs]
    assert len(found) == median_low(best)
    assert found == [sum(d < number for d in expected) for number in range(1, len(found) + 1)]


def plateau_epoch(number: int, lr: float) -> Epoch:
    facts: dict[str, Any] = {"gradient_norm": 1.0, "seconds": 1.0, "samples": 9, "peak_memory_mb": 1.0}
    return Epoch(number=number, train={"loss": 1.0}, validation={"accuracy": 0.5}, lr=lr, **facts)


def test_without_a_refit_the_folds_are_the_outcome(made: Callable[..., Launched]) -> None:
    launched = made(STUDY + "promotion: {refit: false}\n")
    found = promote(launched)
    assert REFIT not in [job.fold for job in found]
    assert (final(launched).status, final(launched).path) == ("done", None)
    assert final(launched).scores["accuracy"] > 0


def test_a_fold_without_the_metric_counts_with_its_other_scores(made: Callable[..., Launched]) -> None:
    class Sometimes(Toy):
        """No accuracy on validation rows, as where none is labelled."""

        def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
            return {name: value for name, value in super().score(sums, info).items() if name != "accuracy"}

    launched = made(objective=Sometimes())
    found = promote(launched)
    assert [job.state for job in found] == ["done"] * 7
    outcome = final(launched)
    assert "accuracy" not in outcome.scores
    assert outcome.scores["mae"] > 0
    assert len(next(job for job in found if job.fold == REFIT).epochs) == launched.spec.budget.epochs


# ---- what goes wrong


class Diverges(Toy):
    """The configuration `before` (rate 0.03) gives a loss that is not finite; any other trains."""

    def losses(
        self, outputs: Outputs, batch: Any, params: Params, statistics: Mapping[str, torch.Tensor]
    ) -> dict[str, Term]:
        terms = super().losses(outputs, batch, params, statistics)
        if params.optimizer["lr"] == 3e-2:
            terms["number"] = (terms["number"][0] * float("nan"), terms["number"][1])
        return terms


def test_a_baseline_that_diverges_does_not_stop_the_promotion(made: Callable[..., Launched]) -> None:
    launched = made(objective=Diverges())
    found = promote(launched)
    assert [job.state for job in folds_of(found, "baseline")] == ["failed"] * 3
    assert "loss term 'number' is not finite at epoch 1, step 1" in (folds_of(found, "baseline")[0].end_text or "")
    outcome = final(launched)
    assert (outcome.status, outcome.baseline_scores) == ("done", {})
    assert load_model(outcome.path, objective="tests.toy:Toy").params.optimizer["lr"] != 3e-2


def test_a_best_that_fails_on_a_fold_has_no_model_and_says_why(made: Callable[..., Launched]) -> None:
    launched = made(values=(0.9, 0.5), objective=Diverges())
    promote(launched)
    outcome = final(launched)
    assert (outcome.status, outcome.path) == ("failed", None)
    assert "is not finite" in outcome.end_text


class Refuses(Toy):
    """Leaves no rows to train on, as an objective may do on some fold."""

    def training_rows(self, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
        raise DataError("no row is left to train on; use loss.other")


def test_data_that_cannot_be_used_are_told_without_a_traceback(made: Callable[..., Launched]) -> None:
    launched = made(objective=Refuses())
    found = promote(launched)
    assert {job.end_text for job in found} == {"no row is left to train on; use loss.other"}


def test_a_refit_that_fails_says_why(made: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch) -> None:
    launched = made()

    def full(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("hpo.promotion.save_model", full)
    found = promote(launched)
    assert next(job for job in found if job.fold == REFIT).state == "failed"
    assert final(launched).status == "failed"
    assert final(launched).end_text.strip().endswith("OSError: No space left on device")
    assert "No space left" in launched.files.job_log(launched.record.folder, found[-1].job_id).read_text()


def test_a_job_that_loses_its_worker_too_often_fails(made: Callable[..., Launched]) -> None:
    launched = made()
    plan(launched.store, launched.record, launched.spec)
    lease = launched.job()
    for _ in range(MOST_LOSSES):
        lease = launched.store.leases.take_over(launched.record.study_id, "w", Watch(0.0))
    assert lease is not None
    run_job(lease, launched.around)
    assert jobs(launched)[0].state == "failed"
    assert jobs(launched)[0].end_text == "lost its worker 3 times in a row without a new epoch"


def test_a_job_given_back_goes_on_to_the_same_numbers(made: Callable[..., Launched]) -> None:
    launched = made()
    plan(launched.store, launched.record, launched.spec)
    first, other = launched.job(), launched.job()
    assert first is not None
    assert other is not None
    looks = iter(range(10**6))
    with pytest.raises(Interrupted):
        run_job(first, launched.with_stop(lambda: next(looks) == 9))
    second = launched.store.leases.take_over(launched.record.study_id, "second", Watch(1e9))
    assert second is not None
    assert (second.job_id, second.params, second.losses) == (first.job_id, first.params, 0)
    run_job(second, launched.around)
    found = jobs(launched)[0]
    assert first.params is not None
    whole = launched.around.run(replace(first, lease_id=99), first.params)
    while not whole.finished:
        whole.epoch()
    assert [(e.train, e.validation) for e in found.epochs] == [(e.train, e.validation) for e in whole.epochs]
    with pytest.raises(LeaseLost):
        run_job(first, launched.around)
    assert jobs(launched)[0] == found


def test_a_worker_killed_between_the_folder_and_the_record_is_followed_by_one_that_finds_it(
    made: Callable[..., Launched], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = made()
    with monkeypatch.context() as patch:
        patch.setattr(type(launched.store.promotions), "finish", _killed)
        with pytest.raises(KeyboardInterrupt):
            promote(launched)
    path = launched.files.model(launched.record.folder, 1)
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    assert final(launched).status == "running"
    lease = launched.store.leases.take_over(launched.record.study_id, "second", Watch(0.0))
    assert lease is not None
    run_job(lease, launched.around)
    assert (final(launched).status, final(launched).path) == ("done", str(path))
    assert {file.name: file.read_bytes() for file in path.iterdir()} == before


def _killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_the_numbers_of_the_search_are_not_those_of_the_proof(made: Callable[..., Launched]) -> None:
    """The trial was chosen for its luck with one seed; the search fold is trained again with another."""
    launched = made(values=())
    search = launched.search
    for _ in range(2):
        run_trial(launched.trial(), search, launched.around)
    found = folds_of(promote(launched), "best")[0]
    trial = launched.store.reading.trials(launched.record.study_id, [found.candidate])[0]
    assert (found.fold, trial.fold) == (0, 0)
    assert [epoch.train for epoch in found.epochs] != [epoch.train for epoch in trial.epochs]
