"""What a launch says about its study before any worker trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.store import Store
from hpo.study import Study
from tests.toy import STUDY, Toy

#: A space of two points for four trials, a pruner that comes too late, and a curriculum that is not over in 3 epochs.
ODD = (
    STUDY.replace("{float: [1e-3, 1e-1], log: true}", "{choice: [1e-2, 3e-2]}")
    .replace("pruner: none", "pruner: {name: asha, min_resource: 3}")
    .replace("fixed:", "fixed:\n  loss: {number_start: 1, ramp_epochs: 2}")
)


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """Launches a file; the lines it says."""
    store = Store(f"sqlite:///{tmp_path / 'hpo.db'}", create=True)

    def launch(text: str) -> list[str]:
        lines: list[str] = []
        spec = Study.from_text(text, "/toy.yaml", lambda _: Toy())
        create_or_resume(spec, None, store, RunFiles(tmp_path / "runs"), Toy(), None, lines.append)
        return [line for line in lines if not line.startswith("SYNTHETIC DATA")]

    yield launch
    store.close()


def test_what_is_odd_about_a_new_study_is_said_once(said: Callable[[str], list[str]]) -> None:
    space, pruner, curriculum = said(ODD)
    assert space.startswith("WARNING    the space has 2 points, fewer than budget.trials 4")
    assert pruner.startswith("WARNING    pruner asha compares nothing before epoch 3")
    assert curriculum.startswith("WARNING    configuration 'before': loss term number counts fully from epoch 3 on")
    assert said(ODD) == []


def test_a_sound_study_is_launched_in_silence(said: Callable[[str], list[str]]) -> None:
    assert said(STUDY) == []
