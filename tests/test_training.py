"""The training loop: a resumed run is the uninterrupted one, and every number has an independent truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hpo.arrays import Arrays, Feed
from hpo.checkpoint import Checkpoints
from hpo.epoch_lines import epoch_lines
from hpo.mixup import blended, draw_share, partners
from hpo.objective import Batch, Epoch, Fold, Metric, Objective, Outputs, Params, Sums, Term
from hpo.sampling import draw
from hpo.schedule import Validation
from hpo.training import AUGMENT, DROPOUT, INIT, ORDER, FoldRun, Interrupted, NonFiniteLoss, seed_for
from tests.equal import assert_equal, train
from tests.toy import LOSS, Toy, toy_arrays, toy_params, toy_run


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # bit equality is promised for equal thread counts
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def arrays(cache: Path) -> Arrays:
    return toy_arrays(cache)


#: Every part of the state matters in at least one of these.
VARIANTS: dict[str, dict[str, Any]] = {
    "cosine": {"schedule__warmup_epochs": 1},
    "plateau": {"schedule__name": "plateau", "schedule__patience": 0, "schedule__monitor": "mae"},
    "sgd": {"optimizer__name": "sgd"},
    "boosted": {"sampling__rare_boost_cap": 4.0},
    "balanced": {"sampling__balanced": True},
    "mined": {"sampling__hard_boost_cap": 4.0},
    "mixup": {"augment__mixup": 0.4, "sampling__hard_boost_cap": 2.0},
    "curriculum": {"loss__number_start": 2, "loss__ramp_epochs": 2},
    "fast validation": {"validation": Validation(full_validation_every=3, fast_share=0.3), "gradient_norms": True},
    "stops early": {"stopping__patience": 2, "stopping__min_epochs": 1, "optimizer__lr": 0.3, "epochs": 12},
    "refit": {"fold": Fold(-1, np.arange(80), np.empty(0, np.int64)), "schedule__name": "plateau", "drops": (1, 3)},
}


# ---- resuming


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("after", [1, 3])
def test_a_resumed_run_equals_an_uninterrupted_one(arrays: Arrays, tmp_path: Path, variant: str, after: int) -> None:
    whole = train(toy_run(arrays, **VARIANTS[variant]))
    first, second = (toy_run(arrays, **VARIANTS[variant]) for _ in range(2))
    for _ in range(after):
        first.epoch()
    Checkpoints(tmp_path, 1).save(first.state_dict())
    state = Checkpoints(tmp_path, 2).load(pytest.fail)
    assert state is not None
    torch.manual_seed(99)  # the global generator plays no part
    second.load_state_dict(state)
    assert_equal(train(second), whole)


class Stop:
    """True when it is looked at for the `at`-th time, and only then."""

    def __init__(self, at: int) -> None:
        self._left = at

    def __call__(self) -> bool:
        self._left -= 1
        return self._left == 0


@pytest.mark.parametrize("variant", ["cosine", "plateau", "boosted"])
@pytest.mark.parametrize("batch", [9, 12, 13, 14], ids=["in the second epoch", "its last", "validation", "the third"])
def test_a_run_interrupted_within_an_epoch_goes_on_from_its_snapshot(arrays: Arrays, variant: str, batch: int) -> None:
    """An epoch looks at the flag 6 times: 5 batches of training, 1 of validation."""
    whole = train(toy_run(arrays, **VARIANTS[variant]))
    run = toy_run(arrays, **VARIANTS[variant], stop=Stop(batch))
    with pytest.raises(Interrupted):
        while True:
            boundary = run.snapshot()
            run.epoch()
    assert len(run.epochs) == (batch - 1) // 6 == len(boundary["epochs"])
    for restored in (toy_run(arrays, **VARIANTS[variant]), run):
        restored.load_state_dict(boundary)
        assert_equal(train(restored), whole)


def test_later_epochs_do_not_change_a_snapshot(arrays: Arrays) -> None:
    run = toy_run(arrays, **VARIANTS["plateau"], stopping__min_epochs=1)
    run.epoch()
    before, again = run.snapshot(), run.snapshot()
    run.epoch()
    assert before["epochs"] == again["epochs"]
    assert before["schedule"] == again["schedule"]
    for part in ("model", "best"):
        assert all(torch.equal(value, again[part][name]) for name, value in before[part].items())
        assert any(not torch.equal(value, run.model.state_dict()[name]) for name, value in before[part].items())


# ---- seeds


def test_equal_seeds_train_equal_models(arrays: Arrays) -> None:
    """Nothing but (study seed, repeat, fold, epoch) decides: not the trial's number, nor what ran before."""
    first = train(toy_run(arrays, epochs=3))
    torch.rand(17)
    np.random.default_rng().random()
    other = toy_run(arrays, epochs=3, seed=4)  # runs side by side do not disturb each other
    second = toy_run(arrays, epochs=3)
    while not second.finished:
        other.epoch()
        second.epoch()
    assert_equal(first, second)


