"""Allocations that fail say how much was asked for and what was in use: with the real messages of the allocators."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch

from hpo.memory import shortage

CPU = torch.device("cpu")
PEAK = r"peak \d+(\.\d+)? [MG]iB of this process"


def failing(allocate: Callable[[], object]) -> Exception:
    with pytest.raises((MemoryError, RuntimeError), match=r"allocate|^$") as raised:
        allocate()
    return raised.value


@pytest.mark.parametrize(
    ("allocate", "text"),
    [
        (lambda: torch.empty(2**60, dtype=torch.uint8), rf"requested 1 EiB, {PEAK}: .*DefaultCPUAllocator.*"),
        (lambda: torch.empty(3 * 2**50, dtype=torch.uint8), rf"requested 3 PiB, {PEAK}: .*DefaultCPUAllocator.*"),
        (lambda: np.empty((2**50, 4)), rf"requested 32 PiB, {PEAK}: Unable to allocate 32\.0 PiB for an array .*"),
        (lambda: bytearray(2**60), rf"{PEAK}: MemoryError"),
    ],
    ids=["torch", "torch, odd", "numpy", "python"],
)
def test_on_the_host(allocate: Callable[[], object], text: str) -> None:
    said = shortage(failing(allocate), CPU)
    assert said is not None and re.fullmatch(text, said), said


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0", "requested 20 GiB: CUDA out of memory. Tried"),
        ("CUDA out of memory. Tried to allocate 512 bytes.", "requested 512 bytes: CUDA out of memory. Tried to"),
        ("cuDNN found no room for its workspace", "cuDNN found no room for its workspace"),
        ("", "OutOfMemoryError"),
    ],
)
def test_of_a_card_that_cannot_be_asked(message: str, text: str) -> None:
    assert (shortage(torch.OutOfMemoryError(message), CPU) or "").startswith(text)


def test_numpys_rounded_numbers_are_read() -> None:
    error = MemoryError("Unable to allocate 512. MiB for an array with shape (67108864,) and data type float64")
    assert (shortage(error, CPU) or "").startswith("requested 512 MiB, peak ")


def test_the_cards_peak_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own numbers: tests/test_gpu.py."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3.1 * 2**30)
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    said = shortage(error, torch.device("cuda:1"))
    assert said == "requested 20 GiB, peak 3.1 GiB of cuda:1: CUDA out of memory. Tried to allocate 20.00 GiB."


@pytest.mark.parametrize("error", [RuntimeError("the objective has a bug"), ValueError("unable to allocate 3 GiB")])
def test_other_errors_are_none(error: Exception) -> None:
    assert shortage(error, CPU) is None
