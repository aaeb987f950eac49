"""The final model: what was trained is what is loaded, and whatever is wrong with a folder is said in one sentence."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from safetensors.torch import save_file

import hpo
from hpo.arrays import Feed
from hpo.cli.group import hpo as group
from hpo.final_model import FinalModel, ModelError, load_model
from hpo.promoted_model import save_model
from hpo.records import FinalRecord
from hpo.store import Lease
from hpo.study import Study
from hpo.target import Target
from hpo.training import FoldRun
from tests.toy import CPU, STUDY, Clips, Launched, Toy, frames_of, launch

REPOSITORY = Path(__file__).parents[1]
FILES = ["README.md", "config.yaml", "metrics.json", "rows.json", "statistics.safetensors", "weights.safetensors"]


#: A job as the store gives it out.
REFIT = Lease(
    lease_id=1,
    token=1,
    study_id=1,
    fold=-1,
    attempt=1,
    losses=0,
    trial_id=None,
    number=None,
    job_id=1,
    candidate=0,
    seed=0,
    configuration=None,
    params=None,
    end=None,
)


#: One of each kind.
TARGETS = """\
targets:
  - {score: accuracy, at_least: 0.5}
  - {score: mae, at_most: 0.4, by_epoch: 2}
  - {gap: accuracy, at_most: 0.1}
  - {improvement: accuracy, at_least: 0.01, over_epochs: 3}
  - {balance: [class, number], at_most: 3}
  - {epochs: kept, at_least: 1}
"""


def load(folder: Path | str, weights: Path | None = None, objective: str = "tests.toy:Toy") -> FinalModel:
    """The toy's code is not built in: it runs because we say so."""
    return load_model(folder, weights, objective=objective)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Launched, FoldRun, Path]:
    """A study, a refit of two epochs, and the folder of its model."""
    root = tmp_path_factory.mktemp("trained")
    launched = launch(f"sqlite:///{root / 'hpo.db'}", root, STUDY + TARGETS)
    run = launched.around.run(REFIT, launched.spec.params({"optimizer.lr": 0.02}), epochs=2)
    while not run.finished:
        run.epoch()
    path = save_model(run, launched.around, REFIT, final_record(), {"accuracy": 0.7, "loss": 1.5})
    launched.store.close()
    return launched, run, path


def final_record() -> FinalRecord:
    scores, spread = {"accuracy": 0.6, "mae": 0.5}, {"accuracy": 0.05, "mae": 0.1}
    return FinalRecord(
        status="running",
        path=None,
        candidate=0,
        scores=scores,
        spread=spread,
        baseline_scores={"accuracy": 0.4},
        baseline_spread={"accuracy": 0.02},
        test_scores={},
        end_text=None,
    )


@pytest.fixture
def folder(trained: tuple[Launched, FoldRun, Path], tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(trained[2], tmp_path / "model"))


def outputs(network: torch.nn.Module, run: FoldRun) -> dict[str, torch.Tensor]:
    network.eval()
    with torch.inference_mode():
        found: dict[str, torch.Tensor] = network(Feed(run.arrays, CPU).take(torch.arange(len(run.arrays))))
    return found


# ---- what is loaded


def test_a_loaded_model_is_the_trained_one(trained: tuple[Launched, FoldRun, Path], folder: Path) -> None:
    _, run, _ = trained
    model = load(folder)
    assert not model.training
    expected = outputs(run.model, run)
    for name, value in outputs(model, run).items():
        assert torch.equal(value, expected[name])
    assert model.params == run.params
    assert isinstance(model.objective, Toy)
    assert model.info["classes"] == ["often", "seldom", "rare"]


def test_parameters_that_are_younger_than_a_model_have_their_defaults(
    trained: tuple[Launched, FoldRun, Path], folder: Path
) -> None:
    """A model of an earlier release; without a value that has no default, it is one of another objective."""
    params = yaml.safe_load((folder / "config.yaml").read_text())["params"]
    changed(folder, params={name: value for name, value in params.items() if name != "optimizer.momentum"})
    assert load(folder).params == trained[1].params