@pytest.mark.parametrize(
    "change", [{"seed": 4}, {"repeat": 1}, {"fold": Fold(1, np.arange(60), np.arange(60, 90))}], ids=str
)
def test_another_seed_repeat_or_fold_is_another_training(arrays: Arrays, change: dict[str, Any]) -> None:
    same = {"fold": Fold(0, np.arange(60), np.arange(60, 90))}
    one, other = (toy_run(arrays, **{**same, **options}, epochs=1) for options in ({}, change))
    weights = [run.model.state_dict()["hidden.weight"] for run in (one, other)]
    assert not torch.equal(*weights)
    assert one.epoch().train != other.epoch().train


def test_no_two_streams_share_a_seed() -> None:
    places = [
        (seed, repeat, fold, epoch, stream)
        for seed in (0, 1)
        for repeat in range(3)
        for fold in range(-1, 5)
        for epoch in range(12)
        for stream in range(5)
    ]
    seeds = {seed_for(*place) for place in places}
    assert len(seeds) == len(places)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_seeds_of_a_study_last() -> None:
    """Numbers written down: another seed function would make old checkpoints go on differently, silently."""
    assert seed_for(0, 0, 0, 1, ORDER) == 8266893454780718081
    assert seed_for(7, 1, -1, 12, DROPOUT) == 3832012512404392594


# ---- one step of the loop, in plain torch


def plain_epochs(run: FoldRun, count: int, clip: Callable[[list[Tensor]], None]) -> dict[str, Tensor]:
    """What a reader of a torch tutorial would write; returns the weights."""
    fold, params, objective, arrays = run.fold, run.params, run.objective, run.arrays
    statistics = objective.statistics(arrays, fold.train)
    torch.manual_seed(seed_for(3, 0, 0, 0, INIT))
    model = objective.model(params, statistics)
    optimizer = torch.optim.AdamW(model.parameters(), lr=params.optimizer["lr"], weight_decay=0.01)
    for epoch in range(1, count + 1):
        model.train()
        torch.manual_seed(seed_for(3, 0, 0, epoch, DROPOUT))
        noise = torch.Generator().manual_seed(seed_for(3, 0, 0, epoch, AUGMENT))
        order = draw(fold.train, None, np.random.default_rng(seed_for(3, 0, 0, epoch, ORDER)))
        for rows in np.array_split(order, math.ceil(len(order) / params.data["batch_size"])):
            batch = {name: torch.from_numpy(np.asarray(arrays[name])[rows]) for name in arrays}
            batch = objective.augment(batch, params, noise)
            terms = objective.losses(model(batch), batch, params, statistics)
            loss = sum(params.loss[f"{name}_weight"] * value / count for name, (value, count) in terms.items())
            assert isinstance(loss, Tensor)
            optimizer.zero_grad()
            loss.backward()
            clip(list(model.parameters()))
            optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize("clip", [0.0, 0.05, 1.0, 1e6])
def test_the_loop_is_plain_torch_with_torch_s_clipping(arrays: Arrays, clip: float) -> None:
    run = toy_run(arrays, optimizer__gradient_clip=clip, optimizer__lr=0.02, schedule__name="constant")

    def plain_clip(parameters: list[Tensor]) -> None:
        if clip:
            torch.nn.utils.clip_grad_norm_(parameters, clip)

    expected = plain_epochs(run, 2, plain_clip)
    run.epoch()
    run.epoch()
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_the_gradient_norm_on_record_is_the_mean_before_clipping(arrays: Arrays) -> None:
    norms: list[float] = []

    def clip(parameters: list[Tensor]) -> None:
        norms.append(math.sqrt(sum(float(p.grad.double().square().sum()) for p in parameters if p.grad is not None)))
        torch.nn.utils.clip_grad_norm_(parameters, 0.05)

    run = toy_run(arrays, optimizer__gradient_clip=0.05, optimizer__lr=0.02, schedule__name="constant")
    plain_epochs(run, 1, clip)
    assert run.epoch().gradient_norm == pytest.approx(np.mean(norms), rel=1e-5)
    assert min(norms) > 0.05


