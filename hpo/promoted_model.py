"""The models that a promotion leaves: the final one, refitted on all data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.model_card import final_card
from hpo.model_folder import Holder, config_of, rows_of, write_model
from hpo.records import FinalRecord
from hpo.training import FoldRun

if TYPE_CHECKING:
    from hpo.store import Lease
    from hpo.work import Surroundings


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
    metrics = {
        "folds": {"mean": final.scores, "sd": final.spread},
        "baseline": {"mean": final.baseline_scores, "sd": final.baseline_spread},
        "test": dict(test_scores),
        "test_uses": len({*path.parent.glob("trial-*"), path}),
    }
    card, holder = final_card(config, metrics), Holder(lease_id=lease.lease_id, token=lease.token)
    return write_model(path, run, config, metrics, rows=rows_of(run, around.split), card=card, holder=holder)
