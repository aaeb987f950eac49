"""stop, delete: the commands that change what is on record."""

from __future__ import annotations

import shutil

import click

from hpo.cli.group import Place, existing, placed, typed


@click.command()
@click.argument("study")
@click.option("--now", is_flag=True, help="Workers do not wait for their running batch.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds to wait for the workers.")
@placed
def stop(study: str, now: bool, timeout: float, place: Place) -> None:
    """Ask all workers of a study to give their trials back, wherever they run. `hpo launch` goes on.

    They hear it within 5 s, and end after their running batch, or 5 s later without it; --now, without it at once.
    Every trial is given back at its last epoch boundary.

    \b
    hpo stop abr
    hpo stop abr --now
    """
    import time

    from hpo.status import active

    store = place.store()
    record = existing(store, study)
    store.studies.request_stop(record.study_id, "now" if now else "requested")
    workers = active(store.reading.workers(record.study_id))
    if not workers:
        click.echo(f"no worker of {record.name} was heard of in the last two minutes; should one come back, it stops")
        click.echo(f"to go on: hpo launch {typed(record)}")
        return
    click.echo(f"asked {len(workers)} worker{'s' * (len(workers) > 1)} of {record.name} to stop")
    deadline = time.monotonic() + timeout
    while workers and time.monotonic() < deadline:
        time.sleep(0.2)
        workers = active(store.reading.workers(record.study_id))
    if workers:
        click.echo(f"{len(workers)} have not said that they stopped: " + ", ".join(worker.name for worker in workers))
        raise SystemExit(1)
    click.echo(f"all have ended and given their work back; to go on: hpo launch {typed(record)}")


@click.command()
@click.argument("study")
@click.option("--yes", is_flag=True, help="Do not ask.")
@placed
def delete(study: str, yes: bool, place: Place) -> None:
    """Delete a study with its trials, curves, logs and checkpoints. Its models stay.

    \b
    hpo delete digits
    """
    from hpo.status import active

    store = place.store()
    record = existing(store, study)
    states = store.reading.states(record.study_id)
    workers = active(store.reading.workers(record.study_id))
    if workers:
        click.echo(f"{len(workers)} workers are active on it: `hpo stop {record.name}` first", err=True)
        raise SystemExit(2)
    folder = place.files.study(record.folder)
    if not yes:
        click.confirm(f"delete study {record.name} with {sum(states.values())} trials?", abort=True)
    store.studies.delete(record.study_id)
    shutil.rmtree(folder, ignore_errors=True)
    click.echo(f"deleted {record.name}")
