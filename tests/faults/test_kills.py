"""Kill -9 of workers, of everybody, of one of two launches: nothing lost, nothing twice."""

from __future__ import annotations

import pytest

from tests.faults import kills
from tests.faults.parts import Field


@pytest.mark.slow
def test_a_storm_of_kills(field: Field) -> None:
    found = kills.storm(field, trials=30, workers=4, every=0.7, seed=1, epochs=6)
    assert found.kills >= 3, found


def test_everybody_is_killed(field: Field) -> None:
    kills.everybody(field, trials=3, workers=2, rounds=1, epochs=20)


@pytest.mark.slow
def test_two_launches_whose_workers_are_killed_share_one_budget(field: Field) -> None:
    kills.two_launches(field, trials=20, workers=2, every=2.0, seed=1)