def test_statistics_that_are_missing_are_named(folder: Path) -> None:
    save_file({}, folder / "statistics.safetensors")
    said = f"{folder}: 'mean' is missing in it; it was written by another version of toy"
    with pytest.raises(ModelError, match=re.escape(said)):
        load(folder)


def test_it_scores_as_it_did_in_training(trained: tuple[Launched, FoldRun, Path], folder: Path, tmp_path: Path) -> None:
    _, run, _ = trained
    model = load(str(folder))
    arrays = model.arrays(None, tmp_path / "cache")
    assert arrays.fingerprint == run.arrays.fingerprint
    assert model.evaluate(arrays) == pytest.approx(run.evaluate(np.arange(len(arrays))))


def test_it_predicts_one_entry_per_row(trained: tuple[Launched, FoldRun, Path], folder: Path) -> None:
    _, run, _ = trained
    columns = load(folder).predict(run.arrays)
    expected = outputs(run.model, run)
    assert {name: len(column) for name, column in columns.items()} == {"row": 120, "prediction": 120, "number": 120}
    assert columns["row"].tolist() == list(range(120))
    np.testing.assert_allclose(columns["number"], expected["number"], rtol=1e-5)
    np.testing.assert_array_equal(
        columns["prediction"], np.array(["often", "seldom", "rare"])[expected["logits"].argmax(1)]
    )


def test_the_command_writes_a_line_per_frame_of_clips_with_the_number_of_the_clip(tmp_path: Path) -> None:
    text = STUDY.replace("tests.toy:Toy", "tests.toy:Clips")
    launched = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text, objective=Clips())
    run = launched.around.run(REFIT, launched.spec.params({"optimizer.lr": 0.02}), epochs=1)
    run.epoch()
    path = save_model(run, launched.around, REFIT, final_record(), {})
    launched.store.close()
    words = ["predict", str(path), "--objective", "tests.toy:Clips", "-o", str(tmp_path / "rows.csv")]
    done = CliRunner().invoke(group, [*words, "--runs", str(tmp_path / "runs")], prog_name="hpo")
    assert done.exit_code == 0, done.output
    lengths = frames_of(run.arrays["features"]).tolist()
    expected = [(row, frame) for row, length in enumerate(lengths) for frame in range(length)]
    assert done.stdout == f"120 rows with {len(expected)} entries -> {tmp_path / 'rows.csv'}\n"
    lines = list(csv.DictReader((tmp_path / "rows.csv").read_text().splitlines()))
    assert list(lines[0]) == ["row", "name", "frame", "prediction", "number", "score", "part"]
    assert [(int(line["row"]), int(line["frame"])) for line in lines] == expected
    assert [line["name"] for line in lines] == [f"clip {row}" for row, _ in expected]


