"""The range test: against a closed form, against trainings at the rates it suggests, and at its edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.lr_range import (
    BROKEN,
    MEMORY,
    PER_DECADE,
    Point,
    Reading,
    in_sentences,
    rate_warnings,
    rates,
    read,
    steps_of,
    sweep,
)
from tests.toy import toy_arrays, toy_run


def heard(step: Callable[[float], float], over: list[float]) -> list[Point]:
    told: list[Point] = []
    points = sweep(step, over, told.append)
    assert told == points
    return points


def along(curve: Callable[[float], float], noise: float = 0.0) -> Callable[[float], float]:
    """Losses that are a function of the logarithm of the rate, to the base of ten."""
    generator = np.random.default_rng(2)
    return lambda rate: curve(math.log10(rate)) + noise * float(generator.normal())


def test_rates_grow_by_a_constant_factor() -> None:
    over = rates()
    assert (over[0], len(over)) == (1e-7, 8 * PER_DECADE + 1) and over[-1] == pytest.approx(10)
    assert np.diff(np.log(over)) == pytest.approx(math.log(10) / PER_DECADE)


def test_the_smoothed_curve_is_the_mean_of_all_steps_with_fading_weights() -> None:
    points = heard(along(lambda x: x * x), rates()[:50])
    weights = MEMORY ** np.arange(49, -1, -1)
    assert points[-1].smooth_loss == pytest.approx(np.average([p.loss for p in points], weights=weights))
    logs = [math.log(p.rate) for p in points]
    assert math.log(points[-1].smooth_rate) == pytest.approx(np.average(logs, weights=weights))
    assert (points[0].smooth_loss, points[0].smooth_rate) == pytest.approx((points[0].loss, points[0].rate))


def test_a_straight_line_is_read_without_lag() -> None:
    for point in heard(along(lambda x: 20 - x), rates()):
        assert point.smooth_loss == pytest.approx(20 - math.log10(point.smooth_rate))


def test_gradient_descent_breaks_where_the_closed_form_says() -> None:
    """Least squares by SGD: the error along an eigenvector of the Hessian grows for `lr > 2 / lambda_max`.

    Batches are drawn, so that every direction always has some error left that can grow.
    """
    generator = torch.Generator().manual_seed(4)
    scale = torch.tensor([3.0, 1.0, 0.3, 0.1])
    features = torch.randn(4000, 4, generator=generator, dtype=torch.float64) * scale
    wanted = features @ torch.ones(4, dtype=torch.float64) + torch.randn(4000, generator=generator, dtype=torch.float64)
    limit = 2 / float(torch.linalg.eigvalsh(features.T @ features / len(features)).max())
    weights = torch.zeros(4, dtype=torch.float64)

    def step(rate: float) -> float:
        rows = torch.randint(4000, (256,), generator=generator)
        error = features[rows] @ weights - wanted[rows]
        weights.sub_(rate * features[rows].T @ error / len(rows))
        return float((error**2).mean() / 2)

    over = rates()
    points = heard(step, over)
    found = read(points, over)
    assert len(points) < len(over)
    assert found.suggested is not None and found.broken_rate is not None
    assert limit / 10 < found.suggested[1] < limit < found.broken_rate < 3 * limit
    assert found.suggested[0] < found.suggested[1] / 9.9


def test_suggested_rates_train_and_those_that_break_do_not(tmp_path: Path) -> None:
    """With AdamW there is no closed form; trainings of their own are the truth."""
    arrays, over = toy_arrays(tmp_path, rows=360), rates()
    found = read(heard(steps_of(toy_run(arrays)), over), over)
    assert found.suggested is not None and found.broken_rate is not None
    constant: dict[str, Any] = {"schedule__name": "constant", "stopping__patience": 0, "epochs": 6}

    def trained(rate: float) -> float:
        run = toy_run(arrays, optimizer__lr=rate, **constant)
        return [run.epoch() for _ in range(6)][-1].train["loss"]

    untrained = trained(1e-7)
    low, high = found.suggested
    good = [trained(rate) for rate in (low, math.sqrt(low * high), high)]
    assert max(good) < 0.8 * untrained
    assert trained(10 * found.broken_rate) > untrained > trained(low / 100) > max(good)


def test_the_steps_are_those_of_an_epoch(tmp_path: Path) -> None:
    """At the study's own rate, without schedule and augmentation, the probe does what `FoldRun.epoch` does."""
    arrays = toy_arrays(tmp_path)
    plain: dict[str, Any] = {"schedule__name": "constant", "augment__noise": 0.0, "optimizer__lr": 0.01}
    probed, trained = toy_run(arrays, **plain), toy_run(arrays, **plain)
    step, rows = steps_of(probed), len(probed.fold.train)
    for _ in range(2 * math.ceil(rows / 16)):
        step(0.01)
    trained.epoch(), trained.epoch()
    for name, value in trained.model.state_dict().items():
        assert torch.equal(probed.model.state_dict()[name], value), name


def test_it_breaks_at_the_step_that_the_mean_follows() -> None:
    """The mean of the losses passes their start some steps after the losses do."""
    over = rates()
    found = read(heard(along(lambda x: 3 - 2 / (1 + math.exp(-4 * (x + 3.5))) if x < -1.01 else 6.0), over), over)
    assert found.broken_rate == pytest.approx(0.1)
    assert found.limit == found.start == pytest.approx(3, abs=0.01)


