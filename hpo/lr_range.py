"""The learning-rate range test: train with a growing rate, and read off where learning is fast and where it breaks.

Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (WACV 2017), section 3.3; the growth by a constant
factor, the smoothing and the end at four times the lowest loss are those of fast.ai's finder (Gugger, "How Do You Find
A Good Learning Rate", 2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch

from hpo.measure import weighted_means
from hpo.training import FoldRun

#: The first and the last rate, and steps for each factor of ten between them.
FIRST, LAST, PER_DECADE = 1e-7, 10.0, 20
#: Share of the old mean in the new one; 0.9 averages about 19 steps, one decade.
MEMORY = 0.9
#: The smoothed loss of a training that broke, as a multiple of its lowest value.
BROKEN = 4.0
#: Standard errors of the loss at rates too small to learn, by which it must fall to count as fallen.
SURE = 3.0
#: Scatter of single losses, as a share of the fall, from which on the rates that are read off it are rough.
NOISY = 0.5

#: One optimizer step at a rate; the loss before it.
Step = Callable[[float], float]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One step. Rates are averaged as losses are, so that the smoothed curve does not lag behind the rates."""

    rate: float
    loss: float
    smooth_rate: float  #: geometric mean
    smooth_loss: float  #: exponential mean with bias correction


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a curve says; all rates are None where the loss did not fall."""

    start: float  #: mean loss at rates too small to learn
    scatter: float  #: standard deviation of single losses at these rates
    lowest: float  #: smoothed loss
    limit: float  #: a smoothed loss above it, at a rate above that of the lowest, means that training has broken
    fastest_rate: float | None  #: where the smoothed loss falls most per factor of the rate
    lowest_rate: float | None  #: after it the loss rises
    broken_rate: float | None  #: of the first loss that brought the mean above the limit; None = up to the last
    suggested: tuple[float, float] | None  #: rates to search


def rates() -> list[float]:
    """From the first to the last, each a constant factor above the one before."""
    steps = round(PER_DECADE * math.log10(LAST / FIRST)) + 1
    return [float(rate) for rate in np.geomspace(FIRST, LAST, steps)]


def steps_of(run: FoldRun) -> Step:
    """The steps of a training at whatever rates: its batches epoch after epoch, its clipping and weight decay.

    Loss terms have the weights that they have once any curriculum is over.
    """
    generator = torch.Generator(run.device).manual_seed(run.seed)
    weights = {term: run.params.loss[f"{term}_weight"] for term in run.objective.terms}
    batches = (batch for number in count(1) for batch in run.training_batches(number, generator))

    def step(rate: float) -> float:
        terms, _, _ = run.step(next(batches), rate, weights, generator)
        return float(torch.stack(list(weighted_means(terms, weights).values())).detach().sum())

    return step


def sweep(step: Step, over: Sequence[float], tell: Callable[[Point], None]) -> list[Point]:
    """Train with growing rates until the loss is not finite or BROKEN times its lowest smoothed value.

    Args:
        step: does one step.
        over: the rates, ascending.
        tell: hears of each step as it is done.

    Returns:
        The steps whose loss was finite.
    """
    points: list[Point] = []
    mean_loss = mean_log = 0.0
    lowest = math.inf
    for number, rate in enumerate(over, start=1):
        loss = step(rate)
        if not math.isfinite(loss):
            break
        mean_loss = MEMORY * mean_loss + (1 - MEMORY) * loss
        mean_log = MEMORY * mean_log + (1 - MEMORY) * math.log(rate)
        weight = 1 - MEMORY**number  # of the steps there are; the rest is the zero that the means began with
        smooth = mean_loss / weight
        points.append(Point(rate=rate, loss=loss, smooth_rate=math.exp(mean_log / weight), smooth_loss=smooth))
        tell(points[-1])
        lowest = min(lowest, smooth)
        if smooth > _too_high(lowest):
            break
    return points


def _too_high(lowest: float) -> float:
    """Four times the lowest loss; one that may be negative (a likelihood) has as far to rise."""
    return lowest + (BROKEN - 1) * abs(lowest)


def read(points: Sequence[Point], over: Sequence[float]) -> Reading:
    """Where the loss falls fastest, where it turns, where it breaks, and which rates to search.

    Suggested is from the rate of the fastest fall to that of the lowest loss, and downwards a decade at least: a
    training is longer than this one, and its rate falls.

    Args:
        points: the steps of `sweep`, at least one.
        over: the rates that it was given.
    """
    rate, loss = np.array([p.smooth_rate for p in points]), np.array([p.smooth_loss for p in points])
    before = [p.loss for p in points[:PER_DECADE]]
    start = float(np.mean(before))
    turn = int(loss.argmin())
    lowest = float(loss[turn])
    scatter, limit = float(np.std(before)), min(start, _too_high(lowest))
    error = scatter * math.sqrt((1 - MEMORY) / (1 + MEMORY))  # of an exponential mean
    if turn < PER_DECADE or start - lowest <= SURE * error:
        nothing = {"fastest_rate": None, "lowest_rate": None, "broken_rate": None, "suggested": None}
        return Reading(start=start, scatter=scatter, lowest=lowest, limit=limit, **nothing)
    fastest, best = _fastest(rate[: turn + 1], loss[: turn + 1]), float(rate[turn])
    broken = _broken(points, turn, limit)
    if broken is None and len(points) < len(over):
        broken = over[len(points)]  # its loss was not finite
    return Reading(
        start=start,
        scatter=scatter,
        lowest=lowest,
        limit=limit,
        fastest_rate=fastest,
        lowest_rate=best,
        broken_rate=broken,
        suggested=(min(fastest, best / 10), best),
    )


def _broken(points: Sequence[Point], turn: int, level: float) -> float | None:
    """The rate of the first loss above a level among those that brought the mean above it, which takes some steps."""
    high = next((k for k in range(turn, len(points)) if points[k].smooth_loss > level), None)
    if high is None:
        return None
    remembered = max(turn, high - round(1 / (1 - MEMORY)))
    return next(p.rate for p in points[remembered:] if p.loss > level)


def _fastest(rate: np.ndarray, loss: np.ndarray) -> float:
    """The middle of the decade over which the loss falls most; single steps would show the noise of batches."""
    slopes = (loss[PER_DECADE:] - loss[:-PER_DECADE]) / np.log(rate[PER_DECADE:] / rate[:-PER_DECADE])
    steepest = int(slopes.argmin())
    return float(np.sqrt(rate[steepest] * rate[steepest + PER_DECADE]))


def in_sentences(reading: Reading, space: tuple[float, float], rate: float) -> list[str]:
    """What the curve says, and how the rates of a study compare.

    Args:
        reading: of the curve.
        space: the lowest and the highest rate of the study.
        rate: of the configuration.
    """
    low, high = space
    own = f"The configuration's optimizer.lr is {rate:g}"
    own += f", searched are {low:g} to {high:g}" if high > low else ", and it is not searched"
    if reading.fastest_rate is None or reading.lowest_rate is None or reading.suggested is None:
        return [f"The loss stays at {reading.start:.4g} or rises: no rate can be suggested.", f"{own}."]
    broken = f"breaks from {reading.broken_rate:.1g} on" if reading.broken_rate else f"breaks nowhere up to {LAST:g}"
    fall = f"The loss falls fastest near {reading.fastest_rate:.1g}, is lowest near {reading.lowest_rate:.1g}"
    least, most = (f"{rate:.1e}".replace("e-0", "e-") for rate in reading.suggested)
    if high > low:
        own += f"; the suggestion covers {100 * _common(reading.suggested, space):.0f} % of the searched range"
    return [
        f"{fall} and {broken}.",
        f"To search: optimizer: {{lr: {{float: [{least}, {most}], log: true}}}}",
        f"{own}.",
        *_noise(reading),
    ]


def _noise(reading: Reading) -> list[str]:
    """A warning where single losses scatter so much that another drawing of batches would move the marks."""
    fall = reading.start - reading.lowest
    if reading.scatter < NOISY * fall:
        return []
    return [
        f"Noisy: single losses scatter by {reading.scatter:.2g} where the mean falls by {fall:.2g}, so these rates are "
        "rough. A larger data.batch_size, with more labelled rows per step, gives a smoother curve."
    ]


def _common(suggested: tuple[float, float], space: tuple[float, float]) -> float:
    """Share of the space, by decades, that lies in the suggested range."""
    common = math.log(min(space[1], suggested[1]) / max(space[0], suggested[0]))
    return max(common, 0.0) / math.log(space[1] / space[0])


def rate_warnings(reading: Reading, space: tuple[float, float]) -> list[str]:
    """Rates of a study that teach nothing, and good ones that it leaves out."""
    low, high = space
    if reading.suggested is None:
        return ["the loss falls at no rate: look at labels and losses with `hpo check` first"]
    least, most = reading.suggested
    broken = reading.broken_rate
    if broken is not None and high >= broken:
        text = _written(broken, lambda rate: rate <= high)
        return [f"optimizer.lr reaches {high:g}: training breaks from {text} on"]
    if high < least:
        text = _written(least, lambda rate: rate > high)
        return [f"optimizer.lr ends at {high:g}, below {text}, from where on the loss falls fast"]
    if low > most:
        text = _written(most, lambda rate: rate < low)
        return [f"optimizer.lr begins at {low:g}, above {text}, from where on the loss rises"]
    return []


def _written(rate: float, true: Callable[[float], bool]) -> str:
    """A rate with as few digits as leave true what is said of it; 17 are the number itself."""
    texts = (f"{rate:.{digits}g}" for digits in range(1, 18))
    return next(text for text in texts if true(float(text)))
