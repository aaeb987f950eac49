"""A network that goes on from a trained one: its weights and scalers, with what the new parameters set."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hpo.arrays import Arrays, open_arrays
from hpo.network import Trained, random
from hpo.objective import DataError, Params
from objectives.digits import Digits


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return open_arrays(Digits(), None, {}, tmp_path_factory.mktemp("cache"))


def params(**changes: object) -> Params:
    return Params.from_flat(Digits().parameters() | {name.replace("__", "."): v for name, v in changes.items()})


@pytest.fixture(scope="module")
def trained(arrays: Arrays) -> Trained:
    """Weights of another seed than any that a training of the tests has."""
    statistics = Digits().statistics(arrays, np.arange(400))
    model = random(Digits(), params(model__dropout=0.25), statistics, 99)
    return Trained(params=params(model__dropout=0.25), statistics=statistics, weights=model.state_dict())


def test_everything_is_as_it_was_trained(trained: Trained) -> None:
    found = trained.network(Digits(), trained.params, 1).state_dict()
    assert found.keys() == trained.weights.keys()
    for name, value in found.items():
        assert torch.equal(value, trained.weights[name]), name


def test_a_dropout_rate_follows_the_new_parameters_and_nothing_else_does(trained: Trained) -> None:
    found = trained.network(Digits(), params(model__dropout=0.5), 1).state_dict()
    changed = {name for name, value in found.items() if not torch.equal(value, trained.weights[name])}
    assert changed == {name for name in found if name.endswith("rate")} != set()
    assert all(float(found[name]) == 0.5 for name in changed)


def test_the_generator_of_the_process_stays_where_it_was(trained: Trained) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trained.network(Digits(), trained.params, 1)
    assert torch.equal(torch.rand(3), expected)


def test_another_width_is_refused_by_its_name(trained: Trained) -> None:
    message = r"not fit a network with model\.width 16 -> 24 \(.* has the shape \[16, 1, 3, 3\], \[24, 1, 3, 3\] would"
    with pytest.raises(DataError, match=message):
        trained.network(Digits(), params(model__width=24, optimizer__lr=1e-5, model__dropout=0.25), 1)
