"""The batch probe: a limit put where the test knows it, on a real net and real steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

import hpo.batch_size
from hpo.batch_size import Found, probe
from hpo.objective import Batch, Outputs, Params, Term
from hpo.training import FoldRun
from tests.toy import Toy, toy_arrays, toy_run


class Small(Toy):
    """Refuses training batches of more than so many rows as a GPU does."""

    def __init__(self, most: int, message: str = "CUDA out of memory. Tried to allocate 2.00 GiB") -> None:
        self.most, self.message = most, message

    def losses(
        self, outputs: Outputs, batch: Batch, params: Params, statistics: Mapping[str, Tensor]
    ) -> dict[str, Term]:
        if outputs["logits"].requires_grad and len(batch["target"]) > self.most:
            raise torch.OutOfMemoryError(self.message)
        return super().losses(outputs, batch, params, statistics)


def probed(run: FoldRun) -> tuple[Found, list[int]]:
    told: list[int] = []
    return probe(run, told.append), told


def test_every_size_up_to_the_rows_of_the_fold(tmp_path: Path) -> None:
    run = toy_run(toy_arrays(tmp_path))
    before = {name: value.clone() for name, value in run.model.named_parameters()}
    found, told = probed(run)
    assert len(run.fold.train) == 66 and told == [8, 16, 32, 64, 66]
    assert [t.rows for t in found.tried] == told and all(t.fits and t.seconds for t in found.tried)
    assert found.limit == "rows" and found.largest is not None and found.largest.rows == 66
    assert found.fastest is max(found.tried, key=lambda t: t.rows / (t.seconds or 1))
    assert all(torch.equal(before[name], value) for name, value in run.model.named_parameters())


def test_the_studys_own_size_is_among_them(tmp_path: Path) -> None:
    assert probed(toy_run(toy_arrays(tmp_path), data__batch_size=20))[1] == [8, 16, 20, 40, 66]
    assert probed(toy_run(toy_arrays(tmp_path), data__batch_size=400))[1] == [8, 16, 32, 64, 66]


@pytest.mark.parametrize("most", [8, 100, 167, 168, 511])
def test_the_largest_multiple_of_eight_below_a_limit_is_found(tmp_path: Path, most: int) -> None:
    arrays = toy_arrays(tmp_path, rows=1200)
    found, told = probed(toy_run(arrays, Small(most)))
    assert found.limit == "memory" and found.largest is not None
    assert found.largest.rows == most // 8 * 8
    refused = [t for t in found.tried if not t.fits]
    assert refused and all(t.rows > most and t.reason and "requested 2 GiB" in t.reason for t in refused)
    assert [t.rows for t in found.tried] == sorted(told) and len(told) == len(set(told))


def test_not_even_the_smallest_fits(tmp_path: Path) -> None:
    found, told = probed(toy_run(toy_arrays(tmp_path), Small(7)))
    assert (found.limit, found.largest, found.fastest, told) == ("memory", None, None, [8])


def test_the_cpus_own_refusal_is_known_and_other_errors_are_not_taken_for_it(tmp_path: Path) -> None:
    class Odd(Small):
        def losses(self, *given: object) -> dict[str, Term]:
            try:
                return super().losses(*given)  # type: ignore[arg-type]
            except torch.OutOfMemoryError:
                raise RuntimeError(self.message) from None

    arrays = toy_arrays(tmp_path)
    found, _ = probed(toy_run(arrays, Odd(20, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 64")))
    assert found.largest is not None and found.largest.rows == 16
    with pytest.raises(RuntimeError, match="mat1 and mat2 shapes"):
        probed(toy_run(arrays, Odd(20, "mat1 and mat2 shapes cannot be multiplied")))


def test_on_a_cpu_no_size_is_tried_that_might_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten bytes per row and 0.8 of 1000 bytes: 80 rows fit, and more are never allocated."""
    run = toy_run(toy_arrays(tmp_path, rows=600))
    monkeypatch.setattr(hpo.batch_size, "available", lambda: 1000)
    monkeypatch.setattr(hpo.batch_size, "in_use", lambda: 0)
    steps = hpo.batch_size._Attempt._steps
    monkeypatch.setattr(hpo.batch_size._Attempt, "_measured", lambda self, rows: (10 * rows, steps(self, rows)))
    found, told = probed(run)
    assert (found.limit, found.most, max(told)) == ("memory", 800, 80)
    assert found.largest is not None and found.largest.rows == 80 and all(t.fits for t in found.tried)


def test_no_step_is_tried_that_would_take_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpo.batch_size._Attempt, "_measured", lambda self, rows: (0, rows / 2))
    found, told = probed(toy_run(toy_arrays(tmp_path, rows=1200)))
    assert (found.limit, told) == ("time", [8, 16, 32, 64])
