"""Who is frozen with a lock in its hand holds nobody up for long."""

from __future__ import annotations

from tests.faults import locks
from tests.faults.parts import Field


def test_workers_go_on_beside_a_frozen_lock_holder(field: Field) -> None:
    locks.frozen_holders(field, rounds=1)
