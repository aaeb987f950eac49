"""A unit of work: which run a lease stands for, checkpoints before records, and going on where someone stopped."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from hpo.checkpoint import Checkpoints
from hpo.objective import Epoch, Params
from hpo.patience import DatabaseGone, Patience
from hpo.recorder import Recorder
from hpo.store import Lease, LeaseLost, Watch
from hpo.training import Interrupted
from hpo.work import Log, Surroundings, advance
from tests.test_checkpoint import fill
from tests.toy import STUDY, Launched, launch

LR = {"optimizer.lr": 0.03}
PATIENCE = Patience(0.0, lambda _: None)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    made = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "unit.log")


def folder(launched: Launched, lease: Lease) -> Path:
    return launched.files.checkpoints(launched.record.folder, lease.lease_id)


def saved(launched: Launched, lease: Lease) -> list[str]:
    """Token and epoch of every checkpoint."""
    paths = sorted(folder(launched, lease).glob("*/*.pt"))
    return [f"{path.parent.name}/{int(path.name[6:11])}" for path in paths]


def work(launched: Launched, lease: Lease, log: Log, around: Surroundings | None = None) -> list[Epoch]:
    around = around or launched.around
    return [epoch for epoch, _ in advance(around.run(lease, launched.spec.params(LR)), lease, around, log)]


def interrupted_at(look: int) -> Any:
    """True at one look of many: an epoch of the toy's fold looks 6 times."""
    looks = iter(range(10**6))
    return lambda: next(looks) == look


def stopped(launched: Launched, lease: Lease, log: Log, look: int, **changes: Any) -> list[Epoch]:
    """Work until the stop flag is seen at that look."""
    around = replace(launched.around, stop=interrupted_at(look), **changes)
    run, found = around.run(lease, launched.spec.params(LR)), []
    with pytest.raises(Interrupted):
        for epoch, _ in advance(run, lease, around, log):
            found.append(epoch)
    return found


def numbers(epochs: list[Epoch]) -> list[Any]:
    return [(epoch.number, epoch.train, epoch.validation, epoch.lr, epoch.gradient_norm) for epoch in epochs]


def successor(lease: Lease) -> Lease:
    return replace(lease, token=lease.token + 1, attempt=lease.attempt + 1)


# ---- which run


def test_a_trial_and_a_job_of_one_fold_are_different_trainings(launched: Launched) -> None:
    """A candidate proves itself with other seeds than those it was chosen with."""
    trial, params = launched.trial(), launched.spec.params(LR)
    jobs = [replace(trial, trial_id=None, job_id=1, seed=seed) for seed in (0, 1)]
    runs = [launched.around.run(lease, params) for lease in (trial, *jobs)]
    assert [run.repeat for run in runs] == [0, 1, 2]
    assert len({float(run.epoch().train["loss"]) for run in runs}) == 3
    for run in runs:
        np.testing.assert_array_equal(run.fold.validation, launched.around.split.folds[0].validation)


def test_each_fold_is_its_own_and_a_refit_has_all_but_the_test_rows(launched: Launched) -> None:
    trial, params, split = launched.trial(), launched.spec.params(LR), launched.around.split
    for number, fold in enumerate(split.folds):
        run = launched.around.run(replace(trial, fold=number), params)
        np.testing.assert_array_equal(run.fold.train, fold.train)
    refit = launched.around.run(replace(trial, fold=-1), params, epochs=2, drops=(1,))
    assert len(refit.fold.validation) == 0
    everything = np.sort(np.concatenate([refit.fold.train, split.test]))
    np.testing.assert_array_equal(everything, np.arange(120))
    assert (refit.epochs_max, refit.schedule.epochs, refit.schedule.drops) == (2, 3, [1])


# ---- checkpoints


def test_a_trial_from_before_a_parameter_was_added_trains_with_its_default(launched: Launched) -> None:
    """A study goes on, and is promoted, after an update of hpo."""
    whole = launched.spec.params(LR)
    old = Params.from_flat({name: value for name, value in whole.flat().items() if name != "loss.scale"})
    assert launched.around.run(launched.trial(), old).params == whole