def test_new_data_are_prepared_as_for_training(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("37")
    model = load(folder)
    assert len(model.predict(model.arrays(tmp_path / "rows.txt", tmp_path / "cache"))["number"]) == 37


def test_the_package_offers_it_without_importing_torch(folder: Path) -> None:
    load_it = "hpo.load_model(sys.argv[1], objective='tests.toy:Toy')"
    code = f"import sys, hpo; assert 'torch' not in sys.modules; print(type({load_it}).__name__)"
    command = [sys.executable, "-c", code, str(folder)]
    assert subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout == "FinalModel\n"
    assert hpo.load_model is load_model
    with pytest.raises(AttributeError, match="module 'hpo' has no attribute 'lode_model'"):
        hpo.lode_model  # noqa: B018


# ---- the folder


def test_the_folder_says_what_the_model_is(trained: tuple[Launched, FoldRun, Path], folder: Path) -> None:
    launched, run, path = trained
    assert sorted(os.listdir(path)) == FILES
    assert path == launched.files.model(launched.record.folder, 0)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["params"] == run.params.flat()
    assert (config["study"], config["trial"], config["epochs"]) == ("toy", 0, 2)
    assert (config["training_rows"], config["test_rows"]) == (100, 20)
    assert config["fingerprint"] == launched.record.fingerprint
    assert (config["folds"], config["fold"]) == (3, -1)
    assert config["targets"] == [
        {"score": "accuracy", "at_least": 0.5},
        {"score": "mae", "at_most": 0.4, "by_epoch": 2},
        {"gap": "accuracy", "at_most": 0.1},
        {"improvement": "accuracy", "at_least": 0.01, "over_epochs": 3},
        {"balance": ["class", "number"], "at_most": 3.0},
        {"epochs": "kept", "at_least": 1},
    ]
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test_uses"] == 1
    assert {name: metrics[name] for name in ("folds", "baseline", "test")} == {
        "folds": {"mean": {"accuracy": 0.6, "mae": 0.5}, "sd": {"accuracy": 0.05, "mae": 0.1}},
        "baseline": {"mean": {"accuracy": 0.4}, "sd": {"accuracy": 0.02}},
        "test": {"accuracy": 0.7, "loss": 1.5},
    }
    card = (folder / "README.md").read_text()
    assert "SYNTHETIC" in card
    assert "| accuracy | 0.6 ± 0.05 | 0.4 | 0.7 |" in card
    assert "| mae | 0.5 ± 0.1 |  |  |" in card
    assert "| `optimizer.lr` | 0.02 |" in card
    assert "which have been used once, for this model." in card


def test_the_targets_of_a_folder_are_those_of_the_study_when_they_are_read_again(
    trained: tuple[Launched, FoldRun, Path],
) -> None:
    launched, _, path = trained
    written = yaml.safe_load((path / "config.yaml").read_text())["targets"]
    again = Study.from_text(STUDY + yaml.safe_dump({"targets": written}), "/toy.yaml", lambda _: Toy())
    assert again.targets == launched.spec.targets and len(again.targets) == 6
    read = tuple(Target.from_written(one, lambda measure: Toy().metric(measure).direction) for one in written)
    assert read == launched.spec.targets


def test_a_model_knows_which_rows_of_which_data_it_was_trained_on(
    trained: tuple[Launched, FoldRun, Path], folder: Path
) -> None:
    _, run, _ = trained
    split = Toy().split(run.arrays, 3, 0)
    rows = load(folder).rows(run.arrays.fingerprint)
    assert rows is not None and {name: found.tolist() for name, found in rows.items()} == {
        "train": sorted({*range(120)} - {*split.test.tolist()}),
        "validation": [],
        "test": split.test.tolist(),
    }
    assert load(folder).rows("of other data") is None
    (folder / "rows.json").unlink()
    assert load(folder).rows(run.arrays.fingerprint) is None


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "null",
        '{"a": 1}',
        '{"a": {"train": []}}',
        '{"a": {"train": [0.5], "validation": [], "test": []}}',
        '{"a": {"train": [-1], "validation": [], "test": []}}',
        '{"a": {"train": 1, "validation": [], "test": []}}',
    ],
)
def test_rows_that_are_none_are_said_to_be_none(folder: Path, content: str) -> None:
    (folder / "rows.json").write_text(content)
    with pytest.raises(ModelError, match=r"rows\.json does not say which rows of which data a model was trained on"):
        load(folder)


@pytest.mark.parametrize("content", [b"{", b"\xff"])
def test_rows_that_cannot_be_read_are_named(folder: Path, content: bytes) -> None:
    (folder / "rows.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"rows\.json cannot be read: ."):
        load(folder)


def test_a_model_is_never_overwritten(trained: tuple[Launched, FoldRun, Path]) -> None:
    """A worker that died between the folder and the database: whoever goes on finds the folder whole."""
    launched, run, path = trained
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}
    again = save_model(run, launched.around, REFIT, final_record(), {"accuracy": 0.0})
    assert again == path
    assert {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()} == before


