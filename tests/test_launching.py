"""What a launch says about its study before any worker trains."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.objective import Objective, Params
from hpo.quick import WARNING, quickened
from hpo.store import Store
from hpo.study import Study, StudyError
from tests.toy import STUDY, Toy

#: Launches a file, of the toy unless an objective is given; the lines it says.
Said = Callable[..., list[str]]
#: A space of two points for four trials, a pruner that comes too late, and a curriculum that is not over in 3 epochs.
ODD = (
    STUDY.replace("{float: [1e-3, 1e-1], log: true}", "{choice: [1e-2, 3e-2]}")
    .replace("pruner: none", "pruner: {name: asha, min_resource: 3}")
    .replace("fixed:", "fixed:\n  loss: {number_start: 1, ramp_epochs: 2}")
)


@pytest.fixture
def said(tmp_path: Path) -> Iterator[Said]:
    """Launches a file; the lines it says."""
    store = Store(f"sqlite:///{tmp_path / 'hpo.db'}", create=True)

    def launch(text: str, objective: Objective | None = None) -> list[str]:
        lines: list[str] = []
        objective = objective or Toy()
        spec = Study.from_text(text, "/toy.yaml", lambda _: objective)
        create_or_resume(spec, None, store, RunFiles(tmp_path / "runs"), objective, None, lines.append)
        return [line for line in lines if not line.startswith("SYNTHETIC DATA")]

    yield launch
    store.close()


def test_what_is_odd_about_a_new_study_is_said_once(said: Said) -> None:
    space, pruner, curriculum = said(ODD)
    assert space.startswith("WARNING    the space has 2 points, fewer than budget.trials 4")
    assert pruner.startswith("WARNING    pruner asha compares nothing before epoch 3")
    assert curriculum.startswith("WARNING    configuration 'before': loss term number counts fully from epoch 3 on")
    assert said(ODD) == []


def test_a_quick_study_says_which_configurations_it_leaves_out(said: Said) -> None:
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


def test_a_sound_study_is_launched_in_silence(said: Said) -> None:
    assert said(STUDY) == []


class Paired(Toy):
    """Its rows are a multiple of its width; its data cannot be prepared."""

    def contradiction(self, params: Params) -> str:
        width, rows = params.model["width"], params.data["rows"]
        return "" if rows % width == 0 else f"data.rows {rows} is no multiple of model.width {width}"

    def prepare(self, source: object, data: object, folder: object) -> dict[str, object]:
        raise AssertionError("data are prepared after the values of the study have been looked at")


def test_values_that_cannot_go_together_are_refused_before_anything_is_done(said: Said, tmp_path: Path) -> None:
    """With every configuration that has them; what the search draws is not asked about."""
    text = STUDY.replace("fixed:", "  model: {width: {int: [1, 100]}}\nfixed:").replace(
        "{optimizer: {lr: 3e-2}}",
        "{optimizer: {lr: 3e-2}, model: {width: 7}}\n"
        "  good: {optimizer: {lr: 3e-2}, model: {width: 8}}\n"
        "  wide: {optimizer: {lr: 3e-2}, model: {width: 9}}\n"
        "  again: {optimizer: {lr: 1e-2}, model: {width: 7}}",
    )
    listed = (
        "/toy.yaml: 2 mistakes\n"
        "  configurations 'before', 'again': data.rows 120 is no multiple of model.width 7\n"
        "  configuration 'wide': data.rows 120 is no multiple of model.width 9"
    )
    with pytest.raises(StudyError, match=f"^{re.escape(listed)}$"):
        said(text, Paired())
    assert not (tmp_path / "runs").exists()
    mended = text.replace("width: 7", "width: 6").replace("width: 9", "width: 10")
    with pytest.raises(AssertionError, match="data are prepared after"):
        said(mended, Paired())


def test_a_study_goes_on_although_values_of_its_own_contradict_each_other_now(said: Said) -> None:
    """They were tried when the objective did not say so; a configuration that is new must not."""
    assert said(STUDY) == []
    other = type("Other", (Toy,), {"contradiction": lambda _, params: "never" if params.model["dropout"] < 1 else ""})()
    assert said(STUDY, other) == []
    with pytest.raises(StudyError, match=r"1 mistake\n  configuration 'new': never$"):
        said(f"{STUDY}  new: {{optimizer: {{lr: 1e-2}}}}\n", other)