def test_whatever_is_recorded_can_be_gone_on_with(launched: Launched, log: Log) -> None:
    """When the caller gets an epoch, it is on disk; the last one needs no checkpoint."""
    lease = launched.trial()
    run = launched.around.run(lease, launched.spec.params(LR))
    seen = [(epoch.number, saved(launched, lease)) for epoch, _ in advance(run, lease, launched.around, log)]
    assert seen == [(1, ["1/1"]), (2, ["1/1", "1/2"]), (3, ["1/1", "1/2"])]


def test_short_epochs_do_not_pay_for_a_checkpoint_each(launched: Launched, log: Log) -> None:
    lease = launched.trial()
    work(launched, lease, log, replace(launched.around, checkpoint_every=1e6))
    assert saved(launched, lease) == []


@pytest.mark.parametrize("every", [0.0, 1e6])
@pytest.mark.parametrize(("look", "done"), [(0, 0), (5, 0), (6, 1), (9, 1), (17, 2)])
def test_an_interruption_keeps_the_last_epoch_boundary(
    launched: Launched, log: Log, every: float, look: int, done: int
) -> None:
    lease = launched.trial()
    assert len(stopped(launched, lease, log, look, checkpoint_every=every)) == done
    assert saved(launched, lease)[-1:] == ([f"1/{done}"] if done else [])
    assert log.last == f"left after epoch {done}"


@pytest.mark.parametrize("look", [0, 6, 9, 17])
def test_the_next_worker_goes_on_to_the_same_numbers(launched: Launched, log: Log, tmp_path: Path, look: int) -> None:
    lease = launched.trial()
    whole = work(launched, replace(lease, lease_id=77), Log(tmp_path / "whole.log"))
    first = stopped(launched, lease, log, look)
    second = work(launched, successor(lease), log)
    assert numbers(second) == numbers(whole)  # what was restored is yielded again, to be recorded again
    assert second[: len(first)] == first
    text = log.path.read_text()
    if first:
        assert f"resumed after epoch {len(first)} (attempt 2)" in text
    else:
        assert "started again from epoch 1: no checkpoint was found (attempt 2)" in text
    assert all(name.startswith("2/") for name in set(saved(launched, lease)) - {f"1/{k}" for k in (1, 2)})


def test_restored_epochs_are_told_from_new_ones(launched: Launched, log: Log) -> None:
    """The pruner has decided on them already."""
    lease = launched.trial()
    stopped(launched, lease, log, 13)
    run = launched.around.run(lease, launched.spec.params(LR))
    found = [(epoch.number, old) for epoch, old in advance(run, successor(lease), launched.around, log)]
    assert found == [(1, True), (2, True), (3, False)]


def test_stopped_again_and_again_it_still_comes_to_the_same(launched: Launched, log: Log, tmp_path: Path) -> None:
    lease = launched.trial()
    whole = work(launched, replace(lease, lease_id=77), Log(tmp_path / "whole.log"))
    for look in (8, 3, 6, 2):
        stopped(launched, lease, log, look, checkpoint_every=1e6)
        lease = successor(lease)
    assert numbers(work(launched, lease, log)) == numbers(whole)


def test_a_run_that_is_given_back_untouched_keeps_its_checkpoint(launched: Launched, log: Log) -> None:
    """Stopped before its first new epoch, the second worker has nothing to add."""
    lease = launched.trial()
    stopped(launched, lease, log, 9)
    stopped(launched, successor(lease), log, 1)
    assert saved(launched, lease) == ["1/1"]


def test_a_damaged_checkpoint_is_said_and_passed_over(launched: Launched, log: Log) -> None:
    lease = launched.trial()
    whole = work(launched, lease, log)
    path = max(folder(launched, lease).glob("1/*.pt"))
    path.write_bytes(path.read_bytes()[:-9])
    assert numbers(work(launched, successor(lease), log)) == numbers(whole)
    text = log.path.read_text()
    assert f"checkpoint {path} is damaged, using the one before it" in text
    assert "resumed after epoch 1 (attempt 2)" in text


@pytest.mark.parametrize("change", [{"optimizer": {"state": 1}}, {"schedule": None}, {"model": {}}])
def test_a_checkpoint_that_does_not_fit_is_said_and_passed_over(
    launched: Launched, log: Log, change: dict[str, Any]
) -> None:
    """Whole, but of another version of the objective: part of it is loaded before the mismatch is met."""
    lease = launched.trial()
    whole = work(launched, lease, log)
    other = launched.around.run(lease, launched.spec.params({"optimizer.lr": 0.1}))
    other.epoch(), other.epoch()
    Checkpoints(folder(launched, lease), 2).save({**other.state_dict(), **change})
    assert numbers(work(launched, replace(successor(lease), token=3), log)) == numbers(whole)
    text = log.path.read_text()
    assert text.count("the checkpoint after epoch 2 does not fit (") == 1
    assert text.count("resumed after epoch 2") == 1


