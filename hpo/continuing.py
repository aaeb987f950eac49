"""Continuing folds of a promoted trial, each from the model that its promotion left."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.arrays import Arrays
from hpo.files import RunFiles
from hpo.final_model import FinalModel
from hpo.objective import DataError, Fold, Objective, Params
from hpo.records import JobRecord, StudyRecord
from hpo.retraining import Retrained, Retraining
from hpo.settings import settings
from hpo.strict_yaml import nearest
from hpo.study import NAME, NAME_RULE, Study
from hpo.wording import counted

#: Epochs that a fold is to have kept where the study's targets do not say; below, it is under-trained.
AT_LEAST = 5
UNDER_TRAINED = "under-trained"


@dataclass(frozen=True, kw_only=True)
class FoldModel:
    """A fold of a promoted trial, as its promotion left it."""

    fold: int
    folder: Path
    kept: int  #: epoch whose weights it has
    scores: Mapping[str, float]  #: on its validation rows


def promoted_trial(wanted: str, best: int, baseline: int | None) -> int:
    """The number of the trial that `best`, `baseline` or a number names.

    Raises:
        DataError: for one that has not been promoted.
    """
    known = {"best": best, str(best): best}
    known |= {} if baseline is None else {"baseline": baseline, str(baseline): baseline}
    if wanted not in known:
        there = f"best (trial {best})" + ("" if baseline is None else f" and baseline (trial {baseline})")
        raise DataError(f"--trial {wanted}: only promoted trials have models of their folds: {there}")
    return known[wanted]


def fold_models(jobs: Iterable[JobRecord], trial: int, files: RunFiles, record: StudyRecord) -> list[FoldModel]:
    """Every fold of the trial whose training is done, in order."""
    done = [job for job in jobs if job.candidate == trial and job.fold >= 0 and job.state == "done"]
    return [
        FoldModel(
            fold=job.fold,
            folder=files.fold_model(record.folder, trial, job.fold),
            kept=job.best_epoch or len(job.epochs),  # where no epoch has the metric, the last one was kept
            scores=job.scores or {},
        )
        for job in sorted(done, key=lambda job: job.fold)
    ]


def chosen(models: Sequence[FoldModel], folds: str, at_least: int) -> list[FoldModel]:
    """Those that are to be trained on.

    Args:
        models: of every fold that is done.
        folds: `under-trained`, `all`, or numbers such as `0,3,5`.
        at_least: epochs; a fold that kept an earlier one is under-trained.

    Raises:
        DataError: for anything else, and for folds that are not there.
    """
    if folds == UNDER_TRAINED:
        return [model for model in models if model.kept < at_least]
    if folds == "all":
        return list(models)
    if not re.fullmatch(r"\d+(,\d+)*", folds):
        hint = nearest(folds, (UNDER_TRAINED, "all"))
        near = f"; {hint}" if hint.startswith("did") else ""
        raise DataError(f"--folds {folds}: {UNDER_TRAINED}, all, or numbers such as 0,3,5 are needed{near}")
    wanted = {int(number) for number in folds.split(",")}
    if missing := sorted(wanted - {model.fold for model in models}):
        there = ", ".join(str(model.fold) for model in models)
        listed = ", ".join(map(str, missing))
        raise DataError(f"--folds {folds}: no training of fold {listed} is done; there are {there}")
    return [model for model in models if model.fold in wanted]


def nothing_to_continue(
    trial: int, models: Sequence[FoldModel], at_least: int, others: Mapping[int, Sequence[FoldModel]]
) -> str:
    """What is said where no fold of a trial is under-trained, and which other promoted trials have such folds."""
    epochs = ", ".join(f"fold {model.fold}: {model.kept}" for model in models)
    lines = [f"no fold of trial {trial} kept an epoch below {at_least} ({epochs}): nothing to continue"]
    for other, folds in others.items():
        if under := sum(model.kept < at_least for model in folds):
            lines.append(f"trial {other} has {counted(under, 'such fold')}: --trial {other}")
    return "\n".join(lines)


def require_models(models: Sequence[FoldModel], study: str) -> None:
    """Every model is there.

    Raises:
        DataError: with those that are not, and the way out.
    """
    if missing := [str(model.folder) for model in models if not model.folder.is_dir()]:
        listed = "\n  ".join(missing)
        way = f"another machine's runs folder may hold them; else launch {study} again with --new-name"
        raise DataError(f"no model of {counted(len(missing), 'fold')} is here: {way}\n  {listed}")


def require_name(name: str) -> None:
    """A name that a continuation may have.

    Raises:
        DataError: for one that is no folder's, or that models of the study itself have.
    """
    if not NAME.fullmatch(name) or re.match(r"(trial|fold)-", name):
        raise DataError(f"--name {name}: {NAME_RULE}, nor with 'trial-' or 'fold-'")


def values_of(spec: Study, configuration: str | None, objective: Objective, words: Sequence[str]) -> dict[str, Any]:
    """What is changed of a model's parameters: every value of a named configuration, then those that are set.

    Raises:
        DataError: for an unknown configuration, and with everything that is wrong with the words.
    """
    values: dict[str, Any] = {}
    if configuration is not None:
        if configuration not in spec.configurations:
            hint = nearest(configuration, spec.configurations)
            raise DataError(f"--configuration {configuration}: study {spec.name} has none of that name; {hint}")
        point = spec.configurations[configuration]
        values = spec.params({key: point[key] for key in spec.space}, configuration).flat()
    return values | settings(objective, words, ["epochs"])


def continuation(
    model: FinalModel,
    fold: FoldModel,
    *,
    arrays: Arrays,
    record: StudyRecord,
    spec: Study,
    values: Mapping[str, Any],
    epochs: int | None,
    output: Path,
) -> Retraining:
    """What `hpo continue` trains of one fold: its own rows, judged by the study's metric.

    Raises:
        DataError: the folder does not say which rows it was trained on.
    """
    seen = model.rows_of(arrays)
    if seen is None:
        raise DataError(f"{fold.folder} does not say which rows it was trained on: promote the study again")
    params = {**model.objective.parameters(), **model.params.flat(), **values}
    return Retraining(
        model=model,
        folder=fold.folder,
        params=Params.from_flat(params),
        arrays=arrays,
        data=record.data,
        fold=Fold(fold.fold, seen["train"], seen["validation"]),
        test=seen["test"],
        folds=spec.folds.count,
        metric=spec.metric,
        epochs=epochs or spec.budget.epochs,
        seed=spec.seed,
        output=output,
        objective=record.objective,
    )


def least_epochs(spec: Study) -> int:
    """The epoch that every fold is to have kept at least: the study's target, if it has one."""
    wanted = [target.at_least for target in spec.targets if target.kind == "epochs" and target.at_least is not None]
    return math.ceil(max(wanted)) if wanted else AT_LEAST


