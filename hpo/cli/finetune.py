"""finetune: train a model on, on its own rows or on new data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo.cli.group import STOPPED, Place, placed, resolve_aloud
from hpo.cli.models import DEVICE, OWN

if TYPE_CHECKING:
    from hpo.retraining import Retrained, Retraining

SET = click.option(
    "--set", "words", multiple=True, metavar="GROUP.KEY=VALUE", help="A parameter; may be given several times."
)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Raw data; default: those that it was trained on.")
@SET
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="The most to train.")
@click.option("--emphasis", metavar="CLASS", help="Draw its rows more often: sampling.emphasis.")
@click.option("--only", metavar="CLASS", help="Train on its rows alone: sampling.only.")
@click.option("--metric", metavar="NAME", help="Decides which epoch is kept; default: that of the model's study.")
@click.option("--folds", type=click.IntRange(2), help="To deal new data into; default: as many as the study had.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the new model; default: MODEL-finetuned.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of order, augmentation, dropout.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@OWN
@DEVICE
@placed
def finetune(
    model: Path,
    words: tuple[str, ...],
    emphasis: str | None,
    only: str | None,
    as_json: bool,
    objective: str | None,
    device: str,
    place: Place,
    **options: Any,
) -> None:
    """Train a model on from its weights, and say whether it is better than before.

    MODEL is a final model or that of a fold; it is never changed. On the data that it was trained on it keeps its own
    rows, training and validation; other data are dealt into folds, of which the first one validates. A final model has
    no validation rows: it trains all epochs, and its test rows are measured before and after. Values that are not set
    are the model's own; optimizer and schedule begin anew. Ctrl-C leaves a checkpoint, the same command goes on.

    \b
    hpo finetune runs/models/abr-1a2b3c4d/trial-0012 --set optimizer.lr=1e-5 --epochs 20
    hpo finetune runs/models/abr-1a2b3c4d/fold-3-of-trial-0012 --emphasis moderate --output moderate
    hpo finetune runs/models/abr-1a2b3c4d/trial-0012 --data new_recordings/
    """
    from hpo.evaluation import OTHER_DATA
    from hpo.final_model import load_model
    from hpo.finetuning import finetuning, new_values

    loaded = load_model(model, None, device, objective, resolve=resolve_aloud)
    params = new_values(loaded, [*words, *_sampling("emphasis", emphasis), *_sampling("only", only)])
    if options["data"] is None and (named := loaded.config["data"]) is not None:
        click.echo(f"reads the data that {model / 'config.yaml'} names: {named}", err=True)
    what = finetuning(loaded, model.resolve(), params=params, cache=place.files.cache, objective=objective, **options)
    if what.new_data:
        click.echo(f"note: {OTHER_DATA.format('the model was')}", err=True)
    (outcome,) = train_all({"fine-tuning": what}, device)
    if as_json:
        click.echo(json.dumps(outcome.to_json() | {"model": str(outcome.output)}))
        return
    _show(what, outcome)


def _sampling(key: str, name: str | None) -> list[str]:
    return [] if name is None else [f"sampling.{key}={name}"]


def train_all(wanted: dict[str, Retraining], device: str) -> list[Retrained]:
    """Each training by what it is called, one after the other; ends the command where it is asked to stop."""
    import torch

    from hpo.cli.signals import catch_signals
    from hpo.cli.training_view import TrainingView
    from hpo.retrained_model import write_retrained
    from hpo.retraining import retrain
    from hpo.training import Interrupted

    caught, outcomes = catch_signals(), []
    stop: Callable[[], bool] = lambda: bool(caught)  # noqa: E731
    metric = next(iter(wanted.values())).metric.name
    try:
        with TrainingView(metric) as view:
            for name, what in wanted.items():
                view.begin(name)
                done = retrain(what, torch.device(device), write_retrained, stop=stop, say=view.say, heard=view.heard)
                outcomes.append(done)
    except Interrupted:
        click.echo("stopped; the same command goes on from the last epoch", err=True)
        raise SystemExit(STOPPED) from None
    return outcomes


def _show(what: Retraining, outcome: Retrained) -> None:
    """A line per measure, and which of the two models to use."""
    from hpo.wording import counted

    about = {
        "validation": f"{'dealt anew' if what.new_data else 'not trained on'}; they choose the epoch",
        "test": "held out for a test",
        "train": "trained on: no evidence",
    }
    width = max(len(name) for name in (*outcome.before, "measure"))
    click.echo(f"{outcome.rows} {outcome.part} rows ({about.get(outcome.part, 'trained on: no evidence')})")
    click.echo(f"{'measure':{width}} {'before':>10} {'after':>10}")
    for name in dict.fromkeys((*outcome.before, *outcome.after)):
        click.echo(f"{name:{width}} {_cell(outcome.before.get(name))} {_cell(outcome.after.get(name))}")
    click.echo(f"epochs     {counted(outcome.trained, 'epoch')} trained, epoch {outcome.kept} kept")
    click.echo(f"model      {outcome.output}")
    click.echo(f"result     {verdict(outcome, str(what.folder), new_data=what.new_data)}")


def verdict(outcome: Retrained, old: str, *, new_data: bool) -> str:
    """Whether the model got better, and which one to use; of data that are new to it, on these rows is all to say."""
    gain, name = outcome.gain, outcome.metric.name
    if gain is None:
        return f"{name} cannot be measured on these rows, so neither model is known to be better"
    if outcome.part == "train":
        return "no rows were left that the model has not seen: whether it is better is not known"
    if gain > 0:
        known = " on these rows, some of which it may have been trained on before" if new_data else ""
        return f"better than the model it started from by {gain:.4g} in {name}{known}"
    if gain == 0:
        return f"as good as the model it started from in {name}: keep the old one, {old}"
    return f"worse than the model it started from by {-gain:.4g} in {name}: keep the old one, {old}"


def _cell(value: float | None) -> str:
    return f"{'' if value is None else f'{value:.4g}':>10}"
