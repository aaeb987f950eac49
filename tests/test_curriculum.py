"""When a loss term begins, as tables; that the loop keeps to it is in test_training.py."""

from __future__ import annotations

from typing import Any

import pytest

from hpo.curriculum import complete_at, factors, starts
from hpo.objective import Vocabulary

TERMS = ("signal", "class", "peak_latency", "peak_amplitude")


@pytest.mark.parametrize(
    ("loss", "epoch", "expected"),
    [
        pytest.param({"class_start": 0, "ramp_epochs": 8}, 1, 1.0, id="from the beginning means fully at once"),
        pytest.param({"class_start": 3, "ramp_epochs": 8}, 1, 0.0, id="before its start"),
        pytest.param({"class_start": 3, "ramp_epochs": 8}, 3, 0.0, id="the last epoch without it"),
        pytest.param({"class_start": 3, "ramp_epochs": 8}, 4, 1 / 8, id="the first step of the ramp"),
        pytest.param({"class_start": 3, "ramp_epochs": 8}, 10, 7 / 8, id="the last step of the ramp"),
        pytest.param({"class_start": 3, "ramp_epochs": 8}, 11, 1.0, id="complete"),
        pytest.param({"class_start": 3, "ramp_epochs": 8}, 99, 1.0, id="for good"),
        pytest.param({"class_start": 3, "ramp_epochs": 0}, 4, 1.0, id="no ramp is a step"),
        pytest.param({"ramp_epochs": 8}, 1, 1.0, id="no start at all"),
    ],
)
def test_the_factor_of_a_term(loss: dict[str, Any], epoch: int, expected: float) -> None:
    assert factors(["class"], loss, epoch) == {"class": pytest.approx(expected)}


def test_a_prefix_starts_all_its_terms_and_a_longer_one_wins() -> None:
    loss = {"peak_start": 2, "peak_amplitude_start": 4, "ramp_epochs": 2}
    assert factors(TERMS, loss, 3) == {"signal": 1, "class": 1, "peak_latency": 0.5, "peak_amplitude": 0}
    assert complete_at(TERMS, loss) == 6
    assert complete_at(TERMS, {"ramp_epochs": 8}) == 1


def test_every_term_has_a_start_that_the_objective_may_declare_for_several() -> None:
    assert list(starts(TERMS, ["loss.class_weight"])) == [f"loss.{term}_start" for term in TERMS]
    assert list(starts(TERMS, ["loss.peak_start", "loss.signal_start"])) == ["loss.class_start"]


def test_the_parameters_of_an_objective_hold_the_curriculum() -> None:
    names = Vocabulary()
    names.terms, names.defaults = TERMS, {"loss.peak_start": 3}
    parameters = names.parameters()
    assert {"loss.signal_start": 0, "loss.class_start": 0, "loss.peak_start": 3}.items() <= parameters.items()
    assert "loss.peak_latency_start" not in parameters
    assert parameters["loss.ramp_epochs"] == 0