def test_the_rate_on_record_is_the_last_one_of_the_epoch(arrays: Arrays) -> None:
    run = train(toy_run(arrays, optimizer__lr=0.1, schedule__eta_min=0.01, epochs=4))
    assert [epoch.lr for epoch in run.epochs] == pytest.approx(
        [0.01 + 0.09 * (1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2, 3, 4)]
    )
    refit = train(toy_run(arrays, optimizer__lr=0.1, epochs=2, schedule_epochs=4))
    assert [epoch.lr for epoch in refit.epochs] == pytest.approx(
        [0.1 * (1 + math.cos(math.pi * k / 4)) / 2 for k in (1, 2)]
    )


# ---- what is recorded


def whole_split(run: FoldRun, rows: np.ndarray) -> tuple[Batch, Outputs]:
    batch = {name: torch.from_numpy(np.asarray(run.arrays[name])[rows]) for name in run.arrays}
    run.model.eval()
    with torch.inference_mode():
        outputs: Outputs = run.model(batch)
    return batch, outputs


@pytest.mark.parametrize("batch_size", [3, 16, 1000])
def test_validation_equals_a_computation_over_the_whole_split(arrays: Arrays, batch_size: int) -> None:
    """34 rows in batches of 4 x 3 leave a short last one; the masks differ from batch to batch."""
    run = toy_run(arrays, data__batch_size=batch_size, loss__number_weight=0.25)
    found = run.epoch().validation
    batch, outputs = whole_split(run, run.fold.validation)
    target, number = batch["target"].numpy(), batch["number"].double().numpy()
    labelled, known = target >= 0, np.isfinite(number)
    log_p = torch.log_softmax(outputs["logits"].double(), -1).numpy()
    entropy = -log_p[labelled, target[labelled]].mean()
    error = outputs["number"].double().numpy()[known] - number[known]
    assert 0 < labelled.sum() < 34
    assert 0 < known.sum() < 34
    expected = {"loss": entropy + 0.25 * (error**2).mean(), "loss.class": entropy, "loss.number": (error**2).mean()}
    expected["accuracy"] = (log_p.argmax(1)[labelled] == target[labelled]).mean()
    expected["mae"] = np.abs(error).mean()
    assert found == pytest.approx(expected, rel=1e-5)


def test_training_numbers_are_running_sums_divided_once(arrays: Arrays) -> None:
    """With a rate of 0 and no randomness in the net the whole split gives the same numbers."""
    still = {"optimizer__lr": 1e-12, "optimizer__weight_decay": 0.0, "model__dropout": 0.0, "augment__noise": 0.0}
    run = toy_run(arrays, Unnormalised(), **still, data__batch_size=7)
    epoch = run.epoch()
    assert epoch.samples == len(run.fold.train) == 66
    assert epoch.train == pytest.approx(run.evaluate(run.fold.train), rel=1e-5)
    assert epoch.train != pytest.approx(epoch.validation, rel=1e-2)


class Unnormalised(Toy):
    """Without the normalisation, whose training statistics are those of a batch."""

    def model(self, params: Params, statistics: Mapping[str, Tensor]) -> torch.nn.Module:
        net = super().model(params, statistics)
        net.norm = torch.nn.Identity()
        return net


def test_the_spread_of_a_term_is_that_of_its_batch_means(arrays: Arrays) -> None:
    """The rate is too small to change the net, so its batches can be looked at again."""
    still = {"optimizer__lr": 1e-12, "optimizer__weight_decay": 0.0, "model__dropout": 0.0, "augment__noise": 0.0}
    run = toy_run(arrays, Unnormalised(), **still, data__batch_size=7)
    epoch = run.epoch()
    order = draw(run.fold.train, None, np.random.default_rng(seed_for(3, 0, 0, 1, ORDER)))
    means: dict[str, list[float]] = {"class": [], "number": []}
    for rows in np.array_split(order, math.ceil(len(order) / 7)):
        batch, outputs = whole_split(run, rows)
        for term, (value, count) in run.objective.losses(outputs, batch, run.params, run.statistics).items():
            means[term].append(float(value / count))
    assert set(epoch.spread) == set(means)
    for term, values in means.items():
        expected = {"sd": np.std(values), "min": min(values), "max": max(values)}
        assert epoch.spread[term] == pytest.approx(expected, rel=1e-4)
    ratio = 1.0 * epoch.train["loss.class"] / (0.5 * epoch.train["loss.number"])
    assert epoch.ratios() == {"class/number": pytest.approx(ratio)}


