"""`hpo finetune` on a promoted study: where it starts, on which rows, what is kept, and every mistake's message."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock

from hpo.arrays import Feed
from hpo.final_model import FinalModel, ModelError, load_model
from hpo.finetuning import finetuning, new_values
from hpo.objective import DataError, Epoch, Metric
from hpo.retrained_model import write_retrained
from hpo.retraining import Retrained, Retraining, differing, retrain
from hpo.training import Interrupted
from tests.equal import assert_equal, train
from tests.promoted import TEXT, command, promoted
from tests.toy import CPU, Launched, Toy

TOY = "tests.toy:Toy"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Launched, Path]]:
    root = tmp_path_factory.mktemp("study")
    with promoted(root) as launched:
        yield launched, root


@pytest.fixture(scope="module")
def fold(study: tuple[Launched, Path]) -> Path:
    return study[0].files.fold_model(study[0].record.folder, 1, 2)


@pytest.fixture(scope="module")
def refit(study: tuple[Launched, Path]) -> Path:
    return study[0].files.model(study[0].record.folder, 1)


def load(folder: Path) -> FinalModel:
    return load_model(folder, objective=TOY)


def wanted(folder: Path, study: tuple[Launched, Path], output: Path, *words: str, **changes: Any) -> Retraining:
    given: dict[str, Any] = {"data": None, "metric": None, "folds": None, "epochs": 4, "seed": 0}
    model, cache = load(folder), study[0].files.cache
    given |= {"params": new_values(model, words), **changes}
    return finetuning(model, folder, cache=cache, output=output, objective=TOY, **given)


def trained(what: Retraining, stop: Callable[[], bool] = lambda: False) -> tuple[Retrained, list[str], list[int]]:
    """The outcome, what was said, and the epochs that were trained now."""
    said: list[str] = []
    heard: list[int] = []

    def hear(epoch: Epoch, of: int) -> None:
        assert of == what.epochs
        heard.append(epoch.number)

    return retrain(what, CPU, write_retrained, stop=stop, say=said.append, heard=hear), said, heard


# ---- where it starts, and what is kept


def test_a_fold_model_is_trained_on_its_own_rows_from_its_own_weights(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    what, rows = wanted(fold, study, tmp_path / "new", "optimizer.lr=3e-3"), study[0].around.split.folds[2]
    run = what.run(Feed(what.arrays, CPU), lambda: False)
    np.testing.assert_array_equal(run.fold.train, rows.train)
    np.testing.assert_array_equal(run.fold.validation, rows.validation)
    assert run.params.optimizer["lr"] == 3e-3 and run.epochs_max == 4
    for name, value in load(fold).network.state_dict().items():
        assert torch.equal(value, run.model.state_dict()[name]), name
    assert not run.optimizer.state_dict()["state"], "an optimizer that has not seen a gradient"
    metrics = json.loads((fold / "metrics.json").read_text())
    assert run.evaluate(rows.validation) == pytest.approx(metrics["validation"])


def test_the_folder_holds_the_best_epoch_and_says_what_it_came_from(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    """Against a training of the same values that nobody has interrupted or written down."""
    what = wanted(fold, study, tmp_path / "new", "optimizer.lr=3e-3", "model.dropout=0.4")
    run = train(what.run(Feed(what.arrays, CPU), lambda: False))
    outcome, said, heard = trained(what)
    assert (said, heard) == ([], [1, 2, 3, 4])
    new, best = load(tmp_path / "new"), run.best
    assert best is not None and outcome.kept == best.number and outcome.trained == 4
    for name, value in (run.best_state or {}).items():
        assert torch.equal(value, new.network.state_dict()[name]), name
    assert outcome.after == pytest.approx(best.validation)
    assert (outcome.part, outcome.rows) == ("validation", len(run.fold.validation))
    assert outcome.gain == pytest.approx(outcome.after["accuracy"] - outcome.before["accuracy"])
    assert new.params.model["dropout"] == 0.4 and new.config["fold"] == 2
    assert new.config["started_from"]["model"] == str(fold)
    assert new.config["started_from"]["weights_sha256"] == what.request()["weights_sha256"]
    assert new.config["targets"] == load(fold).config["targets"]
    found, before = (model.rows(what.arrays.fingerprint) for model in (new, load(fold)))
    assert found is not None and before is not None
    for part, rows in before.items():
        np.testing.assert_array_equal(found[part], rows)
    assert Retrained.from_json(tmp_path / "new", json.loads((tmp_path / "new/metrics.json").read_text())) == outcome
    card = (tmp_path / "new/README.md").read_text()
    assert f"Started from `{fold}`" in card and f"| accuracy | {outcome.before['accuracy']:.4g} |" in card
    assert not what.unfinished.exists()


def test_a_final_model_trains_all_epochs_and_is_measured_on_its_test_rows(
    refit: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    what = wanted(refit, study, tmp_path / "new", "stopping.patience=1")
    run = train(what.run(Feed(what.arrays, CPU), lambda: False))
    outcome, _, _ = trained(what)
    test = study[0].around.split.test
    assert (outcome.part, outcome.rows, outcome.kept, outcome.trained) == ("test", len(test), 4, 4)
    assert outcome.after == run.evaluate(test)
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, load(tmp_path / "new").network.state_dict()[name]), name
    assert load(tmp_path / "new").config["fold"] == -1


def test_new_data_are_dealt_and_what_was_seen_before_stays_seen(
    refit: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    (tmp_path / "rows.txt").write_text("60")
    what = wanted(refit, study, tmp_path / "new", data=tmp_path / "rows.txt", folds=4, seed=7)
    split = what.model.objective.split(what.arrays, 4, 7)
    np.testing.assert_array_equal(what.fold.validation, split.folds[0].validation)
    outcome, _, _ = trained(what)
    assert (outcome.part, outcome.rows) == ("validation", len(split.folds[0].validation))
    new, old = load(tmp_path / "new"), load(refit)
    own, before = new.rows(what.arrays.fingerprint), new.rows(old.config["fingerprint"])
    assert own is not None and before is not None
    np.testing.assert_array_equal(own["train"], split.folds[0].train)
    np.testing.assert_array_equal(own["test"], split.test)
    np.testing.assert_array_equal(before["train"], (old.rows(old.config["fingerprint"]) or {})["train"])
    assert (new.config["data"], new.config["folds"]) == (str(tmp_path / "rows.txt"), 4)
    again = wanted(tmp_path / "new", study, tmp_path / "third", data=tmp_path / "rows.txt")
    np.testing.assert_array_equal(again.fold.train, own["train"])
    back = wanted(tmp_path / "new", study, tmp_path / "third", data=None)
    assert back.arrays.fingerprint == what.arrays.fingerprint, "the data that it was trained on last"


def test_a_specialist_trains_on_its_class_and_has_still_seen_the_other_rows(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    what = wanted(fold, study, tmp_path / "new", "sampling.only=seldom")
    trained(what)
    config = yaml.safe_load((tmp_path / "new/config.yaml").read_text())
    target = np.asarray(what.arrays["target"])[what.fold.train]
    assert config["training_rows"] == np.sum(target == 1)
    rows = load(tmp_path / "new").rows(what.arrays.fingerprint)
    assert rows is not None
    np.testing.assert_array_equal(rows["train"], what.fold.train)


# ---- interrupted


@pytest.mark.parametrize("after", [0, 4, 7, 17, 25])
def test_an_interrupted_training_goes_on_to_the_same_model_bit_for_bit(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path, after: int
) -> None:
    """Batches are counted: one to measure the model before and one after, 5 + 1 for each of the 4 epochs."""
    looked = 0

    def stop() -> bool:
        nonlocal looked
        looked += 1
        return looked > after

    what = wanted(fold, study, tmp_path / "new", "optimizer.lr=3e-3")
    with pytest.raises(Interrupted):
        trained(what, stop)
    assert not what.output.exists()
    _, said, heard = trained(what)
    done = 4 - len(heard)
    assert said == ([f"goes on after epoch {done}"] if done else [])
    assert heard == list(range(done + 1, 5)) and done == max(0, (after - 1) // 6)
    whole = replace(what, output=tmp_path / "whole")
    trained(whole)
    for file in ("weights.safetensors", "metrics.json", "rows.json"):
        assert (tmp_path / "new" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    assert not what.unfinished.exists()


def test_other_values_do_not_go_on_with_what_is_half_done(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    what = wanted(fold, study, tmp_path / "new")
    with pytest.raises(Interrupted):
        trained(replace(what, seed=9), lambda: True)  # before any epoch: nothing is lost
    looks = itertools.count()
    with pytest.raises(Interrupted):
        trained(what, lambda: next(looks) > 8)
    begun = r"\.new\.unfinished holds a training to new that was begun with other values"
    with pytest.raises(DataError, match=rf"{begun} \(epochs was 4, now 5\): the same"):
        trained(replace(what, epochs=5))
    other = wanted(fold, study, tmp_path / "new", "optimizer.lr=7e-3", "model.dropout=0.3", metric="mae", seed=3)
    lr = what.params.optimizer["lr"]
    named = [f"optimizer.lr was {lr!r}, now 0.007", "model.dropout was 0.4, now 0.3", "metric was accuracy, now mae"]
    said = differing(what.request(), other.request())
    assert sorted(said.split("; ")) == sorted([*named, "seed was 0, now 3"])
    many = {"params": {f"loss.{k}": k for k in range(7)}, "fingerprint": "a"}
    listed = "; ".join(f"loss.{k} was {k}, now None" for k in range(4))
    assert differing(many, {"params": {}, "fingerprint": "b"}) == f"the data; {listed}; and 3 more"
    with (
        FileLock(what.unfinished / "lock"),
        pytest.raises(DataError, match=r"another process is training .*/new: wait"),
    ):
        trained(what)
    trained(what)


def test_a_run_is_the_same_every_time_and_another_one_with_another_seed(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    what = wanted(fold, study, tmp_path / "new")
    one, two = (train(what.run(Feed(what.arrays, CPU), lambda: False)) for _ in range(2))
    assert_equal(one, two)
    other = train(replace(what, seed=1).run(Feed(what.arrays, CPU), lambda: False))
    assert any(not torch.equal(v, other.model.state_dict()[k]) for k, v in one.model.state_dict().items())


# ---- mistakes


def test_a_model_is_never_overwritten(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError, match=r"new exists, and a model is never overwritten: name another folder with --ou"):
        wanted(fold, study, tmp_path / "new")
    what = wanted(fold, study, tmp_path / "other")
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match="other exists, and a model is never overwritten"):
        trained(what)
    trained(wanted(fold, study, tmp_path / "third", "optimizer.lr=1e-3"))
    with pytest.raises(
        DataError, match=r"third exists with other values \(epochs was 4, now 6\), and a model is never"
    ):
        wanted(fold, study, tmp_path / "third", "optimizer.lr=1e-3", epochs=6)
    with pytest.raises(DataError, match=r"fold-2-of-trial-0001 exists with other values \(it did not start from a mo"):
        wanted(fold, study, fold)


def test_values_that_cannot_be_trained_with_leave_nothing(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=r"model\.width 8 -> 12 \(hidden\.weight has the shape \[8, 6\], \[12, 6\] would"
    ):
        trained(wanted(fold, study, tmp_path / "new", "model.width=12"))
    with pytest.raises(DataError, match=r"sampling\.emphasis is 'M2': the classes are often, seldom, rare"):
        trained(wanted(fold, study, tmp_path / "new", "sampling.emphasis=M2"))
    with pytest.raises(DataError, match=r"emphasis is 'rare': sampling\.only 'often' leaves .* holds it; leave one of"):
        trained(wanted(fold, study, tmp_path / "new", "sampling.emphasis=rare", "sampling.only=often"))
    wanted(fold, study, tmp_path / "new", "sampling.emphasis=rare", "sampling.emphasis_factor=2", "sampling.only=rare")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataError, match=r"loss term 'number' is not finite .* step 1: lower optimizer\.lr, or clip"):
        trained(wanted(fold, study, tmp_path / "new", "loss.scale=1e30"))
    assert list(tmp_path.iterdir()) == [], "another try with other values is free to begin"


def test_metrics_and_folds_that_do_not_fit(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    def refused(**changes: Any) -> str:
        with pytest.raises(DataError) as caught:
            wanted(fold, study, tmp_path / "new", **changes)
        return str(caught.value)

    assert refused(metric="acuracy").startswith(
        "--metric is 'acuracy', neither a loss nor a score of the objective; did"
    )
    assert "judged on rows that they are not trained on; leave train. out" in refused(metric="train.loss")
    assert wanted(fold, study, tmp_path / "new", metric="mae").metric == Metric("mae", "minimize")
    assert "was trained on these data and keeps its own rows; leave it out" in refused(folds=3)
    (tmp_path / "rows.txt").write_text("-1")
    assert refused(data=tmp_path / "rows.txt") == f"{tmp_path / 'rows.txt'}: -1 rows"


def test_epochs_that_end_before_any_may_be_kept(
    fold: Path, refit: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=r"^4 epochs .* stopping\.min_epochs 5, .* --set stopping\.min_epochs=1$"):
        wanted(fold, study, tmp_path / "new", "stopping.min_epochs=5")
    assert wanted(fold, study, tmp_path / "new", "stopping.min_epochs=4").epochs == 4
    assert wanted(refit, study, tmp_path / "new", "stopping.min_epochs=5").epochs == 4, "it keeps its last epoch"


class ByNumber(Toy):
    """With a family of scores, of which the data have one."""

    scores = MappingProxyType({**Toy.scores, "mae.*": "minimize"})

    def score(self, sums: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> dict[str, float]:
        found = super().score(sums, info)
        return found | {"mae.M2": found["mae"]}


def test_a_metric_that_the_rows_do_not_have_is_refused_before_training(
    fold: Path, refit: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    """A name that a family of scores allows need be none of the data's; rows to judge on need not be there."""

    def by_number(folder: Path, metric: str | None) -> Retraining:
        model = load_model(folder, objective=TOY, resolve=lambda *_: ByNumber())
        given: dict[str, Any] = {"data": None, "folds": None, "epochs": 4, "seed": 0, "objective": TOY}
        given |= {"params": new_values(model, ())}
        return finetuning(model, folder, metric=metric, cache=study[0].files.cache, output=tmp_path / "new", **given)

    assert by_number(fold, "mae.M2").metric == Metric("mae.M2", "minimize")
    with pytest.raises(DataError) as caught:
        by_number(fold, "mae.M7")
    rows, names = len(study[0].around.split.folds[2].validation), "loss, loss.class, loss.number, accuracy, mae, mae.M2"
    assert str(caught.value) == (
        f"--metric mae.M7 cannot be measured on the {rows} validation rows: did you mean 'mae.M2'? There are {names}"
    )
    with pytest.raises(DataError, match=r"--metric mae\.M7 cannot be measured on the 20 test rows: did you mean"):
        by_number(refit, "mae.M7")
    old = Path(shutil.copytree(fold, tmp_path / "old"))
    config = yaml.safe_load((old / "config.yaml").read_text())
    (old / "config.yaml").write_text(yaml.safe_dump(config | {"metric": {"name": "mae.M7", "direction": "minimize"}}))
    with pytest.raises(DataError, match=r"^mae\.M7, the metric of the model's study, .*; name one with --metric$"):
        by_number(old, None)
    alone = Path(shutil.copytree(refit, tmp_path / "alone"))
    seen = json.loads((alone / "rows.json").read_text())
    (alone / "rows.json").write_text(json.dumps({data: parts | {"test": []} for data, parts in seen.items()}))
    with pytest.raises(
        DataError, match=r"--metric mae: .*/alone has neither validation nor test rows .*; leave it out"
    ):
        wanted(alone, study, tmp_path / "new", metric="mae")
    assert wanted(alone, study, tmp_path / "new").scored()[0] == "train"


