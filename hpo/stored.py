"""A study as its record has it: the stored file with what the command line changed."""

from __future__ import annotations

from dataclasses import replace

from hpo.objective import Direction, Vocabulary
from hpo.records import StudyRecord
from hpo.study import Study


def as_written(record: StudyRecord) -> Study:
    """The study as its file says; needs neither the objective's code nor torch."""
    names = Vocabulary.from_json(record.vocabulary)
    return Study.from_text(record.text, record.source, lambda _: names)


def as_launched(record: StudyRecord) -> Study:
    """The study that runs."""
    spec = as_written(record)
    budget = replace(spec.budget, trials=record.trials, hours=record.hours)
    return replace(spec, name=record.name, data=record.data, budget=budget)


def direction_of(record: StudyRecord, measure: str) -> Direction | None:
    """Which way a loss or score is better; None for a name the objective does not have."""
    try:
        return Vocabulary.from_json(record.vocabulary).metric(measure).direction
    except KeyError:
        return None
