"""When a worker leaves, and when it stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from hpo.heart import Heart
from hpo.leaving import Leaving
from hpo.options import Options
from hpo.store import Lease
from hpo.worker import Worker
from tests.toy import Launched, Toy, launch


@pytest.fixture
def launched(url: str, tmp_path: Path) -> Iterator[Launched]:
    made = launch(url, tmp_path)
    yield made
    made.store.close()


def test_a_worker_stays_while_another_one_is_inside_the_last_trial(
    launched: Launched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that began it between this worker's look at what is left and its own attempt."""
    store, record = launched.store, launched.record
    worker = Worker(store, launched.files, record, lambda *_: Toy(), Options(threads=1, promote=False))
    begun: list[Lease] = []
    waited: list[int] = []
    claim, rest = worker._claim, worker._heart.rest

    def claim_after_another() -> Lease | None:
        if not begun:
            begun.extend(iter(partial(store.leases.new_trial, record.study_id, "another", 0, record.trials), None))
        return claim()

    def wait(seconds: float) -> None:
        waited.append(store.leases.open(record.study_id))
        for lease in begun:
            with store.leases.under(lease):
                store.results.finish_trial(lease, lambda: None, value=None, end="code_error")
        rest(seconds)

    monkeypatch.setattr(worker, "_claim", claim_after_another)
    monkeypatch.setattr(worker._heart, "rest", wait)
    assert worker.run() == 0
    assert begun and waited == [len(begun)]


def test_a_heart_survives_whatever_goes_wrong_in_a_beat_and_says_it_once(
    launched: Launched, monkeypatch: pytest.MonkeyPatch, wait_until: Callable[..., None]
) -> None:
    """One that stopped would lose the trial of a worker that trains on."""
    lease, said = launched.trial(), list[str]()
    renewals: list[Lease] = []

    def renew(held: Lease) -> bool:
        renewals.append(held)
        if len(renewals) <= 3:
            raise ValueError("nobody thought of this")
        return True

    monkeypatch.setattr(launched.store.leases, "renew", renew)
    leaving = Leaving(lambda: None, supervised=False)
    with Heart(launched.store, launched.record.study_id, "w", 0.1, leaving, lambda _: None, 1e9, said.append) as heart:
        heart.hold(lease)
        wait_until(lambda: len(renewals) > 3, "a beat after the failed ones")
    assert said == ["a beat failed, the next one is tried: ValueError('nobody thought of this')"]
