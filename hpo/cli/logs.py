"""logs: what trials wrote, epoch by epoch; several in columns next to each other."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import click

from hpo.cli.group import Mistake, Place, existing, placed

#: A line of `hpo.work.Log`: when, and an epoch's values or anything else.
LINE = re.compile(r"(?P<when>\S+ \S+) (?:epoch (?P<epoch>\d+)/\d+ \| (?P<values>.*)|(?P<note>.*))")
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
    record = existing(place.store(), study)
    trials = tuple(dict.fromkeys(trials))
    files = [place.files.trial_log(record.folder, number) for number in trials]
    missing = [str(number) for number, file in zip(trials, files, strict=True) if not file.is_file()]
    if missing and not follow:
        raise Mistake(f"no log of trial {', '.join(missing)} of study {record.name} under {place.files.root}")
    columns = Columns(trials, record.metric, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    seen = [0] * len(files)
    while True:
        fresh = [_lines(file, seen, slot) for slot, file in enumerate(files)]
        for line in fresh[0] if len(trials) == 1 else columns.lines(dict(zip(trials, fresh, strict=True))):
            click.echo(line)
        if not follow:
            return
        time.sleep(0.5)


def _lines(file: Path, seen: list[int], slot: int) -> list[str]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    fresh, seen[slot] = lines[seen[slot] :], len(lines)
    return fresh


@dataclass
class Columns:
    """Lays out lines as they come: a row per epoch, a block of columns per trial.

    Where the blocks of all trials are wider than the terminal, rows of some of them alternate, each under its heading.
    """

    trials: Sequence[int]
    metric: str
    width: int | None  #: of the terminal; None = as wide as it takes
    _measures: list[str] = field(default_factory=list, init=False)
    _rows: list[tuple[int, ...]] = field(default_factory=list, init=False)  #: trials that fit beside each other
    _heading: tuple[int, ...] = field(default=(), init=False)  #: the trials that the last heading was for

    def lines(self, fresh: Mapping[int, Sequence[str]]) -> Iterator[str]:
        """What to print for new lines of each trial's log."""
        epochs: dict[int, dict[int, Values]] = {}
        notes: list[str] = []
        for trial, lines in fresh.items():
            for match in filter(None, map(LINE.match, lines)):
                if match["epoch"]:
                    epochs.setdefault(int(match["epoch"]), {})[trial] = _values(match["values"])
                # Not all its parameters, nor what is written in more than a line: wider than any screen.
                elif not match["note"].startswith((f"trial {trial}, fold ", " ")):
                    notes.append(f"trial {trial}: {match['note']}")
        if epochs and not self._measures:
            yield from self._fit(next(iter(epochs[min(epochs)].values())))
        for row in self._rows:
            for number in sorted(epochs):
                if not epochs[number].keys().isdisjoint(row):
                    yield from self._row(number, row, epochs[number])
        yield from notes

    def _fit(self, values: Values) -> Iterator[str]:
        """Choose the values to show, and how many trials stand beside each other."""
        names = sorted(values, key=self._rank)
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
        """The order of interest; equal ranks stay in the order of the log."""
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
    return max(len(name), 9) + 1


def _values(text: str) -> dict[str, str]:
    """`train loss 1.1 | validation loss 1.3 | lr 0.1 gradient 2 0.07 s` as names and values.

    A value of a fast validation, on a part of the rows, gets a `~`.
    """
    found: dict[str, str] = {}
    for part in text.split(" | "):
        words = part.split()
        side = words.pop(0) if words[0] in ("train", "validation", "fast") else ""
        if words[-1] == "s":
            words[-2:] = ["seconds", words[-2]]
        pairs = zip(words[::2], words[1::2], strict=False)
        before, about = "train." if side == "train" else "", "~" if side == "fast" else ""
        found |= {before + name: about + value for name, value in pairs}
    return found
