"""logs: what trials wrote, epoch by epoch; several in columns next to each other."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo.cli.group import Mistake, Place, existing, placed

if TYPE_CHECKING:
    from hpo.epoch import Epoch
    from hpo.records import StudyRecord
    from hpo.store import Store

#: A line of `hpo.work.Log` that is no epoch: when, and what. Epochs come from the database, where names are whole.
NOTE = re.compile(r"[\d-]{10} [\d:]{8} (?!epoch \d+/\d+ \| |trial \d+, fold | )(?P<note>.*)")
#: Columns of the epoch's number, and of what stands between two trials.
EPOCH, GAP = 6, 3
#: Values by which trials are compared; no trial gets fewer.
FEWEST = 2
#: The values of one epoch by name: `loss`, `train.loss`, `lr`.
Values = Mapping[str, str]


@click.command()
@click.argument("study")
@click.argument("trials", type=int, nargs=-1, required=True)
@click.option("--follow", is_flag=True, help="Keep printing as lines come.")
@placed
def logs(study: str, trials: tuple[int, ...], follow: bool, place: Place) -> None:
    """Print the log of a trial, one line per epoch with every loss term, score and rate.

    Several trials stand side by side, a row per epoch, with as many values as fit into the terminal; a pipe gets all.

    \b
    hpo logs digits 7
    hpo logs digits 7 12 --follow
    """
    store = place.store()
    record = existing(store, study)
    trials = tuple(dict.fromkeys(trials))
    files = {number: place.files.trial_log(record.folder, number) for number in trials}
    if not follow:
        _check(store, record, files)
    columns = Columns(trials, record.metric, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    written, trained = dict.fromkeys(trials, 0), dict.fromkeys(trials, 0)
    while True:
        fresh = {number: _lines(file, written, number) for number, file in files.items()}
        if len(trials) == 1:
            lines: Sequence[str] = fresh[trials[0]]
        else:
            lines = list(columns.lines(_epochs(store, record, trained), _notes(fresh)))
        for line in lines:
            click.echo(line)
        if not follow:
            return
        time.sleep(0.5)


def _check(store: Store, record: StudyRecord, files: Mapping[int, Path]) -> None:
    """Refuse trials of which there is nothing to print, with the reason."""
    missing = [number for number, file in files.items() if not file.is_file()]
    if not missing:
        return
    found = {trial.number: trial for trial in store.reading.trials(record.study_id, missing)}
    for number in missing:
        if number not in found:
            count = sum(store.reading.states(record.study_id).values())
            raise Mistake(f"study {record.name} has no trial {number}; it has {count}, counted from 0")
        if found[number].state == "WAITING":
            raise Mistake(f"trial {number} of study {record.name} has not begun, so there is no log of it")
        if len(files) == 1 or not found[number].epochs:
            raise Mistake(f"no log of trial {number} of study {record.name} in {files[number].parent}")


def _lines(file: Path, seen: dict[int, int], trial: int) -> list[str]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    fresh, seen[trial] = lines[seen[trial] :], len(lines)
    return fresh


def _epochs(store: Store, record: StudyRecord, seen: dict[int, int]) -> dict[int, list[Epoch]]:
    """Epochs on record since the last look; those that a takeover trains again come out as they were."""
    fresh = {}
    for trial in store.reading.trials(record.study_id, list(seen)):
        fresh[trial.number] = [epoch for epoch in trial.epochs if epoch.number > seen[trial.number]]
        seen[trial.number] += len(fresh[trial.number])
    return fresh


def _notes(fresh: Mapping[int, Sequence[str]]) -> list[str]:
    """Of each log what is neither an epoch nor its details, nor all the parameters: those are wider than any screen."""
    found = [(trial, NOTE.match(line)) for trial, lines in fresh.items() for line in lines]
    return [f"trial {trial}: {match['note']}" for trial, match in found if match]


@dataclass
class Columns:
    """Lays out epochs as they come: a row per epoch, a block of columns per trial.

    Where the blocks of all trials are wider than the terminal, rows of some of them alternate, each under its heading.
    """

    trials: Sequence[int]
    metric: str
    width: int | None  #: of the terminal; None = as wide as it takes
    _measures: list[str] = field(default_factory=list, init=False)
    _rows: list[tuple[int, ...]] = field(default_factory=list, init=False)  #: trials that fit beside each other
    _heading: tuple[int, ...] = field(default=(), init=False)  #: the trials that the last heading was for

    def lines(self, fresh: Mapping[int, Sequence[Epoch]], notes: Sequence[str] = ()) -> Iterator[str]:
        """What to print for new epochs of each trial, and what else is to be said below them."""
        from hpo.epoch_lines import epoch_values

        epochs: dict[int, dict[int, Values]] = {}
        for trial, found in fresh.items():
            for epoch in found:
                epochs.setdefault(epoch.number, {})[trial] = epoch_values(epoch)
        if epochs and not self._measures:
            # A fast validation may lack scores that a full one has.
            yield from self._fit(dict.fromkeys(n for found in epochs.values() for v in found.values() for n in v))
        for row in self._rows:
            for number in sorted(epochs):
                if not epochs[number].keys().isdisjoint(row):
                    yield from self._row(number, row, epochs[number])
        yield from notes

    def _fit(self, known: Iterable[str]) -> Iterator[str]:
        """Choose the values to show, and how many trials stand beside each other."""
        names = sorted(known, key=self._rank)
        most = len(self.trials)
        if self.width is None:
            self._measures = names
        else:
            least = self._block(names[:FEWEST]) + GAP
            most = min(most, max((self.width - EPOCH) // least, 1))
            room = (self.width - EPOCH) // most - GAP
            fitting = takewhile(lambda n: self._block(names[:n]) <= room, range(1, len(names) + 1))
            self._measures = names[: max(FEWEST, *fitting, 0)]
        self._rows = [tuple(self.trials[k : k + most]) for k in range(0, len(self.trials), most)]
        if len(self._measures) < len(names):
            yield f"{len(self._measures)} of {len(names)} values fit; one trial alone shows all, and so does a pipe"

    def _rank(self, name: str) -> int:
        """The order of interest; equal ranks stay in their order."""
        first = (self.metric, "loss", "train.loss", f"train.{self.metric}", "lr")
        if name in first:
            return first.index(name)
        return len(first) + (not name.startswith("loss.")) + name.startswith("train.")

    @staticmethod
    def _block(names: Sequence[str]) -> int:
        return sum(_width(name) for name in names)

    def _row(self, number: int, trials: tuple[int, ...], epoch: Mapping[int, Values]) -> Iterator[str]:
        if trials != self._heading:
            self._heading, gap = trials, " " * GAP
            block = self._block(self._measures)
            yield " " * EPOCH + "".join(gap + f"-- trial {trial} ".ljust(block, "-") for trial in trials)
            yield "epoch".ljust(EPOCH) + "".join(gap + self._cells({n: n for n in self._measures}) for _ in trials)
        cells = (" " * GAP + self._cells(epoch.get(trial, {})) for trial in trials)
        yield (f"{number:<{EPOCH}}" + "".join(cells)).rstrip()

    def _cells(self, values: Values) -> str:
        return "".join(values.get(name, "").rjust(_width(name)) for name in self._measures)


def _width(name: str) -> int:
    """A name with blanks stands further from its neighbour."""
    return max(len(name), 9) + 1 + (" " in name)
