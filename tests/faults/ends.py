"""Objectives that fail in every way: what must be on record of each."""

from __future__ import annotations

from tests.faults.parts import Field, finished

#: Three seconds, for which a busy machine may keep a healthy worker waiting: the trial that hangs is alone.
HUNG_MINUTES = "0.05"
FAULTS = {
    "nan": ("PRUNED", "nan", "loss term 'number' is not finite at epoch 1, step 1"),
    "oom": ("PRUNED", "out_of_memory", "requested 20 GiB: CUDA out of memory. Tried to allocate 20.00 GiB"),
    "exception": ("FAIL", "code_error", "RuntimeError: the objective has a bug"),
    "data": ("FAIL", "data_error", "recording 17 ends in the middle"),
    "exit": ("FAIL", "code_error", "SystemExit: the objective leaves"),
    "abort": ("FAIL", "worker_lost", "lost its worker 3 times in a row without a new epoch"),
    "hang": ("FAIL", "hung", f"no batch for {HUNG_MINUTES} minutes; its worker is replaced"),
}


def every_end(field: Field, *, healthy: int) -> str:
    """One trial of each kind among healthy ones; the aborts take their worker with them three times."""
    lines = [f"  {fault}: {{optimizer: {{lr: 2e-2}}, loss: {{fault: {fault}}}}}\n" for fault in FAULTS]
    field.write(trials=len(lines) - 1 + healthy, more="".join(lines[:-1]))
    output = finished(field.launch("--workers", "2"))
    assert output.count("died (SIGABRT)") == 3
    before = field.registered()
    field.write(trials=len(lines) + healthy, more="".join(lines))
    finished(field.launch("--workers", "1", "--hung-minutes", HUNG_MINUTES))
    assert len(field.registered() - before) == 2, "a worker that hung, and the one in its place"
    ends = {trial.configuration: trial for trial in field.trials()}
    for fault, (state, end, text) in FAULTS.items():
        trial = ends[fault]
        assert (trial.state, trial.end) == (state, end), trial.end_text
        assert text in (trial.end_text or ""), trial.end_text
    others = [trial.state for trial in field.trials() if trial.configuration not in FAULTS]
    assert others == ["COMPLETE"] * healthy, [(trial.end, trial.end_text) for trial in field.trials()]
    return f"{len(FAULTS)} ends, each with class and text; the other {healthy} complete"
