"""The faults that `bench.soak` injects, each with its full size."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from tests.faults import clocks, damages, ends, kills, locks, outages, promotions, races, signals, sweeps, values
from tests.faults.parts import Field


@dataclass
class Fault:
    """What is done to whom."""

    name: str
    workload: str
    #: Raises when something does not hold; otherwise says what was found.
    inject: Callable[[Field], object]


def faults(kind: str, options: argparse.Namespace) -> Iterator[Fault]:
    """Those of the table, for one kind of database."""
    yield storm(options, options.seed)
    if options.quick:
        return
    yield from _sweeps(options.stride)
    everybody = partial(kills.everybody, trials=40, workers=4, rounds=4)
    yield Fault("kill -9 all workers and the launcher, start again", "40 trials, 4 times", everybody)
    yield Fault("SIGSTOP longer than the lease, SIGCONT", "20 trials", partial(signals.put_to_sleep, trials=20))
    within = signals.PROMISED + signals.BUSY
    preempted = partial(signals.preempted, trials=20, workers=4, within=within)
    yield Fault("SIGTERM to every worker", "20 trials, 4 workers, again and again", preempted)
    together = partial(signals.all_at_once, number=signal.SIGTERM, trials=8)
    yield Fault("SIGTERM to launcher and workers at once", "8 trials, 2 workers", together)
    yield from _of_sqlite() if kind == "sqlite" else _of_postgresql()
    frozen = partial(locks.frozen_holders, rounds=3, most=locks.PROMISED)
    yield Fault("a process frozen inside a transaction", "3 claims, 3 takeovers", frozen)
    yield Fault("clocks an hour off, time zones, summer time", "10 trials", partial(clocks.false_clocks, trials=10))
    yield Fault(
        "NaN, OOM, exception, exit, abort, hang, bad data", "1 each among 10", partial(ends.every_end, healthy=3)
    )
    yield Fault("losses and scores that are no numbers", "9 kinds", partial(values.bad_values, copies=1, workers=2))
    for damage in (damages.truncated, damages.bit_flipped):
        inject = partial(damages.checkpoints, trials=5, damage=damage)
        yield Fault(f"{damage.__name__.replace('_', '-')} checkpoint", "5 trials", inject)
    claims = partial(races.claims, rounds=20, configurations=200)
    yield Fault("race for enqueued configurations", "200, 8 workers, 20 rounds", claims)
    yield Fault("8 processes start on an empty database", "20 rounds", partial(races.starts, rounds=20))
    two = partial(kills.two_launches, trials=50, workers=2, every=options.every, seed=options.seed)
    yield Fault("two launches with --trials 50, with kills", "budget 50, 4 workers", two)
    alone = partial(signals.without_supervisor, rounds=10, workers=2, within=within)
    yield Fault("kill -9 the supervisor only", "10 rounds", alone)
    promoting = partial(promotions.killed, every_statement=5 * options.stride, every_file=1)
    yield Fault("kill -9 inside a promotion", f"every {5 * options.stride}th statement, every file", promoting)
    yield Fault("false values told by another tool", "12 trials", partial(promotions.forged, trials=12))
    yield Fault("backup while running, restored, resumed", "20 trials", partial(damages.restored, trials=20))


def storm(options: argparse.Namespace, seed: int) -> Fault:
    """Kills at random."""
    trials, workers, every = (8, 2, 1.0) if options.quick else (200, 8, options.every)
    inject = partial(kills.storm, trials=trials, workers=workers, every=every, seed=seed)
    return Fault(f"kill -9 a random worker every {every:g} s", f"{trials} trials, {workers} workers", inject)


def _sweeps(stride: int) -> Iterator[Fault]:
    """At a statement of a trial or its database, at every one with a stride of 1."""
    for kind, name, seconds, every in (
        ("kill", "kill -9 inside a trial", 0.0, stride),
        ("takeover", "kill -9 inside a takeover", 0.0, stride),
        ("error", "a statement fails once", 0.0, stride),
        ("error", "the database fails for 10 s", 10.0, 5 * stride),  # each point takes its seconds
    ):
        inject = partial(sweeps.trials, kind=kind, every=every, seconds=seconds)
        yield Fault(name, f"every {every}th statement" if every > 1 else "every statement", inject)


def _of_sqlite() -> Iterator[Fault]:
    def disk(field: Field) -> str:
        with outages.small_disk(field.folder) as mounted:
            own = Field(field.folder, f"sqlite:///{mounted}/hpo.db")
            try:
                return _disturb(outages.full, 10.0, "full", own)
            finally:
                own.end()

    disturb = partial(partial, _disturb)
    yield Fault("another program writes for 20 s", "10 trials", disturb(outages.written_by_another, 20.0, "does not"))
    yield Fault("a reader holds a transaction for 60 s", "10 trials", disturb(outages.read_by_another, 60.0, ""))
    yield Fault("disk full for 10 s", "10 trials", disk)
    yield Fault("file read-only for 10 s", "10 trials", disturb(outages.read_only, 10.0, "does not"))


def _disturb(by: Callable[[Field], object], seconds: float, noticed: str, field: Field) -> str:
    return outages.disturbed(field, trials=10, seconds=seconds, by=partial(by, field), noticed=noticed)


def _of_postgresql() -> Iterator[Fault]:
    def stop(field: Field) -> str:
        with outages.server() as server:
            own = Field(field.folder, server.url)
            try:
                return outages.stopped(own, server, trials=30, workers=4, modes=("fast", "immediate"), seconds=20)
            finally:
                own.end()

    yield Fault("PostgreSQL stopped for 20 s, and -m immediate", "30 trials, 4 workers", stop)
