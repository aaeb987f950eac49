"""What eight processes do at the same moment to one database; imports no torch, which would take a minute."""

from __future__ import annotations

import atexit
import multiprocessing
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import cache
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from hpo.store import Exists, Store, Watch
from tests.store import parts

RACERS = 8
#: What a process came to: whatever its function returns.
Result = Any


class Racers:
    """Processes that live as long as the test session and start each race together."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._gate = spawn.Barrier(RACERS)
        self._pool = spawn.Pool(RACERS, _enter, (self._gate,))
        atexit.register(self._pool.terminate)  # a pool that is still open when Python ends complains

    def __call__(self, function: Callable[..., Result], *arguments: Any) -> list[Result]:
        """What `function(number, *arguments)` returned in each process; everyone waits until all are there."""
        tasks = [(function, number, arguments) for number in range(RACERS)]
        return self._pool.map_async(_run, tasks, chunksize=1).get(280)


@cache
def racers() -> Racers:
    """The same processes for every race; they end with this one."""
    return Racers()


_gates: list[Barrier] = []


def _enter(gate: Barrier) -> None:
    _gates.append(gate)


def _run(task: tuple[Callable[..., Result], int, tuple[Any, ...]]) -> Result:
    function, number, arguments = task
    meet()
    return function(number, *arguments)


def meet() -> None:
    """Wait until every racer is here."""
    _gates[0].wait(240)


@contextmanager
def opened(url: str) -> Any:
    store = Store(url)
    try:
        yield store
    finally:
        store.close()


# ---- the races


def start(number: int, url: str) -> tuple[int | None, str]:
    """What the first worker of a launch does to a database: tables, study, first trial; its number, or the error."""
    try:
        Store(url, create=True).close()
        with opened(url) as store:
            study_id, _ = _made(store, "first", f"first-{number}")
            lease = store.leases.new_trial(study_id, f"w{number}", 0, RACERS)
            return lease.number, ""
    except Exception as error:
        return None, repr(error)


def create_study(number: int, url: str, name: str) -> tuple[int, str]:
    with opened(url) as store:
        meet()
        return _made(store, name, f"{name}-{number}")


def _made(store: Store, name: str, folder: str) -> tuple[int, str]:
    """The study of that name, made now or by another one a moment ago."""
    configurations = {"before": {"x": 1}, "after": {"x": 2}}
    try:
        record = store.studies.create(name, configurations, **parts.facts(folder=folder))
    except Exists:
        record = store.studies.get(name)
    return record.study_id, record.folder


def claim(number: int, url: str, study_id: int, limit: int) -> list[tuple[int, int, str | None]]:
    """Trial, number and configuration of every ticket this process got."""
    found = []
    with opened(url) as store:
        meet()
        while (lease := store.leases.new_trial(study_id, f"w{number}", 0, limit)) is not None:
            found.append((lease.trial_id, lease.number, lease.configuration))
    return found


def claim_jobs(number: int, url: str, study_id: int) -> list[tuple[int, int]]:
    found = []
    with opened(url) as store:
        meet()
        while (lease := store.leases.new_job(study_id, f"w{number}")) is not None:
            found.append((lease.candidate, lease.fold))
    return found


def take_returned(number: int, url: str, study_id: int) -> list[tuple[int, int]]:
    """Lease and token of everything this process took."""
    found = []
    with opened(url) as store:
        watch = Watch(1e9)
        meet()
        while (lease := store.leases.take_over(study_id, f"w{number}", watch)) is not None:
            found.append((lease.lease_id, lease.token))
    return found


def take_silent(number: int, url: str, study_id: int) -> tuple[int, str] | None:
    """Everyone has watched the same silence, and everyone's clock comes to the end of the grace period at once."""
    now = [0.0]
    with opened(url) as store:
        watch = Watch(30.0, lambda: now[0])
        store.leases.observe(study_id, watch)
        now[0] = 30.0
        meet()
        lease = store.leases.take_over(study_id, f"w{number}", watch)
    return None if lease is None else (lease.token, f"w{number}")


def choose_same(number: int, url: str, study_id: int) -> bool:
    with opened(url) as store:
        lease = store.leases.new_trial(study_id, f"w{number}", 0, 1000)
        meet()
        with store.leases.under(lease):
            return store.results.choose(lease, parts.params(0.5), [])


def plan(number: int, url: str, study_id: int, rivals: bool) -> tuple[int, int | None]:
    """Each process plans, with a candidate of its own where there are rivals; returns what stands."""
    candidate = number if rivals else 3
    jobs = [(one, fold, 0) for one in (candidate, 0) for fold in range(5)]
    with opened(url) as store:
        meet()
        for _ in range(3):
            store.promotions.plan(study_id, candidate, 0, True, jobs)
        return store.promotions.planned(study_id)


def work(number: int, url: str, study_id: int, limit: int, enough: str | None = None) -> list[tuple[int, float, float]]:
    """Bring trials of three epochs to their end, until there is the file `enough`.

    Returns:
        Number, value and the moment each was told.
    """
    told = []
    with opened(url) as store:
        meet()
        while (lease := store.leases.new_trial(study_id, f"w{number}", 0, limit)) is not None:
            lr = 1e-4 * (1 + lease.trial_id)
            with store.leases.under(lease):
                store.results.choose(lease, parts.params(lr), parts.suggested(lease, lr))
                for epoch in (1, 2, 3):
                    store.results.record(lease, [parts.epoch(epoch)], (epoch, 0.1 * epoch), lambda *_: False)
                store.results.finish_trial(lease, parts.tells(store, lease, lr), value=lr)
            told.append((lease.number, lr, time.monotonic()))
            if enough is not None and Path(enough).exists():
                break
    return told
