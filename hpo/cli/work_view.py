"""Who works on what, as a table whose rows stay one line each, whatever the terminal's width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from rich.table import Table
from rich.text import Text

from hpo.records import WorkerRecord, WorkRecord
from hpo.status import silent
from hpo.store import grace_period
from hpo.wording import duration

#: Columns of a terminal from which on a row has the time of day, too, and from which on all loss terms.
ROOM_FOR_TIME, ROOM_FOR_TERMS = 100, 140
#: A worker's name ends in its process and four letters of its own: so much is always shown.
SHORTEST_NAME, GAP = 13, 2


def work_table(work: list[WorkRecord], workers: list[WorkerRecord], metric: str, width: int) -> Table:
    """A row per unit of work begun and not done: its holder, epoch, loss and score, held since when.

    Below them the workers that hold nothing. Where there is no room for the loss terms, they stand under the table, a
    line for each unit of work that has several.

    Args:
        work: see `Reading.work`.
        workers: the active ones.
        metric: of the study.
        width: of the terminal.
    """
    since = "since, UTC" if width >= ROOM_FOR_TIME else "held for"
    head = ["work", "worker", "device", "epoch", "loss", metric, since]
    head += ["validation losses"] if width >= ROOM_FOR_TERMS else []
    holders = {unit.worker for unit in work if unit.held}
    rows = [_row(unit, metric, width)[: len(head)] for unit in work]
    rows += [_idle(worker) for worker in workers if worker.name not in holders]
    table = Table(box=None, pad_edge=False)
    for name in head:
        table.add_column(name, no_wrap=True)
    used = sum(GAP + max(len(row[k]) for row in (head, *rows) if k < len(row)) for k in range(len(head)) if k != 1)
    for name, worker, *cells in rows:
        table.add_row(name, _end_of(worker, max(width - used, SHORTEST_NAME)), *cells)
    notes = list(_notes(work, width))
    if notes:
        table.caption, table.caption_justify = Text("\n".join(notes), overflow="ellipsis", no_wrap=True), "left"
    return table


def _notes(work: list[WorkRecord], width: int) -> Iterator[str]:
    for unit in work:
        if width < ROOM_FOR_TERMS and len(_terms(unit).split()) > 2:
            yield f"{unit.name}: {_terms(unit)}"
    if any(unit.held and silent(unit.silent_seconds) for unit in work):
        yield f"the work of a silent worker is taken over after {duration(grace_period())}"


def _row(unit: WorkRecord, metric: str, width: int) -> tuple[str, ...]:
    loss, value = (f"{_last(unit)[name]:.4g}" if name in _last(unit) else "" for name in ("loss", metric))
    part = " fast" if unit.last and not unit.last.full else ""  # its losses and scores are those of a part of the rows
    did = (f"{unit.epoch or ''}{part}", loss, value)
    if not unit.held:
        return unit.name, "waits for a worker", "", *did, "given back", _terms(unit)
    if silent(unit.silent_seconds):
        since = _silence(unit.silent_seconds)
    else:
        since = _since(unit.held_since, unit.held_seconds, width)
        since += f", attempt {unit.attempt}" if unit.attempt > 1 else ""
    return unit.name, unit.worker, unit.device or "", *did, since, _terms(unit)


def _idle(worker: WorkerRecord) -> tuple[str, ...]:
    silence = _silence(worker.silent_seconds) if silent(worker.silent_seconds) else ""
    return worker.state, worker.name, worker.device, "", "", "", silence


def _since(moment: datetime, seconds: float, width: int) -> str:
    return (f"{moment:%H:%M:%S}, " if width >= ROOM_FOR_TIME else "") + duration(round(seconds))


def _silence(seconds: float | None) -> str:
    return "silent" if seconds is None else f"silent for {duration(round(seconds))}"


def _last(unit: WorkRecord) -> Mapping[str, float]:
    return unit.last.validation if unit.last else {}


def _terms(unit: WorkRecord) -> str:
    return " ".join(f"{n.removeprefix('loss.')} {v:.3g}" for n, v in _last(unit).items() if n.startswith("loss."))


def _end_of(name: str, room: int) -> str:
    return name if len(name) <= room else f"…{name[1 - room :]}"
