"""How trials end when the objective fails: each with its class and text, and the others unaffected."""

from __future__ import annotations

import pytest

from tests.faults.parts import Field, finished

FAULTS = {
    "nan": ("PRUNED", "nan", "loss term 'number' is not finite at epoch 1, step 1"),
    "oom": ("PRUNED", "out_of_memory", "requested 20 GiB: CUDA out of memory. Tried to allocate 20.00 GiB"),
    "exception": ("FAIL", "code_error", "RuntimeError: the objective has a bug"),
    "data": ("FAIL", "data_error", "recording 17 ends in the middle"),
    "exit": ("FAIL", "code_error", "SystemExit: the objective leaves"),
    "hang": ("FAIL", "hung", "no batch for 0.05 minutes; its worker is replaced"),
    "abort": ("FAIL", "worker_lost", "lost its worker 3 times in a row without a new epoch"),
}


def test_every_end_has_its_reason_and_the_other_trials_go_on(field: Field) -> None:
    """One trial of each kind among healthy ones; the aborts take their worker with them three times."""
    configurations = "".join(f"  {fault}: {{optimizer: {{lr: 2e-2}}, loss: {{fault: {fault}}}}}\n" for fault in FAULTS)
    field.write(trials=10, more=configurations)
    launched = field.launch("--workers", "2", "--hung-minutes", "0.05")
    output = finished(launched, seconds=200)
    assert output.count("died (SIGABRT)") == 3
    ends = {trial.configuration: trial for trial in field.trials()}
    for fault, (state, end, text) in FAULTS.items():
        trial = ends[fault]
        assert (trial.state, trial.end) == (state, end), trial.end_text
        assert text in (trial.end_text or ""), trial.end_text
    healthy = [trial for trial in field.trials() if trial.configuration not in FAULTS]
    assert [trial.state for trial in healthy] == ["COMPLETE"] * 3


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_same_error_in_the_first_trials_stops_the_study(field: Field) -> None:
    field.write(trials=50, more="")
    text = (field.folder / "faults.yaml").read_text().replace("loss: {pause", "loss: {fault: exception, pause")
    (field.folder / "faults.yaml").write_text(text)
    output = finished(field.launch("--workers", "2"), code=1)
    assert "stopped: the same code_error ended one trial after the other" in output
    assert "RuntimeError: the objective has a bug" in output and "hpo logs faults" in output
    ended = [trial for trial in field.trials() if trial.end == "code_error"]
    assert 3 <= len(ended) <= 4, "the other worker may have been inside a trial"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_mended_code_goes_on_while_no_trial_has_a_value(field: Field) -> None:
    field.write(trials=6)
    text = (field.folder / "faults.yaml").read_text().replace("loss: {pause", "loss: {fault: exception, pause")
    (field.folder / "faults.yaml").write_text(text)
    assert "mend it, then the same command goes on" in finished(field.launch("--workers", "1"), code=1)
    code = (field.folder / "faulty.py").read_text()
    (field.folder / "faulty.py").write_text(code.replace('raise RuntimeError("the objective has a bug")', "return 1.0"))
    output = finished(field.launch("--workers", "1"))
    assert "changed: objective: " in output and "no trial has a value yet" in output
    assert [trial.state for trial in field.trials()] == ["FAIL"] * 3 + ["COMPLETE"] * 3
    (field.folder / "faulty.py").write_text(code)
    refused = finished(field.launch("--workers", "1", "--trials", "7"), code=2)
    assert "faulty.py:Faulty has changed since the study was launched" in refused


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_trial_that_takes_too_long_teaches_the_sampler(field: Field) -> None:
    field.write(trials=2, epochs=50, pause=0.2)
    text = (field.folder / "faults.yaml").read_text().replace("epochs: 50", "epochs: 50, max_trial_minutes: 0.02")
    (field.folder / "faults.yaml").write_text(text)
    finished(field.launch("--workers", "1"), code=1)  # nothing is complete
    for trial in field.trials():
        assert (trial.state, trial.end) == ("PRUNED", "timeout")
        assert trial.end_text == "still training after budget.max_trial_minutes = 0.02"
        assert len(trial.epochs) < 50
