"""Faults at their full sizes, in real processes on real databases: what was injected, and what held.

Every row is a scenario of `tests/faults`, whose tests run the same at small sizes. A row holds when nothing was lost
and nothing is there twice: every trial ended, each with its value and one row per epoch, no parameters twice, nothing
RUNNING, Optuna's tables and ours alike. After the table, storms of kills with new seeds fill the `--minutes`.

With `--kills N` there are storms alone, on each database until N workers have been killed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from bench.databases import KINDS, Fresh, server
from bench.faults import Fault, faults, storm
from bench.measure import Goal, arguments, conclude, table
from tests.faults.kills import Storm
from tests.faults.parts import Field


def main(words: list[str] | None = None) -> int:
    parser = arguments("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long on each database (%(default)s)")
    parser.add_argument("--kills", type=int, help="storms alone, until so many workers were killed")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two kills of a storm (%(default)s)")
    parser.add_argument("--stride", type=int, default=11, help="of the sweeps; 1: every statement (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first storm; each further one takes the next")
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="faults whose name has one of these words")
    options = parser.parse_args(words)
    rows: list[Row] = []
    for kind in options.databases:
        with tempfile.TemporaryDirectory(prefix="hpo-soak-") as folder, server(kind, Path(folder)) as fresh:
            started = time.monotonic()
            if options.kills is None:
                rows += [run(kind, fault, fresh) for fault in faults(kind, options) if wanted(fault, options.only)]
            rows += storms(kind, options, fresh, started + 60 * options.minutes)
    cells = [(row.database, row.name, row.workload, str(row.found), round(row.seconds)) for row in rows]
    report = table(["database", "fault", "workload", "what was found", "s"], cells)
    failed = sum(not row.holds for row in rows)
    goal = Goal(what="rows that do not hold", value=failed, at_most=0, unit="")
    return conclude("soak", options, [report], [goal]) or int(failed > 0)


def wanted(fault: Fault, only: list[str] | None) -> bool:
    return only is None or any(word.lower() in fault.name.lower() for word in only)


@dataclass
class Row:
    """How one fault went on one database."""

    database: str
    name: str
    workload: str
    found: object
    holds: bool
    seconds: float


def run(kind: str, fault: Fault, fresh: Fresh) -> Row:
    """Inject it, in a folder and a database of its own."""
    started, holds = time.monotonic(), True
    with tempfile.TemporaryDirectory(prefix="hpo-soak-", ignore_cleanup_errors=True) as folder:
        field = Field(Path(folder), fresh())
        try:
            found = fault.inject(field)
        except Exception as error:
            traceback.print_exc()
            holds, found = False, f"DOES NOT HOLD: {(str(error).strip() or repr(error)).splitlines()[0]}"
        finally:
            field.end()
    row = Row(kind, fault.name, fault.workload, found, holds, time.monotonic() - started)
    print(f"{kind}, {row.name} ({row.workload}): {found} [{row.seconds:.0f} s]", file=sys.stderr, flush=True)
    return row


def storms(kind: str, options: argparse.Namespace, fresh: Fresh, until: float) -> list[Row]:
    """Storms with ever new seeds, as one row, until the kills or the minutes are there; one that fails is the last."""
    total, seconds, number = Storm(), 0.0, 0
    while total.kills < options.kills if options.kills else time.monotonic() < until:
        number += 1
        row = run(kind, storm(options, options.seed + number), fresh)
        seconds += row.seconds
        if not isinstance(row.found, Storm):
            return [row]
        total += row.found
    if not number:
        return []
    seeds = f"seeds {options.seed + 1} to {options.seed + number}"
    return [Row(kind, row.name, f"{number} times {row.workload}", f"{total} ({seeds})", True, seconds)]


if __name__ == "__main__":
    raise SystemExit(main())
