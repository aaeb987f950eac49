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
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.databases import KINDS, Fresh, server
from bench.faults import Fault, faults, storm
from bench.measure import Goal, arguments, conclude, table
from tests.faults.parts import Field


def main(words: list[str] | None = None) -> int:
    parser = arguments("soak", __doc__)
    parser.add_argument("--minutes", type=float, default=0.0, help="at least so long on each database (%(default)s)")
    parser.add_argument("--kills", type=int, help="storms alone, until so many workers were killed")
    parser.add_argument("--trials", type=int, default=200, help="of a storm (%(default)s)")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two kills of a storm (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the first storm; each further one takes the next")
    parser.add_argument("--databases", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="faults whose name has one of these words")
    options = parser.parse_args(words)
    rows: list[Row] = []
    for kind in options.databases:
        with tempfile.TemporaryDirectory(prefix="hpo-soak-") as folder, server(kind, Path(folder)) as fresh:
            for fault in chosen(kind, options):
                rows.append(run(kind, fault, fresh))
    failed = [row for row in rows if not row.holds]
    cells = [(row.database, row.fault.name, row.fault.workload, row.found, round(row.seconds)) for row in rows]
    report = table(["database", "fault", "workload", "what was found", "s"], cells)
    goal = Goal(what="rows that do not hold", value=len(failed), at_most=0, unit="")
    return conclude("soak", options, [report], [goal]) or bool(failed)


def chosen(kind: str, options: argparse.Namespace) -> Iterator[Fault]:
    """The table's faults, then storms until the minutes or the kills are there."""
    started, killed = time.monotonic(), 0
    for fault in faults(kind, options) if options.kills is None else ():
        if options.only is None or any(word.lower() in fault.name.lower() for word in options.only):
            yield fault
    for seed in count(options.seed + 1):
        if options.kills is None and time.monotonic() - started >= 60 * options.minutes:
            return
        if options.kills is not None and killed >= options.kills:
            return
        fault = storm(options, seed)
        yield fault
        killed += fault.kills


@dataclass
class Row:
    """How one fault went on one database."""

    database: str
    fault: Fault
    found: str
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
    row = Row(kind, fault, found, holds, time.monotonic() - started)
    print(f"{kind}, {fault.name} ({fault.workload}): {found} [{row.seconds:.0f} s]", file=sys.stderr, flush=True)
    return row


if __name__ == "__main__":
    sys.exit(main())
