"""Features of masks against shapes whose topology is known, scikit-image, and Betti matching carried out by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from skimage.measure import euler_number, label

from objectives.surface.topology import matched_features, topology_score
from tests.objectives.betti_matching import betti_matching

Z, Y, X = np.mgrid[:24, :24, :24] - 11.5


def ball(radius: float, z: float = 0, y: float = 0, x: float = 0) -> np.ndarray:
    return (Z - z) ** 2 + (Y - y) ** 2 + (X - x) ** 2 < radius**2


def torus(ring: float, tube: float, z: float = 0) -> np.ndarray:
    return (np.hypot(Y, X) - ring) ** 2 + (Z - z) ** 2 < tube**2


HOLES = [(-5, 0, 0), (5, 0, 0), (0, 6, 0), (0, -6, 0), (0, 0, 6)]
CHEESE = ball(11) & ~np.any([ball(2, *hole) for hole in HOLES], axis=0)
DRILLED = ball(11) & ~((abs(Y) < 1) & (abs(X) < 1)) & ~ball(3, 0, 6, 0)
SHAPES = {  # mask, components that end, tunnels, cavities
    "nothing": (ball(0), 0, 0, 0),
    "everything": (ball(99), 0, 0, 0),
    "ball": (ball(8), 0, 0, 0),
    "two balls": (ball(4, -6) | ball(4, 6), 1, 0, 0),
    "torus": (torus(7, 3), 0, 1, 0),
    "two tori": (torus(7, 3, -6) | torus(7, 3, 6), 1, 2, 0),
    "hollow torus": (torus(7, 4) & ~torus(7, 2), 0, 2, 1),
    "shell": (ball(9) & ~ball(6), 0, 0, 1),
    "shell in a shell": ((ball(11) & ~ball(9)) | (ball(7) & ~ball(4)), 1, 0, 2),
    "Swiss cheese": (CHEESE, 0, 0, 5),
    "a ball drilled through, with a cavity": (DRILLED, 0, 1, 1),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_have_the_features_they_are_known_for_and_match_themselves(name: str) -> None:
    mask, *features = SHAPES[name]
    assert matched_features(mask, mask).tolist() == [features] * 3
    assert topology_score(mask, mask) == 1


@pytest.mark.parametrize("seed", range(40))
def test_counts_equal_betti_matching_by_hand(seed: int) -> None:
    generator = np.random.default_rng(seed)
    shape = [(3, 4, 5), (4, 4, 3), (5, 3, 3), (1, 5, 4), (2, 3, 4)][seed % 5]
    truth = generator.random(shape) < generator.choice([0.3, 0.5, 0.8, 0.9])
    prediction = truth ^ (generator.random(shape) < generator.choice([0.1, 0.3, 0.5]))
    expected, counted = betti_matching(prediction, truth), matched_features(prediction, truth)
    tunnels = counted[0, 1], expected[0, 1]
    assert tunnels[0] >= tunnels[1]  # a bound: see the module
    counted[0, 1] = expected[0, 1]
    np.testing.assert_array_equal(counted, expected)


@pytest.mark.parametrize("order", list(itertools.permutations("PGB")))
def test_one_more_component_matches_where_both_kinds_of_strangers_come_first(order: tuple[str, ...]) -> None:
    for axis in range(3):
        prediction, truth = np.zeros((2, 7, 7, 7), bool)
        for place, kind in zip((1, 3, 5), order, strict=True):
            for mask in [*[prediction] * (kind != "G"), *[truth] * (kind != "P")]:
                np.moveaxis(mask, axis, 0)[place] = True
        counted = matched_features(prediction[:, 2:5, 1:], truth[:, 2:5, 1:])
        np.testing.assert_array_equal(counted, betti_matching(prediction[:, 2:5, 1:], truth[:, 2:5, 1:]))


def test_cavities_match_once_per_cavity_of_the_union() -> None:
    block = np.ones((3, 3, 9), bool)
    long, ends, left = block.copy(), block.copy(), block.copy()
    long[1, 1, 1:8] = False
    ends[1, 1, [1, 2, 6, 7]] = False
    left[1, 1, 1:3] = False
    pairs = [(long, ends, [1, 1, 2]), (ends, left, [1, 2, 1]), (long, left, [1, 1, 1]), (long, block, [0, 1, 0])]
    for prediction, truth, cavities in pairs:
        counted = matched_features(prediction, truth)
        assert counted[:, 2].tolist() == cavities
        np.testing.assert_array_equal(counted, betti_matching(prediction, truth))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_features_equal_scikit_images(share: float) -> None:
    mask = np.random.default_rng(0).random((9, 11, 10)) < share
    components, background = label(mask, connectivity=1).max(), label(~mask, connectivity=3)
    at_border = np.unique(np.concatenate([background.take([0, -1], axis).ravel() for axis in range(3)]))
    cavities = background.max() - np.count_nonzero(at_border)
    tunnels = components + cavities - euler_number(mask, connectivity=1)
    assert matched_features(mask, mask)[1].tolist() == [components - 1, tunnels, cavities]


def test_the_score_adds_the_counts_of_eight_octants() -> None:
    generator = np.random.default_rng(1)
    truth = generator.random((13, 14, 11)) < np.linspace(0.2, 1, 14)[:, None]  # from dust to cheese
    prediction = truth ^ (generator.random(truth.shape) < 0.1)
    counts = np.zeros((3, 3), int)
    for box in itertools.product([slice(7), slice(7, 13)], [slice(7), slice(7, 14)], [slice(6), slice(6, 11)]):
        counts += matched_features(prediction[box], truth[box])
    matched, predicted, true = counts
    assert all(true > 0)
    f1 = [2 * m / (p + t) for m, p, t in zip(matched, predicted, true, strict=True)]
    assert topology_score(prediction, truth) == pytest.approx(0.34 * f1[0] + 0.33 * f1[1] + 0.33 * f1[2])


def test_kinds_that_the_truth_lacks_and_kinds_that_both_lack() -> None:
    truth, prediction = np.zeros((2, 10, 10, 10), bool)
    truth[1, 1, 1] = True  # a single component has no end in its octant: no features at all
    assert topology_score(truth, truth) == 1
    prediction[1, 1, [1, 3]] = True
    assert topology_score(prediction, truth) == 0.5 / (1 + 0.5)
    prediction[5:8, 5:8, 5:8] = True
    prediction[6, 6, 6] = False
    each = [0.5 / 1.5, 0.5 / 1.5]  # one false component, one false cavity
    assert topology_score(prediction, truth) == pytest.approx((0.34 * each[0] + 0.33 * each[1]) / 0.67)
    truth[1, 4, 1] = True
    assert topology_score(prediction, truth) == pytest.approx((0.34 * 0 + 0.33 * each[1]) / 0.67)
