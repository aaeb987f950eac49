"""What a training starts from: weights of a file, and the rows that its objective leaves it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from hpo.arrays import Arrays, Feed
from hpo.dealing import trained_on
from hpo.objective import DataError, Fold, Objective, Params
from hpo.training import FoldRun
from hpo.weights import read_weights
from tests.toy import ACCURACY, CPU, Toy, toy_arrays


class Started(Toy):
    """Starts from weights, and trains on rows with a class alone where it is asked to."""

    defaults = MappingProxyType({**Toy.defaults, "model.weights": "", "loss.labelled_only": False})

    def initialise(self, model: torch.nn.Module, weights: Mapping[str, Tensor]) -> None:
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise DataError(f"model.weights does not fit: {error}") from None

    def training_rows(self, arrays: Arrays, rows: np.ndarray, params: Params) -> np.ndarray:
        return rows[arrays["target"][rows] >= 0] if params.loss["labelled_only"] else rows


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return toy_arrays(tmp_path_factory.mktemp("cache"))


def run(arrays: Arrays, objective: Objective | None = None, **changes: object) -> FoldRun:
    objective = objective or Started()
    flat = objective.parameters() | {name.replace("__", "."): value for name, value in changes.items()}
    fold = objective.split(arrays, 3, 0).folds[0]
    return FoldRun(objective, arrays, Feed(arrays, CPU), fold, Params.from_flat(flat), ACCURACY, epochs=2, seed=3)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_training_starts_from_the_weights_of_a_file(arrays: Arrays, tmp_path: Path, suffix: str) -> None:
    donor = run(arrays, optimizer__lr=0.01)
    donor.epoch()
    file, state = tmp_path / f"donor{suffix}", donor.model.state_dict()
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    started = run(arrays, model__weights=str(file))
    for name, value in started.model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    fresh = run(arrays)
    assert any(not torch.equal(value, state[name]) for name, value in fresh.model.state_dict().items())


def test_weights_that_cannot_be_used(arrays: Arrays, tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"(?s)model\.weights does not fit: .*Missing key"):
        run(arrays, model__weights=str(tmp_path / "other.pt"))
    with pytest.raises(DataError, match=r"gone\.pt: no such file"):
        run(arrays, model__weights=str(tmp_path / "gone.pt"))
    with pytest.raises(TypeError, match=r"toy has a parameter model\.weights, but no method initialise"):
        run(arrays, Unready(), model__weights=str(tmp_path / "other.pt"))


class Unready(Toy):
    defaults = MappingProxyType({**Toy.defaults, "model.weights": ""})


@pytest.mark.parametrize(
    "content",
    [[torch.zeros(2)], {"net": {"a": torch.zeros(2)}}, {"epoch": 3}, {1: torch.zeros(2)}, torch.zeros(2)],
)
def test_what_is_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"w\.pt holds no state_dict, which maps names to tensors: save model\.state"):
        read_weights(tmp_path / "w.pt")


def test_rows_left_out_are_trained_on_nowhere(arrays: Arrays) -> None:
    """Neither batches nor statistics nor the record count them; validation keeps its rows."""
    seen: list[np.ndarray] = []

    class Watched(Started):
        def statistics(self, arrays: Arrays, rows: np.ndarray) -> dict[str, Tensor]:
            seen.append(rows)
            return super().statistics(arrays, rows)

    whole = run(arrays).fold
    some = run(arrays, Watched(), loss__labelled_only=True)
    labelled = whole.train[arrays["target"][whole.train] >= 0]
    assert 0 < len(labelled) < len(whole.train)
    np.testing.assert_array_equal(some.fold.train, labelled)
    np.testing.assert_array_equal(some.fold.validation, whole.validation)
    np.testing.assert_array_equal(seen[0], labelled)
    assert some.epoch().samples == len(labelled)
    assert isinstance(some.fold, Fold)


def test_a_check_sees_the_rows_that_a_trial_would_train_on(arrays: Arrays) -> None:
    objective = Started()
    whole = objective.split(arrays, 3, 0)
    for wanted in (True, False):
        given = Params.from_flat(objective.parameters() | {"loss.labelled_only": wanted})
        for found, fold in zip(trained_on(whole, objective, arrays, given).folds, whole.folds, strict=True):
            expected = fold.train[arrays["target"][fold.train] >= 0] if wanted else fold.train
            np.testing.assert_array_equal(found.train, expected)
            np.testing.assert_array_equal(found.validation, fold.validation)
