"""continue: train folds of a promoted trial on."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo.cli.finetune import SET, train_all
from hpo.cli.group import Mistake, Place, existing, placed, resolve_aloud
from hpo.cli.models import DEVICE

if TYPE_CHECKING:
    from hpo.continuing import Compared, FoldModel
    from hpo.records import StudyRecord
    from hpo.retraining import Retrained
    from hpo.study import Study


@click.command("continue")
@click.argument("study", required=False)
@click.option("--folds", default="under-trained", show_default=True, help="under-trained, all, or such as 0,3,5.")
@click.option("--trial", default="best", show_default=True, help="best, baseline or its number.")
@click.option(
    "--at-least",
    type=click.IntRange(1),
    help="Epochs; with an earlier one kept a fold is under-trained. Default: the study's target, or 5.",
)
@click.option("--configuration", metavar="NAME", help="Of the study file: train with its values.")
@SET
@click.option("--epochs", type=click.IntRange(1), help="The most to train; default: those of the study.")
@click.option("--name", default="continued", show_default=True, help="Of the folder beside the models of the folds.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@DEVICE
@placed
def continue_(
    study: str | None,
    folds: str,
    trial: str,
    at_least: int | None,
    configuration: str | None,
    words: tuple[str, ...],
    epochs: int | None,
    name: str,
    as_json: bool,
    device: str,
    place: Place,
) -> None:
    """Train folds of a promoted trial on, from their models, and compare them with what they were.

    Each fold goes on with its own rows, and with the values of a configuration, of --set, or its own; optimizer and
    schedule begin anew. The models of the promotion stay as they are. Ctrl-C leaves a checkpoint, the same command
    goes on; folds that are done are not trained again.

    \b
    hpo continue abr --folds under-trained --configuration recommended
    hpo continue abr --folds 0,3,5 --set optimizer.lr=5e-5 --epochs 30 --name gently
    hpo continue abr --trial baseline --folds all
    """
    from hpo.continuing import (
        chosen,
        compared,
        fold_models,
        least_epochs,
        measures,
        nothing_to_continue,
        promoted_trial,
        require_name,
    )
    from hpo.stored import as_launched

    require_name(name)
    store = place.store()
    record = existing(store, study)
    spec = as_launched(record)
    least = at_least or least_epochs(spec)
    planned, jobs = store.promotions.planned(record.study_id), store.reading.jobs(record.study_id)
    if planned is None:
        raise Mistake(f"study {record.name} has no promoted trial yet: hpo promote {record.name}")
    number = promoted_trial(trial, *planned)
    models = fold_models(jobs, number, place.files, record)
    wanted = chosen(models, folds, least)
    if not models:
        raise Mistake(f"no fold of trial {number} is done yet: hpo promote {record.name}")
    if not wanted:
        others = [other for other in planned if other is not None and other != number]
        found = {other: fold_models(jobs, other, place.files, record) for other in others}
        click.echo(nothing_to_continue(number, models, least, found), err=as_json)
        outcomes = {}
    else:
        outcomes = _train(place, record, spec, number, wanted, configuration, words, epochs, name, device)
    names = measures(spec)
    after = compared(models, outcomes, names)
    if as_json:
        click.echo(json.dumps(_record(record, number, after, names)))
    elif outcomes:
        _show(after, names, spec)


def _train(
    place: Place,
    record: StudyRecord,
    spec: Study,
    number: int,
    wanted: Sequence[FoldModel],
    configuration: str | None,
    words: Sequence[str],
    epochs: int | None,
    name: str,
    device: str,
) -> dict[int, Retrained]:
    """Train the folds that are not done; the outcome of each."""
    from hpo.arrays import open_arrays
    from hpo.continuing import continuation, require_models, values_of
    from hpo.final_model import load_model
    from hpo.retrained_model import done

    require_models(wanted, record.name)
    objective = resolve_aloud(record.objective, record.objective_hash or "")
    values = values_of(spec, configuration, objective, words)
    source = Path(record.data) if record.data else None
    arrays = open_arrays(objective, source, spec.fixed, place.files.cache, record.fingerprint)
    trainings, outcomes = {}, {}
    for fold in wanted:
        model = load_model(fold.folder, None, device, record.objective, resolve=resolve_aloud)
        output = place.files.continued(record.folder, name, number, fold.fold)
        what = continuation(
            model, fold, arrays=arrays, record=record, spec=spec, values=values, epochs=epochs, output=output
        )
        if (outcome := done(what)) is not None:
            outcomes[fold.fold] = outcome
            click.echo(f"fold {fold.fold} is done: {output}", err=True)
        else:
            trainings[f"fold {fold.fold} of trial {number}, kept epoch {fold.kept}"] = (fold.fold, what)
    trained = train_all({title: what for title, (_, what) in trainings.items()}, device) if trainings else []
    numbers = [fold for fold, _ in trainings.values()]
    return outcomes | dict(zip(numbers, trained, strict=True))


def _show(found: Sequence[Compared], names: Sequence[str], spec: Study) -> None:
    """A line per fold, the means over all of them, and which models to use."""
    heads = [f"{name} before" for name in names]
    widths = [max(len(head), 16) for head in heads]
    head = "".join(f"  {title:>{width}} {'after':>10}" for title, width in zip(heads, widths, strict=True))
    click.echo(f"fold  kept epoch  after{head}")
    for fold in found:
        cells = _cells([fold.before.get(name) for name in names], [fold.after.get(name) for name in names], widths)
        more = "left" if fold.kept_after is None else f"+ {fold.kept_after}"
        click.echo(f"{fold.fold:>4}  {fold.kept_before:>10}  {more:>5}{cells}")
    befores, afters = ([_mean(found, part, name) for name in names] for part in ("before", "after"))
    click.echo(f"mean over all folds    {_cells(befores, afters, widths)}\n")
    for fold in found:
        click.echo(f"fold {fold.fold}: {_verdict(fold, spec)}\n        use {fold.model}")


def _verdict(fold: Compared, spec: Study) -> str:
    if fold.kept_after is None:
        return "left alone"
    if fold.gain is None:
        return f"{spec.metric.name} cannot be measured: the old one stays"
    if fold.gain > 0:
        return f"better by {fold.gain:.4g} in {spec.metric.name}"
    return f"worse by {-fold.gain:.4g} in {spec.metric.name}: the old one stays" if fold.gain else "no better"


def _mean(found: Sequence[Compared], part: str, name: str) -> float | None:
    """Over the folds on which it could be measured."""
    values = [getattr(fold, part)[name] for fold in found if name in getattr(fold, part)]
    return statistics.fmean(values) if values else None


def _cells(befores: Sequence[float | None], afters: Sequence[float | None], widths: Sequence[int]) -> str:
    def cell(value: float | None, width: int) -> str:
        return f"{'' if value is None else f'{value:.4g}':>{width}}"

    pairs = zip(befores, afters, widths, strict=True)
    return "".join(f"  {cell(before, width)} {cell(after, 10)}" for before, after, width in pairs)


def _record(record: StudyRecord, number: int, found: Sequence[Compared], names: Sequence[str]) -> dict[str, object]:
    folds = [asdict(fold) | {"model": str(fold.model)} for fold in found]
    means = {part: {name: _mean(found, part, name) for name in names} for part in ("before", "after")}
    return {"study": record.name, "trial": number, "folds": folds, "mean": means}
