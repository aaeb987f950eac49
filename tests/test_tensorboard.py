"""Event files, read back by TensorBoard's own reader: each epoch once and in order, whoever trained it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hpo.cli.group import hpo
from hpo.epoch import Epoch
from hpo.store import Lease
from hpo.tensorboard import EventFile, unit_name
from hpo.training import Interrupted
from hpo.work import Log, Surroundings, advance
from tests.test_checkpoint import fill
from tests.test_work import LR, interrupted_at, successor
from tests.toy import STUDY, Launched, launch

CURRICULUM = """\
validation: {full_validation_every: 2}
fixed:
  loss: {number_start: 1, ramp_epochs: 2}
"""
TEXT = STUDY.replace("fixed:\n", CURRICULUM).replace("epochs: 3", "epochs: 5")


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    made = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, TEXT, tensorboard=True, gradient_norms=True)
    yield made
    made.store.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "unit.log")


def work(launched: Launched, lease: Lease, log: Log, around: Surroundings | None = None) -> list[Epoch]:
    """The epochs that were trained, to the end or to an interruption."""
    around = around or launched.around
    run, found = around.run(lease, launched.spec.params(LR)), []
    try:
        for epoch, _ in advance(run, lease, around, log):
            found.append(epoch)
    except Interrupted:
        pass
    return found


def runs(launched: Launched) -> Path:
    return launched.files.tensorboard(launched.record.folder)


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Tag -> step and value, as TensorBoard shows them."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def points(values: Iterable[tuple[int, float]]) -> list[tuple[int, float]]:
    """As an event file keeps them: in single precision."""
    return [(step, float(np.float32(value))) for step, value in values]


def assert_shows(folder: Path, epochs: list[Epoch]) -> None:
    """TensorBoard shows every epoch once, in order, with every number it has."""
    shown = read(folder)
    for name in ("loss", "loss.class", "loss.number", "accuracy", "mae"):
        assert shown[f"train/{name}"] == points((e.number, e.train[name]) for e in epochs)
        for tag, full in (("val", True), ("val_fast", False)):
            wanted = points((e.number, e.validation[name]) for e in epochs if e.full is full)
            assert shown.get(f"{tag}/{name}", []) == wanted
    assert shown["train/lr"] == points((e.number, e.lr) for e in epochs)
    assert shown["train/gradient_norm"] == points((e.number, e.gradient_norm) for e in epochs)
    ratios = points((e.number, e.ratios()["class/number"]) for e in epochs if e.ratios())
    assert shown.get("ratios/class/number", []) == ratios
    for term in ("class", "number"):
        assert shown[f"curriculum/{term}"] == points((e.number, e.weights[term]) for e in epochs)
        assert shown[f"gradient/{term}"] == points((e.number, e.gradient_norms[term]) for e in epochs)
        for kind in ("sd", "min", "max"):
            assert shown[f"spread/{term}/{kind}"] == points((e.number, e.spread[term][kind]) for e in epochs)
    groups = {tag.partition("/")[0] for tag in shown}
    assert groups <= {"train", "val", "val_fast", "ratios", "curriculum", "gradient", "spread"}


def test_every_number_of_every_epoch_is_shown(launched: Launched, log: Log) -> None:
    lease = launched.trial()
    epochs = work(launched, lease, log)
    assert [e.full for e in epochs] == [False, True, False, True, True]
    assert [e.weights["number"] for e in epochs] == [0, 0.25, 0.5, 0.5, 0.5]
    assert [path.name for path in runs(launched).iterdir()] == ["trial-00000-fold-0"]
    assert_shows(runs(launched) / "trial-00000-fold-0", epochs)


@pytest.mark.parametrize("every", [0.0, 1e6])
@pytest.mark.parametrize("looks", [(2,), (9,), (13, 4), (13, 0, 8)])
def test_an_interrupted_and_resumed_trial_is_one_curve(
    launched: Launched, log: Log, every: float, looks: tuple[int, ...]
) -> None:
    lease = launched.trial()
    for look in looks:
        work(launched, lease, log, replace(launched.around, stop=interrupted_at(look), checkpoint_every=every))
        lease = successor(lease)
    epochs = work(launched, lease, log)
    assert len(epochs) == 5
    assert_shows(runs(launched) / "trial-00000-fold-0", epochs)


def test_epochs_that_a_successor_trains_again_are_shown_as_it_trained_them(launched: Launched, log: Log) -> None:
    """The first worker was killed without a checkpoint, in the middle of a write; it wakes up and writes on."""
    lease = launched.trial()
    first = work(launched, lease, log, replace(launched.around, stop=interrupted_at(16), checkpoint_every=1e6))
    launched.files.remove_checkpoints(launched.record.folder, lease.lease_id)
    (killed,) = runs(launched).glob("*/events*")
    killed.write_bytes(killed.read_bytes()[:-20])
    epochs = work(launched, successor(lease), log)
    assert [e.number for e in epochs[: len(first)]] == [e.number for e in first]
    assert_shows(killed.parent, epochs)
    late = EventFile(runs(launched), lease, (), pytest.fail)
    late.add(replace(first[-1], number=99))
    assert_shows(killed.parent, epochs)


def test_another_worker_may_have_written_none(launched: Launched, log: Log) -> None:
    """Launched without the option first: what was trained then comes from the checkpoint."""
    lease = launched.trial()
    plain = replace(launched.around, stop=interrupted_at(13), tensorboard=False)
    assert len(work(launched, lease, log, plain)) == 2 and not runs(launched).exists()
    epochs = work(launched, successor(lease), log)
    assert_shows(runs(launched) / "trial-00000-fold-0", epochs)


def test_jobs_have_runs_of_their_own(launched: Launched) -> None:
    trial = launched.trial()
    job = replace(trial, trial_id=None, number=None, job_id=3, candidate=7)
    names = [unit_name(lease) for lease in (trial, job, replace(job, fold=-1), replace(job, seed=2))]
    assert names == [
        "trial-00000-fold-0",
        "promotion-trial-00007-fold-0",
        "promotion-trial-00007-refit",
        "promotion-trial-00007-fold-0-seed-2",
    ]


def test_a_full_disk_ends_no_training(small_disk: Path, tmp_path: Path, log: Log) -> None:
    """Full from the first epoch on, with room again before the last: then everything is there."""
    made = launch(f"sqlite:///{tmp_path / 'hpo.db'}", small_disk, TEXT, tensorboard=True, gradient_norms=True)
    around = replace(made.around, checkpoint_every=1e6)
    lease = made.trial()
    run, full = around.run(lease, made.spec.params(LR)), fill(small_disk)
    for epoch, _ in advance(run, lease, around, log):
        if epoch.number == 3:
            assert not read(runs(made) / "trial-00000-fold-0")
            full.unlink()
    assert_shows(runs(made) / "trial-00000-fold-0", run.epochs)
    assert log.path.read_text().count("no event files for TensorBoard for now: No space left on device") == 1
    made.store.close()


@pytest.mark.parametrize("words", [("launch", "digits"), ("promote",), ("worker", "digits")])
def test_a_missing_package_is_said_at_once(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = CliRunner().invoke(hpo, [*words, "--tensorboard"])
    assert done.exit_code == 2 and "pip install 'hpo[tensorboard]'" in done.output