def test_data_that_changed_or_have_gone(refit: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    source = tmp_path / "rows.txt"
    source.write_text("60")
    trained(wanted(refit, study, tmp_path / "new", data=source))
    other = study[0].files.cache.with_name("other")
    source.write_text("61")
    with pytest.raises(
        DataError, match=r"the content of the files has changed .*\n  --data names other data, which are"
    ):
        wanted(tmp_path / "new", study, tmp_path / "third").__class__  # noqa: B018 - prepared data are still there
        finetune_elsewhere(tmp_path / "new", other, tmp_path / "third")
    source.unlink()
    with pytest.raises(DataError, match=r"rows\.txt: no such file or folder\n  --data names other data"):
        finetune_elsewhere(tmp_path / "new", other, tmp_path / "third")


def finetune_elsewhere(folder: Path, cache: Path, output: Path) -> Retraining:
    """Where the data have not been prepared yet."""
    rest: dict[str, Any] = {"data": None, "metric": None, "folds": None, "epochs": 1, "seed": 0}
    model = load(folder)
    return finetuning(model, folder, params=new_values(model, ()), cache=cache, output=output, objective=TOY, **rest)


def test_a_folder_that_does_not_say_which_rows_it_has_seen(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    old = Path(shutil.copytree(fold, tmp_path / "old"))
    (old / "rows.json").unlink()
    with pytest.raises(DataError, match=r"old does not say which rows of these data it was trained on: .* promote its"):
        wanted(old, study, tmp_path / "new")


def test_rows_that_the_data_do_not_have_are_named(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(fold, tmp_path / "damaged"))
    rows = json.loads((damaged / "rows.json").read_text())
    (damaged / "rows.json").write_text(json.dumps({key: {**parts, "train": [120]} for key, parts in rows.items()}))
    with pytest.raises(ModelError, match=r"damaged/rows\.json names row 120 of data that have 120 rows"):
        wanted(damaged, study, tmp_path / "new")


def test_a_request_knows_test_rows_and_code(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    what = wanted(fold, study, tmp_path / "new")
    assert what.request() == wanted(fold, study, tmp_path / "other").request()
    assert replace(what, test=what.test[1:]).request() != what.request()
    before = what.request()
    what.model.config = {**what.model.config, "objective_hash": "0" * 64}
    assert what.request() != before


# ---- the command


def test_a_place_below_a_file_and_the_data_that_a_folder_names_are_said(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    named = Path(shutil.copytree(fold, tmp_path / "named"))
    words = ["--objective", TOY, "--epochs", 1, "--output"]
    refused = command(study[1], "finetune", named, *words, tmp_path / "file/new")
    assert refused.exit_code == 2 and f"{tmp_path / 'file'}: is a file, and a folder is needed" in refused.stderr
    assert "reads the data" not in refused.stderr, "the objective's own"
    config = yaml.safe_load((named / "config.yaml").read_text()) | {"data": str(tmp_path / "secret")}
    (named / "config.yaml").write_text(yaml.safe_dump(config | {"fingerprint": "f" * 64}))
    refused = command(study[1], "finetune", named, *words, tmp_path / "new")
    first, second = refused.stderr.splitlines()[:2]
    assert first == f"reads the data that {named / 'config.yaml'} names: {tmp_path / 'secret'}"
    assert second == f"Error: {tmp_path / 'secret'}: no such file or folder"
    refused = command(study[1], "finetune", named, *words, tmp_path / "new", "--set", "model.width=12")
    assert refused.exit_code == 2 and refused.stdout == ""
    fit = "Error: the trained weights do not fit a network with model.width 8 -> 12 (hidden"
    assert refused.stderr.startswith(fit), "before the data are looked at"
    assert refused.stderr.endswith("would be needed): leave it as it was\n")


def test_the_command_says_whether_it_got_better(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    root = study[1]
    words = ["finetune", fold, "--objective", TOY, "--epochs", 3, "--emphasis", "rare"]
    done = command(root, *words, "--output", tmp_path / "one")
    assert done.exit_code == 0, done.output
    record = json.loads((tmp_path / "one/metrics.json").read_text())
    for name, before in record["before"].items():
        assert re.search(rf"^{re.escape(name)} +{before:.4g} +{record['after'][name]:.4g}$", done.stdout, re.M), name
    assert f"model      {tmp_path / 'one'}\n" in done.stdout
    assert re.search("^epoch 2/3 .* accuracy ", done.stderr, re.M)
    asked = command(root, *words, "--output", tmp_path / "two", "--json")
    assert json.loads(asked.stdout) == record | {"model": str(tmp_path / "two")}
    assert load(tmp_path / "two").params.sampling["emphasis"] == "rare"
    again = command(root, *words, "--output", tmp_path / "two")
    assert again.exit_code == 2 and "never overwritten: name another folder with --output" in again.stderr


def test_a_worse_model_is_written_and_called_so(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    words = ["finetune", fold, "--objective", TOY, "--epochs", 2, "--set", "optimizer.lr=5.0", "--metric", "loss"]
    done = command(study[1], *words, "--output", tmp_path / "worse")
    assert done.exit_code == 0, done.output
    gain = json.loads((tmp_path / "worse/metrics.json").read_text())["gain"]
    assert gain < 0
    expected = f"result     worse than the model it started from by {-gain:.4g} in loss: keep the old one, {fold}\n"
    assert expected in done.stdout


def test_of_new_data_no_more_is_claimed_than_is_known(fold: Path, study: tuple[Launched, Path], tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("60")
    words = ["finetune", fold, "--objective", TOY, "--data", tmp_path / "rows.txt", "--set", "optimizer.lr=3e-2"]
    done = command(study[1], *words, "--metric", "loss", "--epochs", 8, "--output", tmp_path / "new")
    assert done.exit_code == 0, done.output
    said = "other data than the model was trained on, by their fingerprint; rows that are in both cannot be told apart"
    assert f"note: {said}\n" in done.stderr
    assert " validation rows (dealt anew; they choose the epoch)\n" in done.stdout
    gain = json.loads((tmp_path / "new/metrics.json").read_text())["gain"]
    assert gain > 0
    assert (
        f"better than the model it started from by {gain:.4g} in loss on these rows, some of which it may have "
        in done.stdout
    )


STRUCK = """
import os, signal
os.kill(os.getpid(), signal.SIGINT)
"""


@pytest.mark.parametrize("words", [("finetune", "MODEL"), ("evaluate", "MODEL"), ("check", "study.yaml")])
def test_ctrl_c_before_signals_are_caught_ends_with_its_own_code(
    fold: Path, study: tuple[Launched, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """The user's own code is loaded early, and strikes."""
    own = tmp_path / "own.py"
    own.write_text(f"# {words}{STRUCK}")  # no two of one hash: a file that was loaded is not run again
    copied = Path(shutil.copytree(fold, tmp_path / "MODEL"))
    config = yaml.safe_load((copied / "config.yaml").read_text())
    changed = {"objective": f"{own}:Toy", "objective_hash": None}
    (copied / "config.yaml").write_text(yaml.safe_dump(config | changed))
    (tmp_path / "study.yaml").write_text(TEXT.replace(TOY, f"{own}:Toy"))
    monkeypatch.chdir(tmp_path)
    asked = [] if words[0] == "check" else ["--objective", f"{own}:Toy"]
    done = command(study[1], *words, *asked)
    assert done.exit_code == 130, done.output
    assert done.stderr.endswith("\nstopped\n") and "Aborted" not in done.stderr


def test_the_default_place_is_beside_the_model(refit: Path, study: tuple[Launched, Path]) -> None:
    done = command(study[1], "finetune", refit, "--objective", TOY, "--epochs", 1)
    place = refit.with_name("trial-0001-finetuned")
    assert done.exit_code == 0 and f"model      {place}\n" in done.stdout
    assert "20 test rows (held out for a test)" in done.stdout
    shutil.rmtree(place)