def test_the_sweep_ends_at_four_times_the_lowest_loss() -> None:
    over = rates()
    points = heard(along(lambda x: 1.0 if x < -2 else 10.0), over)
    low = min(p.smooth_loss for p in points)
    assert points[-1].smooth_loss > BROKEN * low >= points[-2].smooth_loss


def test_a_loss_below_zero_has_as_far_to_rise() -> None:
    points = heard(along(lambda x: -1.0 if x < -2 else 3 * x + 5), rates())
    assert points[-1].smooth_loss > 2 >= points[-2].smooth_loss


def test_a_loss_that_is_not_finite_ends_the_sweep_and_is_where_it_breaks() -> None:
    over = rates()
    points = heard(along(lambda x: -x if x < 0.001 else math.inf), over)
    found = read(points, over)
    assert len(points) == 7 * PER_DECADE + 1 and found.broken_rate == over[len(points)]
    assert not heard(lambda rate: math.nan, over)


def test_the_fall_is_found_where_it_is() -> None:
    """A logistic fall in the middle of 1e-4 and 1e-3, lowest from about 1e-2 on."""
    over = rates()
    found = read(heard(along(lambda x: 3 - 2 / (1 + math.exp(-4 * (x + 3.5))), noise=0.02), over), over)
    assert found.fastest_rate is not None and found.suggested is not None
    assert abs(math.log10(found.fastest_rate) + 3.5) < 0.3
    assert found.start == pytest.approx(3, abs=0.05) and found.lowest == pytest.approx(1, abs=0.05)
    assert found.broken_rate is None
    assert "breaks nowhere up to 10" in in_sentences(found, (1e-4, 1e-2), 1e-3)[0]


@pytest.mark.parametrize("curve", [lambda x: 2.0, lambda x: 2.0 if x < -3 else 5 + x])
def test_where_the_loss_does_not_fall_nothing_is_suggested(curve: Callable[[float], float]) -> None:
    """Noise has a lowest point, too. At 3 standard errors few of these curves fall by chance; this seed does not."""
    over = rates()
    found = read(heard(along(curve, noise=0.1), over), over)
    assert (found.fastest_rate, found.lowest_rate, found.broken_rate, found.suggested) == (None,) * 4
    assert in_sentences(found, (1e-4, 1e-2), 1e-3)[0].endswith("no rate can be suggested.")
    assert rate_warnings(found, (1e-4, 1e-2))[0].startswith("the loss falls at no rate")


@pytest.mark.parametrize(
    ("space", "warning", "share"),
    [
        ((1e-4, 1e-2), [], "the suggestion covers 50 % of the searched range"),
        ((1e-5, 1.0), ["optimizer.lr reaches 1: training breaks from 0.3 on"], "covers 40 % of"),
        (
            (1e-6, 1e-4),
            ["optimizer.lr ends at 0.0001, below 0.001, from where on the loss falls fast"],
            "covers 0 % of",
        ),
        ((0.15, 0.2), ["optimizer.lr begins at 0.15, above 0.1, from where on the loss rises"], "covers 0 % of"),
        ((1e-3, 1e-3), [], "it is not searched"),
    ],
)
def test_a_space_is_held_against_the_curve(space: tuple[float, float], warning: list[str], share: str) -> None:
    marks: dict[str, Any] = {"fastest_rate": 1e-3, "lowest_rate": 0.1, "broken_rate": 0.3, "suggested": (1e-3, 0.1)}
    found = Reading(start=3, scatter=0.1, lowest=1, limit=3, **marks)
    assert rate_warnings(found, space) == warning
    assert share in in_sentences(found, space, 1e-3)[2]


@pytest.mark.parametrize(
    ("space", "marks", "warning"),
    [
        ((1e-4, 0.03), (0.0312, 0.5, None), "ends at 0.03, below 0.031, from"),
        ((1e-4, 0.03), (0.03001, 0.5, None), "ends at 0.03, below 0.03001, from"),
        ((0.02, 0.5), (1e-4, 0.0196, None), "begins at 0.02, above 0.0196, from"),
        ((1e-4, 0.0355), (1e-4, 1e-3, 0.0352), "reaches 0.0355: training breaks from 0.035 on"),
        ((1e-4, 0.03), (1e-4, 1e-3, 0.03), "reaches 0.03: training breaks from 0.03 on"),
    ],
)
def test_rates_have_the_digits_that_tell_them_apart(
    space: tuple[float, float], marks: tuple[float, float, float | None], warning: str
) -> None:
    least, most, broken = marks
    found: dict[str, Any] = {"fastest_rate": least, "lowest_rate": most, "broken_rate": broken}
    found |= {"suggested": (least, most)}
    (said,) = rate_warnings(Reading(start=3, scatter=0.1, lowest=1, limit=3, **found), space)
    assert said.startswith(f"optimizer.lr {warning}")


@pytest.mark.parametrize(("noise", "warned"), [(0.2, False), (1.5, True)])
def test_losses_that_scatter_as_much_as_they_fall_are_said_to_be_noisy(noise: float, warned: bool) -> None:
    """The curve falls by 2; 1.5 is above half of it."""
    over = rates()
    found = read(heard(along(lambda x: 3 - 2 / (1 + math.exp(-4 * (x + 3.5))), noise), over), over)
    assert found.suggested is not None and found.scatter == pytest.approx(noise, rel=0.5)
    last = in_sentences(found, (1e-4, 1e-2), 1e-3)[-1]
    assert ("Noisy: single losses scatter by" in last and "A larger data.batch_size" in last) is warned
