"""Parameters of a command line: each value as its default's type, every mistake at once."""

from __future__ import annotations

import re
from types import MappingProxyType

import pytest

from hpo.objective import DataError
from hpo.settings import settings
from tests.toy import Toy


class Started(Toy):
    defaults = MappingProxyType({**Toy.defaults, "model.weights": ""})


def test_values_have_the_types_of_their_defaults() -> None:
    words = ["optimizer.lr=1e-5", "data.batch_size=8", "optimizer.weight_decay=1", "sampling.only=8"]
    found = settings(Toy(), [*words, "stopping.monitor=mae"], ())
    expected = {"optimizer.lr": 1e-5, "data.batch_size": 8, "optimizer.weight_decay": 1.0, "sampling.only": "8"}
    assert found == expected | {"stopping.monitor": "mae"}
    assert isinstance(found["optimizer.weight_decay"], float), "as a study file has it"
    assert settings(Toy(), ["sampling.only="], ()) == {"sampling.only": ""}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optimizer.lr", "GROUP.KEY=VALUE is needed, such as optimizer.lr=1e-5"),
        ("optimizer.lrr=1", "unknown parameter 'optimizer.lrr'; did you mean 'optimizer.lr'?"),
        ("lr=1", "unknown parameter 'lr'; did you mean 'optimizer.lr'?"),
        ("qq.zz=1", "unknown parameter 'qq.zz'; the groups of parameters are data, sampling, augment, model, loss, "),
        ("budget.epochs=1", "budget.epochs is no parameter: use --epochs 1"),
        ("epochs=1", "epochs is no parameter: use --epochs 1"),
        ("folds.count=3", "folds.count is no parameter: use --folds 3"),
        ("metric.name=mae", "metric.name is no parameter: use --metric mae"),
        ("folds=3", "folds is no parameter: use --folds 3"),
        ("metric=mae", "metric is no parameter: use --metric mae"),
        ("seed=3", "unknown parameter 'seed'; the groups of parameters are data, "),
        ("metric.direction=maximize", "unknown parameter 'metric.direction'; the groups of parameters are data, "),
        ("folds.search=2", "unknown parameter 'folds.search'; the groups of parameters are data, "),
        ("qq.epochs=2", "unknown parameter 'qq.epochs'; "),
        ("budget.trials=3", "unknown parameter 'budget.trials'; the groups of parameters are data, sampling, "),
        ("stopping.epochs=3", "unknown parameter 'stopping.epochs'; did you mean 'stopping.min_epochs'?"),
        ("data.folder=a", "unknown parameter 'data.folder'; did you mean 'data.rows'?"),
        ("optimizer.lr=fast", "optimizer.lr is 'fast': a number is needed, as its default 0.001"),
        ("optimizer.lr=0", "optimizer.lr is 0: above 0 is needed"),
        ("optimizer.lr=", "optimizer.lr is null: one value is needed"),
        ("model.width=8.0", "model.width is 8: a whole number is needed, as its default 8, without a decimal point"),
        ("model.dropout=1", "model.dropout is 1: at least 0 and below 1 is needed"),
        ("schedule.name=cosin", "schedule.name is 'cosin': did you mean 'cosine'?"),
        (
            "schedule.monitor=f1",
            "schedule.monitor is 'f1', neither a loss nor a score of the objective; known",
        ),
        ("sampling.emphasis_factor=0.5", "sampling.emphasis_factor is 0.5: at least 1 (1 = off) is needed"),
        ("data.rows=9", "data.rows decides how the data are prepared, and the model knows no others: launch a study"),
        ("model.weights=a.pt", "the training goes on from the weights of the model, and from no others"),
        ("data.batch_size=010", "010 with a leading zero is octal to some readers: write 10"),
    ],
)
def test_mistakes(word: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(f"--set {word}: {message}")):
        settings(Started(), [word], ("epochs", "folds", "metric"))


def test_all_mistakes_are_said_at_once() -> None:
    with pytest.raises(DataError) as caught:
        settings(Toy(), ["optimizer.lr=0", "model.dropout=0.1", "model.dropout=0.2", "x"], ())
    assert str(caught.value).splitlines() == [
        "--set optimizer.lr=0: optimizer.lr is 0: above 0 is needed",
        "--set model.dropout=0.2: model.dropout is set twice: keep one of the two",
        "--set x: GROUP.KEY=VALUE is needed, such as optimizer.lr=1e-5",
    ]