def test_gradient_norms_per_term_are_those_of_the_weighted_terms_alone(arrays: Arrays) -> None:
    """One batch, so that the mean over the steps is that of one; a run without the measurement is no other."""
    options: dict[str, Any] = {"data__batch_size": 1000, "model__dropout": 0.0, "loss__number_weight": 0.25}
    run, plain = toy_run(arrays, gradient_norms=True, **options), toy_run(arrays, **options)
    fresh = toy_run(arrays, **options)
    epoch = run.epoch()
    assert plain.epoch().gradient_norms == {}
    for name, value in run.model.state_dict().items():
        torch.testing.assert_close(value, plain.model.state_dict()[name], rtol=0, atol=0)
    order = draw(fresh.fold.train, None, np.random.default_rng(seed_for(3, 0, 0, 1, ORDER)))
    batch = {name: torch.from_numpy(np.asarray(arrays[name])[order]) for name in arrays}
    noise = torch.Generator().manual_seed(seed_for(3, 0, 0, 1, AUGMENT))
    batch = fresh.objective.augment(batch, fresh.params, noise)
    fresh.model.train()
    for term, weight in (("class", 1.0), ("number", 0.25)):
        value, count = fresh.objective.losses(fresh.model(batch), batch, fresh.params, fresh.statistics)[term]
        fresh.optimizer.zero_grad()
        (weight * value / count).backward()
        squares = [p.grad.double().square().sum() for p in fresh.model.parameters() if p.grad is not None]
        assert epoch.gradient_norms[term] == pytest.approx(math.sqrt(sum(map(float, squares))), rel=1e-4)


def test_a_curriculum_scales_what_is_trained_and_not_what_is_recorded(arrays: Arrays) -> None:
    run = toy_run(arrays, loss__number_start=1, loss__ramp_epochs=2, loss__number_weight=0.5)
    epochs = train(run).epochs
    assert [epoch.weights["number"] for epoch in epochs] == pytest.approx([0, 0.25, 0.5, 0.5, 0.5])
    assert {epoch.weights["class"] for epoch in epochs} == {1.0}
    for epoch in epochs:
        for values in (epoch.train, epoch.validation):
            assert values["loss"] == pytest.approx(values["loss.class"] + 0.5 * values["loss.number"])


def test_a_term_that_has_not_started_trains_nothing(arrays: Arrays) -> None:
    late, off = (
        toy_run(arrays, loss__number_start=3, loss__number_weight=1.0),
        toy_run(arrays, loss__number_weight=0.0),
    )
    late.epoch()
    off.epoch()
    for name, value in late.model.state_dict().items():
        torch.testing.assert_close(value, off.model.state_dict()[name], rtol=0, atol=0)


def test_mixup_trains_on_blends_of_inputs_and_of_both_rows_losses(arrays: Arrays) -> None:
    """Missing labels stay masked: sums and counts are those of both rows, by their shares."""
    run, fresh = (toy_run(arrays, augment__mixup=0.7, data__batch_size=1000, model__dropout=0.0) for _ in range(2))
    epoch = run.epoch()
    order = draw(fresh.fold.train, None, np.random.default_rng(seed_for(3, 0, 0, 1, ORDER)))
    batch = {name: torch.from_numpy(np.asarray(arrays[name])[order]) for name in arrays}
    noise = torch.Generator().manual_seed(seed_for(3, 0, 0, 1, AUGMENT))
    batch = fresh.objective.augment(batch, fresh.params, noise)
    other, share = partners(batch, noise), draw_share(0.7, noise)
    fresh.model.train()
    outputs = fresh.model(blended(batch, other, ["features"], share))
    own, its = (fresh.objective.losses(outputs, rows, fresh.params, fresh.statistics) for rows in (batch, other))
    for term in ("class", "number"):
        value = share * own[term][0] + (1 - share) * its[term][0]
        count = share * own[term][1] + (1 - share) * its[term][1]
        assert epoch.train[f"loss.{term}"] == pytest.approx((value / count).item(), rel=1e-5)


