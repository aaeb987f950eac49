"""What every benchmark shares: arguments, alternating repetitions, goals, tables, facts of the machine, RESULTS.md.

Imports nothing but the standard library, so that `--help` answers at once and a bare GPU machine can run it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("RESULTS.md")


def arguments(name: str, text: str | None) -> argparse.ArgumentParser:
    """The parser of one benchmark; `text` is its module's docstring, which says what it measures."""
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes: does it run? The numbers mean nothing")
    parser.add_argument("--write", action="store_true", help="append the result to bench/RESULTS.md")
    return parser


def alternate(sides: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """Measure every side in turn, in reversed order each time (A B, B A, A B, ...): a drift favours none.

    Args:
        sides: name -> takes one measurement.
        repetitions: of each side.
    """
    found: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(repetitions):
        for name in list(sides)[:: -1 if repetition % 2 else 1]:
            found[name].append(sides[name]())
            print(f"  {repetition + 1}/{repetitions} {name}: {found[name][-1]:.4g}", file=sys.stderr, flush=True)
    return found


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median over the repetitions of a / b: what was measured side by side is divided, so a drift cancels."""
    return median(a / b for a, b in zip(numerators, denominators, strict=True))


def spread(values: Sequence[float]) -> str:
    """Smallest and largest, for a table."""
    return f"{min(values):.3g}-{max(values):.3g}"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """A number that must be reached; exactly one of the two bounds is set."""

    what: str
    value: float
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "x"

    @property
    def reached(self) -> bool:
        if self.at_most is not None:
            return self.value <= self.at_most
        return self.at_least is not None and self.value >= self.at_least

    def __str__(self) -> str:
        """For example `digits: 1.03x, at most 1.05x must be reached: yes`."""
        bound = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        answer = "yes" if self.reached else "NO"
        return f"{self.what}: {self.value:.3g}{self.unit}, must be {bound}{self.unit}: {answer}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table that is also readable as plain text; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[k]) for row in [list(header), *cells]) for k in range(len(header))]
    right = [all(isinstance(row[k], int | float) for row in rows) for k in range(len(header))]
    rule = "|".join("-" * (width + 1) + (":" if side else "-") for width, side in zip(widths, right, strict=True))
    lines = [_line(list(header), widths, right), f"|{rule}|", *(_line(row, widths, right) for row in cells)]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True)]
    return "| " + " | ".join(padded) + " |"


def machine() -> str:
    """Processor, cores, memory, versions, commit and load: what a number depends on."""
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    packages = [f"{name} {version}" for name in ("torch", "optuna", "sqlalchemy") if (version := _version(name))]
    facts = [
        f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {memory_gb:.0f} GB",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *packages,
        _commit(),
        # Other work on the machine is the first suspect when a number looks odd.
        f"load before {_LOAD:.1f}",
    ]
    return "; ".join(fact for fact in facts if fact)


_LOAD = os.getloadavg()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return f"commit {done.stdout.strip()}" if done.returncode == 0 else ""


def conclude(
    name: str, options: argparse.Namespace, parts: Sequence[str], goals: Sequence[Goal] = (), device: str = ""
) -> int:
    """Print a benchmark's result, write it if asked to, and give its exit code: 1 when a goal was missed.

    Args:
        name: of the benchmark.
        options: from `arguments`.
        parts: tables and sentences.
        goals: what must be reached; not asked of `--quick`, whose numbers mean nothing.
        device: what else was measured on, e.g. a GPU.
    """
    command = shlex.join(["python", "-m", f"bench.{name}", *sys.argv[1:]])
    facts = "; ".join(fact for fact in (device, machine()) if fact)
    goals = [] if options.quick else goals
    result = "\n\n".join([f"`{command}`", facts, *parts, *(["\n".join(f"- {g}" for g in goals)] if goals else [])])
    print(result)
    if options.write:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(f"\n## {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {name}\n\n{result}\n")
    return 0 if all(goal.reached for goal in goals) else 1


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
