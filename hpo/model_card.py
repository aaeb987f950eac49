"""The model card: what a reader of a model's folder is told about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hpo.quick import WARNING
from hpo.wording import counted

#: Said wherever a model is used that was trained on made-up data.
SYNTHETIC = "SYNTHETIC DATA: trained on what the objective generates; results say nothing about real recordings"


def warnings(config: Mapping[str, Any]) -> list[str]:
    """Why a model's answers are not to be believed, by its configuration; mostly nothing."""
    info = config["info"]
    return [text for key, text in (("quick", WARNING), ("synthetic", SYNTHETIC)) if info.get(key)]


def final_card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Of the refit that ends a promotion; both as `hpo.promoted_model` writes them."""
    folds, baseline, test = metrics["folds"], metrics["baseline"], metrics["test"]
    rows = [
        f"| {name} | {folds['mean'][name]:.4g} ± {folds['sd'][name]:.2g} | {_cell(baseline['mean'].get(name))} "
        + (f"| {_cell(test.get(name))} |" if test else "|")
        for name in folds["mean"]
    ]
    uses = metrics["test_uses"]
    came = [
        f"Objective `{config['objective']}`, chosen by {config['metric']['name']} "
        f"({config['metric']['direction']}), refitted on {config['training_rows']} rows for "
        f"{counted(config['epochs'], 'epoch')}."
    ]
    scores = [
        "Mean ± standard deviation over the cross-validation folds (each retrained without pruning), and the",
        "baseline configuration on the same folds."
        + (
            " Then this model on the held-out test rows, which have been used "
            f"{'once, for this model' if uses == 1 else f'{uses} times by promotions of this study'}."
            if test
            else " No rows were held out for a test."
        ),
        "",
        "| measure | folds | baseline |" + (" test |" if test else ""),
        "|---|---|---|" + ("---|" if test else ""),
        *rows,
    ]
    return card(config, f"{config['study']}: trial {config['trial']}", came, scores)


def fold_card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Of one fold that a promotion trains; both as `hpo.promoted_model` writes them."""
    epochs, unseen, test = metrics["epochs"], metrics["unseen"]["validation"], metrics["unseen"]["test"]
    which = f"fold {config['fold']} of {config['folds']} (counted from 0)"
    kept = f"the best one by {config['metric']['name']}" if epochs["best"] else "the last one: none has the metric"
    came = [
        f"Objective `{config['objective']}`, trained on {config['training_rows']} rows of {which}; weights of epoch "
        f"{config['epochs']} of {epochs['trained']}, {kept}.",
        "",
        f"It was not trained on the {unseen} validation rows of its fold, which chose the epoch, nor on the {test} "
        "test rows of the study; `rows.json` numbers them.",
    ]
    values = [f"| {name} | {value:.4g} |" for name, value in metrics["validation"].items()]
    scores = ["On the validation rows of its fold:", "", "| measure | validation |", "|---|---|", *values]
    return card(config, f"{config['study']}: fold {config['fold']} of trial {config['trial']}", came, scores)


def card(config: Mapping[str, Any], title: str, came: Sequence[str], scores: Sequence[str]) -> str:
    """A model card in Markdown.

    Args:
        config: of the model, see `hpo.model_folder`.
        title: what the model is called.
        came: lines on how it came about.
        scores: lines on what it was measured to do.
    """
    data = config["data"] or f"{config['objective']}'s own data"
    start = f" Started from weights with SHA-256 `{digest}`." if (digest := config["weights_sha256"]) else ""
    return "\n".join(
        [
            f"# {title}",
            "",
            *(line for text in warnings(config) for line in (f"**{text}.**", "")),
            *came,
            "",
            f"Data: {data}; fingerprint `{config['fingerprint'][:16]}`.{start}",
            "",
            "## Scores",
            "",
            *scores,
            "",
            "## Parameters",
            "",
            "| parameter | value |",
            "|---|---|",
            *(f"| `{name}` | {value} |" for name, value in config["params"].items()),
            "",
            "## Use",
            "",
            "```python",
            "import hpo",
            'model = hpo.load_model("path/to/this/folder")',
            "```",
            "",
            "Trained on: " + ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
            "",
        ]
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
