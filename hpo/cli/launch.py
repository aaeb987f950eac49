"""launch and promote: the commands that start workers and watch them."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo.cli.group import Mistake, Place, existing, find_study, mistakes, placed
from hpo.cli.signals import catch_signals
from hpo.cli.worker import lasting, passed_on
from hpo.files import RunFiles
from hpo.leaving import SIGNALS
from hpo.options import threads_per_worker

if TYPE_CHECKING:
    from hpo.engines.local import LocalEngine
    from hpo.records import StudyRecord
    from hpo.store import Store


#: More devices than one machine has.
MANY = 64
#: Exit code of a launch that was asked to stop, by Ctrl-C or `hpo stop`.
STOPPED = 128 + signal.SIGINT


@click.command()
@click.argument("study")
@click.option("--workers", type=click.IntRange(1), default=None, help="Worker processes; default one per device.")
@click.option("--devices", default="auto", show_default=True, help="auto, cpu, or a list such as cuda:0,cuda:1.")
@click.option("--data", type=click.Path(path_type=Path), help="Raw data: a folder or file as the objective reads it.")
@click.option("--trials", type=click.IntRange(1), help="Budget in trials, over all launches; default from the file.")
@click.option(
    "--quick",
    is_flag=True,
    help="See in minutes that everything works: 2 epochs on at most a few hundred rows, each configuration once, as "
    "study NAME-quick.",
)
@click.option("--new-name", help="Launch the file as another study, e.g. after a change that cannot be mixed in.")
@click.option(
    "--promote/--no-promote",
    default=True,
    show_default=True,
    help="Retrain the best over all folds at the end, and refit it on all data.",
)
@lasting
@click.option("--report/--no-report", default=True, show_default=True, help="Write the HTML report at the end.")
@placed
def launch(
    study: str,
    workers: int | None,
    devices: str,
    data: Path | None,
    trials: int | None,
    quick: bool,
    new_name: str | None,
    promote: bool,
    report: bool,
    place: Place,
    **lasting: float,
) -> None:
    """Create the study of a YAML file, or go on with it, and work until it is done.

    STUDY is a file, or the name of one that ships with hpo (`hpo objectives`). The best trial and the baseline are
    then retrained over all folds and the best is refitted on all data. Ctrl-C gives every trial back at its last
    epoch boundary; the same command goes on.

    \b
    hpo launch digits --workers 2
    hpo launch abr --data recordings/ --quick
    hpo launch abr --data recordings/ --trials 40 --devices cuda:0,cuda:1
    hpo launch my_study.yaml --storage postgresql://me@db/hpo
    """
    path = mistakes(find_study)(study)  # refused before Optuna is imported
    name = _name(path, new_name, quick)
    options = ["--promote" if promote else "--no-promote", *passed_on(**lasting)]
    prepare = ["prepare", str(path), "--name", name, *(["--quick"] if quick else [])]
    prepare += ["--data", str(data)] if data else []
    prepare += ["--trials", str(trials)] if trials else []
    with _engine(place, name, devices, workers, options, prepare) as (engine, interrupts):
        click.echo(f"reading {path}, preparing its data, starting workers ...")
        _await_study(engine, interrupts)
        code = _supervise(engine, place, name, interrupts, promoted=promote, lasting=lasting)
    if code == 0 and report:
        _report(place, name)
    sys.exit(code)


def _name(path: Path, new_name: str | None, quick: bool) -> str:
    """Of the study to be launched: the file's, unless the command line gives another one."""
    from hpo.quick import quick_name
    from hpo.study import NAME, NAME_RULE, read_name

    name = new_name or read_name(path)
    if quick and not new_name:
        name = quick_name(name)
    if not NAME.fullmatch(name):
        raise Mistake(f"--new-name {name}: {NAME_RULE}")
    return name


@contextmanager
def _engine(
    place: Place, name: str, devices: str, workers: int | None, options: Sequence[str], prepare: Sequence[str] = ()
) -> Iterator[tuple[LocalEngine, list[int]]]:
    """Workers that have been started and wait for `go`, and the signals that have come; stopped on leaving.

    With `prepare`, the command `hpo prepare` and its arguments, the first of them prepares the study before it works.
    """
    from hpo.engines.local import LocalEngine, environment
    from hpo.engines.local import devices as devices_of

    try:
        slots = devices_of(devices, workers or len(set(devices_of(devices, MANY))))
    except ValueError as error:
        raise Mistake(str(error)) from None
    engine = LocalEngine(environment(place.url, threads_per_worker(len(slots))), click.echo)
    interrupts = catch_signals()
    try:
        for number, device in enumerate(slots):
            words = ["--device", device, "--supervised", "--runs", str(place.files.root), *options]
            first = [*prepare, *words] if prepare and number == 0 else []
            engine.start(["worker", name, *words], place.files.worker_log(name, number), first)
        yield engine, interrupts
    finally:
        engine.stop()


def _await_study(engine: LocalEngine, interrupts: list[int]) -> None:
    """Wait until the first worker has read the file, prepared the data and created the study."""
    while not interrupts:
        code = engine.prepared(patience=0.1)
        if code == 0:
            return
        if code is not None:
            sys.exit(code)
    engine.stop(patience=0)  # what it builds appears complete or not at all
    sys.exit(128 + interrupts[0])


