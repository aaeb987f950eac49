"""What `hpo diagnose` says of trainings that are too short to show much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hpo.quick import WARNING, quickened
from hpo.trial import run_trial
from tests.promoted import command
from tests.toy import STUDY, launch

SHORT = "  most symptoms can be seen after more than 5 epochs only"


@pytest.mark.parametrize(
    ("text", "quick", "epochs", "short"),
    [
        (quickened(STUDY, "toy.yaml"), True, 2, True),
        (STUDY, False, 3, True),
        (STUDY.replace("epochs: 3", "epochs: 6"), False, 6, False),
    ],
    ids=["quick", "short", "long"],
)
def test_diagnose_says_that_numbers_mean_nothing_and_epochs_are_few(
    tmp_path: Path, text: str, quick: bool, epochs: int, short: bool
) -> None:
    (tmp_path / "runs").mkdir()
    launched = launch(f"sqlite:///{tmp_path / 'runs' / 'hpo.db'}", tmp_path, text)
    run_trial(launched.trial(), launched.search, launched.around)
    launched.store.close()
    said = command(tmp_path, "diagnose", "toy").stdout.splitlines()
    assert (said[0] == WARNING) is quick and (WARNING in said) is quick
    assert said[quick].startswith("trial 0 (configuration before, baseline and best)")
    assert said[quick].endswith(f", {epochs} epochs")
    assert (SHORT in said) is short
    assert json.loads(command(tmp_path, "diagnose", "toy", "--json").stdout)["quick"] is quick
