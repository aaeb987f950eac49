"""storage: make, back up, restore, check and upgrade a database."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo.cli.group import Place, placed

if TYPE_CHECKING:
    from hpo.store.copying import Counts, Progress


@click.group()
def storage() -> None:
    """Make, back up, restore, check and upgrade a database."""


@storage.command("init")
@placed
def init(place: Place) -> None:
    """Make the tables once; `hpo launch` does it when needed, containers run it before their workers.

    \b
    hpo storage init --storage postgresql://me@db/hpo
    """
    from hpo.store import redacted

    place.store(create=True).close()
    click.echo(f"tables are ready in {redacted(place.url)}")


@storage.command("backup")
@click.argument("target", metavar="FILE|FOLDER", type=click.Path(path_type=Path))
@placed
def backup(target: Path, place: Place) -> None:
    """Write all studies to one file, while workers go on. Models, logs and checkpoints stay where they are.

    \b
    hpo storage backup backups/           a new file there, named after the time
    hpo storage backup before.backup
    """
    from hpo.store.copying import back_up

    if target.is_dir():
        target = target / f"hpo-{datetime.now(UTC):%Y%m%d-%H%M%S}.backup"
    with _counted() as progress:
        counts = back_up(place.url, target, progress)
    click.echo(f"{target}: {_summary(counts)}, compared with the database table by table")


@storage.command("restore")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@placed
def restore(file: Path, place: Place) -> None:
    """Fill an empty database from a backup; every study gets a folder of its own and can go on.

    \b
    hpo storage restore before.backup --storage sqlite:///restored.db
    """
    from hpo.store import redacted
    from hpo.store.copying import restore

    with _counted() as progress:
        counts, moved = restore(file, place.url, progress)
    click.echo(f"{redacted(place.url)}: {_summary(counts)}")
    for study in moved:
        adopted = place.files.adopt_checkpoints(study.old, study.new, study.begun)
        begun = f"; {adopted} of {len(study.begun)} begun trainings have a checkpoint here" if study.begun else ""
        click.echo(f"{study.name}: {place.files.study(study.new)}{begun}")


@storage.command("check")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@placed
def check(as_json: bool, place: Place) -> None:
    """Look for damage: the file, versions, rows that do not fit together. Exit code 1 when there is some.

    \b
    hpo storage check --json
    """
    from hpo.store import redacted
    from hpo.store.checking import check

    problems = check(place.url)
    if as_json:
        found = [{"kind": problem.kind, "text": problem.text} for problem in problems]
        click.echo(json.dumps({"storage": redacted(place.url), "ok": not found, "problems": found}, indent=2))
    else:
        for problem in problems:
            click.echo(f"{problem.kind}: {problem.text}")
        click.echo(f"{redacted(place.url)}: " + (f"{len(problems)} problems" if problems else "no problems"))
    raise SystemExit(1 if problems else 0)


@storage.command("upgrade")
@placed
def upgrade(place: Place) -> None:
    """Bring the tables of an older hpo to this version. Stop its workers and make a backup first.

    \b
    hpo storage upgrade
    """
    from hpo.store import redacted
    from hpo.store.migrations import upgrade

    before, after = upgrade(place.url)
    done = f"is at schema {after}, as it was" if before == after else f"went from schema {before} to {after}"
    click.echo(f"{redacted(place.url)} {done}")


@contextmanager
def _counted() -> Iterator[Progress]:
    """One line that counts, where somebody watches."""
    from hpo.cli.terminal import Terminal

    console = Terminal(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with console.status("reading") as line:
        yield lambda done, total: line.update(f"{done:,} of {total:,} rows")


def _summary(counts: Counts) -> str:
    studies, trials, epochs = (counts.get(name, 0) for name in ("hpo_studies", "trials", "hpo_epochs"))
    return f"{studies} studies, {trials} trials, {epochs} epochs, {sum(counts.values())} rows"
