"""evaluate, predict: the commands for final models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from hpo.cli.group import Place, placed, resolve_aloud

OWN = click.option("--objective", help="Your own objective, FILE.py:Class, for a model of it; it is code and runs.")
DEVICE = click.option("--device", default="cpu", show_default=True, help="cpu or cuda:N.")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="Raw data; default: the objective's own.")
@click.option(
    "--weights", type=click.Path(path_type=Path), help="Other weights for the same network (.safetensors, .pt)."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object for scripts.")
@OWN
@DEVICE
@placed
def evaluate(
    model: Path,
    data: Path | None,
    weights: Path | None,
    as_json: bool,
    objective: str | None,
    device: str,
    place: Place,
) -> None:
    """Score a final model on labelled data.

    \b
    hpo evaluate runs/models/abr-1a2b3c4d/trial-0012 --data new_recordings/
    """
    from hpo.final_model import load_model

    loaded = load_model(model, weights, device, objective, resolve=resolve_aloud)
    arrays = loaded.arrays(data, place.files.cache)
    if arrays.fingerprint == loaded.config["fingerprint"]:
        click.echo(
            "note: the model was trained on these rows; its scores on rows it has not seen are in metrics.json",
            err=True,
        )
    scores = loaded.evaluate(arrays)
    if as_json:
        click.echo(json.dumps(scores))
        return
    for name, value in scores.items():
        click.echo(f"{name:28} {value:.4g}")


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("data", type=click.Path(path_type=Path), required=False)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), required=True, help="CSV file.")
@OWN
@DEVICE
@placed
def predict(model: Path, data: Path | None, output: Path, objective: str | None, device: str, place: Place) -> None:
    """Write a model's predictions for DATA (default: the objective's own), which needs no labels.

    One line per row of the data; where a row holds several entries, as a clip of frames does, one line per entry.

    \b
    hpo predict runs/models/abr-1a2b3c4d/trial-0012 new_recordings/ -o predicted.csv
    """
    from hpo.files import write_whole
    from hpo.final_model import load_model
    from hpo.predictions import as_csv, extent

    loaded = load_model(model, None, device, objective, resolve=resolve_aloud)
    arrays = loaded.arrays(data, place.files.cache, labelled=False)
    for note in arrays.info.get("notes", ()):  # what was left out has no row that would be missed
        click.echo(f"note: {note}", err=True)
    table = loaded.predict(arrays)
    write_whole(output, as_csv(table).encode())
    click.echo(f"{extent(table)} -> {output}")
