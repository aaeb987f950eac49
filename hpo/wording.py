"""How a report writes numbers: as many digits as mean something, a true minus sign, units a reader thinks in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hpo.evidence import Comparison, finite

MINUS, TIMES, DASH, MISSING = "\u2212", "\u00d7", "\u2013", "\u2014"


def number(value: Any) -> str:
    """A parameter or other single value: four significant digits, short exponents, ready to paste into a study."""
    if value is None:
        return MISSING
    if isinstance(value, bool | int) or (plain := finite(value)) is None:
        return str(value)
    mantissa, _, exponent = f"{plain:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def counted(count: int, noun: str, nouns: str = "") -> str:
    """`1 trial`, `2 trials`; `nouns` where an s is not enough."""
    return f"{count} {noun if count == 1 else nouns or noun + 's'}"


def fixed(value: float | None, decimals: int, *, sign: bool = False) -> str:
    if value is None:
        return MISSING
    text = f"{value:{'+' if sign else ''}.{decimals}f}"
    return (text.lstrip("-+") if float(text) == 0 else text).replace("-", MINUS)


def decimals_for(*values: float | None, difference: float | None = None) -> int:
    """Decimals that give the largest value three significant digits and its difference two, at most five in all."""
    sizes = [abs(v) for v in values if v]
    if not sizes:
        return 3
    leading = math.floor(math.log10(max(sizes)))
    wanted = 2 - leading
    if difference:
        wanted = max(wanted, 1 - math.floor(math.log10(abs(difference))))
    return min(max(wanted, 0), max(4 - leading, 0))


def plus_minus(mean: float | None, spread: float | None, *, sign: bool = False) -> str:
    """Mean and standard deviation with the decimals that the deviation's first two digits need."""
    if mean is None:
        return MISSING
    # A deviation far below the digits shown is rounding noise of equal values.
    if not spread or spread < 1e-6 * abs(mean):
        return fixed(mean, decimals_for(mean), sign=sign)
    decimals = min(max(1 - math.floor(math.log10(spread)), 0), decimals_for(mean) + 2)
    return f"{fixed(mean, decimals, sign=sign)} ± {fixed(spread, decimals)}"


def duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def last_line(text: str | None) -> str:
    """What a traceback ends in: the error itself."""
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def moment(when: datetime | None) -> str:
    return MISSING if when is None else f"{when:%Y-%m-%d %H:%M} UTC"


def change(before: Any, after: Any) -> str:
    """A factor from 2 up, otherwise per cent; nothing where a ratio means nothing."""
    old, new = finite(before), finite(after)
    if old is None or new is None or old <= 0 or new <= 0:
        return ""
    ratio = new / old
    if ratio >= 2 or ratio <= 0.5:
        return f"{TIMES}{ratio:.3g}" if ratio >= 2 else f"\u00f7{1 / ratio:.3g}"
    return f"{fixed(100 * (ratio - 1), 0, sign=True)} %"


@dataclass(frozen=True)
class Written:
    """A comparison in writing."""

    name: str
    way: str
    before: str
    after: str
    difference: str
    verdict: str
    train_before: str
    train_after: str


def written(row: Comparison) -> Written:
    decimals = decimals_for(row.before, row.after, difference=row.difference)
    way = {"maximize": "higher", "minimize": "lower", None: MISSING}[row.direction]
    return Written(
        name=row.name,
        way=way,
        before=fixed(row.before, decimals),
        after=fixed(row.after, decimals),
        difference=fixed(row.difference, decimals, sign=True),
        verdict="" if row.verdict == "no direction" else row.verdict,
        train_before=fixed(row.train_before, decimals),
        train_after=fixed(row.train_after, decimals),
    )