def test_gradient_norms_that_overflow_in_16_bits_are_no_infinity_on_record(arrays: Arrays) -> None:
    """The scaler of older GPUs begins so high that first steps overflow; it skips them, and no record holds inf."""
    run = toy_run(arrays, gradient_norms=True)
    run._scaler = torch.GradScaler("cpu", init_scale=2.0**120)
    epoch = run.epoch()
    assert set(epoch.gradient_norms) == {"class", "number"}
    assert all(map(math.isfinite, epoch.gradient_norms.values()))


class SeesFeatures(Toy):
    """Scores what it is shown, as an objective does that restores its input."""

    def sums(self, outputs: Outputs, batch: Batch) -> Sums:
        return {**super().sums(outputs, batch), "features": batch["features"].double().abs().sum()}

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        return {**super().score(sums, info), "features": float(sums["features"])}


def test_mixup_scores_the_blend_that_the_network_was_shown(arrays: Arrays) -> None:
    """Not the rows before blending: a restored signal would be compared with another one."""
    changes = {"augment__mixup": 0.7, "augment__noise": 0.0, "data__batch_size": 1000}
    run = toy_run(arrays, SeesFeatures(), **changes)
    order = draw(run.fold.train, None, np.random.default_rng(seed_for(3, 0, 0, 1, ORDER)))
    batch = {"features": torch.from_numpy(np.asarray(arrays["features"])[order])}
    noise = torch.Generator().manual_seed(seed_for(3, 0, 0, 1, AUGMENT))
    run.objective.augment(batch, run.params, noise)
    blend = blended(batch, partners(batch, noise), ["features"], draw_share(0.7, noise))
    assert run.epoch().train["features"] == pytest.approx(blend["features"].abs().sum().item(), rel=1e-5)


class NothingMixed(Toy):
    mixed: tuple[str, ...] = ()


def test_mixup_that_blends_nothing_is_refused_even_while_it_is_off(arrays: Arrays) -> None:
    with pytest.raises(ValueError, match=r"augment\.mixup is offered, but `mixed` is empty"):
        toy_run(arrays, NothingMixed(), augment__mixup=0.0).epoch()


def test_a_fast_validation_looks_at_the_same_part_and_is_not_compared(arrays: Arrays) -> None:
    run = toy_run(arrays, validation=Validation(full_validation_every=2, fast_share=0.5), metric=LOSS)
    seen: list[np.ndarray] = []
    batches = run._batches

    def watched(rows: np.ndarray, size: int) -> Iterator[Batch]:
        seen.append(rows)
        return batches(rows, size)

    run._batches = watched  # type: ignore[method-assign]
    epochs = train(run).epochs
    assert [epoch.full for epoch in epochs] == [False, True, False, True, True]
    validated = seen[1::2]
    assert [len(rows) for rows in validated] == [17, 34, 17, 34, 34]
    np.testing.assert_array_equal(validated[0], validated[2])
    assert set(validated[0]) < set(run.fold.validation)
    assert "loss" in epochs[0].validation
    assert epochs[0].get("loss") is None
    assert epochs[0].get("train.loss") == epochs[0].train["loss"]
    assert run.best is not None and run.best.full


def test_a_classification_report_comes_every_so_often_and_with_the_best_epoch(arrays: Arrays) -> None:
    never = 100
    regular = train(toy_run(arrays, validation=Validation(report_every=2), metric=LOSS, stopping__min_epochs=4))
    assert [epoch.number for epoch in regular.epochs if epoch.report is not None][:2] == [2, 4]
    sparse = train(toy_run(arrays, validation=Validation(report_every=never), metric=LOSS, stopping__min_epochs=1))
    assert sparse.best is not None and sparse.best.report is not None
    recall = sparse.best.report["all"]["recall"]
    assert recall == pytest.approx(sparse.best.validation["accuracy"])
    first = sparse.epochs[0].validation["loss"]
    better = [epoch for epoch in sparse.epochs if epoch.report is not None]
    assert [epoch.validation["loss"] for epoch in better] == sorted(
        (e.validation["loss"] for e in better), reverse=True
    )
    assert better[0].validation["loss"] == first
    refit = train(toy_run(arrays, fold=Fold(-1, np.arange(80), np.empty(0, np.int64))))
    assert all(epoch.full and epoch.report is None for epoch in refit.epochs)


