"""Studies: created once with everything that must not change, found by name, stopped, deleted."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

import sqlalchemy as sa
from optuna.exceptions import DuplicatedStudyError
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from hpo.records import StudyRecord
from hpo.store import tables
from hpo.store.clock import utc_now
from hpo.store.database import Database
from hpo.store.errors import Exists, StorageError, Unknown

_JSON = ("split", "info", "vocabulary", "versions")


def _row(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: json.dumps(value) if key in _JSON else value for key, value in facts.items()}


class Studies:
    """The studies of one database that are ours."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def create(self, name: str, configurations: Mapping[str, Mapping[str, Any]], **facts: Any) -> StudyRecord:
        """Create the study with its named configurations enqueued.

        Args:
            name: unique in the database.
            configurations: name -> values of every searched parameter, tried first in this order.
            facts: the remaining fields of StudyRecord.

        Raises:
            Exists: when there is one of that name, perhaps made by another launch a moment ago.
        """
        direction = StudyDirection.MAXIMIZE if facts["direction"] == "maximize" else StudyDirection.MINIMIZE
        row = _row(facts)
        try:
            with self._db.transaction() as connection:
                self._forget_deleted(connection)
                study_id = self._db.create_new_study([direction], name)
                connection.execute(tables.studies.insert().values(study_id=study_id, created=utc_now(), **row))
                # Optuna's own key (Study.set_metric_names): plots show the metric's name, not "Objective 0".
                self._db.set_study_system_attr(study_id, "study:metric_names", [facts["metric"]])
                self._db.set_study_user_attr(study_id, "hpo", "made by hpo; launch, stop and delete it with hpo")
                self._enqueue(study_id, configurations)
        except DuplicatedStudyError:
            self.get(name)  # refuses another tool's
            raise Exists(name) from None
        return self.get(name)

    def exists(self, name: str) -> bool:
        """Whether there is a study of that name; one of another tool is refused with StorageError."""
        try:
            self.get(name)
        except Unknown:
            return False
        return True

    def change(self, study_id: int, configurations: Mapping[str, Mapping[str, Any]], **facts: Any) -> None:
        """Apply what may change in a running study: a larger budget, further configurations, targets (in `text`)."""
        with self._db.transaction() as connection:
            update = tables.studies.update().where(tables.studies.c.study_id == study_id)
            connection.execute(update.values(**_row(facts)))
            self._enqueue(study_id, configurations)

    def get(self, name: str) -> StudyRecord:
        """The study of that name.

        Raises:
            Unknown: with the nearest names there are.
        """
        with self._db.reading() as connection:
            row = connection.execute(self._query().where(tables.optuna_studies.c.study_name == name)).one_or_none()
        if row is None:
            raise Unknown(self._unknown(name))
        return self._record(row)

    def all(self) -> list[StudyRecord]:
        with self._db.reading() as connection:
            return [self._record(row) for row in connection.execute(self._query())]

    def stop_requested(self, study_id: int) -> str | None:
        """`requested`, `now`, `broken` or None; None also for a study that is gone, whose lease will be refused."""
        with self._db.reading() as connection:
            query = sa.select(tables.studies.c.stop).where(tables.studies.c.study_id == study_id)
            return connection.execute(query).scalar_one_or_none()

    def request_stop(self, study_id: int, how: Literal["requested", "now", "broken"] | None) -> None:
        """Ask every worker of the study to stop, wherever it runs; None takes it back."""
        self._set(study_id, stop=how)

    def mark_exhausted(self, study_id: int) -> None:
        """Every point of a finite space has been evaluated."""
        self._set(study_id, exhausted=True)

    def delete(self, study_id: int) -> None:
        """Remove the study with all its rows."""
        self._db.delete_study(study_id)

    @staticmethod
    def _forget_deleted(connection: sa.Connection) -> None:
        """Remove rows of studies that another tool has deleted: on SQLite its connections keep no foreign keys.

        SQLite gives the number of a deleted study to the next one.
        """
        there = sa.select(tables.optuna_studies.c.study_id)
        for table in (tables.finals, tables.workers, tables.leases, tables.jobs, tables.studies):
            connection.execute(table.delete().where(table.c.study_id.not_in(there)))

    def _set(self, study_id: int, **values: Any) -> None:
        with self._db.transaction() as connection:
            connection.execute(tables.studies.update().where(tables.studies.c.study_id == study_id).values(**values))

    def _enqueue(self, study_id: int, configurations: Mapping[str, Mapping[str, Any]]) -> None:
        for name, point in configurations.items():
            if name in self._configurations(study_id):
                continue  # another launch has added it a moment ago
            attrs = {"fixed_params": dict(point)}
            trial = create_trial(state=TrialState.WAITING, system_attrs=attrs, user_attrs={"configuration": name})
            self._db.create_new_trial(study_id, trial)

    def _configurations(self, study_id: int) -> set[str]:
        trials = self._db.get_all_trials(study_id, deepcopy=False)
        return {trial.user_attrs["configuration"] for trial in trials if "configuration" in trial.user_attrs}

    @staticmethod
    def _query() -> sa.Select[Any]:
        ours, theirs = tables.studies, tables.optuna_studies
        return (
            sa.select(ours, theirs.c.study_name.label("name"))
            .join(theirs, theirs.c.study_id == ours.c.study_id)
            .order_by(ours.c.study_id)
        )

    @staticmethod
    def _record(row: sa.Row[Any]) -> StudyRecord:
        values = dict(row._mapping)
        values |= {key: json.loads(values[key]) for key in _JSON}
        return StudyRecord(**{field.name: values[field.name] for field in fields(StudyRecord)})

    def _unknown(self, name: str) -> str:
        names: Sequence[str] = [study.name for study in self.all()]
        theirs, ours = tables.optuna_studies, tables.studies
        foreign = sa.select(theirs.c.study_id).outerjoin(ours, ours.c.study_id == theirs.c.study_id)
        with self._db.reading() as connection:
            found = connection.execute(foreign.where(theirs.c.study_name == name, ours.c.study_id.is_(None))).first()
        if found is not None:
            raise StorageError(f"study '{name}' in this database was made by another tool; hpo leaves it alone")
        near = difflib.get_close_matches(name, names, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names) or 'none yet'}"
        return f"no study '{name}' in this database; {hint}"