def test_a_run_without_a_checkpoint_that_fits_starts_afresh(launched: Launched, log: Log) -> None:
    lease = launched.trial()
    run = launched.around.run(lease, launched.spec.params(LR))
    run.epoch()
    Checkpoints(folder(launched, lease), 1).save({**run.state_dict(), "optimizer": {"state": 1}})
    found = work(launched, successor(lease), log)
    fresh = launched.around.run(lease, launched.spec.params(LR))
    assert numbers(found) == numbers([fresh.epoch() for _ in range(3)])
    assert "started again from epoch 1: no checkpoint was found" in log.path.read_text()


def test_a_full_disk_ends_no_training(small_disk: Path, tmp_path: Path, log: Log) -> None:
    """The folder of runs is full from the first epoch on, and has room again before the last."""
    launched = launch(f"sqlite:///{tmp_path / 'hpo.db'}", small_disk, STUDY.replace("epochs: 3", "epochs: 5"))
    lease = launched.trial()
    run = launched.around.run(lease, launched.spec.params(LR))
    full = fill(small_disk)
    for epoch, _ in advance(run, lease, launched.around, log):
        Log(small_disk / "unit.log").say("does not fit either")
        if epoch.number < 3:
            assert saved(launched, lease) == []
        if epoch.number == 3:
            full.unlink()
    assert run.finished and len(run.epochs) == 5
    assert saved(launched, lease) == ["1/4"]
    text = log.path.read_text()
    assert text.count("no checkpoint could be written (") == 1
    assert text.count("checkpoints are written again, the newest after epoch 4") == 1
    launched.store.close()


def test_an_interruption_on_a_full_disk_gives_back_all_the_same(small_disk: Path, tmp_path: Path, log: Log) -> None:
    launched = launch(f"sqlite:///{tmp_path / 'hpo.db'}", small_disk)
    lease = launched.trial()
    fill(small_disk)
    assert len(stopped(launched, lease, log, look=8)) == 1
    assert "left after epoch 1" in log.path.read_text()
    launched.store.close()


@pytest.mark.parametrize(("keep", "kept"), [(0, ["1/1", "1/2"]), (2, ["1/2", "1/3"])])
def test_the_last_state_is_written_for_those_who_keep_it(
    launched: Launched, log: Log, keep: int, kept: list[str]
) -> None:
    lease = launched.trial()
    work(launched, lease, log, replace(launched.around, spec=replace(launched.spec, keep_checkpoints=keep)))
    assert saved(launched, lease) == kept


def test_a_finished_run_trains_no_more(launched: Launched, log: Log) -> None:
    """Killed between its last epoch and its end; the last state was checkpointed by hand."""
    lease = launched.trial()
    run = launched.around.run(lease, launched.spec.params(LR))
    whole = [epoch for epoch, _ in advance(run, lease, launched.around, log)]
    Checkpoints(folder(launched, lease), 1).save(run.state_dict())
    around = replace(launched.around, stop=pytest.fail)
    assert work(launched, successor(lease), log, around) == whole


# ---- the log


def test_the_log_has_a_line_per_epoch_with_every_number(launched: Launched, log: Log) -> None:
    epochs = work(launched, launched.trial(), log)
    written = log.path.read_text().splitlines()
    lines = [line for line in written if line[19:21] != "  "]  # details of an epoch are indented
    assert len(lines) == 3
    for line, epoch in zip(lines, epochs, strict=True):
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d epoch ", line)
        assert f"epoch {epoch.number}/3 | train loss {epoch.train['loss']:.4g} loss.class " in line
        assert f"| validation loss {epoch.validation['loss']:.4g} " in line
        assert f" mae {epoch.validation['mae']:.4g} | lr {epoch.lr:.3g} gradient {epoch.gradient_norm:.3g} " in line
    assert log.last in written[-1]