def _supervise(
    engine: LocalEngine, place: Place, name: str, interrupts: list[int], *, promoted: bool, lasting: Mapping[str, float]
) -> int:
    """Watch the workers until the study is done, or the database away for their patience; the exit code."""
    from hpo.cli.view import LaunchView
    from hpo.store import DATABASE_ERRORS, cause

    store = place.store()
    record = store.studies.get(name)
    if lasting["tensorboard"]:
        click.echo(f"watch      {shlex.join(['tensorboard', '--logdir', str(place.files.tensorboard(record.folder))])}")
    engine.go()
    answered = time.monotonic()
    with LaunchView(store, record) as view:
        engine.say = view.say  # click's echo would end up inside the live table
        while not interrupts:
            try:
                if not engine.tick(store, record.study_id):
                    break
                view.update()
                answered = time.monotonic()
            except DATABASE_ERRORS as error:
                time.sleep(1)  # the workers know how to wait for the database, and how long
                # A worker that was killed meanwhile would be started again, but not for ever.
                given_up = not engine.alive and time.monotonic() - answered >= 60 * lasting["database_patience"]
                if given_up or not engine.running:
                    click.echo(f"the database has gone, and all workers with it: {cause(error)}", err=True)
                    click.echo("the same command goes on from here", err=True)
                    return 1
    if interrupts:
        click.echo("stopping: every trial is given back at its last epoch boundary (again to end at once)")
        _on_second_signal(engine)
        engine.stop()
        try:
            engine.give_back(store, record.study_id)
        except DATABASE_ERRORS as error:
            click.echo(
                f"the database is away, so trials go on after the lease's grace period: {cause(error)}", err=True
            )
        click.echo("stopped; the same command goes on from here")
        return 128 + interrupts[0]
    stopped = store.studies.stop_requested(record.study_id)
    if stopped == "broken":
        return _broken(store, record)
    if stopped:
        click.echo("stopped by `hpo stop`; the same command goes on from here")
        return STOPPED
    view.summary()
    return _outcome(store, store.studies.get(name), promoted)


def _broken(store: Store, record: StudyRecord) -> int:
    """Say why the study was stopped before its budget was spent."""
    from hpo.circuit import BROKEN

    ended = [trial for trial in store.reading.trials(record.study_id, curves=False) if trial.end in BROKEN]
    latest = max(ended, key=lambda trial: (trial.finished is not None, trial.finished))
    click.echo(f"stopped: the same {latest.end} ended one trial after the other", err=True)
    click.echo((latest.end_text or "").rstrip(), err=True)
    states = store.reading.states(record.study_id)
    kept = record.objective_hash and states["COMPLETE"] + states["PRUNED"]  # trials of changed code are not mixed in
    click.echo(f"its log: hpo logs {record.name} {latest.number}", err=True)
    if kept:
        click.echo("mended your code? launch it with --new-name NAME. Was it a disk or a network? ", err=True, nl=False)
    else:
        click.echo("mend it, then ", err=True, nl=False)
    click.echo("the same command goes on", err=True)
    return 1


def _on_second_signal(engine: LocalEngine) -> None:
    def end(code: int, _frame: object) -> None:
        engine.kill()
        os._exit(128 + code)

    for number in SIGNALS:
        signal.signal(number, end)


def _outcome(store: Store, record: StudyRecord, promoted: bool) -> int:
    """0 when the budget is used, something is complete, and the promotion, if wanted, is done."""
    reading, study_id = store.reading, record.study_id
    hours_used = record.hours is not None and reading.compute_hours(study_id) >= record.hours
    searched = reading.tickets(study_id) >= record.trials or record.exhausted or hours_used
    final = reading.final(study_id)
    proven = not promoted or (final is not None and final.status == "done")
    return 0 if searched and proven and reading.states(study_id)["COMPLETE"] else 1


def _report(place: Place, name: str) -> None:
    from hpo.cli.look import write
    from hpo.store import redacted

    click.echo(f"report     {write(place, name, None)}")
    elsewhere = "" if place.url == RunFiles(Path("runs")).database_url else f" --storage {redacted(place.url)}"
    click.echo(f"dashboard  hpo dashboard{elsewhere}")


@click.command()
@click.argument("study", required=False)
@click.option("--workers", type=click.IntRange(1), default=None, help="Worker processes; default one per device.")
@click.option("--devices", default="auto", show_default=True, help="auto, cpu, or a list such as cuda:0,cuda:1.")
@lasting
@placed
def promote(study: str | None, workers: int | None, devices: str, place: Place, **lasting: float) -> None:
    """Retrain the best trial and the baseline over all folds and refit the best, after `launch --no-promote`.

    Begins no new trials; jobs that failed are tried again.

    \b
    hpo promote digits --workers 2
    """
    from hpo.resolve import named

    store = place.store()
    record = existing(store, study)
    store.studies.request_stop(record.study_id, None)
    store.promotions.retry_failed(record.study_id)
    begun = store.reading.tickets(record.study_id)
    if begun < record.trials and not record.exhausted:
        click.echo(
            f"promoting the best of {begun} trial{'s' * (begun != 1)}; the search of {record.trials} is not finished",
            err=True,
        )
    if record.objective_hash:  # workers run no other; what they say themselves is in their logs
        click.echo(named(record.objective, record.objective_hash), err=True)
    with _engine(place, record.name, devices, workers, ["--no-search", *passed_on(**lasting)]) as (engine, interrupts):
        code = _supervise(engine, place, record.name, interrupts, promoted=True, lasting=lasting)
    if code != STOPPED:
        final = store.reading.final(record.study_id)
        code = 0 if final is not None and final.status == "done" else 1
        _report(place, record.name)
    sys.exit(code)