def test_a_model_appears_whole_or_not_at_all(
    trained: tuple[Launched, FoldRun, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched, run, _ = trained
    around = replace(launched.around, files=type(launched.files)(tmp_path))
    path = around.files.model(launched.record.folder, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", _fail)
        with pytest.raises(OSError, match="killed here"):
            save_model(run, around, REFIT, final_record(), {})
    assert not path.exists()
    assert save_model(run, around, REFIT, final_record(), {}) == path
    assert sorted(os.listdir(path)) == FILES
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def _fail(*_: Any) -> None:
    raise OSError("killed here")


# ---- other weights


@pytest.fixture
def foreign(trained: tuple[Launched, FoldRun, Path]) -> torch.nn.Module:
    """The same network with weights from elsewhere."""
    _, run, _ = trained
    torch.manual_seed(8)
    return run.objective.model(run.params, run.statistics)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
def test_other_weights_for_the_same_network(
    trained: tuple[Launched, FoldRun, Path], folder: Path, foreign: torch.nn.Module, suffix: str
) -> None:
    file = folder.parent / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(foreign.state_dict(), file)
    else:
        torch.save(foreign.state_dict(), file)
    found = outputs(load(folder, file), trained[1])
    for name, value in outputs(foreign, trained[1]).items():
        assert torch.equal(found[name], value)


class Evil:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self._folder),)


def test_code_in_a_weights_file_does_not_run(folder: Path, foreign: torch.nn.Module, tmp_path: Path) -> None:
    state: dict[str, Any] = {**foreign.state_dict(), "extra": Evil(tmp_path / "owned")}
    torch.save(state, tmp_path / "evil.pt")
    with pytest.raises(ModelError, match=r"evil\.pt cannot be read as weights: .*[Ww]eights.only"):
        load(folder, tmp_path / "evil.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda state: {"net": state, "epoch": 3}, r"weights\.pt holds no state_dict, which maps names to tensors"),
        (lambda state: {**state, "more": torch.zeros(1)}, r"does not fit the network of .*Unexpected key.*more"),
        (lambda state: {k: torch.cat([v, v]) if v.dim() else v for k, v in state.items()}, "size mismatch"),
        (lambda state: list(state.values()), r"weights\.pt holds no state_dict"),
        (lambda state: torch.zeros(3), r"weights\.pt holds no state_dict"),
        (lambda state: {}, "does not fit the network"),
    ],
    ids=["nested", "one too many", "other shapes", "a list", "a tensor", "empty"],
)
def test_weights_that_do_not_fit(
    folder: Path, foreign: torch.nn.Module, content: Callable[[Any], Any], message: str
) -> None:
    file = folder / "weights.pt"
    torch.save(content(foreign.state_dict()), file)
    with pytest.raises(ModelError, match=f"(?s){message}"):
        load(folder, file)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights" * 50])
def test_a_file_that_holds_no_weights(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError, match=f"{re.escape(name)} cannot be read as weights: ."):
        load(folder, folder / name)


# ---- folders that are none


@pytest.mark.parametrize("name", ["config.yaml", "statistics.safetensors"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=re.escape(f"{folder} is not a model folder: {name} is missing")):
        load(folder)


def test_missing_weights_are_named(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match=re.escape(f"{folder / 'weights.safetensors'}: no such file")):
        load(folder)
    with pytest.raises(ModelError, match=re.escape(f"{folder / 'other.pt'}: no such file")):
        load(folder, folder / "other.pt")


def test_what_is_no_folder_is_named(folder: Path) -> None:
    for path in (folder / "nowhere", folder / "config.yaml"):
        with pytest.raises(ModelError, match=re.escape(f"{path} is not a model folder: config.yaml is missing")):
            load(path)


def changed(folder: Path, **changes: Any) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text()) | changes
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.yaml").write_text("a: [1"), r"config\.yaml"),
        (lambda folder: (folder / "config.yaml").write_text(""), r"config\.yaml"),
        (
            lambda folder: (folder / "config.yaml").write_text("study: toy"),
            r"config\.yaml does not describe a model:\n  objective is missing",
        ),
        (lambda folder: (folder / "config.yaml").write_text("!!python/object/apply:os.system ['x']"), r"config\.yaml"),
        (lambda folder: (folder / "config.yaml").write_bytes(b"\xff\xfe"), r"config\.yaml"),
        (lambda folder: changed(folder, params={"optimizer.lr": 1}), "width"),
        (lambda folder: changed(folder, params={"nonsense": 1}), "'nonsense' is not GROUP.KEY"),
        (lambda folder: (folder / "statistics.safetensors").write_bytes(b"x" * 30), r"statistics\.safetensors"),
    ],
)
def test_a_damaged_folder_is_said_to_be_one(folder: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=f"{re.escape(str(folder))}.*{message}"):
        load(folder)


