"""A symptom that only many trials together show: the best ones crowd at one end of a searched range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from hpo.evidence import value_of
from hpo.objective import Metric
from hpo.records import TrialRecord
from hpo.symptom import Symptom
from hpo.wording import number

#: Share of a searched range that counts as its edge, and the parameters for which that is looked at: with a dozen of
#: them, one would lie there by chance.
EDGE, EDGES = 0.1, ("optimizer.lr",)
#: Complete trials among which the best ones say something.
FEWEST = 6


@dataclass(frozen=True, kw_only=True)
class Range:
    """What a parameter is drawn from."""

    low: float
    high: float
    log: bool

    def place(self, value: float) -> float:
        """0 at the lower end, 1 at the upper one."""
        low, high, at = (math.log(x) if self.log else x for x in (self.low, self.high, value))
        return (at - low) / (high - low) if high > low else 0.5


def of_study(trials: Sequence[TrialRecord], metric: Metric, ranges: Mapping[str, Range]) -> list[Symptom]:
    """Symptoms that only many trials together show."""
    found = (at_the_edge(trials, metric, name, ranges[name]) for name in EDGES if name in ranges)
    return [symptom for symptom in found if symptom is not None]


def ranges(space: Mapping[str, BaseDistribution]) -> dict[str, Range]:
    """The ranges of a study's space; choices have none."""
    numeric = (FloatDistribution, IntDistribution)
    return {n: Range(low=d.low, high=d.high, log=d.log) for n, d in space.items() if isinstance(d, numeric)}


def at_the_edge(trials: Sequence[TrialRecord], metric: Metric, name: str, searched: Range) -> Symptom | None:
    """The best trials crowd at one end of a searched range, beyond which better ones may lie.

    The best fifth of the complete trials counts, at least three of them; among fewer than six nothing can be said.
    """
    valued = [(v, t) for t in trials if t.state == "COMPLETE" and (v := value_of(t, metric)) is not None]
    sign = -1.0 if metric.direction == "maximize" else 1.0
    ranked = [t for _, t in sorted(valued, key=lambda pair: sign * pair[0]) if name in t.searched]
    best = ranked[: max(3, len(ranked) // 5)]
    if len(ranked) < FEWEST:
        return None
    places = [searched.place(t.searched[name]) for t in best]
    for side, near in (("lower", [p <= EDGE for p in places]), ("upper", [p >= 1 - EDGE for p in places])):
        if sum(near) * 2 > len(best):
            values = ", ".join(number(t.searched[name]) for t in best)
            return Symptom(
                name=f"{name} lies at the {side} end of its range",
                evidence=f"{sum(near)} of the best {len(best)} trials lie in the last {EDGE:.0%} of "
                f"{number(searched.low)} to {number(searched.high)}: {values}",
                remedy=f"widen the range of {name} in the study's space at its {side} end",
            )
    return None
