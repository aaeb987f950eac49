"""The model card: what a reader of a model's folder is told about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.quick import WARNING
from hpo.wording import counted


def final_card(config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    folds, baseline, test = metrics["folds"], metrics["baseline"], metrics["test"]
    rows = [
        f"| {name} | {folds['mean'][name]:.4g} ± {folds['sd'][name]:.2g} | {_cell(baseline['mean'].get(name))} "
        + (f"| {_cell(test.get(name))} |" if test else "|")
        for name in folds["mean"]
    ]
    uses = metrics["test_uses"]
    params = [f"| `{name}` | {value} |" for name, value in config["params"].items()]
    data = config["data"] or f"{config['objective']}'s own data" + (
        " (SYNTHETIC: not a finding about real recordings)" if config["info"].get("synthetic") else ""
    )
    start = f" Started from weights with SHA-256 `{digest}`." if (digest := config["weights_sha256"]) else ""
    return "\n".join(
        [
            f"# {config['study']}: trial {config['trial']}",
            "",
            *([f"**{WARNING}.**", ""] if config["info"].get("quick") else []),
            f"Objective `{config['objective']}`, chosen by {config['metric']['name']} "
            f"({config['metric']['direction']}), refitted on {config['training_rows']} rows for "
            f"{counted(config['epochs'], 'epoch')}.",
            "",
            f"Data: {data}; fingerprint `{config['fingerprint'][:16]}`.{start}",
            "",
            "## Scores",
            "",
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
            "",
            "## Parameters",
            "",
            "| parameter | value |",
            "|---|---|",
            *params,
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
