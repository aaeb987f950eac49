"""The list that ends hpo check: what to see to before a study is trained again, with numbers and the way out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from optuna.trial import TrialState

from hpo.check import Training
from hpo.check_list import Device, Item, Standing, current_best, early_stopping, first_loss, memory, models, one_fold
from hpo.check_study import first_params
from hpo.cli.group import hpo as group
from hpo.files import RunFiles
from hpo.objective import Epoch, Metric
from hpo.promotion import plan, run_job
from hpo.records import FinalRecord, TrialRecord
from hpo.schedule import should_stop
from hpo.study import Study
from hpo.wording import counted, plus_minus
from tests.toy import STUDY, Launched, Toy, launch

AGAIN = "hpo check toy.yaml"
NAMES = ["models", "one fold first", "first loss", "early stopping", "memory", "current best"]


def study(text: str = STUDY) -> Study:
    return Study.from_text(text, "/toy.yaml", lambda _: Toy())


def epoch(number: int, train: float, validation: float, **changes: Any) -> Epoch:
    made = Epoch(
        number=number,
        train={"loss": train},
        validation={"loss": validation, "accuracy": 0.5},
        lr=1e-3,
        gradient_norm=1.0,
        seconds=1.0,
        samples=1,
        peak_memory_mb=100.0,
    )
    return replace(made, **changes)


def training(*losses: tuple[float, float], untrained: float = 2.0) -> Training:
    """Epochs of (training loss, validation loss)."""
    epochs = [epoch(number, *both) for number, both in enumerate(losses, start=1)]
    return Training(epochs=epochs, untrained={"loss": untrained}, seconds_per_epoch=60.0)


# -- the items


def test_models_of_the_study_are_counted_and_those_of_others_are_not(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for path in (
        "toy-1a2b3c4d/trial-0001",
        "toy-1a2b3c4d/fold-3-of-trial-0001",
        "toy-99999999/continued/fold-0-of-trial-0002",
        "toy-99999999/.trial-0003.7.1",  # half written
        "toy-more-1a2b3c4d/trial-0001",
        "toy/trial-0001",
    ):
        (tmp_path / "models" / path).mkdir(parents=True)
        (tmp_path / "models" / path / "config.yaml").write_text("")
    found = files.models("toy")
    assert [path.relative_to(tmp_path / "models").as_posix() for path in found] == [
        "toy-1a2b3c4d/fold-3-of-trial-0001",
        "toy-1a2b3c4d/trial-0001",
        "toy-99999999/continued/fold-0-of-trial-0002",
    ]
    item = models("toy", found, files.root)
    assert item.state == "ok" and item.text.startswith(
        f"3 model folders of study toy in {tmp_path / 'models'}; none is"
    )
    assert RunFiles(tmp_path / "none").models("toy") == []
    assert models("toy", [], files.root).text.startswith("no model folder yet of study toy in ")


def test_a_name_that_no_folder_can_have_finds_the_folders_made_for_it(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    folder = files.model(files.new_folder("my.study"), 3)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    assert files.models("my.study") == [folder]


def test_one_fold_first() -> None:
    spec = study()
    text = (
        "not tried yet: `hpo check toy.yaml --fold 0` trains fold 0 alone, as its trial would (at most 3 epochs, 3 min)"
    )
    # 3 epochs of 60 seconds
    assert one_fold(spec, training((2, 2)), None, AGAIN) == Item(name="one fold first", state="look", text=text)
    done = replace(training((2, 2), (1, 1)), best=epoch(2, 1, 1))
    item = one_fold(spec, done, 1, AGAIN)
    assert (item.state, item.text) == ("ok", "fold 1 trained for 2 epochs of at most 3: accuracy 0.5 at epoch 2")
    failed = replace(done, problems=["loss term 'number' is not finite"])
    assert one_fold(spec, failed, 1, AGAIN).text.endswith("2 epochs of at most 3, with a problem: see above")


@pytest.mark.parametrize(
    ("losses", "state", "said"),
    [
        (
            [(2.1, 1.8), (1.5, 1.6)],
            "ok",
            "every term is finite; training loss 2.1 -> 1.5 in 2 epochs; on validation rows",
        ),
        ([(2.1, 1.8)], "ok", "training loss 2.1 -> 2.1 in 1 epoch; on validation rows 2 untrained, 1.8 after epoch 1"),
        ([(2.0, 1.8), (2.1, 1.8)], "ok", "2 -> 2.1 in"),  # by 5 %: scatter
        (
            [(2.0, 1.8), (2.5, 1.8)],
            "look",
            "has risen; lower optimizer.lr, `hpo check toy.yaml --lr-range` says how far",
        ),
        ([(-2.0, 1.8), (-1.5, 1.8)], "look", "has risen"),  # a likelihood may be below 0
        ([(90.0, 42.0), (1.0, 1.0)], "look", "42 after epoch 1, 21 times as much: lower optimizer.lr, `hpo check"),
        ([(9.0, 20.0), (1.0, 1.0)], "ok", "20 after epoch 1"),  # ten times, not more
        ([], "look", "no epoch has ended with a finite loss: see the problem above"),
    ],
)
def test_the_first_loss(losses: list[tuple[float, float]], state: str, said: str) -> None:
    item = first_loss(training(*losses), 0, AGAIN)
    assert item.state == state and said in item.text, item


def test_the_first_loss_of_a_fast_validation_is_not_compared() -> None:
    """It is that of other rows than the untrained net's."""
    two = training((2.0, 99.0), (1.5, 1.7))
    two.epochs[0] = replace(two.epochs[0], full=False)
    item = first_loss(two, 0, AGAIN)
    assert item.state == "ok" and item.text.endswith("2 untrained, 1.7 after epoch 2")
    assert "in 2 rounds over two batches; " in first_loss(two, None, AGAIN).text


