"""evaluate, predict: the commands for models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from hpo.cli.group import Mistake, Place, placed, resolve_aloud

if TYPE_CHECKING:
    from hpo.ensemble import Ensemble
    from hpo.final_model import FinalModel

OWN = click.option("--objective", help="Your own objective, FILE.py:Class, for a model of it; it is code and runs.")
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda:N.")
WITH = click.option(
    "--with",
    "others",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="MODEL",
    help="A further model, for an ensemble with MODEL; as often as there are.",
)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@WITH
@click.option("--data", type=click.Path(path_type=Path), help="Raw data; default: those that MODEL was trained on.")
@click.option(
    "--rows",
    type=click.Choice(["unseen", "all"]),
    default="unseen",
    show_default=True,
    help="Of data that a model was trained on: only rows that none of the models was trained on, or all.",
)
@click.option("--by-class", is_flag=True, help="Also the scores of each class of rows by themselves.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Other weights for MODEL's network (.safetensors, .pt)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@OWN
@DEVICE
@placed
def evaluate(
    model: Path,
    others: tuple[Path, ...],
    data: Path | None,
    rows: Literal["unseen", "all"],
    by_class: bool,
    weights: Path | None,
    as_json: bool,
    objective: str | None,
    device: str,
    place: Place,
) -> None:
    """Score a model on labelled data, or several models and the ensemble of them.

    The targets of MODEL's study that speak of such scores are judged, too.

    \b
    hpo evaluate runs/models/abr-1a2b3c4d/trial-0012 --data new_recordings/
    hpo evaluate runs/models/abr-1a2b3c4d/trial-0012 --with runs/models/abr-1a2b3c4d/trial-0007 --data new/ --by-class
    """
    from hpo.cli.models_view import as_plain, lines
    from hpo.evaluation import evaluate as scored

    loaded = _loaded(model, others, weights, device, objective)
    warned = _warned({name: one for name, one in loaded.items() if weights is None or name != str(model)})
    asked = _as_one(loaded)
    arrays = asked.arrays(data or _recorded(loaded), place.files.cache)
    found = scored(loaded, arrays, rows=rows, by_class=by_class)
    if found.note:
        click.echo(f"note: {found.note}", err=True)
    if as_json:
        click.echo(json.dumps(as_plain(found) | {"warnings": warned}))
        return
    for line in lines(found):
        click.echo(line)


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path), required=False)
@WITH
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="CSV file; outside of DATA an older one is replaced.",
)
@click.option(
    "--files",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Also write what the rows together make, such as a TIFF per predicted volume, into DIR, which is new or empty "
    "and lies outside of DATA. For objectives whose rows are parts of recordings.",
)
@OWN
@DEVICE
@placed
def predict(
    model: Path,
    data: Path | None,
    others: tuple[Path, ...],
    output: Path,
    folder: Path | None,
    objective: str | None,
    device: str,
    place: Place,
) -> None:
    """Write predictions of a model, or of an ensemble, for DATA (default: the objective's own), which needs no labels.

    One line per row of the data; where a row holds several entries, as a clip of frames does, one line per entry.

    \b
    hpo predict runs/models/abr-1a2b3c4d/trial-0012 new_recordings/ -o predicted.csv
    hpo predict runs/models/surface-5e6f7a8b/trial-0003 scans/ -o predicted.csv --files predicted_volumes/
    """
    from hpo.files import make_folder, write_whole
    from hpo.predictions import as_csv, extent
    from hpo.wording import counted

    _require_place(output, data)
    if folder is not None:
        _require_room(folder, data)
    models = _loaded(model, others, None, device, objective)
    _warned(models)
    asked = _as_one(models)
    arrays = asked.arrays(data, place.files.cache, labelled=False)
    for note in arrays.info.get("notes", ()):  # what was left out has no row that would be missed
        click.echo(f"note: {note}", err=True)
    first = models[str(model)].objective
    whole = first.whole(arrays, folder)
    if folder is not None:
        if whole is None:
            raise Mistake(f"{first.name} writes no files: its rows are no parts of something larger; leave --files out")
        make_folder(folder)
    table = asked.predict(arrays, whole)
    write_whole(output, as_csv(table).encode())
    click.echo(f"{extent(table)} -> {output}")
    if whole is not None and folder is not None:
        click.echo(f"{counted(len(whole.files), 'file')} -> {folder}")


def _require_place(output: Path, data: Path | None) -> None:
    """What is replaced is a table of predictions that is none of the data.

    Raises:
        Mistake: a file that nobody has predicted would be lost.
    """
    from hpo.predictions import is_table

    if not output.is_file():
        return
    if data is not None and output.resolve().is_relative_to(data.resolve()):
        raise Mistake(f"-o {output} would replace a file of the data, {data}: name another file")
    if output.stat().st_size and not is_table(output):
        raise Mistake(f"-o {output} exists and is no table of predictions: name another file, or remove it")


def _require_room(folder: Path, data: Path | None) -> None:
    """What is predicted has the names of images, and of their labels: it is written where nothing is.

    Raises:
        Mistake: a file could be replaced, or what is predicted be taken for data.
    """
    if data is not None and folder.resolve().is_relative_to(data.resolve()):
        raise Mistake(f"--files {folder} lies in the data, {data}: name a folder outside of them")
    held = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    if held:
        more = f" and {len(held) - 1} more" if len(held) > 1 else ""
        raise Mistake(f"--files {folder} holds {held[0]}{more}: name a new folder, or empty this one")


def _loaded(
    model: Path, others: tuple[Path, ...], weights: Path | None, device: str, objective: str | None
) -> dict[str, FinalModel]:
    """Every model under the name that the user has typed."""
    from hpo.final_model import load_model

    paths = (model, *others)
    twice = next((path for k, path in enumerate(paths) if path.resolve() in {p.resolve() for p in paths[:k]}), None)
    if twice is not None:
        raise Mistake(f"{twice} is named twice: name each model of an ensemble once")
    given = {path: weights if path is model else None for path in paths}
    return {str(path): load_model(path, own, device, objective, resolve=resolve_aloud) for path, own in given.items()}


def _warned(models: dict[str, FinalModel]) -> list[str]:
    """Say which of the models, with the weights of their folders, are not to be believed, and why."""
    from hpo.model_card import warnings

    found = {name: warnings(model.config) for name, model in models.items()}
    texts = [f"{name}: {text}" for name, of_it in found.items() for text in of_it]
    for text in texts:
        click.echo(f"WARNING    {text}", err=True)
    return texts


def _recorded(models: dict[str, FinalModel]) -> Path | None:
    """The data that every model says it was trained on; None for the objective's own."""
    found = {name: model.config["data"] for name, model in models.items()}
    source, *others = dict.fromkeys(found.values())
    if others:
        listed = "\n  ".join(f"{name}: {data or 'data of the objective itself'}" for name, data in found.items())
        raise Mistake(f"the models were trained on different data: name those to score them on with --data\n  {listed}")
    if source is None:
        return None
    if not Path(source).exists():
        raise Mistake(f"{source}, on which the model was trained, is not there: name the data with --data")
    click.echo(f"data: {source}, as recorded in the model", err=True)
    return Path(source)


def _as_one(models: dict[str, FinalModel]) -> FinalModel | Ensemble:
    """The model, or the ensemble of several, which are found not to go together before data are read."""
    from hpo.ensemble import Ensemble

    first, *others = models.values()
    return Ensemble(models) if others else first
