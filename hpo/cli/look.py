"""status, studies, objectives, export, report, dashboard: the commands that only look.

None imports torch, but for a report with the objective's own figures, which only its code can draw.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

from hpo.cli.group import Mistake, Place, existing, placed, resolve_aloud

#: Takeovers that `hpo status --watch` goes on showing.
MOST_TAKEOVERS = 5
AS_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")


@click.command()
@click.argument("study", required=False)
@AS_JSON
@click.option("--watch", is_flag=True, help="Keep looking until Ctrl-C.")
@placed
def status(study: str | None, as_json: bool, watch: bool, place: Place) -> None:
    """Show where a study stands: trials, best, who works on what and since when, final model.

    A trial whose worker has died stays in the table, as silent or as waiting for a worker, until another one takes it
    over. How long is measured by the database's clock, not by those of the machines.

    \b
    hpo status abr
    hpo status abr --watch             see a takeover: kill -9 a worker
    hpo status abr --json | jq .best.value

    \b
    --json prints one object (with --watch one per look):
      study, states, budget, best, final, compute_hours, stop, exhausted
      quick              true: of `hpo launch --quick`, the numbers mean nothing
      checkpoint_bytes   what the checkpoints take of the disk
      predictions        folder of the predictions on rows that a model has not seen, or null
      workers            those heard of in the last two minutes: name, host, pid, device, state,
                         trial, job, epoch, held_since, seen, silent_seconds
      work               what is begun and not done: trial or job, held (false: it waits for a
                         worker), worker (the last one), host, device, attempt, epoch,
                         held_since, held_seconds, silent_seconds
    """
    if watch:
        _await_study(place, study)
    store = place.store()
    record = existing(store, study)
    from hpo.cli.terminal import Terminal
    from hpo.status import Takeovers
    from hpo.status import status as look
    from hpo.store import DATABASE_ERRORS, cause

    console, takeovers, lines = Terminal(), Takeovers(), list[str]()
    while True:
        try:
            record = store.studies.get(record.name)
            if as_json:
                click.echo(json.dumps(look(store, record) | _on_disk(place, record)))
            else:
                lines = [*lines, *takeovers.seen(store.reading.work(record.study_id))][-MOST_TAKEOVERS:]
                shown = [*_parts(place, store, record, console.width), *([""] if lines else []), *lines]
                if watch and console.is_terminal:
                    console.clear()
                for part in shown:
                    console.print(part, soft_wrap=isinstance(part, str))
        except DATABASE_ERRORS as error:
            if not watch:
                raise
            click.echo(f"the database does not answer, looking again: {cause(error)}", err=True)
        if not watch:
            return
        time.sleep(2)


def _on_disk(place: Place, record: Any) -> dict[str, Any]:
    predictions = place.files.predictions(record.folder)
    return {
        "checkpoint_bytes": place.files.checkpoint_bytes(record.folder),
        "predictions": str(predictions) if predictions.is_dir() else None,
    }


def _await_study(place: Place, study: str | None) -> None:
    """Wait for a launch that is still preparing: who watches a study often starts in the same moment."""
    if study is not None and place.study(study) is None:
        click.echo(f"no study {study} yet, waiting for it (Ctrl-C ends)", err=True)
        while place.study(study) is None:
            time.sleep(1)


def _parts(place: Place, store: Any, record: Any, width: int) -> Iterator[Any]:
    """Lines, and the table of who works on what."""
    from hpo.cli.standing import standing
    from hpo.cli.work_view import work_table
    from hpo.status import active

    yield f"study      {record.name}, objective {record.objective}"
    yield from standing(store, record, width)
    if used := place.files.checkpoint_bytes(record.folder):
        yield f"disk       {used / 2**20:.3g} MiB of checkpoints: {_kept(record)}"
    work, workers = store.reading.work(record.study_id), active(store.reading.workers(record.study_id))
    if work or workers:
        yield work_table(work, workers, record.metric, width)


def _kept(record: Any) -> str:
    from hpo.stored import as_launched

    keep = as_launched(record).keep_checkpoints
    best = {0: "; finished trials keep none", 1: " and of the best trial"}.get(keep, f" and of the best {keep} trials")
    return f"those of work under way{best} (checkpoints.keep: {keep})"


@click.command()
@AS_JSON
@placed
def studies(as_json: bool, place: Place) -> None:
    """List the studies of the database: trials that have ended of the budget, and the best value so far.

    \b
    hpo studies
    hpo studies --storage postgresql://me@db/hpo
    """
    store = place.store()
    rows = []
    for record in store.studies.all():
        best = store.reading.best_trial(record.study_id, record.direction)
        done = store.reading.ended(record.study_id)
        rows.append((record.name, record.objective, f"{done}/{record.trials}", record.metric, best and best.value))
    if as_json:
        keys = ("study", "objective", "trials", "metric", "best")
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows]))
        return
    if not rows:
        click.echo("no study yet: start one with `hpo launch digits`")
        return
    cells = [(*row[:4], "-" if row[4] is None else f"{row[4]:.4g}") for row in rows]
    table = [("study", "objective", "trials", "metric", "best"), *cells]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for line in table:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


@click.command()
@AS_JSON
def objectives(as_json: bool) -> None:
    """List the objectives that ship with hpo; your own is `module:Class` or `path/to/file.py:Class`.

    \b
    hpo objectives
    """
    from hpo.resolve import built_in

    if as_json:
        click.echo(json.dumps(built_in()))
        return
    for name, about in built_in().items():
        click.echo(f"{name:12} {about}")


@click.command()
@click.argument("study")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="CSV file; - prints."
)
@click.option("--predictions", is_flag=True, help="Instead: what the promoted trial predicts for each row of data.")
@click.option("--trial", type=int, help="With --predictions: another promoted trial, such as the baseline.")
@placed
def export(study: str, output: Path, predictions: bool, trial: int | None, place: Place) -> None:
    """Write one row per trial: state, value, end, and every parameter it used, defaults included.

    With --predictions, a line per row of data but the test rows, each predicted by the fold's model that was not
    trained on it: what the promotion's scores were computed from. A row that holds several entries, as a clip of
    frames does, has a line for each.

    \b
    hpo export digits -o trials.csv
    hpo export digits --predictions -o predicted.csv
    """
    from hpo.files import write_whole

    store = place.store()
    record = existing(store, study)
    if trial is not None and not predictions:
        raise Mistake("--trial goes with --predictions")
    text, what = _predictions(place, store, record, trial) if predictions else _trials(store, record)
    if str(output) == "-":
        click.echo(text, nl=False)
    else:
        write_whole(output, text.encode())
        click.echo(f"{what} -> {output}")


def _trials(store: Any, record: Any) -> tuple[str, str]:
    """The table of trials, and what it holds."""
    from hpo.harmless import cell
    from hpo.wording import counted

    trials = store.reading.trials(record.study_id)
    names = sorted({name for trial in trials for name in trial.params})
    fixed = ("number", "state", "value", "configuration", "end", "worker", "attempt", "started", "finished", "seconds")
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*fixed, "epochs", *names])
    for trial in trials:
        own = [_plain(getattr(trial, name)) for name in fixed]
        row = [*own, len(trial.epochs), *(trial.params.get(name, "") for name in names)]
        table.writerow([cell(value) if isinstance(value, str) else value for value in row])
    return text.getvalue(), counted(len(trials), "trial")


def _predictions(place: Place, store: Any, record: Any, trial: int | None) -> tuple[str, str]:
    """The table of a promoted trial's predictions over all folds, and what it holds."""
    from hpo.predictions import Unreadable, as_csv, extent, of_candidate

    jobs = store.reading.jobs(record.study_id, curves=False)
    promoted = list(dict.fromkeys(job.candidate for job in jobs if job.role == "best")) or [None]
    candidate = promoted[0] if trial is None else trial
    try:
        found = of_candidate(place.files, record.folder, jobs, candidate)
    except Unreadable as error:
        raise Mistake(str(error)) from None
    if found is None:
        known = sorted({job.candidate for job in jobs if job.state == "done" and job.fold >= 0})
        ways = f"`hpo promote {record.name}` makes them"
        if known:
            verb = "is trial" if len(known) == 1 else "are trials"
            ways = f"promoted {verb} {', '.join(map(str, known))}"
        if candidate in known:
            ways = "its folds are done, so they lie in the runs folder that its workers had"
        whose = "study" if candidate is None else f"trial {candidate} of study"
        raise Mistake(f"no predictions of {whose} {record.name} in {place.files.predictions(record.folder)}: {ways}")
    what = f"{extent(found.table)}, predicted by trial {candidate} over {len(found.folds)} folds"
    return as_csv(found.table), what