def flat(params: Any, budget: int) -> int:
    """After which epoch a training ends that never improves on its first one, by the rule of the training loop."""
    metric, least = Metric("loss", "minimize"), params.stopping["min_epochs"]
    epochs: list[Epoch] = []
    while len(epochs) < budget and not (epochs and should_stop(epochs, metric, params.stopping, least)):
        epochs.append(epoch(len(epochs) + 1, 1.0, 1.0))
    return len(epochs)


@pytest.mark.parametrize(
    ("stopping", "state", "said"),
    [
        ("{patience: 15, min_epochs: 5}", "ok", "no model before epoch 5 is kept; with patience 15 none stops before"),
        (
            "{patience: 10, min_epochs: 1}",
            "look",
            "min_epochs 1 lets the first epoch be kept: set it to 5, say; with pat",
        ),
        ("{patience: 48, min_epochs: 5}", "ok", "none stops before epoch 50, the last of budget.epochs"),
        ("{patience: 0, min_epochs: 5}", "ok", "patience 0 turns early stopping off: none stops before epoch 50"),
        ("{patience: 3, min_epochs: 50}", "ok", "no model before epoch 50 is kept"),
    ],
)
def test_early_stopping_says_when_the_loop_stops_at_the_earliest(stopping: str, state: str, said: str) -> None:
    text = STUDY.replace("{patience: 0, min_epochs: 1}", stopping).replace("epochs: 3}", "epochs: 50}")
    spec = study(text)
    params = first_params(spec, "before")
    item = early_stopping(spec, params, "before")
    assert item.state == state and said in item.text, item
    assert f"none stops before epoch {flat(params, 50)}" in item.text


@pytest.mark.parametrize(("least", "state"), [(2, "look"), (3, "ok")])
def test_early_stopping_knows_the_target_of_epochs(least: int, state: str) -> None:
    text = STUDY.replace("min_epochs: 1", f"min_epochs: {least}") + "targets:\n  - {epochs: kept, at_least: 3}\n"
    spec = study(text)
    item = early_stopping(spec, first_params(spec, "before"), "before")
    assert item.state == state
    assert ("lets epoch 2 be kept, and a target asks for 3: set it to 3" in item.text) == (state == "look")


@pytest.mark.parametrize(
    ("fixed", "other", "said"),
    [
        (1, None, "min_epochs 1 lets the first epoch be kept: set it to 5, say; with"),
        (5, None, "min_epochs 1 of configuration 'before' lets the first epoch be kept: set it to 5, say, or leave it"),
        (5, 3, "5, say, or leave it if it is meant: in all other trials no model before epoch 3 is kept; with"),
        (5, 1, "min_epochs 1 of configuration 'before' lets the first epoch be kept: set it to 5, say; with"),
    ],
)
def test_early_stopping_names_the_configuration_whose_value_it_is(fixed: int, other: int | None, said: str) -> None:
    """The check trains the baseline, whose old values may differ from the study's on purpose."""
    text = STUDY.replace("{patience: 0, min_epochs: 1}", f"{{patience: 10, min_epochs: {fixed}}}")
    text = text.replace("epochs: 3}", "epochs: 50}").replace("before: {", "before: {stopping: {min_epochs: 1}, ")
    if other:
        text += f"  after: {{optimizer: {{lr: 1e-2}}, stopping: {{min_epochs: {other}}}}}\n"
    spec = study(text)
    item = early_stopping(spec, first_params(spec, "before"), "before")
    assert item.state == "look" and said in item.text, item


