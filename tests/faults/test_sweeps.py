"""A kill, or an error of the database, at statements all over a trial: nothing is lost, and nothing is there twice.

Every statement is struck by `python -m tests.faults.sweep URL KIND`, which takes some minutes for each kind.
"""

from __future__ import annotations

import pytest

from tests.faults import sweeps
from tests.faults.parts import Field

#: Prime, so that a second sweep with another stride strikes other statements.
EVERY = 41


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seconds"), [("kill", 0), ("takeover", 0), ("error", 0), ("error", 1)])
def test_whatever_statement_is_struck_the_trial_completes(field: Field, kind: str, seconds: float) -> None:
    sweeps.trials(field, kind=kind, every=EVERY, seconds=seconds)
