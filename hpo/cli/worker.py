"""worker, and prepare, the first worker of a launch: the processes that train."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hpo.cli.group import Mistake, Place, placed, resolve_aloud
from hpo.options import Options

if TYPE_CHECKING:
    from hpo.objective import Objective


def lasting(function: Any) -> Any:
    """The options of a worker that a launch or a promotion passes on to all of its own."""
    return _with(
        function,
        click.option(
            "--checkpoint-every",
            type=click.FloatRange(0),
            default=Options.checkpoint_every,
            show_default=True,
            help="Seconds; 0 = every epoch.",
        ),
        click.option(
            "--database-patience",
            type=click.FloatRange(0),
            default=Options.database_patience,
            show_default=True,
            help="Minutes a worker trains on without the database before it ends with a checkpoint.",
        ),
        click.option(
            "--hung-minutes",
            type=click.FloatRange(0, min_open=True),
            default=Options.hung_minutes,
            show_default=True,
            help="Minutes without a batch after which a trial ends as hung and its worker is replaced.",
        ),
        click.option(
            "--tensorboard",
            is_flag=True,
            callback=_require_tensorboard,
            help="Write event files for TensorBoard while training; needs the extra hpo[tensorboard].",
        ),
        click.option(
            "--gradient-norms",
            is_flag=True,
            help="Measure the gradient of each loss term: which of them really trains the network. Slower.",
        ),
    )


def _works(function: Any) -> Any:
    """Give a command `options: Options`."""

    @functools.wraps(function)
    def command(*args: Any, **kwargs: Any) -> Any:
        options = Options(**{field.name: kwargs.pop(field.name) for field in fields(Options)})
        return function(*args, options=options, **kwargs)

    return _with(
        lasting(command),
        click.option("--promote/--no-promote", default=True, help="Retrain the best over all folds at the end."),
        click.option("--device", default=Options.device, show_default=True, help="cpu or cuda:N."),
        click.option("--threads", type=click.IntRange(1), help="CPU threads; default OMP_NUM_THREADS or all cores."),
        click.option("--search/--no-search", default=True, hidden=True),
        click.option("--supervised", is_flag=True, hidden=True),
    )


def _require_tensorboard(_context: click.Context, _option: click.Parameter, wanted: bool) -> bool:
    if wanted and importlib.util.find_spec("tensorboard") is None:
        raise Mistake("--tensorboard: the package is not installed: pip install 'hpo[tensorboard]'")
    return wanted


def passed_on(**lasting: float) -> list[str]:
    """The options of `lasting` as words for a worker's command line."""
    words: list[str] = []
    for name, value in lasting.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            words += [option] * value
        else:
            words += [option, str(value)]
    return words


def _with(function: Any, *options: Callable[[Any], Any]) -> Any:
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("study")
@_works
@placed
def worker(study: str, place: Place, options: Options) -> None:
    """Work on a study that exists, as one process on one device, e.g. in a container or a cluster job.

    Any number of workers may run anywhere with the same --storage; they need no supervisor. SIGTERM gives the trial
    back.

    \b
    hpo worker abr --device cuda:0 --storage postgresql://me@db/hpo
    """
    importlib.import_module("hpo.worker")
    if options.supervised:
        # The first optimizer imports it, which takes a second: better while another process prepares the study.
        importlib.import_module("torch._dynamo")
        _await_go()
    _work(study, place, options)


@click.command(hidden=True)
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--name", required=True)
@click.option("--data", type=click.Path(path_type=Path))
@click.option("--trials", type=int)
@click.option("--quick", is_flag=True)
@click.option("--ready", type=int, required=True, help="Descriptor that hears when the study is there.")
@click.option("--log", type=click.Path(path_type=Path), required=True, help="Takes the output from then on.")
@_works
@placed
def prepare(
    study: Path,
    name: str,
    data: Path | None,
    trials: int | None,
    quick: bool,
    ready: int,
    log: Path,
    place: Place,
    options: Options,
) -> None:
    """Read a study file, prepare its data, make tables and study, then work on it: the first worker of a launch."""
    from hpo.launching import create_or_resume
    from hpo.resolve import file_hash
    from hpo.study import Study
    from hpo.worker import require_device

    spec = Study.read(study, resolve_aloud, quick=quick)
    require_device(options.device)
    digest = file_hash(spec.objective)
    spec = replace(spec, name=name, data=str(data.resolve()) if data else spec.data)
    objective = resolve_aloud(spec.objective, digest)
    create_or_resume(spec, trials, place.store(create=True), place.files, objective, digest, click.echo)
    _write_to(log)
    os.write(ready, b"!")
    os.close(ready)
    _await_go()
    _work(name, place, options)


def _work(study: str, place: Place, options: Options) -> NoReturn:
    from hpo.leaving import end_process
    from hpo.patience import DatabaseGone, Patience
    from hpo.worker import Worker

    def made() -> Worker:
        store = place.store()
        record = store.studies.get(study)
        place.files.require(record.folder)
        return Worker(store, place.files, record, _as_launched, options, click.echo)

    try:
        worker = Patience(60 * options.database_patience, click.echo).until(made)
    except (LookupError, DatabaseGone) as error:
        raise Mistake(str(error)) from None
    end_process(worker.run())


def _as_launched(objective: str, digest: str | None) -> Objective:
    """The objective of a study's record; a file without a hash there is none that a launch has written."""
    return resolve_aloud(objective, digest or "")


def _await_go() -> None:
    """Wait for the supervisor's word; leave when it has gone."""
    if not os.read(sys.stdin.fileno(), 3):
        sys.exit(0)


def _write_to(log: Path) -> None:
    """From here on, standard output and errors go to a file."""
    sys.stdout.flush()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
