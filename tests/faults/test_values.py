"""A value that is no number costs its own trial alone."""

from __future__ import annotations

from tests.faults import values
from tests.faults.parts import Field


def test_every_bad_value_has_its_reason_and_none_is_the_best(field: Field) -> None:
    values.bad_values(field, copies=1, workers=1)
