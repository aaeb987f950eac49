"""A kill, or an error of the database, at statements all over a trial: nothing is lost, and nothing is there twice.

Every statement is struck by `python -m tests.faults.sweep URL KIND`, which takes some minutes for each kind.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

#: Prime, so that a second sweep with another stride strikes other statements.
EVERY = "41"


@pytest.mark.slow
@pytest.mark.parametrize("kind", [("kill", EVERY), ("takeover", EVERY), ("error", EVERY), ("error", EVERY, "1")])
def test_whatever_statement_is_struck_the_trial_completes(url: str, kind: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "tests.faults.sweep", url, *kind]
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == {} and found["points"] >= 3
