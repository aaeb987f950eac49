"""Create a study from a YAML file, or go on with the one that is there: the step before the workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from hpo.arrays import Arrays, open_arrays
from hpo.check_study import study_warnings
from hpo.dealing import split_of
from hpo.files import RunFiles
from hpo.objective import Objective, Split
from hpo.quick import WARNING, few
from hpo.records import WEIGHTS, StudyRecord
from hpo.store import Exists, Store
from hpo.stored import as_launched
from hpo.study import Study, differences
from hpo.study_classes import require_classes
from hpo.study_values import require_together
from hpo.study_weights import changed_weights, require_fit, require_weights
from hpo.versions import versions


class Refused(Exception):
    """The study exists and the file now asks for something that must not change."""


def create_or_resume(
    spec: Study,
    trials: int | None,
    store: Store,
    files: RunFiles,
    objective: Objective,
    objective_hash: str | None,
    say: Callable[[str], None],
) -> StudyRecord:
    """The study of this file, created now or gone on with.

    Args:
        spec: the file.
        trials: a budget from the command line, which counts more than the file's.
        store: with its tables made.
        files: the runs folder.
        objective: of the study.
        objective_hash: of the user's own file.
        say: prints a line for the user.

    Raises:
        DataError: the data are unusable, or weights to start from are missing or fit no network.
        StudyError: values that a new study names cannot go together.
        Refused: with everything that differs and the way out.
    """
    if trials is not None:
        spec = replace(spec, budget=replace(spec.budget, trials=trials))
    if not store.studies.exists(spec.name):
        require_together(spec, objective, spec.configurations)
    source = Path(spec.data) if spec.data else None
    weights = require_weights(spec)
    arrays = open_arrays(objective, source, spec.fixed, files.cache)
    if arrays.info.get("synthetic"):
        say(
            f"SYNTHETIC DATA: no --data was given, {spec.objective} generates its own. Results say nothing about "
            "real recordings."
        )
    if spec.quick:
        say(f"{WARNING}.")
        if spec.same:
            pairs = [f"{name} is the same as {first}" for name, first in spec.same.items()]
            say(f"In a quick study {', '.join(pairs)}: no trial of {'its' if len(pairs) == 1 else 'their'} own.")
    try:
        record = _create(spec, store, files, objective, arrays, objective_hash, weights)
    except Exists:
        pass  # made earlier, or by another launch a moment ago: go on with it
    else:
        for line in study_warnings(spec, objective.terms) if not spec.quick else ():  # whose length is not the file's
            say(f"WARNING    {line}")
        return record
    record = store.studies.get(spec.name)
    if trials is None and spec.budget.trials < record.trials:
        # An earlier launch asked for more with --trials: the file's number is not a wish for fewer.
        say(f"budget.trials: {record.trials} as launched before, not the file's {spec.budget.trials}; it can only grow")
        spec = replace(spec, budget=replace(spec.budget, trials=record.trials))
    return _resume(spec, store, record, objective, arrays, objective_hash, weights, say)


def _create(
    spec: Study,
    store: Store,
    files: RunFiles,
    objective: Objective,
    arrays: Arrays,
    objective_hash: str | None,
    weights: Mapping[str, str],
) -> StudyRecord:
    if store.studies.exists(spec.name):
        raise Exists(spec.name)
    split = split_of(spec, objective, arrays)
    if spec.quick:
        split = few(split, objective.labels(arrays), spec.seed)
    require_classes(spec, objective, arrays)
    require_fit(spec, objective, arrays, split.folds[spec.folds.search])
    own = ({"quick": True} if spec.quick else {}) | ({WEIGHTS: dict(weights)} if weights else {})
    return store.studies.create(
        spec.name,
        _points(spec, spec.configurations),
        text=spec.text,
        text_hash=spec.text_hash,
        source=spec.source,
        folder=files.new_folder(spec.name),
        objective=spec.objective,
        objective_hash=objective_hash,
        data=spec.data,
        fingerprint=arrays.fingerprint,
        split=split.to_json(),
        info={**arrays.info, **own},
        vocabulary=objective.vocabulary(),
        versions=versions(),
        metric=spec.metric.name,
        direction=spec.metric.direction,
        trials=spec.budget.trials,
        hours=spec.budget.hours,
    )


def _resume(
    spec: Study,
    store: Store,
    record: StudyRecord,
    objective: Objective,
    arrays: Arrays,
    objective_hash: str | None,
    weights: Mapping[str, str],
    say: Callable[[str], None],
) -> StudyRecord:
    old = as_launched(record)
    if spec.budget.trials < record.trials:
        raise Refused(
            f"--trials {spec.budget.trials}: study '{spec.name}' was launched with {record.trials} trials, and a "
            "budget can only grow; `hpo stop` ends the search sooner"
        )
    if old.quick != spec.quick:
        raise Refused(_not_alike(spec))
    allowed, refused = differences(old, spec)
    if arrays.fingerprint != record.fingerprint and not refused:
        refused.append("data: the content of the files has changed since the study was launched")
    tried = _has_values(store, record)
    if objective_hash != record.objective_hash and tried:
        refused.append(f"objective: {spec.objective} has changed since the study was launched")
    replaced = changed_weights(record, weights)
    refused += replaced if tried else []
    if refused:
        listed = "\n".join(f"  {line}" for line in refused)
        away = f" Or clear the quick one away: `hpo delete {spec.name}`." if spec.quick else ""
        raise Refused(
            f"study '{spec.name}' exists and was launched with something else:\n{listed}\n"
            "Trials of both could not be compared. Launch the file as it is now with --new-name NAME, or restore it."
            f"{away}"
        )
    if objective_hash != record.objective_hash:
        allowed.append(f"objective: {spec.objective}, of which no trial has a value yet")
    new = {name: point for name, point in spec.configurations.items() if name not in old.configurations}
    require_together(spec, objective, new)
    if new or replaced:
        require_classes(spec, objective, arrays)
        require_fit(spec, objective, arrays, Split.from_json(record.split).folds[spec.folds.search])
    for line in (*allowed, *replaced):
        say(f"changed: {line}")
    store.studies.change(
        record.study_id,
        _points(spec, new),
        text=spec.text,
        text_hash=spec.text_hash,
        objective_hash=objective_hash,
        info={**record.info, **({WEIGHTS: {**record.weights, **weights}} if weights else {})},
        trials=spec.budget.trials,
        hours=spec.budget.hours,
        stop=None,
    )
    return store.studies.get(spec.name)


def _not_alike(spec: Study) -> str:
    """A quick study and a real one under one name."""
    if spec.quick:
        return f"study '{spec.name}' exists and is no quick one: leave --quick out, or name another with --new-name"
    return (
        f"study '{spec.name}' exists and is a quick one: add --quick, name another with --new-name, or clear it away "
        f"with `hpo delete {spec.name}`"
    )


def _has_values(store: Store, record: StudyRecord) -> bool:
    """Whether anything was trained that a trial of changed code could not be compared with."""
    states = store.reading.states(record.study_id)
    return bool(states["COMPLETE"] + states["PRUNED"] + states["RUNNING"])


def _points(spec: Study, names: Iterable[str]) -> dict[str, dict[str, object]]:
    """The searched values of each named configuration."""
    return {name: {key: spec.configurations[name][key] for key in spec.space} for name in names}