def test_the_log_says_the_weights_when_they_change(tmp_path: Path, log: Log) -> None:
    text = STUDY.replace("fixed:\n", "fixed:\n  loss: {number_start: 1, ramp_epochs: 1}\n")
    launched = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text)
    work(launched, launched.trial(), log)
    said = re.findall(r"epoch (\d)/3|  (weights .*)", log.path.read_text())
    first, second = "weights class 1 number 0", "weights class 1 number 0.5"
    assert said == [("1", ""), ("", first), ("2", ""), ("", second), ("3", "")]
    launched.store.close()


def test_gradient_norms_are_measured_where_they_are_wanted(launched: Launched, log: Log) -> None:
    lease, wanted = launched.trial(), replace(launched.around, gradient_norms=True)
    epoch, plain = work(launched, lease, log, wanted)[0], work(launched, replace(lease, lease_id=77), log)[0]
    assert set(epoch.gradient_norms) == {"class", "number"} and not plain.gradient_norms
    assert numbers([epoch]) == numbers([plain]), "looking changes nothing"
    norms = " ".join(f"gradient.{term} {value:.3g}" for term, value in epoch.gradient_norms.items())
    assert f" gradient {epoch.gradient_norm:.3g} {norms} {epoch.seconds:.2f} s\n" in log.path.read_text()


def test_a_log_goes_on_where_the_last_worker_left_it(tmp_path: Path) -> None:
    for text in ("first", "zweite, mit ümläut"):
        Log(tmp_path / "unit.log").say(text)
    lines = (tmp_path / "unit.log").read_text(encoding="utf-8").splitlines()
    assert [line[20:] for line in lines] == ["first", "zweite, mit ümläut"]


# ---- records beside the training


def epochs_of(launched: Launched) -> list[int]:
    return [epoch.number for epoch in launched.store.reading.trials(launched.record.study_id)[0].epochs]


def made(number: int) -> Epoch:
    facts: dict[str, Any] = {"lr": 0.1, "gradient_norm": 1.0, "seconds": 1.0, "samples": 9, "peak_memory_mb": 1.0}
    return Epoch(number=number, train={"loss": 1.0}, validation={"accuracy": 0.5}, **facts)


def test_every_epoch_is_written_when_the_block_ends(launched: Launched) -> None:
    lease = launched.trial()
    with Recorder(launched.store, lease, None, PATIENCE) as recorder:
        assert not any(recorder.record(made(number), (number, 0.5)) for number in (1, 2, 3))
    assert epochs_of(launched) == [1, 2, 3]


class Decides:
    """A pruner that says what it is told to say."""

    def __init__(self, *decisions: bool) -> None:
        self.decisions, self.asked, self.forgot = list(decisions), list[tuple[int, float]](), 0

    def __call__(self, step: int, value: float, /) -> bool:
        self.asked.append((step, value))
        return self.decisions.pop(0)

    def forget(self) -> None:
        self.forgot += 1


def test_a_pruner_is_waited_for(launched: Launched) -> None:
    lease, pruner = launched.trial(), Decides(False, True)
    with Recorder(launched.store, lease, pruner, PATIENCE) as recorder:
        assert not recorder.record(made(1), (1, 0.5))
        assert epochs_of(launched) == [1]
        assert recorder.record(made(2), (2, 0.5))
    assert launched.store.reading.trials(launched.record.study_id)[0].end == "pruned"


def test_a_pruner_is_not_asked_about_epochs_it_has_seen(launched: Launched) -> None:
    with Recorder(launched.store, launched.trial(), Decides(), PATIENCE) as recorder:
        assert not recorder.record(made(1), (1, 0.5), restored=True)
    assert epochs_of(launched) == [1]


def test_after_the_last_epoch_a_pruner_is_told_and_not_obeyed(launched: Launched) -> None:
    pruner = Decides(False, True)
    with Recorder(launched.store, launched.trial(), pruner, PATIENCE) as recorder:
        assert not recorder.record(made(1), (1, 0.5))
        assert not recorder.record(made(2), (2, 0.4), last=True)
    assert pruner.asked == [(1, 0.5), (2, 0.4)]
    assert launched.store.reading.trials(launched.record.study_id)[0].end is None


