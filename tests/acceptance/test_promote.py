"""`hpo promote` by itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.trial import run_trial
from tests.conftest import REPOSITORY
from tests.toy import launch


@pytest.mark.slow
def test_a_promotion_before_the_end_of_the_search_says_so(
    hpo: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    launched = launch(url, tmp_path)
    run_trial(launched.trial(), launched.search, launched.around)
    launched.store.close()
    words = ("promote", "toy", "--devices", "cpu", "--runs", str(tmp_path / "runs"))
    done = hpo(*words, storage=url, PYTHONPATH=str(REPOSITORY))
    assert done.returncode == 0, done.stderr
    assert "promoting the best of 1 trial; the search of 4 is not finished" in done.stderr
