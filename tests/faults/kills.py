"""Kill -9, over and over: what must hold, at any size."""

from __future__ import annotations

import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial

import psutil

from hpo.records import TrialRecord
from hpo.store import MOST_LOSSES
from tests.faults.nursery import Forked
from tests.faults.parts import GRACE, Field, assert_whole, finished

#: Rungs at every epoch: the pruner has something to decide while workers die.
PRUNER = "{name: asha, min_resource: 1}"


@dataclass(frozen=True)
class Storm:
    """What was done, and what came of it; to be added up."""

    kills: int = 0
    takeovers: int = 0
    complete: int = 0
    pruned: int = 0

    def __add__(self, other: Storm) -> Storm:
        return Storm(*(sum(pair) for pair in zip(astuple(self), astuple(other), strict=True)))

    def __str__(self) -> str:
        return f"{self.kills} kills, {self.takeovers} takeovers; {self.complete} complete, {self.pruned} pruned"


def storm(
    field: Field, *, trials: int, workers: int, every: float, seed: int, epochs: int = 8, pause: float = 0.05
) -> Storm:
    """Kill a random worker every so many seconds and start another, until the study is done.

    Nobody supervises: a dead worker's trial waits for the end of its lease. Kills that come faster than epochs, as on
    a busy machine, would go on for ever: between two of them there is a new epoch for every worker.
    """
    chance, known = random.Random(seed), 0
    field.lease(GRACE)
    field.write(trials=trials, epochs=epochs, pause=pause, pruner=PRUNER)
    field.create()
    living = [_worker(field) for _ in range(workers)]
    kills, next_kill = 0, time.monotonic() + every
    deadline = time.monotonic() + 600 + 10 * trials
    while any(worker.poll() is None for worker in living):
        assert time.monotonic() < deadline, f"the study does not come to its end: {field.states()}"
        busy = [worker for worker in living if worker.poll() is None]
        assert all(worker.poll() == 0 for worker in living if worker not in busy), _outputs(living)
        due = time.monotonic() >= next_kill and field.epochs() >= known + workers
        spared = _spared(field) if due else None
        if spared is not None and (victims := [worker for worker in busy if worker.pid not in spared]):
            victim = chance.choice(victims)
            victim.kill()
            victim.wait(60)
            living[living.index(victim)] = _worker(field)
            kills, next_kill, known = kills + 1, time.monotonic() + every, field.epochs()
        time.sleep(0.02)
    found = assert_whole(field, trials)
    assert_resumed_from_checkpoints(field)
    assert_told(field, found)
    pruned = sum(trial.state == "PRUNED" for trial in found)
    return Storm(kills, sum(trial.attempt - 1 for trial in found), trials - pruned, pruned)


def everybody(field: Field, *, trials: int, workers: int, rounds: int, epochs: int = 20) -> str:
    """Kill all workers and the launcher at one stroke, and launch again."""
    field.lease(GRACE)
    words = ("--workers", str(workers), "--checkpoint-every", "0")
    for _ in range(rounds):
        field.hold(trials=trials, epochs=epochs)
        launched = field.launch(*words)
        field.wait(partial(_all_inside, field, workers), "a trial of every worker")
        victims = field.workers()
        launched.kill()
        for worker in victims:
            with suppress(psutil.NoSuchProcess):  # it has seen its launcher die, and left in time
                worker.kill()
        finished(launched, code=-signal.SIGKILL)
    field.let_go()
    finished(field.launch(*words), seconds=600)
    found = assert_whole(field, trials, epochs)
    assert_resumed_from_checkpoints(field)
    taken = sum(trial.attempt - 1 for trial in found)
    return f"{trials} trials after {rounds} rounds, {taken} takeovers, each from the last checkpoint"


def _all_inside(field: Field, workers: int) -> bool:
    return (
        len(field.holders() & {worker.pid for worker in field.workers()}) == workers and field.epochs() >= 2 * workers
    )


def two_launches(field: Field, *, trials: int, workers: int, every: float, seed: int) -> str:
    """Two launches of one budget, whose workers are killed at random.

    But not before they have brought a trial to an end: a launch gives up a worker that dies again and again.
    """
    chance = random.Random(seed)
    field.write(trials=trials, epochs=8, pause=0.05)
    words = ("--workers", str(workers), "--trials", str(trials), "--checkpoint-every", "0")
    launches = [field.launch(*words) for _ in range(2)]
    kills, next_kill = 0, time.monotonic() + every
    while any(launch.poll() is None for launch in launches):
        victims = []
        if time.monotonic() >= next_kill and field.epochs():
            spared = _spared(field)
            rows = field.leases().values()
            busy = {row.pid for row in rows if row.state == "held"} & {row.pid for row in rows if row.state == "done"}
            victims = [worker for worker in field.workers() if worker.pid in busy - spared]
        if victims:
            with suppress(psutil.NoSuchProcess):  # it has found nothing left to do
                chance.choice(victims).kill()
            kills, next_kill = kills + 1, time.monotonic() + every
        time.sleep(0.05)
    for launch in launches:
        finished(launch)
    assert_whole(field, trials, epochs=8)
    return f"exactly {trials}, {kills} kills (seed {seed})"


def assert_resumed_from_checkpoints(field: Field) -> None:
    """With a checkpoint after every epoch, an epoch that came into the log was never trained again.

    The last one of a trial has no checkpoint: nothing is trained after it, unless the end itself is interrupted.
    """
    last = {trial.number: len(trial.epochs) for trial in field.trials()}
    twice = [where for where, count in field.trained_epochs().items() if count > 1]
    assert not [(log, epoch) for log, epoch in twice if epoch < last[int(log)]], f"trained twice: {twice}"


def assert_told(field: Field, trials: Sequence[TrialRecord]) -> None:
    """What a worker had told, as its log has it, is on record unchanged; none was told twice."""
    for trial in trials:
        log = field.trial_log(trial.number)
        told = re.findall(r" complete: skill ([\d.e+-]+) at epoch (\d+)", log)
        assert len(told) <= 1, f"trial {trial.number} was told {len(told)} times"
        if told:
            assert trial.state == "COMPLETE" and f"{trial.value:.4g}" == told[0][0]


def _spared(field: Field) -> set[int]:
    """Workers whose trial has been lost twice without a new epoch: a third loss ends it, which is another promise."""
    return {row.pid for row in field.leases().values() if row.state == "held" and row.losses >= MOST_LOSSES - 1}


def _worker(field: Field) -> Forked:
    return field.work("--checkpoint-every", "0")


def _outputs(workers: Sequence[Forked | subprocess.Popen[str]]) -> list[str]:
    return [finished(worker, code=None) for worker in workers if worker.poll() is not None]
