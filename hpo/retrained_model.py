"""The folder of a model that was trained on: what it started from, which rows have been seen, how both compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hpo.final_model import read_config
from hpo.model_card import card
from hpo.model_folder import Holder, RowsOf, write_model
from hpo.objective import DataError
from hpo.retraining import Retrained, Retraining, differing
from hpo.training import FoldRun
from hpo.versions import versions
from hpo.wording import counted


def write_retrained(what: Retraining, run: FoldRun, outcome: Retrained) -> None:
    """Write the folder, see `write_model`.

    Raises:
        OSError: nothing is there.
    """
    config = _config(what, run, outcome)
    text, holder = _card(config, outcome), Holder(lease_id=0, token=1)
    write_model(what.output, run, config, outcome.to_json(), rows=_rows(what, run), card=text, holder=holder)


def _config(what: Retraining, run: FoldRun, outcome: Retrained) -> dict[str, Any]:
    quick = {"quick": True} if what.model.info.get("quick") else {}
    return {
        **what.model.config,
        "folds": what.folds,
        "fold": what.fold.index,
        "objective": what.objective,
        "params": what.params.flat(),
        "epochs": outcome.kept,
        "training_rows": len(run.fold.train),
        "test_rows": len(what.test),
        "data": what.data,
        "fingerprint": what.arrays.fingerprint,
        "metric": {"name": what.metric.name, "direction": what.metric.direction},
        "versions": versions(),
        "info": {**what.arrays.info, **quick},
        "started_from": {"model": str(what.folder.resolve()), **what.request()},
    }


def _rows(what: Retraining, run: FoldRun) -> RowsOf:
    """What the model has seen and what was seen now: rows are trained on, else validated on, else test rows."""
    own = {"train": run.fold.train, "validation": what.fold.validation, "test": what.test}
    found: RowsOf = {}
    for fingerprint in {**dict.fromkeys(what.model.seen), what.arrays.fingerprint: None}:
        both = [what.model.rows(fingerprint) or {}, own if fingerprint == what.arrays.fingerprint else {}]
        taken: set[int] = set()
        found[fingerprint] = {}
        for part in own:
            rows = {int(row) for parts in both if part in parts for row in parts[part]} - taken
            found[fingerprint][part] = sorted(rows)
            taken |= rows
    return found


def _card(config: Mapping[str, Any], outcome: Retrained) -> str:
    start, metric = config["started_from"], outcome.metric
    came = [
        f"Started from `{start['model']}` (weights with SHA-256 `{start['weights_sha256']}`) and trained on "
        f"{config['training_rows']} rows for {counted(outcome.trained, 'epoch')}, of which epoch {outcome.kept} was "
        f"kept by {metric.name} ({metric.direction})."
    ]
    both = [name for name in outcome.before if name in outcome.after]
    scores = [
        f"The model that it started from, and this one, on {outcome.rows} {outcome.part} rows:",
        "",
        "| measure | before | after |",
        "|---|---|---|",
        *(f"| {name} | {outcome.before[name]:.4g} | {outcome.after[name]:.4g} |" for name in both),
    ]
    of = f"fold {config['fold']} of " if config["fold"] >= 0 else ""
    return card(config, f"{config['study']}: {of}trial {config['trial']}, trained on", came, scores)


def done(what: Retraining) -> Retrained | None:
    """The outcome of this very training, if its folder is there already.

    Raises:
        DataError: the folder is there with other values.
    """
    if not what.output.exists():
        return None
    if values := differs(what):
        raise DataError(
            f"{what.output} was trained with other values ({values}), and is never overwritten: --name another"
        )
    return Retrained.from_json(what.output, json.loads((what.output / "metrics.json").read_text()))


def differs(what: Retraining) -> str:
    """What the folder at the place of the outcome was trained with otherwise; empty where it is this very training."""
    started = dict(read_config(what.output).get("started_from") or {})
    if not started:
        return "it did not start from a model"
    started.pop("model", None)
    return differing(started, what.request())
