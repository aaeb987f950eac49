"""What `hpo check` writes for people, as it is found."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

import torch
from rich.text import Text

from hpo.check import Estimate, Training
from hpo.check_data import DataFindings
from hpo.check_list import Item
from hpo.check_subject import Subject
from hpo.cli.folded import folded
from hpo.epoch_lines import reference_lines
from hpo.objective import Epoch
from hpo.study import Study
from hpo.wording import duration

#: Entries of a table of counts that people are shown; all are in --json.
ENTRIES = 24
#: Groups of a fold that are named.
GROUPS = 8


class CheckView:
    """One method per step of the check.

    Args:
        write: takes each line, as text or with its colours.
    """

    def __init__(self, write: Callable[[str | Text], object]) -> None:
        self._write = write

    def say(self, label: str, text: str) -> None:
        self._write(f"{label:<10} {text}")

    def line(self, text: str) -> None:
        self._write(text)

    def wrapped(self, label: str, text: str) -> None:
        """As `say`, over as many lines as it takes."""
        self._wrapped(f"{label:<10} {text}", indent=11)

    def _wrapped(self, text: str, indent: int) -> None:
        self._write(folded(text, indent))

    def study(self, spec: Study) -> None:
        way, points = spec.metric, spec.points()
        self.say("study", f"{spec.name} ({spec.source}), objective {spec.objective}, {way.direction} {way.name}")
        size = "infinitely many points" if points is None else f"{points} points"
        searched = f"{len(spec.space)} searched parameter{'s' * (len(spec.space) > 1)}"
        self.wrapped("space", f"{searched}, {size}: {', '.join(spec.space)}")
        budget, promotion = spec.budget, spec.promotion
        hours = f" or {budget.hours:g} training hours" if budget.hours is not None else ""
        text = f"{budget.trials} trials{hours}, each of at most {budget.epochs} epochs on fold {spec.folds.search}"
        proof = "best" + " and the baseline" * promotion.baseline
        self.say("budget", f"{text}; then {proof} on all {spec.folds.count} folds" + ", a refit" * promotion.refit)

    def source(self, found: DataFindings) -> None:
        """Where the data come from, loudly where they are made up."""
        if found.synthetic:
            text = "SYNTHETIC DATA: no --data was given, the objective generates its own. Results say nothing about"
            self._write(Text(f"{text}\nreal recordings.", "bold red"))
        self.say("data", found.source)
        rows = f"{found.rows} rows, {found.test_rows} of them for the final test"
        self.say("", f"{rows}; fingerprint {found.fingerprint[:16]}")

    def data(self, found: DataFindings) -> None:
        self.source(found)
        for note in found.notes:
            self.say("note", note)
        self._write("")
        for heading, counts in found.counts.items():
            self._counts(heading, counts)
        self._folds(found)

    def _counts(self, heading: str, counts: Mapping[str, int]) -> None:
        shown = [f"{what}: {count}" for what, count in list(counts.items())[:ENTRIES]]
        more = f", and {len(counts) - ENTRIES} more (--json lists all)" if len(counts) > ENTRIES else ""
        self._wrapped(f"count per {heading} - {', '.join(shown)}{more}", indent=4)

    def _folds(self, found: DataFindings) -> None:
        folds = found.folds
        classes = list(folds[0].validation_classes)
        table = [("train", [f.train for f in folds]), ("validation", [f.validation for f in folds])]
        table += [("  with a class", [f.labelled for f in folds])]
        table += [(f"  entries of {name}", [f.validation_classes[name] for f in folds]) for name in classes]
        self._table("rows", [f"fold {f.fold}" for f in folds], table)
        if any(f.groups for f in folds):
            self._wrapped("validated in " + "; ".join(f"fold {f.fold}: {_few(f.groups)}" for f in folds), indent=4)

    def _table(self, corner: str, head: list[str], table: Sequence[tuple[str, Sequence[float]]]) -> None:
        width = max(len(corner), *(len(label) for label, _ in table))
        self._write(f"\n{corner:<{width}}" + "".join(f"{title:>9}" for title in head))
        for label, numbers in table:
            cells = ((f"{f'{n:.1f}'.removesuffix('.0'):>9}", "" if n else "bold red") for n in numbers)
            self._write(Text.assemble(f"{label:<{width}}", *cells))
        self._write("")

    def device(self, device: torch.device) -> None:
        name = "" if device.type == "cpu" else f" ({torch.cuda.get_device_name(device)})"
        threads = torch.get_num_threads()
        self.say("device", f"{device}{name}, {threads} thread" + "s" * (threads > 1))

    def batches(self, subject: Subject, name: str, training: Training) -> None:
        if not training.epochs:
            return
        first = training.epochs[0]
        self.say("training", f"two batches, {first.samples} rows, with configuration '{name}'")
        for term in subject.objective.terms:
            value = first.train.get(f"loss.{term}")
            text = "nothing labelled in these rows" if value is None else f"{value:.4g}, finite"
            self.say("", f"loss {term}: {text}, weight {subject.params.loss[f'{term}_weight']:g}")
        reached = "does not reach every parameter" if training.unreached else "reaches every parameter"
        self.say("", f"gradient norm {first.gradient_norm:.3g}, {reached}")
        for note in training.notes:
            self.wrapped("note", note)
        if training.label_weights:
            terms = [(t, [fold[t] for fold in training.label_weights]) for t in subject.objective.terms]
            self._table("weight of labelled entries", [f"fold {fold.index}" for fold in subject.split.folds], terms)

    def epoch(self, epoch: Epoch, most: int) -> None:
        both = (("train", epoch.train), ("validation", epoch.validation))
        values = " | ".join(f"{part} " + " ".join(f"{n} {v:.4g}" for n, v in s.items()) for part, s in both if s)
        rates = f"lr {epoch.lr:.3g} gradient {epoch.gradient_norm:.3g} {epoch.seconds:.2f} s"
        self._write(f"epoch {epoch.number}/{most} | {values} | {rates}")
        for line in reference_lines(epoch):
            self._write(line)

    def best(self, metric: str, epoch: Epoch | None) -> None:
        if epoch is not None:
            self.say("best", f"epoch {epoch.number}: {metric} {epoch.get(metric):.4g}")

    def time(self, spec: Study, training: Training, time: Estimate | None) -> None:
        if time is None:
            return
        peak = max((epoch.peak_memory_mb for epoch in training.epochs), default=0.0)
        self.say("time", f"about {duration(time.seconds_per_epoch)} per epoch; peak memory {peak:.0f} MB")
        one = f"{time.trials} trials x {time.epochs} epochs x {duration(time.seconds_per_epoch)}"
        workers = f"{time.workers} worker" + "s" * (time.workers > 1)
        self.say("", f"search: at most {duration(time.search)} without pruning ({one} / {workers})")
        if spec.budget.hours is not None:
            self.say("", f"no trial begins after {spec.budget.hours:g} training hours")
        if time.trainings:
            self.say("", f"promotion: at most {duration(time.promotion)} more ({time.trainings} trainings)")
        load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
        self.say("", f"rough: measured a moment ago, at a load of {load:.1f} on {cores} cores (see uptime)")

    def verdict(self, warnings: list[str], problems: list[str]) -> None:
        for text in warnings:
            self._write(Text(f"WARNING    {text}", "yellow"))
        for text in problems:
            self._write(Text(f"PROBLEM    {text}", "red"))
        count = len(warnings)
        well = "ok" if not count else f"ok, with {count} warning{'s' * (count > 1)}"
        self.say("result", well if not problems else "this would not train as it should")

    def before_retraining(self, items: Sequence[Item]) -> None:
        """The list, of which lines to look at stand out."""
        self._write("\nbefore you retrain")
        for item in items:
            line = f"  {item.state:<5}{item.name:<15} {item.text}"
            self._write(Text(folded(line, 23), "yellow" if item.state == "look" else ""))


def _few(names: Sequence[str]) -> str:
    """The first of them, and how many more."""
    more = f" and {len(names) - GROUPS} more" if len(names) > GROUPS else ""
    return ", ".join(names[:GROUPS]) + more
