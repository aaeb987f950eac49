"""Files that are not what was written: what must hold of the newest checkpoint, and of a copy of the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults.parts import Field, assert_whole, finished
from tests.faults.signals import ask_to_end


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


def bit_flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def checkpoints(field: Field, *, trials: int, damage: Callable[[bytes], bytes], epochs: int = 20) -> str:
    """The newest checkpoint of every begun trial is damaged: the one before it is used, and the log says so."""
    field.hold(trials=trials, epochs=epochs)
    field.create()
    workers = [field.work("--checkpoint-every", "0") for _ in range(trials)]
    field.wait(lambda: len(field.leases()) == trials and _saved_twice(field, trials), "two checkpoints of every trial")
    ask_to_end(workers)
    for folder in _folders(field):
        newest = max(folder.glob("*/epoch-*.pt"))
        newest.write_bytes(damage(newest.read_bytes()))
    field.let_go()
    for worker in [field.work() for _ in range(trials)]:
        finished(worker)
    assert_whole(field, trials, epochs)
    for number in range(trials):
        log = field.trial_log(number)
        assert "is damaged, using the one before it" in log and "resumed after epoch" in log
    return f"{trials} damaged ({damage.__name__.replace('_', '-')}), the one before it used and said"


def restored(field: Field, *, trials: int, epochs: int = 20) -> str:
    """A backup is made while workers write, restored elsewhere, and gone on with."""
    field.write(trials=trials, epochs=epochs, pause=0.02)
    launched = field.launch("--workers", "2")
    field.wait(lambda: field.ended() >= trials // 4, "some trials")
    told = {trial.number: trial.value for trial in field.trials() if trial.value is not None}
    backup = field.folder / "study.backup"
    finished(field.start("storage", "backup", str(backup)))
    finished(launched)
    assert_whole(field, trials, epochs)
    elsewhere = Field(field.folder, f"sqlite:///{field.folder / 'elsewhere.db'}")
    finished(elsewhere.start("storage", "restore", str(backup)))
    there = {trial.number: trial.value for trial in elsewhere.trials()}
    assert told.items() <= there.items(), "a trial that was told is not in the backup as it was"
    ended = elsewhere.ended()
    finished(elsewhere.launch("--workers", "2"))
    assert_whole(elsewhere, trials, epochs)
    return f"{len(told)} trials told before, {ended} in the copy, which came to {trials}"


def _folders(field: Field) -> list[Path]:
    return sorted(field.folder.glob("runs/studies/*/checkpoints/*"))


def _saved_twice(field: Field, trials: int) -> bool:
    return sum(len(list(folder.glob("*/epoch-*.pt"))) >= 2 for folder in _folders(field)) == trials
