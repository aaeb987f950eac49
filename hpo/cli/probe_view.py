"""What the probes of `hpo check` write for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hpo.batch_size import HOST_SHARE, STEP_SECONDS, Found, Trial
from hpo.cli.check_view import CheckView
from hpo.lr_range import PER_DECADE, Point, Reading
from hpo.wording import duration

#: Characters of the longest bar.
BAR = 40
MB, GB = 2**20, 2**30


def show_rates(view: CheckView, points: Sequence[Point], reading: Reading, sentences: Sequence[str]) -> None:
    """Two rows per decade, their smoothed losses as bars, and what the curve says."""
    view.line(f"\n{'rate':>9} {'loss':>10}")
    shown = points[PER_DECADE // 4 :: PER_DECADE // 2]
    marks = _marks(shown, reading)
    top = max(p.smooth_loss for p in points if p.smooth_rate <= (reading.lowest_rate or math.inf))
    low = reading.lowest - 0.1 * (top - reading.lowest)
    for row, point in enumerate(shown):
        share = (point.smooth_loss - low) / (top - low) if top > low else 1.0
        bar = "#" * round(BAR * min(max(share, 0.0), 1.0)) + ">" * (share > 1)
        view.line(f"{point.smooth_rate:9.1e} {point.smooth_loss:10.4g} {bar:<{BAR + 1}} {marks.get(row, '')}".rstrip())
    view.line("")
    for label, text in zip(["reading", *[""] * len(sentences)], sentences, strict=False):
        view.wrapped(label, text)


def _marks(shown: Sequence[Point], reading: Reading) -> dict[int, str]:
    """Row -> what happens nearest to it."""
    found: dict[int, str] = {}
    for text, rate in (
        ("falls fastest", reading.fastest_rate),
        ("lowest", reading.lowest_rate),
        ("breaks", reading.broken_rate),
    ):
        if rate is not None:
            row = min(range(len(shown)), key=lambda k: abs(math.log(shown[k].smooth_rate / rate)))
            found[row] = ", ".join(filter(None, (found.get(row), text)))
    return found


def show_batches(view: CheckView, found: Found, own: int, rows: int) -> None:
    """A table of the sizes, which limit was met, the largest, the fastest and the study's own."""
    view.line(f"\n{'rows':>8} {'memory':>10} {'ms/step':>10} {'rows/s':>10}")
    for trial in found.tried:
        view.line(_row(trial, own))
    view.line("")
    view.wrapped("limit", _limit(found, rows))
    largest, fastest = found.largest, found.fastest
    if largest is None or fastest is None:
        return
    view.say("largest", f"{largest.rows} rows")
    mine = found.of(own)
    times = f", {fastest.rows_per_second / mine.rows_per_second:.1f} times those of {own}" if mine and mine.fits else ""
    view.say("fastest", f"{fastest.rows} rows: {fastest.rows_per_second:.0f} rows/s" + times * (fastest.rows != own))
    if own > rows:
        view.say("study", f"data.batch_size is {own}, more than the fold has training rows: each epoch is one step")
    elif mine is not None and mine.fits:
        view.say("study", f"data.batch_size is {own}, which fits")
    if fastest.rows > own:
        view.wrapped("", "A larger batch takes fewer steps per epoch: search optimizer.lr again with it.")


def _row(trial: Trial, own: int) -> str:
    mine = "  <- data.batch_size" * (trial.rows == own)
    if not trial.fits or trial.memory is None or trial.seconds is None:
        return f"{trial.rows:>8} does not fit: {trial.reason}{mine}"
    memory = f"{trial.memory / MB:.0f} MB"
    return f"{trial.rows:>8} {memory:>10} {1000 * trial.seconds:>10.1f} {trial.rows_per_second:>10.0f}{mine}"


def _limit(found: Found, rows: int) -> str:
    if found.limit == "rows":
        return f"the fold's {rows} training rows: no batch can be larger; memory was not the limit"
    if found.limit == "time":
        return f"time: the next size would take more than {duration(STEP_SECONDS)} per step"
    if refused := [trial.rows for trial in found.tried if not trial.fits]:
        return f"memory: the device refused {min(refused)} rows; sizes in between were tried in steps of 8"
    assert found.most is not None  # a device without such a bound ends by refusing
    share = f"{HOST_SHARE:.0%} of what was available"
    return f"memory: {found.most / GB:.1f} GB, {share}, as far as the growth so far tells; nothing was filled up"
