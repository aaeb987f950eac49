"""There is one final model, of the trial that was measured best, whoever dies and whatever others tell."""

from __future__ import annotations

import pytest

from tests.faults import promotions
from tests.faults.parts import Field


@pytest.mark.slow
def test_a_killed_promotion_ends_in_one_whole_model(field: Field) -> None:
    promotions.killed(field, every_statement=113, every_file=11)


def test_a_forged_value_is_never_promoted(field: Field) -> None:
    promotions.forged(field, trials=5)
