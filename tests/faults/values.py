"""Losses and scores that are no numbers: each trial ends with a reason, and none of them is ever the best."""

from __future__ import annotations

from math import isfinite

from hpo.records import TrialRecord
from tests.faults.parts import Field, finished

_NO_LOSS = ("PRUNED", "nan", "loss term 'number' is not finite at epoch 1, step 1")
_NO_SCORE = ("FAIL", "data_error", "skill could not be computed on fold 0 in any epoch")
#: Fault -> state, class and text of the end. Five equal errors in a row would stop the study, so they take turns.
ENDS = {
    "nan": _NO_LOSS,
    "score_nan": _NO_SCORE,
    "score_none": ("FAIL", "code_error", "TypeError: skill is no score but NoneType None: must be real number"),
    "score_inf": _NO_SCORE,
    "inf": _NO_LOSS,
    "score_minus_inf": _NO_SCORE,
    "score_text": ("FAIL", "code_error", "TypeError: skill is no score but str '1.5': must be real number"),
    "score_missing": _NO_SCORE,
    "score_huge": ("FAIL", "code_error", "OverflowError: skill is no score but int 1000000000"),
}
HEALTHY = 4


def bad_values(field: Field, *, copies: int, workers: int) -> str:
    """So many trials of each fault among healthy ones, under a pruner."""
    faults = {f"{fault}-{copy}": fault for copy in range(copies) for fault in ENDS}
    lines = [
        f"  {name}: {{optimizer: {{lr: {0.02 + 1e-4 * number:.4f}}}, loss: {{fault: {fault}}}}}\n"
        for number, (name, fault) in enumerate(faults.items())
    ]
    trials = len(faults) + HEALTHY
    field.write(trials=trials, pruner="{name: asha, min_resource: 1}", more="".join(lines))
    field.create()
    for worker in [field.work() for _ in range(workers)]:
        finished(worker, seconds=600)
    found = field.trials()
    assert len(found) == trials
    for trial in found:
        assert_ended(trial, faults.get(trial.configuration or ""))
    with field.store() as store:
        study = store.studies.get("faults")
        best = store.reading.best_trial(study.study_id, study.direction)
        assert best is not None and best.configuration not in faults, best
        assert store.leases.open(study.study_id) == 0
    return f"{len(faults)} trials with {len(ENDS)} bad values ended for their reason, {HEALTHY} healthy ones as ever"


def assert_ended(trial: TrialRecord, fault: str | None) -> None:
    if fault is None:
        assert trial.state in ("COMPLETE", "PRUNED") and trial.end in (None, "pruned"), trial
        assert trial.value is not None and isfinite(trial.value), trial
        return
    state, end, text = ENDS[fault]
    assert (trial.state, trial.end, trial.value) == (state, end, None), trial
    assert text in (trial.end_text or ""), f"{fault}: {trial.end_text}"
