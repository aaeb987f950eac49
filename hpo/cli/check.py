"""check: try a study without creating it."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo.cli.group import Mistake, Place, find_study, mistakes, placed

if TYPE_CHECKING:
    import torch

    from hpo.check import Estimate, Subject, Training
    from hpo.check_data import DataFindings
    from hpo.objective import Epoch
    from hpo.study import Study

#: Entries of a table of counts that people are shown; all are in --json.
ENTRIES = 24
WIDTH = 110


@click.command()
@click.argument("study")
@click.option("--data", type=click.Path(path_type=Path), help="Raw data: a folder or file as the objective reads it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--fold", type=click.IntRange(0), help="Train this fold instead of two batches; default the search fold.")
@click.option("--epochs", type=click.IntRange(1), help="Train a fold for so many epochs; default the budget's.")
@click.option("--configuration", help="Which one to train; default the first.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@placed
def check(
    study: str,
    data: Path | None,
    device: str,
    fold: int | None,
    epochs: int | None,
    configuration: str | None,
    as_json: bool,
    place: Place,
) -> None:
    r"""Check a study without creating it: its file, its data fold by fold, whether its net trains, how long it takes.

    STUDY is a file, or the name of one that ships with hpo. Two batches are trained with the first configuration;
    with --fold or --epochs a whole fold instead, each epoch on a line. No database is touched. Exit code 0 means that
    all is well, 1 that training would fail (a loss is not finite, ...), 2 that file, data or options are wrong.

    \b
    hpo check digits
    hpo check abr --data recordings/ --device cuda:0
    hpo check my_study.yaml --fold 1 --epochs 3 --configuration recommended
    """
    from hpo.check import estimate, space_warnings

    tell = _Teller((lambda _: None) if as_json else click.echo)
    spec, name = _read(mistakes(find_study)(study), data, configuration)
    if fold is not None and fold >= spec.folds.count:
        raise Mistake(f"--fold {fold}: the study has folds 0 to {spec.folds.count - 1}")
    chosen, workers = _device(device)
    tell.study(spec)
    subject, findings = _prepare(spec, name, place, chosen)
    tell.data(findings)
    tell.device(chosen)
    if fold is None and epochs is None:
        training = _two_batches(subject)
        tell.batches(subject, name, training)
    else:
        training = _fold(subject, name, fold, epochs, tell)
    seconds = training.seconds_per_epoch
    time = estimate(spec, seconds, workers) if seconds is not None else None
    tell.time(spec, training, time)
    problems = [*findings.problems, *training.problems]
    warnings = [*space_warnings(spec), *findings.warnings, *training.warnings]
    tell.verdict(warnings, problems)
    if as_json:
        record: dict[str, Any] = {
            "study": spec.name,
            "objective": spec.objective,
            "configuration": name,
            "device": str(chosen),
        }
        record |= {"searched": len(spec.space), "points": spec.points(), "budget": asdict(spec.budget)}
        record |= {"data": _plain(findings), "training": _trained(training), "estimate": time and asdict(time)}
        click.echo(json.dumps(record | {"warnings": warnings, "problems": problems, "ok": not problems}))
    sys.exit(1 if problems else 0)


def _read(path: Path, data: Path | None, configuration: str | None) -> tuple[Study, str]:
    """The study and the name of the configuration to train."""
    from hpo.resolve import file_hash, resolve
    from hpo.study import Study

    with _working("reading the study file"):
        spec = Study.read(path, resolve)
    digest = file_hash(spec.objective)
    if digest is not None:
        click.echo(f"runs your code: {spec.objective} (sha256 {digest[:16]})", err=True)
    name = configuration or spec.baseline
    if name not in spec.configurations:
        raise Mistake(f"--configuration {name}: {path} has {', '.join(spec.configurations)}")
    return replace(spec, data=str(data.resolve()) if data else spec.data), name


def _device(wanted: str) -> tuple[torch.device, int]:
    """The device, and as many workers as `hpo launch` would start for the same words."""
    import torch

    from hpo.check import device_of

    try:
        device = device_of(wanted)
    except ValueError as error:
        raise Mistake(str(error)) from None
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    return device, max(torch.cuda.device_count(), 1) if wanted == "auto" else 1


def _prepare(spec: Study, name: str, place: Place, device: torch.device) -> tuple[Subject, DataFindings]:
    from hpo.arrays import Feed, open_arrays
    from hpo.check import Subject, first_params
    from hpo.check_data import look_at_data, split_of
    from hpo.resolve import resolve

    objective = resolve(spec.objective)
    params = first_params(spec, name)
    with _working("preparing the data"):
        arrays = open_arrays(objective, Path(spec.data) if spec.data else None, spec.fixed, place.files.cache)
    with _working("dealing the folds"):
        split = split_of(spec, objective, arrays)
        findings = look_at_data(spec, objective, arrays, split, params)
    feed = Feed(arrays, device)
    return Subject(spec=spec, objective=objective, arrays=arrays, split=split, feed=feed, params=params), findings


def _two_batches(subject: Subject) -> Training:
    from hpo.check import train_two_batches

    with _working("training two batches, and looking for labels in every fold"):
        return train_two_batches(subject)


def _fold(subject: Subject, name: str, fold: int | None, epochs: int | None, tell: _Teller) -> Training:
    from hpo.check import train_fold

    number = subject.spec.folds.search if fold is None else fold
    most = epochs or subject.spec.budget.epochs
    tell.say("training", f"fold {number} for at most {most} epochs with configuration '{name}'")
    training = train_fold(subject, number, most, lambda epoch: tell.epoch(epoch, most))
    tell.best(subject.spec.metric.name, training.best)
    return training


@contextmanager
def _working(what: str) -> Iterator[None]:
    """Say on the error stream what takes a while, so that the output stays clean."""
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        click.echo(f"{what} ...", err=True)
        yield


def _plain(findings: DataFindings) -> dict[str, Any]:
    return {key: value for key, value in asdict(findings).items() if key not in ("warnings", "problems")}


def _trained(training: Training) -> dict[str, Any]:
    record: dict[str, Any] = {"epochs": [epoch.to_json() for epoch in training.epochs]}
    record |= {"best_epoch": training.best and training.best.number, "labelled": training.labelled}
    record |= {"unreached": training.unreached}
    return record | {"seconds_per_epoch": training.seconds_per_epoch}


class _Teller:
    """Writes for people what is found, as it is found.

    Args:
        write: takes each line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def say(self, label: str, text: str) -> None:
        self._write(f"{label:<10} {text}")

    def _wrapped(self, text: str, indent: int) -> None:
        self._write(textwrap.fill(text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False))

    def study(self, spec: Study) -> None:
        way, points = spec.metric, spec.points()
        self.say("study", f"{spec.name} ({spec.source}), objective {spec.objective}, {way.direction} {way.name}")
        size = "infinitely many points" if points is None else f"{points} points"
        searched = f"{len(spec.space)} searched parameter{'s' * (len(spec.space) > 1)}"
        self._wrapped(f"{'space':<10} {searched}, {size}: {', '.join(spec.space)}", indent=11)
        budget, promotion = spec.budget, spec.promotion
        hours = f" or {budget.hours:g} hours of training" if budget.hours is not None else ""
        text = f"{budget.trials} trials{hours}, each of at most {budget.epochs} epochs on fold {spec.folds.search}"
        proof = f"{promotion.finalists} best" + " and the baseline" * promotion.baseline
        self.say("budget", f"{text}; then {proof} on all {spec.folds.count} folds" + ", a refit" * promotion.refit)

    def data(self, found: DataFindings) -> None:
        if found.synthetic:
            text = "SYNTHETIC DATA: no --data was given, the objective generates its own. Results say nothing about"
            self._write(click.style(f"{text}\nreal recordings.", fg="red", bold=True))
        self.say("data", found.source)
        rows = f"{found.rows} rows, {found.test_rows} of them for the final test"
        self.say("", f"{rows}; fingerprint {found.fingerprint[:16]}")
        for note in found.notes:
            self.say("note", note)
        self._write("")
        for heading, counts in found.counts.items():
            self._counts(heading, counts)
        self._folds(found)

    def _counts(self, heading: str, counts: Mapping[str, int]) -> None:
        shown = [f"{what}: {rows}" for what, rows in list(counts.items())[:ENTRIES]]
        more = f", and {len(counts) - ENTRIES} more (--json lists all)" if len(counts) > ENTRIES else ""
        self._wrapped(f"rows per {heading} - {', '.join(shown)}{more}", indent=4)

    def _folds(self, found: DataFindings) -> None:
        folds = found.folds
        classes = list(folds[0].validation_classes)
        table = [("train", [f.train for f in folds]), ("validation", [f.validation for f in folds])]
        table += [("  with a class", [f.labelled for f in folds])]
        table += [(f"  class {name}", [f.validation_classes[name] for f in folds]) for name in classes]
        self._table("rows", [f"fold {f.fold}" for f in folds], table)

    def _table(self, corner: str, head: list[str], table: list[tuple[str, list[int]]]) -> None:
        width = max(len(corner), *(len(label) for label, _ in table))
        self._write(f"\n{corner:<{width}}" + "".join(f"{title:>9}" for title in head))
        for label, numbers in table:
            cells = (click.style(f"{n:>9}", fg=None if n else "red", bold=not n) for n in numbers)
            self._write(f"{label:<{width}}" + "".join(cells))
        self._write("")

    def device(self, device: torch.device) -> None:
        import torch

        name = "" if device.type == "cpu" else f" ({torch.cuda.get_device_name(device)})"
        self.say("device", f"{device}{name}, {torch.get_num_threads()} threads")

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
        if training.labelled:
            terms = [(t, [int(fold[t]) for fold in training.labelled]) for t in subject.objective.terms]
            self._table("labelled entries", [f"fold {fold.index}" for fold in subject.split.folds], terms)

    def epoch(self, epoch: Epoch, most: int) -> None:
        both = (("train", epoch.train), ("validation", epoch.validation))
        values = " | ".join(f"{part} " + " ".join(f"{n} {v:.4g}" for n, v in s.items()) for part, s in both if s)
        rates = f"lr {epoch.lr:.3g} gradient {epoch.gradient_norm:.3g} {epoch.seconds:.2f} s"
        self._write(f"epoch {epoch.number}/{most} | {values} | {rates}")

    def best(self, metric: str, epoch: Epoch | None) -> None:
        if epoch is not None:
            self.say("best", f"epoch {epoch.number}: {metric} {epoch.get(metric):.4g}")

    def time(self, spec: Study, training: Training, time: Estimate | None) -> None:
        from hpo.wording import duration

        if time is None:
            return
        peak = max((epoch.peak_memory_mb for epoch in training.epochs), default=0.0)
        self.say("time", f"{duration(time.seconds_per_epoch)} per epoch; peak memory {peak:.0f} MB")
        one = f"{time.trials} trials x {time.epochs} epochs x {duration(time.seconds_per_epoch)}"
        workers = f"{time.workers} worker" + "s" * (time.workers > 1)
        self.say("", f"search: at most {duration(time.search)} without pruning ({one} / {workers})")
        if spec.budget.hours is not None:
            self.say("", f"no trial begins after {spec.budget.hours:g} hours of training")
        if time.trainings:
            self.say("", f"promotion: at most {duration(time.promotion)} more ({time.trainings} trainings)")

    def verdict(self, warnings: list[str], problems: list[str]) -> None:
        for text in warnings:
            self._write(click.style(f"WARNING    {text}", fg="yellow"))
        for text in problems:
            self._write(click.style(f"PROBLEM    {text}", fg="red"))
        count = len(warnings)
        well = "ok" if not count else f"ok, with {count} warning{'s' * (count > 1)}"
        self.say("result", well if not problems else "this would not train as it should")
