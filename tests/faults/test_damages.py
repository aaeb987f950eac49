"""Damaged checkpoints, and copies of a database that is written to."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import damages
from tests.faults.parts import Field


@pytest.mark.parametrize("damage", [damages.truncated, damages.bit_flipped])
def test_a_damaged_checkpoint_is_passed_over(field: Field, damage: Callable[[bytes], bytes]) -> None:
    damages.checkpoints(field, trials=2, damage=damage)
