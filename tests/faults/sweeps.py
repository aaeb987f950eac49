"""The sweeps, each in a process of its own that forks its workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from tests.conftest import REPOSITORY
from tests.faults.parts import Field


def trials(field: Field, *, kind: str, every: int, seconds: float = 0.0) -> str:
    """Strike a worker, or its database, at every such statement of a trial."""
    points = swept("tests.faults.sweep", field.url, kind, str(every), str(seconds))
    return f"{points} points, at each the trial is complete, with every epoch and its value once"


def swept(module: str, *words: str) -> int:
    """The number of points; a failure says what was wrong at which."""
    environ = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", module, *words]
    done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == {}
    return int(found["points"])
