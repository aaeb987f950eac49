"""Prepared data of every built-in objective: its own (bundled or made up), and recordings where they lie near."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hpo.arrays import open_arrays
from objectives import BUILT_IN
from tests.objectives.cases import PREPARED, Case, built_in, recordings


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session", params=[*BUILT_IN, *(f"{name}-recorded" for name in BUILT_IN if name != "digits")])
def case(request: pytest.FixtureRequest, cache: Path) -> Case:
    name, _, recorded = str(request.param).partition("-")
    objective = built_in(name)
    source = recordings(name) if recorded else None
    return Case(objective, open_arrays(objective, source, PREPARED.get(name, {}), cache))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)  # results must not depend on the machine, and tests share it
