"""Which series of ends means that the objective is broken."""

from __future__ import annotations

import pytest

from hpo.circuit import broken_objective

BUG = ("code_error", "Traceback ...\nValueError: no such column")
OTHER = ("code_error", "KeyError: 'x'")
DATA = ("data_error", "recording 17 ends in the middle")
DONE = (None, None)


@pytest.mark.parametrize(
    ("ends", "error"),
    [
        ([], None),
        ([BUG, BUG], None),
        ([BUG, BUG, BUG], "code_error: ValueError: no such column"),
        ([BUG, BUG, BUG, BUG], "code_error: ValueError: no such column"),
        ([DATA] * 5, "data_error: recording 17 ends in the middle"),
        ([BUG, BUG, BUG, DONE], None),
        ([BUG, OTHER, BUG], None),
        ([DONE] * 5, None),
        ([("nan", "loss term 'class' is not finite")] * 5, None),
        ([("pruned", "pruned after epoch 3")] * 5, None),
    ],
)
def test_the_same_error_of_code_or_data(ends: list[tuple[str | None, str | None]], error: str | None) -> None:
    assert broken_objective(ends) == error