def test_early_stopping_knows_that_the_sampler_asks_for_few_epochs_too() -> None:
    text = STUDY.replace("space:", "space:\n  stopping: {min_epochs: {int: [4, 9]}}").replace(", min_epochs: 1}", "}")
    text = text.replace("before: {", "before: {stopping: {min_epochs: 4}, ").replace("epochs: 3}", "epochs: 50}")
    spec = study(text + "targets:\n  - {epochs: kept, at_least: 5}\n")
    item = early_stopping(spec, first_params(spec, "before"), "before")
    assert "stopping.min_epochs 4 lets epoch 4 be kept, and a target asks for 5: set it to 5; pat" in item.text


@pytest.mark.parametrize(
    ("device", "state", "said"),
    [
        (
            Device(name="cuda:0", memory_mb=1000, workers=1),
            "ok",
            "100 MB at data.batch_size 16 of 1000 MB of cuda:0: 10%",
        ),
        (Device(name="cpu", memory_mb=500, workers=4), "ok", "100 MB at data.batch_size 16 x 4 workers of 500 MB of"),
        (Device(name="cpu", memory_mb=450, workers=4), "look", "89%; lower data.batch_size, start fewer workers, `hpo"),
        (
            Device(name="cuda:1", memory_mb=110, workers=1),
            "look",
            "91%; lower data.batch_size, `hpo check toy.yaml --bat",
        ),
    ],
)
def test_memory_is_that_of_all_workers_of_the_device(device: Device, state: str, said: str) -> None:
    item = memory(training((2, 2)), first_params(study(), "before"), device, AGAIN)
    assert item.state == state and said in item.text, item
    assert memory(Training(), first_params(study(), "before"), device, AGAIN).state == "look"


def standing(final: FinalRecord | None, data: str | None = None) -> Standing:
    best = TrialRecord(
        trial_id=1,
        number=12,
        state="COMPLETE",
        value=0.61234,
        params={},
        searched={},
        configuration=None,
        fold=0,
        worker="w",
        attempt=1,
        end=None,
        end_text=None,
        started=None,
        finished=None,
        epochs=(),
    )
    return Standing(best=best, final=final, data=data)


def test_the_current_best_is_what_to_compare_with() -> None:
    spec = study()
    final = FinalRecord(
        status="done",
        path="/runs/models/a b/trial-0012",
        candidate=12,
        scores={"accuracy": 0.5},
        spread={"accuracy": 0.1},
        baseline_scores={},
        baseline_spread={},
        test_scores={},
        end_text=None,
    )
    item = current_best(spec, standing(final, "/mice"))
    assert item == Item(
        name="current best",
        state="ok",
        text="trial 12 with accuracy 0.6123 on fold 0; trial 12 promoted, 0.50 ± 0.10 over the folds; compare with it: "
        "`hpo evaluate '/runs/models/a b/trial-0012' --data /mice`",
    )
    waiting = replace(final, status="running", path=None, scores={})
    assert current_best(spec, standing(waiting)).text == "trial 12 with accuracy 0.6123 on fold 0; no final model yet"
    none = replace(standing(None), best=None)
    assert current_best(spec, none).text == "none yet, no trial is complete: nothing to compare with"
    broken = current_best(spec, None, "disk I/O error")
    assert (broken.state, "cannot be read: disk I/O error" in broken.text) == ("look", True)


# -- the command


@pytest.fixture
def invoke(tmp_path: Path) -> Iterator[Callable[..., Result]]:
    threads, place = torch.get_num_threads(), ["--runs", str(tmp_path / "runs")]
    yield lambda *words: CliRunner().invoke(group, ["check", *words, *place])
    torch.set_num_threads(threads)


@pytest.fixture
def toy(tmp_path: Path) -> str:
    (tmp_path / "toy.yaml").write_text(STUDY)
    return str(tmp_path / "toy.yaml")


def listed(done: Result) -> dict[str, tuple[str, str]]:
    """Name -> state and text, as --json has them."""
    found = json.loads(done.stdout)["before_you_retrain"]
    return {item["name"]: (item["state"], item["text"]) for item in found}


