"""How many CPU threads the workers of a launch get."""

from __future__ import annotations

import os

import pytest

from hpo.options import threads_per_worker


@pytest.mark.parametrize(
    ("asked", "workers", "threads"),
    [
        pytest.param(None, 1, 8, id="all cores"),
        pytest.param(None, 3, 2, id="a share of them"),
        pytest.param(None, 20, 1, id="never none"),
        pytest.param("3", 4, 3, id="what the user says"),
        pytest.param("0", 4, 2, id="0 says nothing"),
        pytest.param("4,2", 4, 2, id="nested counts are OpenMP's own"),
    ],
)
def test_workers_share_the_cores_unless_the_user_says_how_many(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, workers: int, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    if asked is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert threads_per_worker(workers) == threads
