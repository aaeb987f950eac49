"""The largest batch that fits the device, and the fastest per row: real training steps with more and more rows.

A GPU is filled until it refuses. A machine without one must not be: Linux would kill a process, perhaps another one,
instead of refusing, so there the growth is measured and the next size is tried only where it is sure to fit.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Literal

import numpy as np
import torch

from hpo.host_memory import available, in_use, peak
from hpo.measure import measure
from hpo.memory import shortage
from hpo.objective import Batch
from hpo.training import VALIDATION_BATCHES, FoldRun

#: The smallest batch, and what sizes between two doublings are multiples of.
UNIT = 8
#: Share of the host's available memory that a training on the CPU may take.
HOST_SHARE = 0.8
#: No size is tried whose step would take longer.
STEP_SECONDS = 60.0
#: A size is timed over so many steps after one that warms up, fewer once they took so many seconds.
STEPS, ENOUGH_SECONDS = 5, 1.0


@dataclass(frozen=True, kw_only=True)
class Size:
    """One batch size: steps of the optimizer, and a validation batch, which has four times the rows."""

    rows: int
    fits: bool
    memory: int | None = None  #: peak bytes: allocated on the GPU; of the process above what it had before on a CPU
    seconds: float | None = None  #: of a typical step, with fetching and augmenting its rows
    reason: str | None = None  #: why it does not fit

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Found:
    """What the sizes came to."""

    tried: tuple[Size, ...]  #: by size
    limit: Literal["memory", "rows", "time"]  #: what ended the growth
    most: int | None  #: bytes that were allowed; None where the device itself says

    @property
    def largest(self) -> Size | None:
        return max((t for t in self.tried if t.fits), key=lambda t: t.rows, default=None)

    @property
    def fastest(self) -> Size | None:
        """Most rows per second."""
        return max((t for t in self.tried if t.fits), key=lambda t: t.rows_per_second, default=None)

    def of(self, rows: int) -> Size | None:
        return next((t for t in self.tried if t.rows == rows), None)


def probe(run: FoldRun, tell: Callable[[int], None]) -> Found:
    """Double the batch until memory, rows of the fold or patience end, then look between the last two sizes.

    Args:
        run: a training whose model may be used up.
        tell: hears of each size before it is tried.
    """
    attempt = _Attempt(run)
    own, rows = run.params.data["batch_size"], len(run.fold.train)
    tried: list[Size] = []
    limit: Literal["memory", "rows", "time"] = "rows"
    size = min(UNIT, rows)
    while True:
        if (ended := attempt.too_much(size, tried)) is not None:
            limit = ended
            break
        tell(size)
        tried.append(attempt(size))
        if not tried[-1].fits:
            limit = "memory"
            break
        if size == rows:
            break
        size = min(own if size < own < 2 * size else 2 * size, rows)
    if limit == "memory":
        low = max((t.rows for t in tried if t.fits), default=0)
        tried += _between(attempt, low, size, tried, tell)
    return Found(tried=tuple(sorted(tried, key=lambda t: t.rows)), limit=limit, most=attempt.most)


def _between(
    attempt: _Attempt, fits: int, too_large: int, tried: list[Size], tell: Callable[[int], None]
) -> list[Size]:
    """Halve the gap between a size that fits and one that does not, down to a multiple of 8."""
    found: list[Size] = []
    while (middle := (fits + too_large) // 2 // UNIT * UNIT) > fits:
        if attempt.too_much(middle, [*tried, *found]) is not None:
            too_large = middle
            continue
        tell(middle)
        found.append(attempt(middle))
        fits, too_large = (middle, too_large) if found[-1].fits else (fits, middle)
    return found


class _Attempt:
    """Tries one size after the other on one model; the rate is 0, so that its weights stay what they are."""

    def __init__(self, run: FoldRun) -> None:
        self._run = run
        self._on_gpu = run.device.type == "cuda"
        order = np.random.default_rng(run.seed)
        self._train, self._validation = order.permutation(run.fold.train), order.permutation(run.fold.validation)
        self._before = in_use()
        self.most = None if self._on_gpu else int(HOST_SHARE * available())

    def __call__(self, rows: int) -> Size:
        try:
            memory, seconds = self._measured(rows)
        except Exception as error:  # what is not for want of memory is the objective's own
            reason = shortage(error, self._run.device)
            if reason is None:
                raise
        else:
            return Size(rows=rows, fits=True, memory=memory, seconds=seconds)
        self._forget()  # here, where the error no longer holds the tensors of its frames
        return Size(rows=rows, fits=False, reason=reason)

    def too_much(self, rows: int, tried: list[Size]) -> Literal["memory", "time"] | None:
        """Whether a size is not to be tried: time and memory grow at most in proportion to the rows."""
        last = max((t for t in tried if t.fits and t.rows < rows), key=lambda t: t.rows, default=None)
        if last is None or last.seconds is None or last.memory is None:
            return None
        if self.most is not None:
            now = min(self.most, int(HOST_SHARE * (available() + in_use() - self._before)))
            if last.memory * rows / last.rows > now:
                return "memory"
        return "time" if last.seconds * rows / last.rows > STEP_SECONDS else None

    def _measured(self, rows: int) -> tuple[int, float]:
        """Peak bytes and seconds of a step."""
        device = self._run.device
        if self._on_gpu:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            seconds = self._steps(rows)
            return torch.cuda.max_memory_allocated(device), seconds
        with peak() as found:
            seconds = self._steps(rows)
        return max(found.bytes - self._before, 0), seconds

    def _steps(self, rows: int) -> float:
        run = self._run
        generator = torch.Generator(run.device).manual_seed(run.seed)
        weights = {term: run.params.loss[f"{term}_weight"] for term in run.objective.terms}
        run.model.train()
        seconds: list[float] = []
        while len(seconds) < 2 or (len(seconds) <= STEPS and sum(seconds[1:]) < ENOUGH_SECONDS):
            started = time.perf_counter()
            batch = run.objective.augment(self._batch(self._train[:rows]), run.params, generator)
            _, _, norms = run.step(batch, 0.0, weights, generator)
            norms.cpu()  # waits for the GPU
            seconds.append(time.perf_counter() - started)
        if len(self._validation):
            batch = self._batch(self._validation[: VALIDATION_BATCHES * rows])
            measure(run.model, [batch], run.objective, run.params, run.statistics, run.arrays.info)
        return median(seconds[1:])

    def _batch(self, rows: np.ndarray) -> Batch:
        index = torch.from_numpy(rows)
        return self._run.feed.take(index.to(self._run.device) if self._run.feed.resident else index)

    def _forget(self) -> None:
        self._run.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        if self._on_gpu:
            torch.cuda.empty_cache()