def test_the_list_ends_what_check_writes_for_people(invoke: Callable[..., Result], toy: str) -> None:
    done = invoke(toy, "--configuration", "before", "--device", "cpu")
    assert done.exit_code == 0, done.output
    head, _, tail = done.stdout.partition("\nbefore you retrain\n")
    assert "result     ok" in head
    lines = [line for line in tail.splitlines() if not line.startswith("   ")]
    assert [(line[2:7].strip(), line[7:23].strip()) for line in lines] == list(
        zip(["ok", "look", "ok", "look", "ok", "ok"], NAMES, strict=True)
    )
    words = " ".join(tail.split())
    assert f"`hpo check {toy} --configuration before --device cpu --fold 0` trains fold 0 alone" in words
    assert "rounds over two batches" in words and "study toy is not in the database" in words


def test_a_fold_that_was_trained_is_told_and_the_probes_have_no_list(invoke: Callable[..., Result], toy: str) -> None:
    found = listed(invoke(toy, "--fold", "2", "--epochs", "2", "--json"))
    assert list(found) == NAMES
    assert found["one fold first"][0] == "ok"
    assert found["one fold first"][1].startswith("fold 2 trained for 2 epochs of at most 3: accuracy 0.")
    assert "before_you_retrain" not in json.loads(invoke(toy, "--batch-size", "--json").stdout)


def test_a_rate_that_throws_the_net_off_is_seen(invoke: Callable[..., Result], tmp_path: Path) -> None:
    wild = STUDY.replace("[1e-3, 1e-1]", "[1e-3, 1e3]").replace("lr: 3e-2", "lr: 1e3")
    (tmp_path / "wild.yaml").write_text(wild)
    state, text = listed(invoke(str(tmp_path / "wild.yaml"), "--fold", "0", "--json"))["first loss"]
    assert state == "look" and "lower optimizer.lr" in text


def test_a_loss_that_is_not_finite_leaves_nothing_to_judge(invoke: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "huge.yaml").write_text(STUDY.replace("fixed:", "fixed:\n  loss: {scale: 1e30}"))
    done = invoke(str(tmp_path / "huge.yaml"), "--json")
    assert done.exit_code == 1
    found = listed(done)
    assert [found[name][0] for name in ("first loss", "memory")] == ["look", "look"]
    assert all("see the problem above" in found[name][1] for name in ("first loss", "memory"))


def test_the_current_best_is_read_from_the_database(invoke: Callable[..., Result], tmp_path: Path, toy: str) -> None:
    url = f"sqlite:///{tmp_path / 'hpo.db'}"

    def checked(storage: str) -> dict[str, tuple[str, str]]:
        return listed(invoke(toy, "--json", "--storage", storage))

    launched = launch(url, tmp_path)
    assert checked(url)["current best"] == ("ok", "none yet, no trial is complete: nothing to compare with")
    for value in (0.4, 0.7):
        told(launched, value)
    assert checked(url)["current best"] == ("ok", "trial 1 with accuracy 0.7 on fold 0; no final model yet")
    promote(launched)
    final = launched.store.reading.final(launched.record.study_id)
    launched.store.close()
    assert final is not None and final.path is not None
    found = checked(url)
    over = plus_minus(final.scores["accuracy"], final.spread["accuracy"])
    assert f"; trial 1 promoted, {over} over the folds; " in found["current best"][1]
    assert found["current best"][1].endswith(f"compare with it: `hpo evaluate {final.path}`")
    folders = launched.files.models("toy")
    assert Path(final.path) in folders
    assert found["models"][1].startswith(f"{counted(len(folders), 'model folder')} of study toy in ")
    (tmp_path / "bad.db").write_text("no database")
    state, text = checked(f"sqlite:///{tmp_path / 'bad.db'}")["current best"]
    assert state == "look" and "the database cannot be read: " in text


def told(launched: Launched, value: float) -> None:
    """A trial that ended with this value."""
    lease, search = launched.trial(), launched.search
    search.choose(lease)
    launched.store.results.finish_trial(lease, lambda: search.tell(lease, TrialState.COMPLETE, value), value=value)


def promote(launched: Launched) -> None:
    """What a worker does when the search is over."""
    plan(launched.store, launched.record, launched.spec)
    while (job := launched.job()) is not None:
        run_job(job, launched.around)
        plan(launched.store, launched.record, launched.spec)
