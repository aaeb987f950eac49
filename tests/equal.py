"""Two trainings that must be one: every number on record and every weight, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from hpo.objective import Epoch
from hpo.training import FoldRun

#: Of an epoch, what may differ between two equal trainings.
MACHINE = ("seconds", "peak_memory_mb")


def train(run: FoldRun) -> FoldRun:
    while not run.finished:
        run.epoch()
    return run


def numbers(epochs: Sequence[Epoch]) -> list[dict[str, Any]]:
    """Everything on record but what belongs to the machine."""
    return [{name: v for name, v in epoch.to_json().items() if name not in MACHINE} for epoch in epochs]


def assert_equal(one: FoldRun, other: FoldRun) -> None:
    """All numbers and all weights, bit for bit."""
    assert numbers(one.epochs) == numbers(other.epochs)
    for mine, theirs in ((one.model.state_dict(), other.model.state_dict()), (one.best_state, other.best_state)):
        assert (mine is None) == (theirs is None)
        for name, tensor in (mine or {}).items():
            assert theirs is not None
            assert torch.equal(tensor, theirs[name]), name
    moments, others = one.optimizer.state_dict()["state"], other.optimizer.state_dict()["state"]
    for parameter, state in moments.items():
        assert all(torch.equal(value, others[parameter][name]) for name, value in state.items())
