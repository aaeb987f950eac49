"""The learning rate against torch's own schedulers; early stopping and the best epoch as tables."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from hpo.objective import LOOP_DEFAULTS, Epoch, Metric
from hpo.schedule import Schedule, Validation, best_epoch, should_stop
from tests.toy import toy_params

LOSS, F1 = Metric("loss", "minimize"), Metric("f1", "maximize")
NONE = None  #: the quantity could not be computed at that epoch
LR = 0.1


def epochs(values: Sequence[float | None], name: str = "loss", first: int = 1) -> list[Epoch]:
    return [epoch(number, {} if v is None else {name: v}) for number, v in enumerate(values, first)]


def epoch(number: int, validation: dict[str, float], train: dict[str, float] | None = None) -> Epoch:
    facts: dict[str, Any] = {"lr": 0.1, "gradient_norm": 1.0, "seconds": 1.0, "samples": 1, "peak_memory_mb": 1.0}
    return Epoch(number=number, train=train or {}, validation=validation, **facts)


def schedule(name: str, length: int, **keys: Any) -> Schedule:
    params = {f"schedule__{key}": value for key, value in ({"name": name} | keys).items()}
    return Schedule(toy_params(optimizer__lr=LR, **params), length, LOSS)


def torch_rates(scheduler: lr_scheduler.LRScheduler, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """What torch uses at each step, from the second to one behind the last: our rate k is reached after k of n."""
    rates = []
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)


# ---- the rate


@pytest.mark.parametrize(("length", "steps", "low"), [(1, 7, 0.0), (5, 3, 0.0), (12, 20, 1e-3), (40, 1, 0.05)])
def test_cosine_equals_torch_at_every_step(length: int, steps: int, low: float) -> None:
    opt = optimizer()
    truth = torch_rates(lr_scheduler.CosineAnnealingLR(opt, length * steps, eta_min=low), opt, length * steps)
    ours = schedule("cosine", length, eta_min=low)
    found = [ours.lr(e + (step + 1) / steps) for e in range(length) for step in range(steps)]
    assert found == pytest.approx(truth, rel=1e-6, abs=1e-9)
    assert found[-1] == pytest.approx(low)


@pytest.mark.parametrize("name", ["cosine", "plateau", "constant"])
@pytest.mark.parametrize(("warmup", "steps"), [(1, 4), (3, 5)])
def test_warm_up_equals_torch_and_hands_over_to_the_schedule(name: str, warmup: int, steps: int) -> None:
    length, count = 10, warmup * steps
    opt = optimizer()
    linear = lr_scheduler.LinearLR(opt, start_factor=1 / count, total_iters=count - 1)
    rising = [opt.param_groups[0]["lr"], *torch_rates(linear, opt, count - 1)]
    after = optimizer()
    rest = (length - warmup) * steps
    cosine = torch_rates(lr_scheduler.CosineAnnealingLR(after, rest), after, rest)
    ours = schedule(name, length, warmup_epochs=warmup)
    found = [ours.lr(e + (step + 1) / steps) for e in range(length) for step in range(steps)]
    assert found == pytest.approx(rising + (cosine if name == "cosine" else [LR] * rest), rel=1e-6, abs=1e-9)


def test_a_warm_up_longer_than_the_training_leaves_one_epoch_of_schedule() -> None:
    ours = schedule("cosine", 3, warmup_epochs=99)
    assert ours.lr(2.0) == LR
    assert ours.lr(3.0) == 0.0
    assert schedule("cosine", 1, warmup_epochs=99).lr(0.5) == pytest.approx(LR / 2)


def test_the_lowest_rate_never_raises_the_rate() -> None:
    assert schedule("cosine", 4, eta_min=1.0).lr(4.0) == LR
    plateau = schedule("plateau", 4, min_lr=1.0)
    plateau.drops = [1, 2, 3]
    assert plateau.lr(4.0) == LR


CURVES: dict[str, list[float | None]] = {
    "falls": [1.0, 0.9, 0.8, 0.7, 0.6, 0.5],
    "flat": [1.0] * 14,
    "rises": [1.0 + 0.1 * k for k in range(14)],
    "zigzag": [1.0, 0.8, 0.9, 0.85, 0.79, 0.8, 0.81, 0.8, 0.8, 0.5, 0.6, 0.6, 0.6, 0.6, 0.6],
    "missing": [1.0, NONE, NONE, NONE, 0.9, NONE, NONE, NONE, NONE],
    "missing at first": [NONE, NONE, 1.0, 0.9, 0.95, 0.95, 0.95],
}


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("patience", [0, 1, 2])
@pytest.mark.parametrize(("factor", "least"), [(0.5, 1e-7), (0.1, 0.02)])
def test_plateau_equals_torch_at_every_epoch(curve: str, patience: int, factor: float, least: float) -> None:
    opt = optimizer()
    theirs = lr_scheduler.ReduceLROnPlateau(opt, factor=factor, patience=patience, threshold=0, min_lr=least)
    ours = schedule("plateau", 99, factor=factor, patience=patience, min_lr=least)
    for number, value in enumerate(CURVES[curve], 1):
        assert ours.lr(number - 0.5) == ours.lr(number) == pytest.approx(opt.param_groups[0]["lr"])
        opt.step()
        theirs.step(float("nan") if value is None else value)
        ours.observe(epochs([value], first=number)[0])
    assert ours.lr(len(CURVES[curve]) + 1) == pytest.approx(opt.param_groups[0]["lr"])


def test_epochs_of_the_warm_up_do_not_count_for_the_plateau() -> None:
    ours = schedule("plateau", 20, warmup_epochs=4, patience=1)
    for one in epochs([0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]):
        ours.observe(one)
    assert ours.drops == [7]  # 5 is the first that counts and the best so far; 6 and 7 do not improve on it


def test_a_plateau_goes_on_where_its_state_was_taken() -> None:
    curve = epochs(CURVES["zigzag"])
    whole, first, second = (schedule("plateau", 99, patience=1) for _ in range(3))
    for one in curve:
        whole.observe(one)
    for one in curve[:7]:
        first.observe(one)
    second.load_state_dict(first.state_dict())
    first.drops.append(99)  # the state is a copy
    for one in curve[7:]:
        second.observe(one)
    assert second.state_dict() == whole.state_dict()
    assert whole.drops


def test_only_a_plateau_looks_at_the_curve() -> None:
    for name in ("cosine", "constant"):
        ours = schedule(name, 99, patience=0)
        for one in epochs(CURVES["rises"]):
            ours.observe(one)
        assert ours.drops == []


# ---- early stopping

DEFAULTS = {name.removeprefix("stopping."): v for name, v in LOOP_DEFAULTS.items() if name.startswith("stopping.")}


@pytest.mark.parametrize(
    ("curve", "changes", "stops_after"),
    [
        pytest.param([1, 1, 1, 1], {"patience": 2, "min_epochs": 1}, 3, id="flat"),
        pytest.param([1, 2, 3, 4], {"patience": 1, "min_epochs": 1}, 2, id="worse at once"),
        pytest.param([3, 2, 1, 0], {"patience": 1, "min_epochs": 1}, None, id="always better"),
        pytest.param(
            [3, 4, 2, 4, 4, 1], {"patience": 2, "min_epochs": 1}, 5, id="a better epoch starts the count anew"
        ),
        pytest.param([9, 9, 9, 9, 9], {"patience": 0, "min_epochs": 1}, None, id="patience 0 is off"),
        pytest.param([1, 2, 2, 2, 2, 2], {"patience": 2, "min_epochs": 3}, 5, id="waits from min_epochs on"),
        pytest.param([1, 2, 2, 2], {"patience": 1, "min_epochs": 3}, 4, id="not at min_epochs itself"),
        pytest.param(
            [5, 4.97, 4.95, 4.92], {"patience": 3, "min_delta": 0.1, "min_epochs": 1}, 4, id="too little gained"
        ),
        pytest.param(
            [5, 4.95, 4.85, 4.8, 4.7], {"patience": 2, "min_delta": 0.1, "min_epochs": 1}, None, id="small steps add up"
        ),
        pytest.param([1, 1, 1], {"patience": 1, "min_delta": 0.0, "min_epochs": 1}, 2, id="equal is no gain"),
        pytest.param([1, NONE, NONE, 0.5], {"patience": 2, "min_epochs": 1}, 3, id="missing counts as no gain"),
        pytest.param([NONE] * 6, {"patience": 3, "min_epochs": 2}, 5, id="never there"),
        pytest.param([1], {"patience": 1, "min_epochs": 0}, None, id="one epoch is the best so far"),
        pytest.param([9] * 20, {}, 15, id="defaults: 10 epochs without gain after the fifth"),
    ],
)
def test_early_stopping(curve: list[float | None], changes: dict[str, Any], stops_after: int | None) -> None:
    stopping = {**DEFAULTS, **changes}
    assert first_stop(epochs(curve), LOSS, stopping) == stops_after
    # The same curve upside down, of a score of which more is better.
    mirrored = [None if value is None else -value for value in curve]
    assert first_stop(epochs(mirrored, "f1"), F1, stopping) == stops_after


def first_stop(curve: list[Epoch], monitor: Metric, stopping: dict[str, Any]) -> int | None:
    lengths = range(1, len(curve) + 1)
    return next((n for n in lengths if should_stop(curve[:n], monitor, stopping, stopping["min_epochs"])), None)


@pytest.mark.parametrize("patience", [1, 2, 10])
@pytest.mark.parametrize("start", list(itertools.product([NONE, 0.0, 9.9], repeat=2)), ids=str)
def test_no_curve_stops_at_epoch_1_by_default(patience: int, start: tuple[float | None, ...]) -> None:
    stopping = {**DEFAULTS, "patience": patience}
    assert stopping["min_epochs"] == 5  # "6 of 9 folds stopped at epoch 1" is the note that this default answers
    curve = epochs([*start, 9.9, 9.9, 9.9])
    assert not any(should_stop(curve[:number], LOSS, stopping, 5) for number in range(6))


@pytest.mark.parametrize(
    ("monitor", "stops"),
    [
        (Metric("loss", "minimize"), True),
        (Metric("loss.class", "minimize"), False),
        (Metric("f1", "maximize"), False),
        (Metric("train.loss", "minimize"), False),
        (Metric("train.f1", "maximize"), True),
    ],
)
def test_any_named_quantity_can_be_monitored(monitor: Metric, stops: bool) -> None:
    curve = [
        epoch(k, {"loss": float(k), "loss.class": -float(k), "f1": float(k)}, {"loss": -float(k), "f1": 0.5})
        for k in (1, 2, 3)
    ]
    assert should_stop(curve, monitor, {"patience": 2, "min_delta": 0.0}, 1) is stops


# ---- fast validation


def every(number: int, curve: list[Epoch]) -> list[Epoch]:
    """The curve with full validations at every so many epochs only."""
    return [replace(one, full=Validation(full_validation_every=number).is_full(one.number, 100)) for one in curve]


def test_every_so_many_epochs_and_the_last_are_validated_fully() -> None:
    validation = Validation(full_validation_every=4)
    assert [number for number in range(1, 11) if validation.is_full(number, 10)] == [4, 8, 10]
    assert all(Validation().is_full(number, 10) for number in range(1, 11))


@pytest.mark.parametrize(
    ("curve", "patience", "stops_after"),
    [
        pytest.param([1, 0, 2, 0, 2, 0, 2, 0], 1, 4, id="a fast value is no gain"),
        pytest.param([1, 5, 9, 4, 9, 3, 9, 2], 2, None, id="better at every full validation"),
        pytest.param([1, 5, 1, 5, 1, 5], 3, 6, id="patience counts epochs, but ends at a full validation"),
    ],
)
def test_early_stopping_with_fast_validations(
    curve: list[float | None], patience: int, stops_after: int | None
) -> None:
    stopping = {"patience": patience, "min_delta": 0.0, "min_epochs": 1}
    assert first_stop(every(2, epochs(curve)), LOSS, stopping) == stops_after


def test_a_plateau_is_seen_at_full_validations_only() -> None:
    ours = schedule("plateau", 12, patience=2)
    for one in every(4, epochs([1.0] * 12)):
        ours.observe(one)
    assert ours.drops == [8, 12]


def test_the_best_epoch_was_validated_fully() -> None:
    best = best_epoch(every(2, epochs([0.1, 0.5, 0.0, 0.4])), LOSS, 1)
    assert best is not None and best.number == 4


# ---- the best epoch


@pytest.mark.parametrize(
    ("values", "min_epochs", "best"),
    [
        ([0.1, 0.3, 0.2], 1, 2),
        ([0.9, 0.3, 0.2], 2, 2),
        ([0.9, 0.3, 0.4], 2, 3),
        ([0.5, 0.5, 0.5], 1, 1),
        ([0.5, NONE, 0.7, NONE], 1, 3),
        ([-0.5, -0.7, NONE], 1, 1),
        ([0.0, -1.0], 1, 1),
        ([NONE, NONE], 1, None),
        ([0.9, 0.8], 3, None),
        ([], 1, None),
    ],
)
def test_the_first_of_the_best_epochs_counts(values: list[float | None], min_epochs: int, best: int | None) -> None:
    found = best_epoch(epochs(values, "f1"), F1, min_epochs)
    assert (found and found.number) == best
    negative = [None if v is None else -v for v in values]
    found = best_epoch(epochs(negative), LOSS, min_epochs)
    assert (found and found.number) == best
