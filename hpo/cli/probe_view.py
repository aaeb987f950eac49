"""What the probes of `hpo check` write for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from hpo.batch_size import HOST_SHARE, STEP_SECONDS, Found, Size
from hpo.cli.check_view import CheckView
from hpo.lr_range import PER_DECADE, Point, Reading
from hpo.wording import duration

#: Characters of the longest bar.
BAR = 40
MB, GB = 2**20, 2**30


def show_rates(view: CheckView, points: Sequence[Point], reading: Reading, sentences: Sequence[str]) -> None:
    """The smoothed curve as bars, with the very points that it was read from, and what it says."""
    view.line(f"\n{'rate':>9} {'mean loss':>10}")
    marks = _marks(points, reading)
    top = max(p.smooth_loss for p in points if p.smooth_rate <= (reading.lowest_rate or math.inf))
    low = reading.lowest - 0.1 * (top - reading.lowest)
    for row in _rows(len(points), marks):
        point = points[row]
        share = (point.smooth_loss - low) / (top - low) if top > low else 1.0
        bar = "#" * round(BAR * min(max(share, 0.0), 1.0)) + ">" * (share > 1)
        view.line(f"{point.smooth_rate:9.1e} {point.smooth_loss:10.4g} {bar:<{BAR + 1}} {marks.get(row, '')}".rstrip())
    if reading.broken_rate is not None and reading.broken_rate > points[-1].rate:
        view.line(f"{reading.broken_rate:9.1e} {'not finite':>10} {'#' * BAR}> breaks")
    view.line("")
    for label, text in zip(["reading", *[""] * len(sentences)], sentences, strict=False):
        view.wrapped(label, text)


def _marks(points: Sequence[Point], reading: Reading) -> dict[int, str]:
    """Step -> what its smoothed loss shows: the steepest fall, the lowest value, the first one above the limit."""
    if reading.fastest_rate is None:
        return {}
    fastest, found = math.log(reading.fastest_rate), range(len(points))
    lowest = min(found, key=lambda k: points[k].smooth_loss)
    marks = {min(found, key=lambda k: abs(math.log(points[k].smooth_rate) - fastest)): "falls fastest"}
    marks[lowest] = ", ".join(filter(None, (marks.get(lowest), "lowest")))
    above = next((k for k in found if k > lowest and points[k].smooth_loss > reading.limit), None)
    if above is not None:
        marks[above] = f"breaks: above {reading.limit:.4g}, by steps from {reading.broken_rate:.1g} on"
    return marks


def _rows(count: int, marks: Mapping[int, str]) -> list[int]:
    """Marked steps, and two steps per decade of which none is next to a marked one."""
    regular = range(PER_DECADE // 4, count, PER_DECADE // 2)
    return sorted({*marks, *(k for k in regular if all(abs(k - m) >= PER_DECADE // 4 for m in marks))})


def show_batches(view: CheckView, found: Found, own: int, rows: int) -> None:
    """A table of the sizes, which limit was met, the largest, the fastest and the study's own."""
    view.line(f"\n{'rows':>8} {'memory':>10} {'ms/step':>10} {'rows/s':>10}")
    for size in found.tried:
        view.line(_row(size, own))
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


def _row(size: Size, own: int) -> str:
    mine = "  <- data.batch_size" * (size.rows == own)
    if not size.fits or size.memory is None or size.seconds is None:
        return f"{size.rows:>8} does not fit: {size.reason}{mine}"
    memory = f"{size.memory / MB:.0f} MB"
    return f"{size.rows:>8} {memory:>10} {1000 * size.seconds:>10.1f} {size.rows_per_second:>10.0f}{mine}"


def _limit(found: Found, rows: int) -> str:
    if found.limit == "rows":
        return f"the fold's {rows} training rows: no batch can be larger; memory was not the limit"
    if found.limit == "time":
        return f"time: the next size would take more than {duration(STEP_SECONDS)} per step"
    if refused := [size.rows for size in found.tried if not size.fits]:
        return f"memory: the device refused {min(refused)} rows; sizes in between were tried in steps of 8"
    assert found.most is not None  # a device without such a bound ends by refusing
    share = f"{HOST_SHARE:.0%} of what was available"
    return f"memory: {found.most / GB:.1f} GB, {share}, as far as the growth so far tells; nothing was filled up"
