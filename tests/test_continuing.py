"""`hpo continue` on a promoted study: which folds, with which values, compared with what, and every mistake."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import Result

from hpo.continuing import FoldModel, chosen, least_epochs, nothing_to_continue, promoted_trial
from hpo.final_model import load_model
from hpo.objective import DataError
from hpo.retraining import Retrained
from hpo.target import Target
from tests.promoted import TEXT, command, promoted
from tests.toy import Launched

TARGETS = "targets:\n  - {score: mae, at_most: 0.5}\n  - {score: accuracy, at_least: 0.9, by_epoch: 2}\n"
LEAST = ("--at-least", 4)  #: more than the study's three epochs: every fold is under-trained


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launched, Path]]:
    root = tmp_path_factory.mktemp("study")
    with promoted(root, TEXT + TARGETS) as launched:
        yield launched, root


def run(study: tuple[Launched, Path], *words: object) -> Result:
    return command(study[1], "continue", "toy", *words)


def continued(study: tuple[Launched, Path], name: str, fold: int, trial: int = 1) -> Path:
    return study[0].files.continued(study[0].record.folder, name, trial, fold)


def models(*kept: int) -> list[FoldModel]:
    return [FoldModel(fold=fold, folder=Path(f"fold-{fold}"), kept=k, scores={}) for fold, k in enumerate(kept)]


# ---- which folds


@pytest.mark.parametrize(
    ("folds", "least", "expected"),
    [
        ("under-trained", 5, [0, 2]),
        ("under-trained", 1, []),
        ("under-trained", 6, [0, 1, 2]),
        ("all", 1, [0, 1, 2, 3]),
        ("3,0", 1, [0, 3]),
        ("2", 1, [2]),
    ],
)
def test_folds_are_chosen_by_the_epoch_that_they_kept(folds: str, least: int, expected: list[int]) -> None:
    assert [model.fold for model in chosen(models(1, 5, 4, 17), folds, least)] == expected


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("undertrained", "under-trained, all, or numbers such as 0,3,5 are needed; did you mean 'under-trained'?"),
        ("0-3", "under-trained, all, or numbers such as 0,3,5 are needed"),
        ("0,7,9", "no training of fold 7, 9 is done; there are 0, 1"),
    ],
)
def test_folds_that_are_not_there(folds: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"--folds {folds}: {message}")):
        chosen(models(1, 2), folds, 5)


def test_the_study_says_how_many_epochs_are_enough(study: tuple[Launched, Path]) -> None:
    spec = study[0].spec
    assert least_epochs(spec) == 5
    target = Target(kind="epochs", measure="kept", direction="maximize", at_least=7.0)
    assert least_epochs(replace(spec, targets=(*spec.targets, target))) == 7


def test_only_promoted_trials_have_models() -> None:
    assert [promoted_trial(name, 7, 0) for name in ("best", "7", "baseline", "0")] == [7, 7, 0, 0]
    assert promoted_trial("best", 0, 0) == 0
    with pytest.raises(DataError, match=r"--trial 3: only .* their folds: best \(trial 7\) and baseline \(trial 0\)$"):
        promoted_trial("3", 7, 0)
    with pytest.raises(DataError, match=r"--trial baseline: .* best \(trial 7\)$"):
        promoted_trial("baseline", 7, None)


# ---- the command


def test_a_continued_fold_is_compared_and_the_others_count_as_they_were(study: tuple[Launched, Path]) -> None:
    done = run(study, "--folds", "0,2", "--set", "optimizer.lr=5e-3", "--epochs", 4, "--json", "--name", "gently")
    assert done.exit_code == 0, done.output
    record: dict[str, Any] = json.loads(done.stdout)
    jobs = {j.fold: j for j in study[0].store.reading.jobs(study[0].record.study_id) if j.candidate == 1}
    assert (record["study"], record["trial"], [fold["fold"] for fold in record["folds"]]) == ("toy", 1, [0, 1, 2])
    for found in record["folds"]:
        job = jobs[found["fold"]]
        assert job.scores is not None and found["kept_before"] == job.best_epoch
        names = ("accuracy", "mae")  # the metric, and the target of the model that is kept
        assert found["before"] == pytest.approx({name: job.scores[name] for name in names})
        if found["fold"] == 1:
            assert found["after"] == found["before"] and found["kept_after"] is None and found["gain"] is None
            continue
        place = continued(study, "gently", found["fold"])
        model = load_model(place, objective="tests.toy:Toy")
        arrays, split = study[0].around.arrays, study[0].around.split.folds[found["fold"]]
        scores = model.evaluate(arrays, split.validation)
        assert found["after"] == pytest.approx({name: scores[name] for name in names})
        assert found["gain"] == pytest.approx(found["after"]["accuracy"] - found["before"]["accuracy"])
        old = study[0].files.fold_model(study[0].record.folder, 1, found["fold"])
        assert found["model"] == str(place if found["gain"] > 0 else old)
        np.testing.assert_array_equal((model.rows(arrays.fingerprint) or {})["train"], split.train)
    for part in ("before", "after"):
        for name, mean in record["mean"][part].items():
            assert mean == pytest.approx(statistics.fmean(fold[part][name] for fold in record["folds"]))


def test_every_value_of_a_configuration_counts_and_set_comes_last(study: tuple[Launched, Path]) -> None:
    words = ("--folds", "1", "--configuration", "recommended", "--set", "optimizer.weight_decay=0.1", "--name", "rec")
    done = run(study, *words)
    assert done.exit_code == 0, done.output
    config = yaml.safe_load((continued(study, "rec", 1) / "config.yaml").read_text())
    expected = study[0].spec.params({"optimizer.lr": 5e-3}, "recommended").flat() | {"optimizer.weight_decay": 0.1}
    assert config["params"] == expected and expected["model.dropout"] == 0.4
    assert config["started_from"]["epochs"] == study[0].spec.budget.epochs, "the most, unless --epochs says otherwise"
    assert config["fold"] == 1 and config["trial"] == 1


def test_folds_that_are_done_are_not_trained_again(study: tuple[Launched, Path]) -> None:
    words = ("--set", "optimizer.lr=1e-3", "--name", "twice", *LEAST)
    first = run(study, "--folds", "0", *words)
    assert first.exit_code == 0, first.output
    weights = continued(study, "twice", 0) / "weights.safetensors"
    before = weights.stat().st_mtime_ns
    second = run(study, "--folds", "under-trained", *words)
    assert second.exit_code == 0, second.output
    assert f"fold 0 is done: {weights.parent}\n" in second.stderr
    assert weights.stat().st_mtime_ns == before
    assert re.search(r"^ +0 +\d +\+ \d ", second.stdout, re.M) and re.search(
        "^mean over all folds ", second.stdout, re.M
    )
    other = run(study, "--folds", "0", "--set", "optimizer.lr=2e-3", "--name", "twice")
    assert other.exit_code == 2
    values = "optimizer.lr was 0.001, now 0.002"
    assert f"{weights.parent} was trained with other values ({values}), and is never overwritten: --n" in other.stderr


def test_a_fold_that_got_worse_keeps_its_old_model(study: tuple[Launched, Path]) -> None:
    """A specialist of the rarest class, driven far, calls everything by its name."""
    words = ("--trial", "baseline", "--folds", "2", "--set", "sampling.only=rare", "--set", "optimizer.lr=0.3")
    done = run(study, *words, "--epochs", 2, "--name", "wild")
    assert done.exit_code == 0, done.output
    place = continued(study, "wild", 2, trial=0)
    gain = Retrained.from_json(place, json.loads((place / "metrics.json").read_text())).gain
    old = study[0].files.fold_model(study[0].record.folder, 0, 2)
    assert gain is not None and gain < 0
    assert f"fold 2: worse by {-gain:.4g} in accuracy: the old one stays\n        use {old}\n" in done.stdout
    assert "fold 0: left alone\n" in done.stdout


def test_nothing_to_continue_says_where_there_would_be_something(study: tuple[Launched, Path]) -> None:
    kept = {j.fold: j.best_epoch for j in study[0].store.reading.jobs(study[0].record.study_id) if j.candidate == 1}
    listed = ", ".join(f"fold {fold}: {kept[fold]}" for fold in range(3))
    expected = f"no fold of trial 1 kept an epoch below 1 ({listed}): nothing to continue\n"
    assert run(study, "--at-least", 1).stdout == expected
    as_json = run(study, "--at-least", 1, "--json")
    assert as_json.stderr == expected and all(not fold["gain"] for fold in json.loads(as_json.stdout)["folds"])
    others = {0: models(1, 5, 2), 3: models(6, 7)}
    assert nothing_to_continue(4, models(5, 9), 5, others).splitlines() == [
        "no fold of trial 4 kept an epoch below 5 (fold 0: 5, fold 1: 9): nothing to continue",
        "trial 0 has 2 such folds: --trial 0",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "trial-7"), "--name trial-7: 1 to 64 letters, digits, "),
        (("--name", "../away"), "--name ../away: 1 to 64 letters, digits, "),
        (("--configuration", "recomended", *LEAST), "toy has none of that name; did you mean 'recommended'?"),
        (("--set", "optimizer.lr=0", *LEAST), "--set optimizer.lr=0: optimizer.lr is 0: above 0 is needed"),
        (("--set", "stopping.min_epochs=4", *LEAST), "3 epochs (--epochs) would end before stopping.min_epochs 4, and"),
        (("--set", "model.width=9", "--name", "wide", *LEAST), "do not fit a network with model.width 8 -> 9 ("),
        (("--trial", "5"), "only promoted trials have models of their folds: best (trial 1) and baseline (trial 0)"),
    ],
)
def test_mistakes(study: tuple[Launched, Path], words: tuple[object, ...], message: str) -> None:
    done = run(study, *words)
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert message in done.stderr
    assert not continued(study, "wide", 0).parent.exists()


def test_models_that_have_gone_are_all_named(study: tuple[Launched, Path], tmp_path: Path) -> None:
    folders = [study[0].files.fold_model(study[0].record.folder, 0, fold) for fold in (0, 1)]
    for folder in folders:
        shutil.move(folder, tmp_path / folder.name)
    try:
        gone = run(study, "--trial", "baseline", "--folds", "all")
    finally:
        for folder in folders:
            shutil.move(tmp_path / folder.name, folder)
    assert gone.exit_code == 2 and "no model of 2 folds is here: another machine's runs folder" in gone.stderr
    assert all(str(folder) in gone.stderr for folder in folders)


def test_a_study_that_was_not_promoted(tmp_path: Path) -> None:
    from tests.toy import launch

    launch(f"sqlite:///{tmp_path / 'runs' / 'hpo.db'}", tmp_path).store.close()
    done = command(tmp_path, "continue")
    assert done.exit_code == 2 and "study toy has no promoted trial yet: hpo promote toy" in done.stderr


def test_the_models_of_the_promotion_stay_as_they_are(study: tuple[Launched, Path]) -> None:
    folder = study[0].files.fold_model(study[0].record.folder, 1, 0)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    torch.manual_seed(0)
    run(study, "--folds", "0", "--name", "again")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
