"""Folders of sessions as `open_arrays` prepares them, for tests of what is in there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hpo.arrays import Arrays, open_arrays
from objectives.behaviour.objective import Behaviour
from tests.objectives.behaviour_folders import FRAMES

#: What differs from the defaults: clips as short as the folders of the tests.
SHORT: Mapping[str, Any] = {"data.train_T": FRAMES, "data.val_T": FRAMES}


def prepared(source: Path, folder: Path, **values: Any) -> Arrays:
    given = {**SHORT, **{name.replace("__", "."): value for name, value in values.items()}}
    return open_arrays(Behaviour(), source, given, folder / "cache")


def session(arrays: Arrays, name: str) -> np.ndarray:
    """The rows of a session."""
    return np.flatnonzero(arrays["session"] == arrays.info["sessions"].index(name))
