"""How trials end when the objective fails: each with its class and text, and the others unaffected."""

from __future__ import annotations

import pytest

from tests.faults import ends
from tests.faults.parts import Field, finished


def test_every_end_has_its_reason_and_the_other_trials_go_on(field: Field) -> None:
    ends.every_end(field, healthy=3)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_same_error_in_the_first_trials_stops_the_study(field: Field) -> None:
    field.write(trials=50, fault="exception")
    output = finished(field.launch("--workers", "2"), code=1)
    assert "stopped: the same code_error ended one trial after the other" in output
    assert "RuntimeError: the objective has a bug" in output and "hpo logs faults" in output
    ended = [trial for trial in field.trials() if trial.end == "code_error"]
    assert 3 <= len(ended) <= 4, "the other worker may have been inside a trial"


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_mended_code_goes_on_while_no_trial_has_a_value(field: Field) -> None:
    field.write(trials=6, fault="exception")
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