def test_a_lost_lease_is_noticed_at_the_next_write_or_at_the_end(launched: Launched) -> None:
    lease = launched.trial()
    assert launched.store.leases.take_over(launched.record.study_id, "second", Watch(0.0)) is not None
    with pytest.raises(LeaseLost), Recorder(launched.store, lease, Decides(False), PATIENCE) as recorder:
        recorder.record(made(1), (1, 0.5))
        pytest.fail("the first write was refused")
    with pytest.raises(LeaseLost), Recorder(launched.store, lease, None, PATIENCE) as recorder:
        recorder.record(made(1), (1, 0.5))
    assert epochs_of(launched) == []


def test_an_interruption_is_not_hidden_by_a_write_that_failed(launched: Launched) -> None:
    lease = launched.trial()
    assert launched.store.leases.take_over(launched.record.study_id, "second", Watch(0.0)) is not None
    with pytest.raises(Interrupted), Recorder(launched.store, lease, None, PATIENCE) as recorder:
        recorder.record(made(1), (1, 0.5))
        raise Interrupted


# ---- the database is away


class Away:
    """Makes the database of a study unreachable, and reachable again."""

    def __init__(self, launched: Launched) -> None:
        self.away, engine = False, launched.store.database.engine
        event.listen(engine, "before_cursor_execute", self._refuse)

    def _refuse(self, *_: Any) -> None:
        if self.away:
            raise OperationalError("SELECT 1", {}, Exception("connection refused"))


def patient(seconds: float = 60.0) -> tuple[Patience, list[str]]:
    """Patience that tries again at once."""
    said: list[str] = []
    clock = itertools.count(0.0, 10.0)
    return Patience(seconds, said.append, rest=lambda _: None, clock=lambda: next(clock)), said


def test_epochs_wait_for_the_database_and_are_written_in_order(launched: Launched) -> None:
    lease, pruner, away = launched.trial(), Decides(False, False, True), Away(launched)
    patience, said = patient(1000.0)
    with Recorder(launched.store, lease, pruner, patience) as recorder:
        assert not recorder.record(made(1), (1, 0.1))
        away.away = True
        assert not recorder.record(made(2), (2, 0.2))
        assert not recorder.record(made(3), (3, 0.3))
        away.away = False
        assert epochs_of(launched) == [1]
        assert not recorder.record(made(4), (4, 0.4))
        assert epochs_of(launched) == [1, 2, 3, 4]
        assert recorder.record(made(5), (5, 0.5))
    assert pruner.asked == [(1, 0.1), (4, 0.4), (5, 0.5)] and pruner.forgot == 2
    reported = launched.store.database.get_trial(lease.trial_id or 0).intermediate_values
    assert reported == {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4, 5: 0.5}
    assert said[0] == "the database does not answer as it should: connection refused; trying again"
    assert re.fullmatch(r"the database is back after \d+ s", said[1]) and len(said) == 2


def test_epochs_of_an_outage_are_on_record_also_when_the_objective_then_fails(launched: Launched) -> None:
    """The trial ends, and with it the checkpoint that would hold them."""
    lease, away = launched.trial(), Away(launched)
    patience, _ = patient(1000.0)
    with pytest.raises(ZeroDivisionError), Recorder(launched.store, lease, Decides(False), patience) as recorder:
        recorder.record(made(1), (1, 0.1))
        away.away = True
        recorder.record(made(2), (2, 0.2))
        away.away = False
        raise ZeroDivisionError
    assert epochs_of(launched) == [1, 2]


def test_patience_ends(launched: Launched) -> None:
    lease, away = launched.trial(), Away(launched)
    patience, _ = patient(35.0)
    away.away = True
    with (
        pytest.raises(DatabaseGone, match=r"the database has been away for \d+ s: connection refused"),
        Recorder(launched.store, lease, Decides(), patience) as recorder,
    ):
        for number in range(1, 9):
            recorder.record(made(number), (number, 0.1))
    away.away = False
    assert epochs_of(launched) == []


def test_an_end_whose_reply_was_lost_is_an_end(launched: Launched) -> None:
    """The commit goes through and the connection breaks: the second attempt finds everything written."""
    lease = launched.trial()
    replies = iter([OperationalError("COMMIT", {}, Exception("connection lost"))])
    patience, _ = patient(1000.0)
    told: list[int] = []

    def finish() -> None:
        launched.store.results.finish_trial(lease, lambda: told.append(1), value=0.5)
        for error in replies:
            raise error

    with launched.store.leases.under(lease):
        patience.until(finish)
    assert told == [1]
    assert launched.store.leases.open(launched.record.study_id) == 0
