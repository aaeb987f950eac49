"""The two probes of `hpo check`: --lr-range and --batch-size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from hpo.batch_size import Found, probe
from hpo.check import Training
from hpo.check_data import DataFindings, largest_batch
from hpo.check_study import limits
from hpo.check_subject import Subject
from hpo.cli.check import Outcome
from hpo.cli.check_view import CheckView
from hpo.cli.probe_view import show_batches, show_rates
from hpo.cli.terminal import Terminal
from hpo.lr_range import Point, in_sentences, rate_warnings, rates, read, steps_of, sweep
from hpo.lr_range_page import write_page
from hpo.optimizer import in_words


def try_rates(
    subject: Subject, name: str, fold: int, findings: DataFindings, plot: Path | None, view: CheckView
) -> Outcome:
    """Sweep the learning rate, say what the curve says, and draw it on a page if it is to go anywhere."""
    over, points, result = rates(), list[Point](), Training()
    with result.catching(), _bar("training with a growing rate", len(over)) as advance:
        run = subject.run(subject.split.folds[fold], subject.spec.budget.epochs)

        def heard(point: Point) -> None:
            points.append(point)
            advance()

        sweep(steps_of(run), over, heard)
    if not points and not result.problems:
        first = "the loss is not finite at the first step"
        result.problems.append(f"{first}: `hpo check` without --lr-range names its term")
    if result.problems:
        return {"lr_range": None}, [], result.problems
    reading = read(points, over)
    own, size = subject.params.optimizer["lr"], subject.params.data["batch_size"]
    space = limits(subject.spec.space.get("optimizer.lr"), own)
    sentences = in_sentences(reading, space, own)
    view.say("lr range", f"fold {fold}, configuration '{name}', batches of {size} rows")
    show_rates(view, points, reading, sentences)
    if plot is not None:
        title = f"{subject.spec.name}: learning-rate range test"
        head = {"title": title, "synthetic": findings.synthetic, "sentences": sentences}
        facts = _facts(subject, name, fold, findings, len(points))
        write_page(plot, points, reading, space, head | {"facts": facts})
        view.say("plot", str(plot))
    record = asdict(reading) | {"space": space, "curve": [asdict(point) for point in points]}
    return {"lr_range": record, "plot": plot and str(plot)}, rate_warnings(reading, space), []


def _facts(subject: Subject, name: str, fold: int, findings: DataFindings, steps: int) -> list[tuple[str, str]]:
    """What was tried on what, for the page."""
    return [
        ("study", f"{subject.spec.name}, configuration {name}, fold {fold}"),
        ("data", f"{findings.source}, fingerprint {findings.fingerprint[:16]}"),
        ("steps", f"{steps} of {subject.params.data['batch_size']} rows, on {subject.feed.device}"),
        ("optimizer", in_words(subject.params.optimizer)),
    ]


def try_batches(subject: Subject, name: str, fold: int, view: CheckView) -> Outcome:
    """Look for the largest batch that fits, and hold the study's own against it."""
    result, found = Training(), None
    with result.catching(), _status() as tell:
        run = subject.run(subject.split.folds[fold], subject.spec.budget.epochs)
        found = probe(run, lambda rows: tell(f"trying a batch of {rows} rows"))
    if found is None:
        return {"batch_size": None}, [], result.problems
    own, largest = int(subject.params.data["batch_size"]), largest_batch(subject.spec, subject.params)
    view.say("batches", f"fold {fold}, configuration '{name}', on {subject.feed.device}")
    show_batches(view, found, own, len(subject.split.folds[fold].train))
    warnings, problems = _unfit(found, own, largest)
    record: dict[str, Any] = {"limit": found.limit, "allowed_bytes": found.most, "study": own}
    record |= {"largest": found.largest and found.largest.rows, "fastest": found.fastest and found.fastest.rows}
    tried = [asdict(trial) | {"rows_per_second": trial.rows_per_second} for trial in found.tried]
    return {"batch_size": record | {"tried": tried}}, warnings, problems


def _unfit(found: Found, own: int, largest: int) -> tuple[list[str], list[str]]:
    """A batch size that is to be trained and does not fit; one that only the space holds is a warning."""
    if found.limit != "memory":
        return [], []
    most = found.largest.rows if found.largest else 0
    way = f"the largest that does is {most}" if most else "not even the smallest does"
    if own > most:
        return [], [f"data.batch_size {own} does not fit the device: {way}"]
    if largest > most:
        return [f"data.batch_size is searched up to {largest}, which does not fit the device: {way}"], []
    return [], []


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on the error stream, or one line where that is no terminal."""
    console = Terminal(stderr=True)
    if not console.is_terminal:
        click.echo(f"{what} ...", err=True)
        yield lambda: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    console = Terminal(stderr=True)
    if not console.is_terminal:
        yield lambda text: click.echo(f"{text} ...", err=True)
        return
    with console.status("making the net") as line:
        yield line.update
