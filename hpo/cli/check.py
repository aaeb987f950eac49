"""check: try a study without creating it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo.cli.group import Mistake, Place, find_study, mistakes, placed, resolve_aloud

if TYPE_CHECKING:
    import torch

    from hpo.check import Training
    from hpo.check_data import DataFindings
    from hpo.check_list import Item
    from hpo.check_subject import Subject
    from hpo.cli.check_view import CheckView
    from hpo.study import Study

#: What was found, for --json; warnings; problems.
Outcome = tuple[dict[str, Any], list[str], list[str]]


@click.command()
@click.argument("study")
@click.option("--data", type=click.Path(path_type=Path), help="Raw data: a folder or file as the objective reads it.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda:N.")
@click.option("--workers", type=click.IntRange(1), help="Estimate for so many; default as `hpo launch`.")
@click.option("--fold", type=click.IntRange(0), help="Train this fold instead of two batches; default the search fold.")
@click.option("--epochs", type=click.IntRange(1), help="Train a fold for so many epochs; default the budget's.")
@click.option("--configuration", help="Which one to train; default the first.")
@click.option("--lr-range", is_flag=True, help="Instead: train with a growing learning rate; which rates to search?")
@click.option(
    "--plot",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the page of --lr-range to FILE; default NAME-lr-range.html, here.",
)
@click.option("--batch-size", is_flag=True, help="Instead: find the largest batch that fits, and the fastest per row.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@placed
def check(
    study: str,
    data: Path | None,
    device: str,
    workers: int | None,
    fold: int | None,
    epochs: int | None,
    configuration: str | None,
    lr_range: bool,
    plot: Path | None,
    batch_size: bool,
    as_json: bool,
    place: Place,
) -> None:
    """Check a study without creating it: its file, its data fold by fold, whether its net trains, how long it takes.

    STUDY is a file, or the name of one that ships with hpo. Two batches are trained with the first configuration;
    with --fold or --epochs a whole fold instead, each epoch on a line. Nothing is written to a database. It ends with
    a list of what to see to before you retrain: models that are there, one fold first, the first loss, early stopping,
    memory, the current best. Exit code 0 means that all is well, 1 that training would fail (a loss is not finite,
    ...), 2 that file, data or options are wrong.

    --lr-range trains one fold with a rate that grows from 1e-7 to 10 and says from which to which rate to search, with
    a page NAME-lr-range.html (with --json only where --plot names one). --batch-size doubles the batch of real training
    steps until memory or the fold's rows end. Both are for one configuration; try the others with --configuration.

    \b
    hpo check digits
    hpo check abr --data recordings/ --device cuda:0
    hpo check my_study.yaml --fold 1 --epochs 3 --configuration recommended
    hpo check abr --data recordings/ --lr-range --plot rates.html
    hpo check abr --data recordings/ --batch-size --device cuda:0
    """
    _one_question(lr_range, batch_size, epochs, plot)
    path = mistakes(find_study)(study)  # refused without the seconds that importing torch takes
    from hpo.cli.check_list import before_retraining
    from hpo.cli.check_view import CheckView
    from hpo.cli.terminal import Terminal

    view = CheckView((lambda _: None) if as_json else partial(Terminal().print, soft_wrap=True))
    spec, name = _read(path, data, configuration)
    if fold is not None and fold >= spec.folds.count:
        raise Mistake(f"--fold {fold}: the study has folds 0 to {spec.folds.count - 1}")
    chosen, workers, sharing = _device(device, workers)
    subject, findings = _prepare(spec, name, place, chosen, view)
    items: tuple[Item, ...] = ()
    if lr_range or batch_size:
        page = plot if plot or as_json else Path(f"{spec.name}-lr-range.html")
        record, warnings, problems = _probe(subject, findings, name, fold, page if lr_range else None, lr_range, view)
    else:
        number = None if fold is None and epochs is None else spec.folds.search if fold is None else fold
        training, (record, warnings, problems) = _train(subject, findings, name, number, epochs, workers, view)
        again = _again(study, data, configuration, device)
        items = before_retraining(subject, name, training, number, sharing, again, place)
        record |= {"before_you_retrain": [asdict(item) for item in items]}
    view.verdict(warnings, problems)
    if items:
        view.before_retraining(items)
    if as_json:
        head = {"study": spec.name, "objective": spec.objective, "configuration": name, "device": str(chosen)}
        verdict = {"warnings": warnings, "problems": problems, "ok": not problems}
        click.echo(json.dumps(head | record | verdict))
    sys.exit(1 if problems else 0)


def _one_question(lr_range: bool, batch_size: bool, epochs: int | None, plot: Path | None) -> None:
    """Refuse options that contradict each other."""
    if lr_range and batch_size:
        raise Mistake("--lr-range and --batch-size are two questions: ask one after the other")
    if epochs is not None and (lr_range or batch_size):
        other, what = ("--lr-range", "steps of its own") if lr_range else ("--batch-size", "single steps")
        raise Mistake(f"--epochs {epochs}: {other} trains {what}, no epochs; leave one of the two out")
    if plot is not None and not lr_range:
        raise Mistake(f"--plot {plot}: only --lr-range draws; add it, or leave --plot out")


def _read(path: Path, data: Path | None, configuration: str | None) -> tuple[Study, str]:
    """The study and the name of the configuration to train."""
    from hpo.strict_yaml import nearest
    from hpo.study import Study

    with _working("reading the study file"):
        spec = Study.read(path, resolve_aloud)
    name = configuration or spec.baseline
    if name not in spec.configurations:
        hint = nearest(name, spec.configurations)
        near = f"; {hint}" if hint.startswith("did") else ""
        raise Mistake(f"--configuration {name}: {path} has {', '.join(spec.configurations)}{near}")
    return replace(spec, data=str(data.resolve()) if data else spec.data), name


def _again(study: str, data: Path | None, configuration: str | None, device: str) -> str:
    """This command without what says how much is trained."""
    given = {"--data": data, "--configuration": configuration, "--device": None if device == "auto" else device}
    options = [word for key, value in given.items() if value is not None for word in (key, str(value))]
    return shlex.join(["hpo", "check", study, *options])


def _device(wanted: str, workers: int | None) -> tuple[torch.device, int, int]:
    """The device, as many workers as `hpo launch` would start for the same words, and how many of them share it."""
    import torch

    from hpo.options import threads_per_worker

    gpus = [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if wanted == "auto":
        name = gpus[0] if gpus else "cpu"
    elif wanted == "cpu" or wanted in gpus:
        name = wanted
    else:
        raise Mistake(f"--device {wanted}: this machine has {', '.join(['cpu', *gpus])}")
    workers = workers or (max(len(gpus), 1) if wanted == "auto" else 1)
    torch.set_num_threads(threads_per_worker(workers))
    return torch.device(name), workers, -(-workers // len(gpus)) if wanted == "auto" and gpus else workers


def _prepare(
    spec: Study, name: str, place: Place, device: torch.device, view: CheckView
) -> tuple[Subject, DataFindings]:
    from hpo.arrays import Feed, open_arrays, require_source
    from hpo.check_data import look_at_data
    from hpo.check_study import first_params
    from hpo.check_subject import Subject
    from hpo.dealing import split_of, trained_on
    from hpo.study_classes import require_classes
    from hpo.study_values import require_together

    objective = resolve_aloud(spec.objective)
    require_together(spec, objective, spec.configurations)
    source = Path(spec.data) if spec.data else None
    require_source(source)
    view.study(spec)
    params = first_params(spec, name)
    with _working("preparing the data"):
        arrays = open_arrays(objective, source, spec.fixed, place.files.cache)
    with _working("dealing the folds"):
        require_classes(spec, objective, arrays)
        split = trained_on(split_of(spec, objective, arrays), objective, arrays, params)
        findings = look_at_data(spec, objective, arrays, split, params)
    feed = Feed(arrays, device)
    return Subject(spec=spec, objective=objective, arrays=arrays, split=split, feed=feed, params=params), findings


def _train(
    subject: Subject,
    findings: DataFindings,
    name: str,
    fold: int | None,
    epochs: int | None,
    workers: int,
    view: CheckView,
) -> tuple[Training, Outcome]:
    """Data, two batches or (`fold`) a whole fold, and the time that the study would take."""
    from hpo.check import estimate
    from hpo.check_study import study_warnings

    spec = subject.spec
    view.data(findings)
    view.device(subject.feed.device)
    if fold is None:
        training = _two_batches(subject)
        view.batches(subject, name, training)
    else:
        training = _fold(subject, name, fold, epochs, view)
    seconds = training.seconds_per_epoch
    time = estimate(spec, seconds, workers) if seconds is not None else None
    view.time(spec, training, time)
    odd = list(study_warnings(spec, subject.objective.terms))
    record = _record(spec, findings, training) | {"estimate": time and asdict(time)}
    warnings = [*odd, *findings.warnings, *training.warnings]
    return training, (record, warnings, [*findings.problems, *training.problems])


def _two_batches(subject: Subject) -> Training:
    from hpo.check import train_two_batches

    with _working("training two batches, and looking for labels in every fold"):
        return train_two_batches(subject)


def _fold(subject: Subject, name: str, fold: int, epochs: int | None, view: CheckView) -> Training:
    from hpo.check import train_fold

    most = epochs or subject.spec.budget.epochs
    view.say("training", f"fold {fold} for at most {most} epochs with configuration '{name}'")
    training = train_fold(subject, fold, most, lambda epoch: view.epoch(epoch, most))
    view.best(subject.spec.metric.name, training.best)
    return training


def _probe(
    subject: Subject,
    findings: DataFindings,
    name: str,
    fold: int | None,
    page: Path | None,
    lr_range: bool,
    view: CheckView,
) -> Outcome:
    """One of the two questions that steps without epochs answer."""
    from hpo.cli.probe import try_batches, try_rates

    view.source(findings)
    view.device(subject.feed.device)
    number = subject.spec.folds.search if fold is None else fold
    if lr_range:
        found, warnings, problems = try_rates(subject, name, number, findings, page, view)
    else:
        found, warnings, problems = try_batches(subject, name, number, view)
    return found | {"fold": number, "synthetic": findings.synthetic}, warnings, problems


@contextmanager
def _working(what: str) -> Iterator[None]:
    """Say on the error stream what takes a while, so that the output stays clean."""
    from hpo.cli.terminal import Terminal

    console = Terminal(stderr=True)
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        click.echo(f"{what} ...", err=True)
        yield


def _record(spec: Study, findings: DataFindings, training: Training) -> dict[str, Any]:
    """What was found as plain values, for scripts."""
    data = {key: value for key, value in asdict(findings).items() if key not in ("warnings", "problems")}
    trained: dict[str, Any] = {"epochs": [epoch.to_json() for epoch in training.epochs]}
    trained |= {"best_epoch": training.best and training.best.number, "label_weights": training.label_weights}
    trained |= {"unreached": training.unreached, "notes": training.notes}
    trained |= {"seconds_per_epoch": training.seconds_per_epoch}
    record = {"searched": len(spec.space), "points": spec.points(), "budget": asdict(spec.budget)}
    return record | {"data": data, "training": trained}