def test_what_cannot_be_computed_is_missing(arrays: Arrays) -> None:
    unlabelled = np.flatnonzero((arrays["target"] < 0) & np.isfinite(arrays["number"]))
    run = toy_run(arrays, fold=Fold(0, np.arange(60), unlabelled))
    assert set(run.epoch().validation) == {"loss", "loss.number", "mae"}
    assert run.best is None
    assert run.evaluate(np.empty(0, np.int64)) == {}


def test_rows_without_any_label_have_no_loss(arrays: Arrays) -> None:
    """Rather than one of 0, which nothing could better: they validate, or are trained on, beside others."""
    bare = np.flatnonzero((arrays["target"] < 0) & np.isnan(arrays["number"]))
    labelled = np.flatnonzero((arrays["target"] >= 0) & np.isfinite(arrays["number"]))
    assert len(bare) >= 2
    run = toy_run(arrays, fold=Fold(0, labelled, bare), metric=LOSS, epochs=2)
    first, last = (run.epoch() for _ in range(2))
    assert first.validation == last.validation == {} and {"loss", "loss.class", "loss.number"} <= first.train.keys()
    assert run.best is None and run.evaluate(bare) == {} and "loss" in run.evaluate(labelled)
    assert " | validation" not in next(epoch_lines(first, 2, {})), "nothing is said of nothing"
    assert Epoch.from_json(first.to_json()) == first
    trained = toy_run(arrays, fold=Fold(0, bare, labelled), metric=LOSS, epochs=1).epoch()
    assert trained.train == {} and trained.spread == {} and "loss" in trained.validation


def test_the_best_state_is_that_of_the_best_epoch(arrays: Arrays) -> None:
    run, states = toy_run(arrays, optimizer__lr=0.3, stopping__min_epochs=2, metric=LOSS, epochs=8), []
    while not run.finished:
        run.epoch()
        states.append({name: value.clone() for name, value in run.model.state_dict().items()})
    losses = [epoch.validation["loss"] for epoch in run.epochs]
    best = 1 + int(np.argmin(losses[1:]))
    assert best < 7, "the test wants a best epoch that is not the last"
    assert run.best is run.epochs[best]
    assert run.best_state is not None
    assert all(torch.equal(value, states[best][name]) for name, value in run.best_state.items())


def test_min_epochs_longer_than_the_training_means_its_last_epoch(arrays: Arrays) -> None:
    run = train(toy_run(arrays, epochs=2, stopping__min_epochs=50))
    assert run.best is run.epochs[1]


def test_early_stopping_ends_a_run(arrays: Arrays) -> None:
    options: dict[str, Any] = {
        "stopping__min_epochs": 1,
        "stopping__patience": 2,
        "stopping__min_delta": 10.0,
        "epochs": 9,
    }
    assert len(train(toy_run(arrays, **options)).epochs) == 3
    assert len(train(toy_run(arrays, **options | {"stopping__patience": 0})).epochs) == 9
    monitored = train(toy_run(arrays, **options | {"stopping__monitor": "loss.number"}))
    assert monitored._stopping_monitor == Metric("loss.number", "minimize")


def test_a_run_without_validation_rows_trains_to_its_end(arrays: Arrays) -> None:
    everything = Fold(-1, np.arange(100), np.empty(0, np.int64))
    run = train(toy_run(arrays, fold=everything, epochs=4, stopping__patience=1, stopping__min_epochs=1))
    assert len(run.epochs) == 4
    assert all(epoch.validation == {} and epoch.train for epoch in run.epochs)
    assert (run.best, run.best_state) == (None, None)


@pytest.mark.parametrize("monitor", ["loss", "train.loss"])
def test_a_refit_lowers_its_rate_where_its_folds_did_and_nowhere_else(arrays: Arrays, monitor: str) -> None:
    everything = Fold(-1, np.arange(100), np.empty(0, np.int64))
    plateau: dict[str, Any] = {"schedule__name": "plateau", "schedule__patience": 0, "schedule__monitor": monitor}
    run = train(toy_run(arrays, fold=everything, epochs=7, drops=(2, 5), optimizer__lr=0.4, **plateau))
    assert [epoch.lr for epoch in run.epochs] == [0.4, 0.4, 0.2, 0.2, 0.2, 0.1, 0.1]


