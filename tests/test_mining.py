"""Rows that are drawn more often while their loss is high."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hpo.arrays import Arrays, Feed
from hpo.measure import forward
from hpo.mining import RowLosses, losses_of_rows
from tests.toy import CPU, Toy, toy_arrays, toy_run


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return toy_arrays(tmp_path_factory.mktemp("cache"))


def test_the_loss_of_a_row_is_that_of_a_batch_of_it_alone(arrays: Arrays) -> None:
    """Of its labelled terms, weighted; a row without any has 0. Float32 has 24 bits."""
    run, rows = toy_run(arrays), torch.arange(20)
    run.model.eval()
    batch, weights = Feed(arrays, CPU).take(rows), {"class": 1.0, "number": 0.5}
    with torch.no_grad():
        found = losses_of_rows(Toy(), forward(run.model, batch), batch, run.params, run.statistics, weights)
        for row in rows.tolist():
            alone = Feed(arrays, CPU).take(rows[row : row + 1])
            terms = Toy().losses(forward(run.model, alone), alone, run.params, run.statistics)
            expected = sum(weights[name] * value / count for name, (value, count) in terms.items() if count)
            torch.testing.assert_close(found[row], torch.as_tensor(expected, dtype=torch.float32))
    assert (found == 0).any(), "some row is not labelled at all"


def test_a_row_is_drawn_by_its_last_loss_in_units_of_the_median() -> None:
    found = RowLosses(np.asarray([3, 5, 8, 9, 12]), cap=4.0)
    assert found.factors().tolist() == [1, 1, 1, 1, 1], "nothing is known"
    found.learn(np.asarray([8, 3, 8, 5, 9]), torch.tensor([7.0, 1.0, 3.0, 0.5, 20.0]))
    # of 3, 5, 8 (its last one) and 9 the median is (1 + 3) / 2; 12 was never drawn
    assert found.factors().tolist() == [1.0, 1.0, 1.5, 4.0, 4.0]


def test_rows_with_nothing_left_to_learn_are_drawn_alike() -> None:
    found = RowLosses(np.arange(3), cap=4.0)
    found.learn(np.arange(3), torch.zeros(3))
    assert found.factors().tolist() == [1, 1, 1]


def test_the_first_epoch_sees_every_row_and_later_ones_the_hard_ones_more_often(arrays: Arrays) -> None:
    run = toy_run(arrays, sampling__hard_boost_cap=5.0, augment__noise=0.0, model__dropout=0.0, optimizer__lr=1e-9)
    train = run.fold.train
    assert sorted(run._drawn(1)) == train.tolist()
    run.epoch()
    assert run._row_losses is not None
    factors = run._row_losses.factors()
    assert factors.max() > 1.5 and (factors == 1).sum() >= len(train) // 2
    drawn = np.concatenate([run._drawn(number) for number in range(2, 202)])
    expected = factors / factors.sum()
    counts = np.asarray([(drawn == row).sum() for row in train])
    deviation = np.sqrt(len(drawn) * expected * (1 - expected))  # of a binomial count
    assert np.abs(counts - len(drawn) * expected).max() < 6 * deviation.max()


def test_mining_changes_no_number_of_the_first_epoch(arrays: Arrays) -> None:
    plain, mined = toy_run(arrays).epoch(), toy_run(arrays, sampling__hard_boost_cap=3.0).epoch()
    assert (mined.train, mined.validation) == (plain.train, plain.validation)


def test_balanced_classes_are_drawn_equally_often(arrays: Arrays) -> None:
    run = toy_run(arrays, sampling__balanced=True)
    drawn = np.concatenate([run._drawn(number) for number in range(1, 301)])
    target = np.asarray(arrays["target"])[drawn]
    shares = np.bincount(target[target >= 0], minlength=3) / (target >= 0).sum()
    assert shares == pytest.approx([1 / 3] * 3, abs=6 * np.sqrt(2 / 9 / len(drawn)))


def test_a_cap_below_one_is_refused(tmp_path: Path) -> None:
    from hpo.study import Study, StudyError
    from tests.toy import STUDY

    text = STUDY.replace("fixed:\n", "fixed:\n  sampling: {hard_boost_cap: 0.5}\n")
    with pytest.raises(StudyError, match=r"sampling\.hard_boost_cap is 0\.5: at least 1 \(1 = off\) is needed"):
        Study.from_text(text, str(tmp_path / "toy.yaml"), lambda _: Toy())
