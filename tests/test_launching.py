"""What a launch says about its study before any worker trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.quick import WARNING, quickened
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


def test_a_quick_study_says_which_configurations_it_leaves_out(said: Callable[[str], list[str]]) -> None:
    """They differ in a curriculum, which it has not; its length is not the file's, so that is not warned of."""
    searched = ODD.replace("number_start: 1, ", "").replace("space:", "space:\n  loss: {number_start: {int: [0, 9]}}")
    head, _, _ = searched.partition("configurations:")
    two = head + (
        "configurations:\n"
        "  before: {optimizer: {lr: 3e-2}, loss: {number_start: 0}}\n"
        "  later: {optimizer: {lr: 3e-2}, loss: {number_start: 1}}\n"
        "  last: {optimizer: {lr: 3e-2}, loss: {number_start: 9}}\n"
    )
    quick = quickened(two, "toy.yaml")
    same = "In a quick study later is the same as before, last is the same as before: no trial of their own."
    assert said(quick) == [f"{WARNING}.", same]
    assert said(quick) == [f"{WARNING}.", same]
    one, _, _ = quick.partition("  last:")
    assert said(quickened(one.replace("study: toy", "study: other"), "toy.yaml"))[1:] == [
        "In a quick study later is the same as before: no trial of its own.",
    ]


def test_a_sound_study_is_launched_in_silence(said: Callable[[str], list[str]]) -> None:
    assert said(STUDY) == []
