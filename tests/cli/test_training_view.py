"""What is seen of a training in this very process."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hpo.cli.training_view import TrainingView
from tests.test_diagnosis import healthy


def test_an_epoch_is_told_by_the_first_value_that_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    """Of the metric, else of the training loss; rows in which nothing is labelled have neither."""
    epoch = replace(healthy()[0], validation={"macro_f1": 0.25}, train={"loss": 1.5})
    with TrainingView("macro_f1") as view:
        for one in (epoch, replace(epoch, full=False), replace(epoch, validation={}, train={})):
            view.heard(one, 9)
    told = [line.split(" | ")[1] for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert told == ["macro_f1 0.25", "train.loss 1.5", "nothing labelled"]
