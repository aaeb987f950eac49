"""Scores of whole volumes against explicit loops, scikit-image, scikit-learn and DeepMind's surface-distance."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import tifffile
from skimage.measure import label
from skimage.metrics import variation_of_information
from skimage.morphology import skeletonize
from sklearn.metrics import f1_score, jaccard_score

from objectives.surface import instances
from objectives.surface import volume_scores as module
from objectives.surface.instances import instance_scores
from objectives.surface.surface_dice import _areas, surface_dice
from objectives.surface.topology import topology_score
from objectives.surface.volume_scores import boundary_f1, volume_scores
from tests.objectives.cases import recordings

NAMES = {"dice", "iou", "cldice", "surface_dice@1", "surface_dice@2", "boundary_f1", "component_error", "voi"} | {
    "topology",
    "competition",
}
SHAPE = (9, 10, 11)


def blobs(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Some boxes and some single voxels."""
    generator = np.random.default_rng(seed)
    mask = generator.random(shape) < 0.02
    for _ in range(4):
        corner, size = generator.integers(0, shape), generator.integers(1, 6, 3)
        mask[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))] ^= True
    return mask


def pair(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A truth, a prediction near it, valid voxels."""
    generator = np.random.default_rng(1000 + seed)
    truth = blobs(seed, shape)
    prediction = np.roll(truth, 1, axis=int(generator.integers(3))) ^ (generator.random(shape) < 0.03)
    return prediction, truth, generator.random(shape) < generator.choice([0.8, 1])


@pytest.fixture(scope="module")
def deep_mind() -> Any:
    return pytest.importorskip("surface_distance")


@pytest.mark.parametrize("seed", range(8))
def test_dice_and_iou_equal_scikit_learns_over_valid_voxels(seed: int) -> None:
    prediction, truth, valid = pair(seed)
    scores = volume_scores(prediction, truth, valid)
    assert set(scores) == NAMES
    assert scores["dice"] == pytest.approx(f1_score(truth[valid], prediction[valid]))
    assert scores["iou"] == pytest.approx(jaccard_score(truth[valid], prediction[valid]))


def test_cldice_of_a_large_volume_is_that_of_eight_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter from each end along every axis; here of 12 voxels each, so that the blocks can be cut by hand."""
    prediction, truth, _ = pair(0, (40, 44, 48))
    monkeypatch.setattr(module, "LARGEST", 10**4)
    monkeypatch.setattr(module, "BLOCK", 12)
    hits = np.zeros((2, 2))
    for z, y, x in itertools.product((10, 30), (11, 33), (12, 36)):
        block = tuple(slice(middle - 6, middle + 6) for middle in (z, y, x))
        for count, mask, other in ((hits[0], prediction, truth), (hits[1], truth, prediction)):
            thinned = skeletonize(mask[block])
            count += (thinned & other[block]).sum(), thinned.sum()
    precision, sensitivity = hits[:, 0] / hits[:, 1]
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert volume_scores(prediction, truth, np.ones_like(truth))["cldice"] == pytest.approx(expected)
    empty = np.zeros_like(truth)
    empty[0, 0, 0] = True  # foreground that no block holds
    assert "cldice" not in volume_scores(empty, empty, np.ones_like(truth))
    assert volume_scores(empty, truth, np.ones_like(truth))["cldice"] == 0


@pytest.mark.parametrize("seed", range(8))
def test_cldice_follows_its_definition(seed: int) -> None:
    prediction, truth, valid = pair(seed)
    predicted, true = prediction & valid, truth & valid
    precision = true[skeletonize(predicted)].mean()
    sensitivity = predicted[skeletonize(true)].mean()
    expected = 2 * precision * sensitivity / (precision + sensitivity)
    assert volume_scores(prediction, truth, valid)["cldice"] == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_boundary_f1_equals_loops_over_voxels(seed: int) -> None:
    prediction, truth, _ = pair(seed)
    around = [step for step in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]

    def boundary(mask: np.ndarray) -> set[tuple[int, ...]]:
        inside = {tuple(voxel) for voxel in np.argwhere(mask).tolist()}
        return {v for v in inside if any(tuple(np.add(v, step)) not in inside for step in around)}

    def found(one: set[tuple[int, ...]], other: set[tuple[int, ...]]) -> float:
        return sum(any(math.dist(v, w) <= 1 for w in other) for v in one) / len(one)

    predicted, true = boundary(prediction), boundary(truth)
    precision, recall = found(predicted, true), found(true, predicted)
    assert boundary_f1(prediction, truth) == pytest.approx(2 * precision * recall / (precision + recall))


def test_areas_equal_deep_minds_in_all_256_cases(deep_mind: Any) -> None:
    expected = deep_mind.metrics.lookup_tables.create_table_neighbour_code_to_surface_area((1, 1, 1))
    np.testing.assert_allclose(_areas(), expected, atol=1e-15)  # its bits run the other way: turned round, the same


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # names that scipy has moved
@pytest.mark.parametrize("seed", range(12))
def test_surface_dice_equals_deep_minds(deep_mind: Any, seed: int) -> None:
    prediction, truth, _ = pair(seed, [(9, 10, 11), (1, 12, 9), (8, 1, 7), (6, 5, 1)][seed % 4])
    truth.flat[0] = prediction.flat[-1] = True
    distances = deep_mind.compute_surface_distances(truth, prediction, (1, 1, 1))
    expected = [deep_mind.compute_surface_dice_at_tolerance(distances, tolerance) for tolerance in (1, 2, 3)]
    assert surface_dice(prediction, truth, (1, 2, 3)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(8))
def test_instances_equal_scikit_images(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prediction, truth, _ = pair(seed)
    predicted, true = (label(mask, connectivity=3) for mask in (prediction, truth))
    either = prediction | truth
    voi = variation_of_information(true[either], predicted[either]).sum()
    expected = {"component_error": abs(predicted.max() - true.max()) / true.max(), "voi": 1 / (1 + 0.3 * voi)}
    assert instance_scores(prediction, truth) == pytest.approx(expected)
    monkeypatch.setattr(instances, "PAIRS", 7)  # counted in parts
    assert instance_scores(prediction, truth) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(4))
def test_the_competition_weighs_three_scores_of_masks_without_ignored_voxels(seed: int) -> None:
    prediction, truth, valid = pair(seed)
    masks = prediction & valid, truth & valid
    parts = [topology_score(*masks), *surface_dice(*masks, [2]), instance_scores(*masks)["voi"]]
    scores = volume_scores(prediction, truth, valid)
    assert [scores["topology"], scores["surface_dice@2"], scores["voi"]] == parts
    assert scores["competition"] == pytest.approx(np.dot([0.3, 0.35, 0.35], parts))
    assert scores == volume_scores(prediction | ~valid, truth | ~valid, valid)


PERFECT = dict.fromkeys(NAMES, 1.0) | {"component_error": 0.0}
BOTH_EMPTY = dict.fromkeys(["surface_dice@1", "surface_dice@2", "voi", "topology", "competition"], 1.0)
#: Exactly one mask is empty, the other is a box that keeps clear of the border: as VOI, the entropy of no choice, and
#: as topology, that of nothing that ends.
ONE_EMPTY = dict.fromkeys(["dice", "iou", "cldice", "surface_dice@1", "surface_dice@2", "boundary_f1"], 0.0) | {
    "voi": 1.0,
    "topology": 1.0,
    "competition": 0.65,
}


@pytest.mark.parametrize("shape", [(6, 7, 8), (4, 4, 4), (1, 7, 8), (6, 1, 8), (6, 7, 1), (1, 1, 5), (1, 1, 1)])
def test_degenerate_volumes_are_defined(shape: tuple[int, ...]) -> None:
    full, empty = np.ones(shape, bool), np.zeros(shape, bool)
    box = empty.copy()
    box[tuple(slice(n // 3, max(1, n - 1)) for n in shape)] = True
    for mask in (full, box):
        assert volume_scores(mask, mask, full) == PERFECT
    assert volume_scores(empty, empty, full) == BOTH_EMPTY
    assert volume_scores(empty, box, full) == pytest.approx({**ONE_EMPTY, "component_error": 1.0})
    assert volume_scores(box, empty, full) == pytest.approx(ONE_EMPTY)
    assert volume_scores(box, full, empty) == {}


def test_scores_tell_a_shifted_a_thick_and_a_torn_sheet_apart() -> None:
    z, y, x = np.mgrid[:16, :24, :24]
    height = 8 + 3 * np.sin(y / 6) + x / 12
    sheet, full = abs(z - height) < 1.2, np.ones(z.shape, bool)
    shifted, thick = np.roll(sheet, 1, axis=0), abs(z - height) < 5
    torn = sheet & (abs(x - 12) > 2)
    scores = {
        name: volume_scores(mask, sheet, full)
        for name, mask in (("shifted", shifted), ("thick", thick), ("torn", torn))
    }
    assert scores["shifted"]["surface_dice@2"] == 1 > scores["thick"]["surface_dice@2"]
    assert scores["torn"]["component_error"] == 1 > scores["shifted"]["component_error"] == 0
    assert scores["torn"]["voi"] < scores["shifted"]["voi"]
    assert scores["torn"]["dice"] > scores["shifted"]["dice"]  # overlap alone would prefer the tear


def test_recorded_walls_score_one_against_themselves_and_less_against_others() -> None:
    files = sorted((recordings("surface") / "train_labels").glob("*.tif"))[:2]
    walls, others = (tifffile.imread(file) == 1 for file in files)
    full = np.ones(walls.shape, bool)
    assert volume_scores(walls, walls, full) == PERFECT
    scores = volume_scores(others, walls, full)
    assert set(scores) == NAMES
    assert all(0 <= score < 1 for name, score in scores.items() if name != "component_error")
