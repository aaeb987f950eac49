"""Eight processes at once: for the trials of a queue, and for an empty database. No torch."""

from __future__ import annotations

from hpo.store import Store, tables
from tests.faults.parts import Field
from tests.store.parts import contents, emptied, facts
from tests.store.racers import RACERS, racers, start, work


def claims(field: Field, *, rounds: int, configurations: int) -> str:
    """They bring enqueued configurations to their end, as fast as they can: each is evaluated exactly once."""
    points = {f"c{k}": {"lr": 1e-4 * (k + 1)} for k in range(configurations)}
    store = Store(field.url, create=True)
    most = 0
    for round_ in range(rounds):
        name = f"round-{round_}"
        study_id = store.studies.create(name, points, **facts(folder=name)).study_id
        shares = racers()(work, field.url, study_id, configurations)
        most = max(most, *map(len, shares))
        told = [number for share in shares for number, *_ in share]
        assert sorted(told) == list(range(configurations)), f"{name}: evaluated were {sorted(told)}"
        trials = store.reading.trials(study_id)
        assert [trial.configuration for trial in trials] == list(points), name
        assert {(trial.state, trial.attempt, len(trial.epochs)) for trial in trials} == {("COMPLETE", 1, 3)}, name
        assert store.leases.open(study_id) == 0, name
    store.close()
    return f"{rounds} rounds of {configurations} configurations, each exactly once; at most {most} by one of {RACERS}"


def starts(field: Field, *, rounds: int) -> str:
    """They make the tables, the study and a trial each, where there was nothing."""
    for round_ in range(rounds):
        found = racers()(start, emptied(field.url))
        assert {number for number, _ in found} == set(range(RACERS)), f"round {round_}: {found}"
        store = Store(field.url)
        assert contents(store)["hpo_schema"] == [f"{{'version': {tables.SCHEMA_VERSION}}}"], f"round {round_}"
        store.close()
    return f"{rounds} rounds of {RACERS} processes on an empty database, all started"
