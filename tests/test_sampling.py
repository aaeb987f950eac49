"""Which rows an epoch sees: probabilities as a table, frequencies within six standard deviations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpo.arrays import Arrays
from hpo.objective import DataError
from hpo.sampling import boosted_weights, draw, part, row_weights, trained_rows
from hpo.study import StudyError
from tests.toy import CLASSES, STUDY, Toy, launch, toy_arrays, toy_params, toy_run

OFF = {"rare_boost_cap": 1.0, "rare_threshold_share": 0.02}


def labels(*counts: int, unlabelled: int = 0) -> np.ndarray:
    """So many rows of class 0, 1, ..., and some without a class, mixed."""
    numbers = np.concatenate([np.full(count, k) for k, count in enumerate(counts)] + [np.full(unlabelled, -1)])
    return np.random.default_rng(0).permutation(numbers).astype(np.int64)


def one_hot(numbers: np.ndarray) -> np.ndarray:
    """One labelled entry per row, none in a row without a class."""
    counts = np.zeros((len(numbers), int(numbers.max(initial=-1)) + 1), np.int64)
    labelled = np.flatnonzero(numbers >= 0)
    counts[labelled, numbers[labelled]] = 1
    return counts


@pytest.mark.parametrize(
    ("counts", "cap", "threshold", "boosts"),
    [
        pytest.param((95, 5), 4.0, 0.1, (1, 4), id="up to the cap"),
        pytest.param((95, 5), 100.0, 0.1, (1, 19), id="never more than the most frequent class"),
        pytest.param((80, 15, 5), 3.0, 0.1, (1, 1, 3), id="only what is under the threshold"),
        pytest.param((80, 15, 5), 8.0, 0.16, (1, 80 / 15, 8), id="each class by its own need"),
        pytest.param((90, 10), 5.0, 0.1, None, id="a share equal to the threshold is not rare"),
        pytest.param((60, 40), 5.0, 0.02, None, id="nothing is rare"),
        pytest.param((95, 5), 1.0, 0.1, None, id="cap 1 is off"),
        pytest.param((95, 5), 0.5, 0.1, None, id="a cap under 1 is off"),
        pytest.param((100,), 9.0, 0.5, None, id="one class cannot be rare"),
        pytest.param((0, 95, 5), 4.0, 0.1, (0, 1, 4), id="a class that is absent"),
        pytest.param((), 4.0, 0.1, None, id="nothing labelled"),
    ],
)
@pytest.mark.parametrize("unlabelled", [0, 30])
def test_a_rare_row_is_drawn_so_many_times_as_often(
    counts: tuple[int, ...], cap: float, threshold: float, boosts: tuple[float, ...] | None, unlabelled: int
) -> None:
    """The share of a class is counted among labelled rows; rows without a class weigh as much as common ones."""
    rows = labels(*counts, unlabelled=unlabelled)
    weights = boosted_weights(one_hot(rows), {"rare_boost_cap": cap, "rare_threshold_share": threshold})
    if boosts is None:
        assert weights is None
        return
    assert weights is not None
    assert weights.sum() == pytest.approx(1)
    common = weights[rows == int(np.argmax(counts))][0]
    for number, boost in enumerate(boosts):
        np.testing.assert_allclose(weights[rows == number], boost * common)
    np.testing.assert_allclose(weights[rows == -1], common)
    total = np.bincount(rows[rows >= 0], weights[rows >= 0])
    assert total.max() == pytest.approx(total[np.argmax(counts)])


@pytest.mark.parametrize(
    ("clips", "cap", "threshold", "boosts"),
    [
        pytest.param([(90, 0), (80, 10), (0, 0)], 4.0, 0.1, (1, 4, 1), id="a row by the rare class that it also holds"),
        pytest.param([(99, 1), (90, 9), (80, 0)], 50.0, 0.1, (26.9, 26.9, 1), id="no more than makes up for the class"),
        pytest.param([(60, 3, 1), (60, 3, 0), (73, 0, 0)], 500.0, 0.1, (193, 193 / 6, 1), id="the largest of several"),
        pytest.param([(50, 50), (60, 40)], 5.0, 0.1, None, id="each row holds both and neither is rare"),
        pytest.param([(5, 5, 0), (5, 5, 0)], 5.0, 0.1, None, id="a class that no row holds"),
        pytest.param([(0, 9), (1, 0)] * 2, 9.0, 0.2, (1, 9, 1, 9), id="whole rows"),
        pytest.param([(19, 1)] * 4, 9.0, 0.2, (1, 1, 1, 1), id="all alike, though all rare"),
    ],
)
def test_a_row_of_several_classes_is_drawn_by_the_rarest_it_holds(
    clips: list[tuple[int, ...]], cap: float, threshold: float, boosts: tuple[float, ...] | None
) -> None:
    """Shares are of entries, such as the frames of a clip, not of rows."""
    weights = boosted_weights(np.asarray(clips), {"rare_boost_cap": cap, "rare_threshold_share": threshold})
    if boosts is None:
        assert weights is None
        return
    assert weights is not None
    assert weights.tolist() == pytest.approx([boost / sum(boosts) for boost in boosts])


def test_weights_of_clips_are_those_worked_out_frame_by_frame() -> None:
    """Another way to the same numbers: every labelled frame by itself, then the largest of each clip."""
    generator, cap, threshold = np.random.default_rng(2), 40.0, 0.15
    frames = generator.choice([-1, 0, 1, 2, 3], size=(60, 25), p=[0.1, 0.8, 0.06, 0.03, 0.01])
    frames[generator.random(60) < 0.3] = 0
    seen = frames[frames >= 0].tolist()
    boost = {-1: 1.0}
    for number in set(seen):
        rare = seen.count(number) / len(seen) < threshold
        boost[number] = min(cap, seen.count(0) / seen.count(number)) if rare else 1.0
    expected = np.asarray([max(boost[number] for number in clip) for clip in frames.tolist()])
    assert len(set(expected)) >= 3
    counts = np.stack([np.bincount(clip[clip >= 0], minlength=4) for clip in frames])
    weights = boosted_weights(counts, {"rare_boost_cap": cap, "rare_threshold_share": threshold})
    assert weights is not None
    assert weights.tolist() == pytest.approx((expected / expected.sum()).tolist())


def test_an_epoch_without_boost_is_a_permutation() -> None:
    rows = np.array([3, 8, 11, 20, 21])
    first, again, other = (draw(rows, None, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert sorted(first) == rows.tolist()
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_frequencies_are_as_promised_within_six_standard_deviations() -> None:
    """50 epochs of 2,000 rows: each class is binomial with n = 100,000, so six deviations are at most 950 draws."""
    counts, cap = (1000, 780, 120, 20), 6.0
    numbers = labels(*counts, unlabelled=80)
    weights = boosted_weights(one_hot(numbers), {"rare_boost_cap": cap, "rare_threshold_share": 0.1})
    rows = np.arange(len(numbers)) + 500
    generator = np.random.default_rng(7)
    drawn = np.concatenate([draw(rows, weights, generator) for _ in range(50)])
    assert len(drawn) == 50 * len(rows)
    shares = np.array([80, 1000, 780, 120 * 6.0, 20 * 6.0])
    shares /= shares.sum()
    found = np.bincount(numbers[drawn - 500] + 1, minlength=5)
    deviation = np.sqrt(len(drawn) * shares * (1 - shares))
    assert (np.abs(found - len(drawn) * shares) < 6 * deviation).all(), (found, len(drawn) * shares)


def test_rows_within_a_class_are_equally_likely() -> None:
    numbers = labels(95, 5)
    weights = boosted_weights(one_hot(numbers), {"rare_boost_cap": 10.0, "rare_threshold_share": 0.1})
    generator = np.random.default_rng(3)
    drawn = np.concatenate([draw(np.arange(100), weights, generator) for _ in range(400)])
    found, share = np.bincount(drawn, minlength=100)[numbers == 1], 10 / 145
    deviation = np.sqrt(40_000 * share * (1 - share))
    assert (np.abs(found - 40_000 * share) < 6 * deviation).all()


@pytest.mark.parametrize(("count", "share", "size"), [(40, 0.25, 10), (3, 0.01, 1), (5, 0.5, 2), (0, 0.5, 0)])
def test_a_part_is_so_many_of_the_rows_in_order(count: int, share: float, size: int) -> None:
    rows = np.arange(100, 100 + count)
    first, again = (part(rows, share, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(first) == size == len(set(first))
    assert set(first) <= set(rows)
    assert (np.diff(first) > 0).all()


@pytest.mark.parametrize(("count", "share", "size"), [(40, 0.25, 10), (3, 0.01, 1), (5, 1.0, 5), (0, 0.5, 0)])
def test_a_part_of_wholes_is_of_neighbours(count: int, share: float, size: int) -> None:
    """Neighbours among the rows that there are, which may lie apart; every place is drawn."""
    rows = np.sort(np.random.default_rng(0).choice(1000, count, replace=False))
    labelled = np.ones(count, bool)
    found = [part(rows, share, np.random.default_rng(seed), labelled=labelled).tolist() for seed in range(300)]
    runs = [rows[first : first + size].tolist() for first in range(count - size + 1)] if count else [[]]
    assert all(one in runs for one in found)
    assert all(one in found for one in runs)
    again = part(rows, share, np.random.default_rng(0), labelled=labelled)
    assert again.tolist() == found[0]


@pytest.mark.parametrize(
    ("labelled", "share"),
    [
        pytest.param(np.arange(60) < 30, 0.25, id="the first half"),
        pytest.param(np.arange(60) == 59, 0.1, id="one row, the last"),
        pytest.param(np.arange(60) == 0, 0.01, id="a single row of all"),
        pytest.param(np.arange(60) % 7 == 0, 0.05, id="more rows apart than neighbours are"),
        pytest.param(np.arange(60) % 30 == 0, 0.9, id="nearly all"),
        pytest.param(np.random.default_rng(1).random(60) < 0.4, 0.3, id="here and there"),
        pytest.param(np.zeros(60, bool), 0.25, id="none"),
    ],
)
def test_neighbours_hold_no_fewer_labels_than_all_rows(labelled: np.ndarray, share: float) -> None:
    """Each place that does is drawn, and no other; where there is none, those with the most."""
    rows, size = np.arange(60) * 3, max(1, round(share * 60))
    held = [int(labelled[first : first + size].sum()) for first in range(60 - size + 1)]
    enough = [first for first, count in enumerate(held) if 60 * count >= size * labelled.sum()]
    places = enough or [first for first, count in enumerate(held) if count == max(held)]
    # 1000 draws miss one of at most 60 places with a probability of 60 * (59 / 60) ** 1000 = 3e-6; the seeds are fixed
    drawn = {tuple(part(rows, share, np.random.default_rng(seed), labelled=labelled)) for seed in range(1000)}
    assert drawn == {tuple(rows[first : first + size]) for first in places}


# ---- a class that is emphasised, or trained on alone


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return toy_arrays(tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("cap", [1.0, 4.0])
@pytest.mark.parametrize("name", CLASSES)
def test_an_emphasised_class_is_drawn_more_often_on_top_of_rare_boosts(arrays: Arrays, name: str, cap: float) -> None:
    rows = np.arange(len(arrays))
    given = toy_params(sampling__emphasis=name, sampling__emphasis_factor=3.0, sampling__rare_boost_cap=cap)
    boosted = boosted_weights(Toy().class_counts(arrays), given.sampling)
    expected = np.ones(len(rows)) if boosted is None else boosted * len(rows)
    expected = np.where(arrays["target"] == CLASSES.index(name), 3 * expected, expected)
    found = row_weights(Toy(), arrays, rows, given.sampling)
    assert found is not None
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)  # a few roundings of float64


def test_an_emphasis_that_changes_nothing_leaves_a_permutation(arrays: Arrays) -> None:
    target = arrays["target"]
    for rows, factor in (
        (np.arange(len(arrays)), 1.0),
        (np.flatnonzero(target == 0), 2.5),
        (np.flatnonzero(target != 0), 2.5),
    ):
        given = toy_params(sampling__emphasis="often", sampling__emphasis_factor=factor)
        assert row_weights(Toy(), arrays, rows, given.sampling) is None


def test_a_specialist_trains_on_rows_of_its_class_and_is_validated_on_all(arrays: Arrays) -> None:
    whole, run = toy_run(arrays).fold, toy_run(arrays, sampling__only="seldom")
    np.testing.assert_array_equal(run.fold.train, whole.train[arrays["target"][whole.train] == 1])
    np.testing.assert_array_equal(run.fold.validation, whole.validation)
    assert run.epoch().samples == len(run.fold.train) > 0


def test_a_clip_that_holds_the_class_among_others_is_trained_on(arrays: Arrays) -> None:
    class Frames(Toy):
        def class_counts(self, arrays: Arrays) -> np.ndarray:
            return np.tile([[5, 0, 0], [3, 2, 0], [0, 0, 5]], (len(arrays) // 3, 1))

    rows = trained_rows(Frames(), arrays, np.arange(6), toy_params(sampling__only="often"))
    assert rows.tolist() == [0, 1, 3, 4]


def test_classes_that_are_not_there(arrays: Arrays) -> None:
    there = "the classes are often, seldom, rare"
    with pytest.raises(DataError, match=rf"sampling\.emphasis is 'M2': {there}"):
        toy_run(arrays, sampling__emphasis="M2")
    with pytest.raises(DataError, match=rf"sampling\.only is 'M2': {there}"):
        toy_run(arrays, sampling__only="M2")
    rows = np.flatnonzero(arrays["target"] == 0)[:7]
    with pytest.raises(DataError, match=r"sampling\.only is 'rare': none of 7 training rows holds it"):
        trained_rows(Toy(), arrays, rows, toy_params(sampling__only="rare"))


def test_a_study_that_names_classes_that_are_not_there_is_refused_before_any_trial(tmp_path: Path) -> None:
    fixed = "fixed:\n  sampling: {emphasis: M2}\n"
    text = STUDY.replace("fixed:\n", fixed) + "  special: {optimizer: {lr: 2e-2}, sampling: {only: '9'}}\n"
    there = "the classes are often, seldom, rare"
    with pytest.raises(DataError, match=rf"fixed: sampling.emphasis is 'M2': {there}\n.*special: sampling.only is '9'"):
        launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text)
    study = launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text.replace("M2", "rare").replace("'9'", "often"))
    assert study.spec.params({"optimizer.lr": 0.02}, "special").sampling["only"] == "often"
    study.store.close()


def test_a_factor_below_one_is_a_mistake_of_the_file(tmp_path: Path) -> None:
    text = STUDY.replace("fixed:\n", "fixed:\n  sampling: {emphasis_factor: 0.5}\n")
    with pytest.raises(StudyError, match=r"sampling\.emphasis_factor is 0\.5: at least 1 \(1 = off\) is needed"):
        launch(f"sqlite:///{tmp_path / 'hpo.db'}", tmp_path, text)
