"""A store of an empty database, once per back end, and eight processes for the races."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hpo.records import StudyRecord
from hpo.store import Store
from tests.store.parts import facts
from tests.store.racers import Racers


@pytest.fixture(scope="session")
def race() -> Iterator[Racers]:
    racers = Racers()
    yield racers
    racers.close()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    made = Store(url, create=True)
    yield made
    made.close()


@pytest.fixture
def study(store: Store) -> StudyRecord:
    return store.studies.create("made-up", {}, **facts())
