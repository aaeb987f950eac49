"""The models that a promotion leaves: one per fold, of its best epoch, and the final one, refitted on all data."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.model_card import final_card, fold_card
from hpo.model_folder import Holder, config_of, rows_of, write_model
from hpo.records import FinalRecord
from hpo.training import FoldRun

if TYPE_CHECKING:
    from hpo.store import Lease
    from hpo.work import Log, Surroundings


def save_model(
    run: FoldRun, around: Surroundings, lease: Lease, final: FinalRecord, test_scores: Mapping[str, float]
) -> Path:
    """Write the final model of a promotion, see `write_model`.

    Raises:
        OSError: nothing is there.
    """
    assert lease.candidate is not None
    path = around.files.model(around.record.folder, lease.candidate)
    config = config_of(run, around, lease.candidate, len(run.epochs))
    finals = [other for other in path.parent.glob("trial-*") if re.fullmatch(r"trial-\d+", other.name)]
    metrics = {
        "folds": {"mean": final.scores, "sd": final.spread},
        "baseline": {"mean": final.baseline_scores, "sd": final.baseline_spread},
        "test": dict(test_scores),
        "test_uses": len({path, *finals}),
    }
    card, holder = final_card(config, metrics), Holder(lease_id=lease.lease_id, token=lease.token)
    return write_model(path, run, config, metrics, rows=rows_of(run, around.split), card=card, holder=holder)


def leave_fold_model(run: FoldRun, lease: Lease, around: Surroundings, log: Log) -> None:
    """Write the model of a fold's training that is over, as `leave_predictions` has left it: that of its best epoch.

    What goes wrong is said in the log and fails no job: the scores of the fold hold.
    """
    try:
        path = _save_fold_model(run, lease, around)
    except OSError as error:
        log.say(f"the model of fold {lease.fold} could not be written ({error}); its scores hold")
    except Exception:
        log.say(f"no model of fold {lease.fold}, its scores hold:\n{traceback.format_exc()}")
    else:
        log.say(f"model {path}")


def _save_fold_model(run: FoldRun, lease: Lease, around: Surroundings) -> Path:
    assert lease.candidate is not None
    kept = run.best or run.epochs[-1]
    config = config_of(run, around, lease.candidate, kept.number)
    metrics = {
        "validation": dict(kept.validation),
        "epochs": {"best": run.best.number if run.best else None, "trained": len(run.epochs)},
        "unseen": {"validation": len(run.fold.validation), "test": len(around.split.test)},
    }
    return write_model(
        around.files.fold_model(around.record.folder, lease.candidate, lease.fold),
        run,
        config,
        metrics,
        rows=rows_of(run, around.split),
        card=fold_card(config, metrics),
        holder=Holder(lease_id=lease.lease_id, token=lease.token),
    )
