"""Objectives that fail in every way: what must be on record of each."""

from __future__ import annotations

from tests.faults.parts import Field, finished

#: Nine seconds: a healthy worker may wait for a busy machine for some of them.
HUNG_MINUTES = "0.15"
FAULTS = {
    "nan": ("PRUNED", "nan", "loss term 'number' is not finite at epoch 1, step 1"),
    "oom": ("PRUNED", "out_of_memory", "requested 20 GiB: CUDA out of memory. Tried to allocate 20.00 GiB"),
    "exception": ("FAIL", "code_error", "RuntimeError: the objective has a bug"),
    "data": ("FAIL", "data_error", "recording 17 ends in the middle"),
    "exit": ("FAIL", "code_error", "SystemExit: the objective leaves"),
    "hang": ("FAIL", "hung", "no batch for 0.15 minutes; its worker is replaced"),
    "abort": ("FAIL", "worker_lost", "lost its worker 3 times in a row without a new epoch"),
}


def every_end(field: Field, *, healthy: int) -> str:
    """One trial of each kind among healthy ones; the aborts take their worker with them three times."""
    configurations = "".join(f"  {fault}: {{optimizer: {{lr: 2e-2}}, loss: {{fault: {fault}}}}}\n" for fault in FAULTS)
    field.write(trials=len(FAULTS) + healthy, more=configurations)
    output = finished(field.launch("--workers", "2", "--hung-minutes", HUNG_MINUTES), seconds=200)
    assert output.count("died (SIGABRT)") == 3
    ends = {trial.configuration: trial for trial in field.trials()}
    for fault, (state, end, text) in FAULTS.items():
        trial = ends[fault]
        assert (trial.state, trial.end) == (state, end), trial.end_text
        assert text in (trial.end_text or ""), trial.end_text
    others = [trial.state for trial in field.trials() if trial.configuration not in FAULTS]
    assert others == ["COMPLETE"] * healthy, [(trial.end, trial.end_text) for trial in field.trials()]
    return f"{len(FAULTS)} ends, each with class and text; the other {healthy} complete"