def _plain(value: Any) -> Any:
    return "" if value is None else value


@click.command()
@click.argument("study", required=False)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Default: in the runs folder.")
@placed
def report(study: str | None, output: Path | None, place: Place) -> None:
    """Write a study as one self-contained HTML page: what helped, by how much, with evidence.

    After a promotion it holds the objective's own figures, which its code draws: that of a user's own file is named
    before it runs, and is not run where it has changed since the launch.

    \b
    hpo report digits
    hpo report digits -o digits.html
    """
    click.echo(write(place, study, output))


def write(place: Place, study: str | None, output: Path | None) -> Path:
    """Write the report of a study; returns its path."""
    from hpo.range_edge import ranges
    from hpo.report import write_report
    from hpo.stored import as_launched, direction_of
    from hpo.unseen import unseen
    from hpo.verdict import Case

    store = place.store()
    record = existing(store, study)
    spec, study_id, reading = as_launched(record), record.study_id, store.reading
    case = Case(
        record,
        sorted(reading.trials(study_id), key=lambda trial: trial.number),
        reading.jobs(study_id),
        reading.final(study_id),
        partial(direction_of, record),
        targets=spec.targets,
        epochs=spec.budget.epochs,
        ranges=ranges(spec.space),
    )
    # Only a worker that ran this very code leaves predictions here; without them no code is run for a report.
    code = partial(resolve_aloud, record.objective, record.objective_hash or "")
    rows = unseen(place.files, record, case.jobs, case.candidate, code)
    to = output or place.files.report(record.folder)
    write_report(case, rows, to)
    return to


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Other than loopback: put TLS in front.")
@click.option("--port", type=int, default=8080, show_default=True, help="0 takes a free one.")
@click.option("--allow-host", multiple=True, help="Further names by which browsers may call it.")
@placed
def dashboard(host: str, port: int, allow_host: tuple[str, ...], place: Place) -> None:
    """Show the studies with optuna-dashboard in a browser, behind a login, read-only.

    \b
    hpo dashboard                  open the address that it prints
    hpo dashboard --port 0 --storage postgresql://me@db/hpo
    """
    from hpo.dashboard import exposure, serve

    store = place.store()
    warning = exposure(host)
    if warning:
        click.echo(warning, err=True)

    def ready(url: str) -> None:
        click.echo(f"dashboard  {url}")
        click.echo("read-only; Ctrl-C ends it")
        sys.stdout.flush()

    serve(store.database, host, port, allow_hosts=allow_host, ready=ready)
