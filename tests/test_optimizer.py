"""The optimizers that a study may name: against their formulas, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hpo.optimizer import in_words, optimizer
from hpo.study import Study, StudyError
from tests.toy import STUDY, Toy

SETTINGS = {"name": "sgd", "lr": 0.1, "weight_decay": 0.02, "momentum": 0.9, "gradient_clip": 1.0}


def stepped(gradients: list[float], **changed: Any) -> list[Tensor]:
    """Weights after every step, from 1 on, in float64."""
    weight = torch.ones(1, dtype=torch.float64, requires_grad=True)
    steps, seen = optimizer([weight], {**SETTINGS, **changed}), []
    for gradient in gradients:
        weight.grad = torch.full_like(weight, gradient)
        steps.step()
        seen.append(weight.detach().clone())
    return seen


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_is_nesterovs_with_shrinking_weights(momentum: float) -> None:
    gradients, weight, velocity = [3.0, -1.0, 0.5], 1.0, 0.0
    for gradient, found in zip(gradients, stepped(gradients, momentum=momentum), strict=True):
        slope = gradient + 0.02 * weight
        velocity = momentum * velocity + slope
        weight -= 0.1 * (slope + momentum * velocity)
        assert found.item() == pytest.approx(weight, rel=1e-12), "float64, a few roundings"


def test_a_step_is_as_large_as_the_gradient_with_sgd_alone() -> None:
    """`before` and `recommended` of the surface study differ in their rates; only with SGD is one of them a plateau."""
    large, small = (
        [abs(1 - stepped([g], name=name, weight_decay=0.0)[0].item()) for g in (1.0, 1e-3)] for name in ("sgd", "adamw")
    )
    assert large[1] == pytest.approx(large[0] / 1000, rel=1e-9)
    assert small == pytest.approx([0.1, 0.1], rel=2e-5), "its epsilon is 1e-8 of a gradient of 1e-3"


def test_words_name_what_is_read() -> None:
    assert in_words(SETTINGS) == "sgd, weight_decay 0.02, momentum 0.9, gradient_clip 1"
    assert in_words({**SETTINGS, "name": "adamw"}) == "adamw, weight_decay 0.02, gradient_clip 1"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{name: adam}", r"optimizer\.name is 'adam': did you mean 'adamw'\?"),
        ("{momentum: 1.0}", r"optimizer\.momentum is 1: at least 0 and below 1 is needed"),
    ],
)
def test_others_are_refused(tmp_path: Path, written: str, said: str) -> None:
    text = STUDY.replace("fixed:\n", f"fixed:\n  optimizer: {written}\n")
    with pytest.raises(StudyError, match=said):
        Study.from_text(text, str(tmp_path / "toy.yaml"), lambda _: Toy())
