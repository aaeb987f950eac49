"""Quick studies: two epochs on a few rows, whatever the file searches, and never mixed with the real one."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hpo.launching import Refused
from hpo.objective import Fold, Split
from hpo.quick import OF_EVERY_CLASS, ROWS, few, quick_name, quickened
from hpo.resolve import resolve
from hpo.strict_yaml import StudyError
from hpo.study import Study, differences
from tests.conftest import REPOSITORY
from tests.toy import STUDY, Toy, launch

SEARCHED = """\
study: toy
objective: tests.toy:Toy
metric: accuracy
budget: {trials: 30, epochs: 40, hours: 3}
pruner: {name: asha, min_resource: 8}
space:
  optimizer: {lr: {float: [1e-3, 1e-1], log: true}}
  stopping: {patience: {int: [5, 20]}, min_epochs: {int: [8, 12]}}
fixed:
  schedule: {name: plateau, warmup_epochs: 5}
configurations:
  before: {optimizer: {lr: 3e-2}, stopping: {patience: 5, min_epochs: 8}}
  patient: {optimizer: {lr: 3e-2}, stopping: {patience: 20, min_epochs: 8}}
  slow: {optimizer: {lr: 3e-3}, stopping: {patience: 20, min_epochs: 12}}
"""


def read(text: str) -> Study:
    return Study.from_text(text, "/studies/toy.yaml", lambda _: Toy())


def test_what_would_stop_a_training_early_is_fixed_instead_of_searched() -> None:
    study = read(quickened(SEARCHED, "toy.yaml"))
    assert study.quick and (study.budget.epochs, study.budget.trials, study.budget.hours) == (2, 4, 3)
    assert study.pruner_spec.name == "none" and list(study.space) == ["optimizer.lr"]
    assert study.configurations == {"before": {"optimizer.lr": 3e-2}, "slow": {"optimizer.lr": 3e-3}}
    assert study.same == {"patient": "before"}
    for name, point in study.configurations.items():
        stopping = study.params(point, name).stopping
        assert (stopping["patience"], stopping["min_epochs"]) == (0, 1)


def test_every_configuration_is_tried_as_far_as_the_budget_goes() -> None:
    more = "".join(
        f"  c{n}: {{optimizer: {{lr: {n}e-3}}, stopping: {{patience: 5, min_epochs: 8}}}}\n" for n in range(4, 9)
    )
    study = read(quickened(SEARCHED + more, "toy.yaml"))
    assert study.budget.trials == len(study.configurations) == 7
    assert read(quickened(SEARCHED.replace("trials: 30", "trials: 5") + more, "toy.yaml")).budget.trials == 5


@pytest.mark.parametrize("path", sorted((REPOSITORY / "studies").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_study_that_ships_can_be_tried_quickly(path: Path) -> None:
    real, study = Study.read(path, resolve), Study.read(path, resolve, quick=True)
    assert study.budget.epochs <= 2 and study.baseline == real.baseline
    for name, point in study.configurations.items():
        params = study.params({key: point[key] for key in study.space}, name)
        late = {key: start for key, start in params.loss.items() if key.endswith("_start") and start}
        assert (params.stopping["patience"], params.stopping["min_epochs"], late) == (0, 1, {})
    _, refused = differences(real, study)
    assert "quick: false -> true" in refused, "trials of both are never mixed"


def test_the_line_leaves_the_others_where_they_are() -> None:
    assert quickened("study: x", "toy.yaml").splitlines()[0] == "study: x" and read(quickened(STUDY, "toy.yaml")).quick
    assert quickened(STUDY + "quick: true\n", "toy.yaml") == STUDY + "quick: true\n"
    with pytest.raises(StudyError, match=r"line 1\d: unknown key 'wrong'"):
        read(quickened(STUDY + "wrong: 1\n", "toy.yaml"))
    with pytest.raises(StudyError, match=r"line 16: duplicate key 'quick', first on line 15: keep one of them"):
        read(quickened(STUDY + "quick: false\n", "toy.yaml"))
    for text in ("{study: toy, quick: false}\n", STUDY + "...\n"):
        with pytest.raises(StudyError, match=r"toy.yaml: 1 mistake\n  the line of --quick does not fit .* into it$"):
            quickened(text, "toy.yaml")
    assert quickened("{study: toy, quick: true}", "toy.yaml") == "{study: toy, quick: true}"
    with pytest.raises(StudyError, match="line 15: quick is 2: true or false is needed"):
        read(STUDY + "quick: 2\n")
    assert not read(STUDY).quick and not read(STUDY + "quick: false\n").quick
    assert quick_name("abr") == "abr-quick"


def test_few_rows_of_every_class_on_the_side_where_they_were() -> None:
    generator = np.random.default_rng(0)
    labels = generator.choice([-1, 0, 1, 2, 3], size=5000, p=[0.3, 0.5, 0.19, 0.009, 0.001])
    rows = generator.permutation(5000)
    whole = Split((Fold(0, rows[:3000], rows[3000:4000]), Fold(1, rows[2000:4000], rows[:40])), rows[4000:])
    split = few(whole, labels, 7)
    sides = [(f.train, g.train) for f, g in zip(whole.folds, split.folds, strict=True)]
    sides += [(f.validation, g.validation) for f, g in zip(whole.folds, split.folds, strict=True)]
    for before, after in [*sides, (whole.test, split.test)]:
        assert len(after) == min(ROWS, len(before)) == len(set(after))
        assert set(after) <= set(before) and list(after) == sorted(after)
        there, kept = Counter(labels[before]), Counter(labels[after])
        assert all(kept[label] >= min(OF_EVERY_CLASS, count) for label, count in there.items())
    again, other = few(whole, labels, 7), few(whole, labels, 8)
    np.testing.assert_array_equal(again.folds[0].train, split.folds[0].train)
    assert set(other.folds[0].train) != set(split.folds[0].train)


def test_more_classes_than_rows_get_one_row_each() -> None:
    labels = np.repeat(np.arange(200), 10)
    kept = few(Split((Fold(0, np.arange(2000), np.arange(0)),), np.arange(0)), labels, 0).folds[0]
    assert set(labels[kept.train]) == set(range(200)) and len(kept.train) == ROWS
    assert len(kept.validation) == 0


def test_the_split_on_record_is_that_of_the_few_rows(tmp_path: Path) -> None:
    """What is on record is what every worker trains on; no other place knows of it."""
    text = STUDY.replace("fixed:\n", "fixed:\n  data: {rows: 2000}\n").replace("epochs: 3", "epochs: 30")
    launched = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, quickened(text, "toy.yaml"))
    split, whole = launched.around.split, Toy().split(launched.around.arrays, 3, 0)
    assert launched.record.quick and launched.record.info["rows"] == 2000
    for fold, real in zip(split.folds, whole.folds, strict=True):
        assert len(fold.train) == len(fold.validation) == ROWS < len(real.validation)
        assert set(fold.validation) <= set(real.validation) and set(fold.train) <= set(real.train)
    lease = launched.trial()
    run = launched.around.run(lease, launched.spec.params({"optimizer.lr": 0.01}))
    while not run.finished:
        run.epoch()
    assert [epoch.samples for epoch in run.epochs] == [ROWS, ROWS]
    launched.store.close()


def test_a_quick_study_and_a_real_one_never_share_a_name(tmp_path: Path) -> None:
    """Nobody is told to delete the real one."""
    real, quick = f"sqlite:///{tmp_path}/real.db", f"sqlite:///{tmp_path}/quick.db"
    launch(real, tmp_path)
    with pytest.raises(Refused, match=r"study 'toy' exists and is no quick one: leave --quick out, or name another"):
        launch(real, tmp_path, quickened(STUDY, "toy.yaml"))
    launch(quick, tmp_path, quickened(STUDY, "toy.yaml"))
    with pytest.raises(Refused, match=r"is a quick one: add --quick, .* or clear it away with `hpo delete toy`"):
        launch(quick, tmp_path)
