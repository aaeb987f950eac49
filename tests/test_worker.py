"""When a worker leaves, and when it stays."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from hpo.options import Options
from hpo.store import Lease
from hpo.worker import Worker
from tests.toy import STUDY, Toy, launch


def test_a_worker_stays_while_another_one_is_inside_the_last_trial(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that began it between this worker's look at what is left and its own attempt."""
    launched = launch(url, tmp_path, STUDY)
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