WRONG: dict[str, Any] = {
    "folds": "x",
    "fold": "y",
    "data": [1],
    "fingerprint": 3,
    "targets": None,
    "info": None,
    "params": {},
    "metric": {"direction": "up", "name": "zz"},
    "objective_hash": 7,
}


@pytest.mark.parametrize("key", WRONG)
def test_a_value_that_cannot_be_is_named_with_its_key(folder: Path, key: str) -> None:
    changed(folder, **{key: WRONG[key]})
    said = f"{folder / 'config.yaml'} does not describe a model:\n  {key} is {WRONG[key]!r}, and "
    with pytest.raises(ModelError, match=re.escape(said)):
        load(folder)


def test_all_that_is_wrong_with_a_configuration_is_said_at_once(folder: Path) -> None:
    changed(folder, **WRONG)
    with pytest.raises(ModelError) as refused:
        load(folder)
    assert {line.split()[0] for line in str(refused.value).splitlines()[1:]} == WRONG.keys()
    (folder / "config.yaml").write_text("study: toy")
    with pytest.raises(ModelError, match="objective is missing\n  objective_hash is missing\n  params is missing"):
        load(folder)


def test_a_metric_that_the_objective_does_not_have_is_named(folder: Path) -> None:
    changed(folder, metric={"name": "zz", "direction": "minimize"})
    with pytest.raises(ModelError, match=f"{re.escape(str(folder))}: .*'zz' is neither a loss nor a score of toy"):
        load(folder)
    changed(folder, metric={"name": "accuracy", "direction": "minimize"})
    with pytest.raises(ModelError, match=r"config\.yaml: metric\.direction is minimize, maximize is needed"):
        load(folder)


# ---- whose code runs


def test_code_that_a_folder_names_does_not_run(folder: Path, tmp_path: Path) -> None:
    """A model may come from somebody else; only a built-in objective is taken from it."""
    own = tmp_path / "own.py"
    own.write_text(f"open({str(tmp_path / 'owned')!r}, 'w')")
    for objective in (f"{own}:Mine", "tests.toy:Toy", "antigravity:Toy"):
        changed(folder, objective=objective)
        message = f"is a model of {objective}, which is code and not run because a folder names it: if you trust it"
        with pytest.raises(ModelError, match=re.escape(message)):
            load_model(folder)
    assert not (tmp_path / "owned").exists()
    assert "antigravity" not in sys.modules


def test_a_changed_objective_is_refused(folder: Path, tmp_path: Path) -> None:
    """A model is only as good as the code that prepares its data."""
    own = tmp_path / "own.py"
    own.write_text("from tests.toy import Toy\nclass Mine(Toy): pass\n")
    changed(folder, objective=f"{own}:Mine", objective_hash="0" * 64)
    with pytest.raises(ModelError, match=rf"{own} has changed since the study was launched"):
        load(folder, objective=f"{own}:Mine")
    changed(folder, objective_hash=hashlib.sha256(own.read_bytes()).hexdigest())
    assert type(load(folder, objective=f"{own}:Mine").objective).__name__ == "Mine"


@pytest.mark.parametrize(
    ("objective", "message"),
    [("nothing", r"no objective 'nothing' \(built in"), ("/gone/own.py:Mine", r"/gone/own\.py: no such file")],
)
def test_an_objective_that_is_not_there(folder: Path, objective: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"{re.escape(str(folder))}: {message}"):
        load(folder, objective=objective)


def test_a_device_that_is_not_there(folder: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ModelError, match="--device cuda:0: PyTorch finds no GPU here; leave it out"):
        load_model(folder, device="cuda:0", objective="tests.toy:Toy")