# ---- what must not be trained on


class Poisoned(Toy):
    """One call of `losses` gives a term that is not finite; an epoch makes 5 calls for training, 1 for validation."""

    def __init__(self, call: int, term: str, value: float) -> None:
        self._left, self._term, self._value = call, term, value

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        self._left -= 1
        terms = super().losses(outputs, batch, params, statistics)
        if self._left == 0:
            value, count = terms[self._term]
            terms[self._term] = (value * self._value, count)
        return terms


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("call", "term", "epoch", "step"), [(1, "class", 1, 1), (9, "number", 2, 3), (11, "class", 2, 5)]
)
def test_a_loss_that_is_not_finite_is_named(
    arrays: Arrays, call: int, term: str, epoch: int, step: int, value: float
) -> None:
    run = toy_run(arrays, Poisoned(call, term, value))
    with pytest.raises(
        NonFiniteLoss, match=f"loss term '{term}' is not finite at epoch {epoch}, step {step}"
    ) as caught:
        train(run)
    assert (caught.value.term, caught.value.epoch, caught.value.step) == (term, epoch, step)
    assert len(run.epochs) == epoch - 1


def test_a_gradient_that_is_not_finite_is_named(arrays: Arrays) -> None:
    class Steep(Toy):
        def losses(
            self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
        ) -> dict[str, Term]:
            terms = super().losses(outputs, batch, params, statistics)
            zero = (outputs["number"] * 0).abs().sum().sqrt()  # finite, with an infinite slope
            return {**terms, "number": (terms["number"][0] + zero, terms["number"][1])}

    with pytest.raises(NonFiniteLoss, match="loss term 'gradient' is not finite at epoch 1, step 1"):
        toy_run(arrays, Steep()).epoch()


def test_a_validation_loss_that_is_not_finite_is_missing_and_never_the_best(arrays: Arrays) -> None:
    run = toy_run(arrays, Poisoned(6, "number", float("nan")), metric=LOSS, stopping__min_epochs=1)
    epoch = run.epoch()
    assert "loss" not in epoch.validation
    assert "loss.number" not in epoch.validation
    assert run.best is None
    assert run.epoch() is run.best


class Shuffled(Toy):
    """Names its terms in another order than it returns them."""

    terms = ("number", "class")


def test_terms_are_told_apart_by_name(arrays: Arrays) -> None:
    expected, found = toy_run(arrays).epoch(), toy_run(arrays, Shuffled()).epoch()
    assert found.train == pytest.approx(expected.train)
    assert found.validation == pytest.approx(expected.validation)


def test_a_term_that_is_not_returned_is_an_error(arrays: Arrays) -> None:
    class Forgetful(Toy):
        def losses(
            self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
        ) -> dict[str, Term]:
            terms = super().losses(outputs, batch, params, statistics)
            return {"class": terms["class"]}

    with pytest.raises(KeyError, match="number"):
        toy_run(arrays, Forgetful()).epoch()


@pytest.mark.parametrize("objective", [Toy(), Unnormalised()], ids=["normalised", "plain"])
@pytest.mark.parametrize("size", [1, 5, 65, 66])
def test_no_batch_has_a_single_row_unless_all_have(arrays: Arrays, objective: Objective, size: int) -> None:
    """66 rows in batches of 5 or 65 would leave one row over, which batch normalisation refuses."""
    run = toy_run(arrays, objective, data__batch_size=size)
    sizes = [len(batch["target"]) for batch in run._batches(run.fold.train, size)]
    assert sum(sizes) == 66
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.gpu
def test_a_run_on_a_gpu_comes_to_the_same_within_mixed_precision(arrays: Arrays) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    still: dict[str, Any] = {"model__dropout": 0.0, "augment__noise": 0.0}
    run = toy_run(arrays, **still)
    other = FoldRun(
        Toy(), arrays, Feed(arrays, torch.device("cuda:0")), run.fold, toy_params(**still), run.metric, epochs=5, seed=3
    )
    for _ in range(3):
        one, two = run.epoch(), other.epoch()
        assert two.validation["loss"] == pytest.approx(one.validation["loss"], rel=0.05)
    assert two.peak_memory_mb > 0
