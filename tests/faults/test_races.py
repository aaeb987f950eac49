"""What eight processes do at once happens once."""

from __future__ import annotations

from tests.faults import races
from tests.faults.parts import Field


def test_every_enqueued_configuration_is_evaluated_exactly_once(field: Field) -> None:
    races.claims(field, rounds=1, configurations=60)


def test_eight_processes_start_on_an_empty_database(field: Field) -> None:
    races.starts(field, rounds=3)
