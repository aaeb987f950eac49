"""Nobody is judged by a wall clock."""

from __future__ import annotations

from tests.faults import clocks
from tests.faults.parts import Field


def test_workers_with_false_clocks_take_nothing_from_each_other(field: Field) -> None:
    clocks.false_clocks(field, trials=6)