def measures(spec: Study) -> list[str]:
    """What is compared: the metric, and what the study's targets want of the model that is kept."""
    wanted = [t.measure for t in spec.targets if t.kind == "score" and t.by_epoch is None]
    return list(dict.fromkeys([spec.metric.name, *(name for name in wanted if not name.startswith("train."))]))


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A fold before and after; one that was left alone is after as it was before."""

    fold: int
    kept_before: int
    kept_after: int | None  #: epochs on top; None for a fold that was left alone
    before: Mapping[str, float]
    after: Mapping[str, float]
    gain: float | None  #: in the metric; None where it cannot be measured, and for a fold that was left alone
    model: Path  #: the better one of the two, the old one where neither is


def compared(models: Sequence[FoldModel], outcomes: Mapping[int, Retrained], names: Sequence[str]) -> list[Compared]:
    """Every fold of the trial.

    Args:
        models: of every fold that is done.
        outcomes: of those that were trained on.
        names: of measures, see `measures`.
    """
    found = []
    for model in models:
        outcome = outcomes.get(model.fold)
        before = outcome.before if outcome else model.scores
        after = outcome.after if outcome else model.scores
        gain = outcome.gain if outcome else None
        found.append(
            Compared(
                fold=model.fold,
                kept_before=model.kept,
                kept_after=outcome.kept if outcome else None,
                before={name: before[name] for name in names if name in before},
                after={name: after[name] for name in names if name in after},
                gain=gain,
                model=outcome.output if outcome and gain is not None and gain > 0 else model.folder,
            )
        )
    return found
