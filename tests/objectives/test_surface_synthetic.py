"""Made-up scrolls: what makes them a stand-in for the note's volumes, and whether neighbours tell a voxel's label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, gaussian_filter
from skimage.measure import marching_cubes, mesh_surface_area
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from objectives.surface import sheets as surface_sheets
from objectives.surface import synthetic as surface_synthetic
from objectives.surface.data import BACKGROUND, FOREGROUND, IGNORED, Volume, Volumes
from objectives.surface.synthetic import GROUPS, SIDE, VARIANTS, VOLUMES

#: Standard deviations of the blurs whose values a voxel is judged by; 0 = its own brightness.
BLURS = (0.0, 0.7, 1.2, 2.0, 4.0, 8.0)


@pytest.fixture(scope="module")
def thick() -> Volumes:
    return surface_synthetic.generate("thick")


@pytest.fixture(scope="module")
def thin() -> Volumes:
    return surface_synthetic.generate("thin")


def image(volume: Volume) -> np.ndarray:
    return volume.image(0, SIDE)


def label(volume: Volume) -> np.ndarray:
    assert volume.label is not None
    return volume.label(0, SIDE)


def share(volume: Volume) -> float:
    """Of the labelled voxels that is foreground."""
    truth = label(volume)
    return float((truth[truth != IGNORED] == FOREGROUND).mean())


def test_volumes_are_what_the_interface_says(thick: Volumes, thin: Volumes) -> None:
    assert VARIANTS == ("thick", "thin")
    for made in (thick, thin):
        assert (made.dtype, made.notes, made.unlabelled) == (np.uint8, (), "")
        assert len({volume.name for volume in made.volumes}) == GROUPS * VOLUMES
        assert [volume.group for volume in made.volumes] == [f"scroll{k // 2 + 1}" for k in range(12)]
        for volume in made.volumes:
            assert volume.shape == image(volume).shape == label(volume).shape == (SIDE, SIDE, SIDE)
            assert image(volume).dtype == label(volume).dtype == np.uint8
            assert label(volume).max() <= IGNORED
            np.testing.assert_array_equal(volume.image(5, 9), image(volume)[5:9])


def test_volumes_are_the_same_on_every_call_and_no_two_are_alike(thin: Volumes) -> None:
    again = surface_synthetic.generate("thin")
    for one, other in zip(thin.volumes, again.volumes, strict=True):
        np.testing.assert_array_equal(image(one), image(other))
        np.testing.assert_array_equal(label(one), label(other))
    assert len({image(volume).tobytes() for volume in thin.volumes}) == len(thin.volumes)


def test_thick_sheets_have_the_shares_of_the_note(thick: Volumes) -> None:
    """Which are told in whole percent; a share is found on a 27th of the voxels, and slabs are left out of it."""
    shares = [share(volume) for volume in thick.volumes]
    assert np.mean(shares) == pytest.approx(0.66, abs=0.01)
    assert [min(shares), max(shares)] == pytest.approx([0.27, 0.92], abs=0.01)


def test_thin_sheets_are_two_to_three_voxels_thick_and_few(thin: Volumes) -> None:
    """A sheet's volume is its thickness times half of its surface, which marching cubes measure."""
    assert all(0.05 < share(volume) < 0.15 for volume in thin.volumes)
    for volume in thin.volumes:
        sheet = label(volume) == FOREGROUND
        vertices, faces, _, _ = marching_cubes(gaussian_filter(sheet.astype(np.float32), 0.7), 0.5)
        thickness = 2 * sheet.sum() / mesh_surface_area(vertices, faces)
        assert 1.7 < thickness < 3.6  # sheets that slope are thinner, those that touch count as one


def test_sheets_touch_and_do_not_pass_through_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a line out of a scroll too large to bend, a run inside is one thickness long, or two of touching sheets."""
    monkeypatch.setattr(surface_sheets, "WAVE", 0.0)
    bend = surface_sheets.Bend(radius=1e5, turn=0.0, tilt=0.0)
    surface = surface_sheets.distance(bend, SIDE, 4.0, 0.5, np.random.default_rng(0))
    inside = np.pad(surface <= 0, ((0, 0), (0, 0), (1, 1))).reshape(-1, SIDE + 2).astype(int)
    line, begin = np.nonzero(np.diff(inside) == 1)
    _, end = np.nonzero(np.diff(inside) == -1)
    whole = (begin > 0) & (end < SIDE)
    runs = np.bincount((end - begin)[whole])
    assert runs[:4].sum() < 0.01 * runs.sum()  # rounding: 4 to 5 voxels lie in a thickness of 4
    assert runs[4:6].sum() > 0.5 * runs.sum()
    assert runs[8:].sum() > 0.05 * runs.sum()
    assert len(np.unique(line)) == SIDE * SIDE


@pytest.mark.parametrize("variant", VARIANTS)
def test_some_volumes_have_a_slab_without_label(variant: str, request: pytest.FixtureRequest) -> None:
    made: Volumes = request.getfixturevalue(variant)
    ignored = [float((label(volume) == IGNORED).mean()) for volume in made.volumes]
    assert sum(part > 0 for part in ignored) == 4
    assert max(ignored) < 0.2


def test_labels_go_on_where_the_image_has_a_gap(thick: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same scrolls without gaps have the same labels and are brighter inside of some sheets, and nowhere else."""
    monkeypatch.setattr(surface_synthetic, "HOLES", 0.0)
    for volume, whole in zip(thick.volumes, surface_synthetic.generate("thick").volumes, strict=True):
        np.testing.assert_array_equal(label(volume), label(whole))
        lost = image(whole).astype(int) - image(volume)
        sheet = label(volume) == FOREGROUND
        assert lost.min() >= 0
        assert 0.01 < (lost[sheet] > 20).mean() < 0.12
        near = binary_dilation(label(volume) != BACKGROUND, np.ones((9, 9, 9)))  # a slab hides sheets
        assert not lost[~near].any(), "the blur ends within four voxels"


def test_a_voxel_says_little_and_its_neighbours_much(thick: Volumes, thin: Volumes) -> None:
    for volume in (*thick.volumes, *thin.volumes):
        known = label(volume) != IGNORED
        truth = label(volume)[known] == FOREGROUND
        own = roc_auc_score(truth, image(volume)[known])
        around = roc_auc_score(truth, gaussian_filter(image(volume).astype(np.float32), 1.2)[known])
        assert 0.6 < own < 0.8
        assert around > own + 0.08


def _dice_of_unseen_scrolls(made: Volumes, blurs: tuple[float, ...]) -> np.ndarray:
    """Of each volume, by a logistic regression on blurred brightness that has not seen its scroll."""
    known = [label(volume) != IGNORED for volume in made.volumes]
    x = [
        np.stack([gaussian_filter(image(volume).astype(np.float32) / 40, blur)[mask] for blur in blurs], 1)
        for volume, mask in zip(made.volumes, known, strict=True)
    ]
    y = [label(volume)[mask] for volume, mask in zip(made.volumes, known, strict=True)]
    scores = []
    for first in range(0, len(x), VOLUMES):
        own = range(first, first + VOLUMES)
        others = [k for k in range(len(x)) if k not in own]
        model = LogisticRegression(max_iter=300)
        model.fit(np.concatenate([x[k][::97] for k in others]), np.concatenate([y[k][::97] for k in others]))
        scores += [f1_score(y[k], model.predict(x[k])) for k in own]
    return np.asarray(scores)


def test_unseen_scrolls_are_told_by_neighbourhoods_better_than_by_the_majority(thick: Volumes) -> None:
    """The Dice of calling everything foreground is 2 p / (1 + p); that of single voxels is hardly better."""
    p = np.asarray([share(volume) for volume in thick.volumes])
    majority = 2 * p / (1 + p)
    assert 2 * p.mean() / (1 + p.mean()) == pytest.approx(0.795, abs=0.01)  # of 66 %
    gain = _dice_of_unseen_scrolls(thick, BLURS) - majority
    assert gain.mean() > 0.06
    assert gain[p < 0.82].min() > 0, "also in each volume that is not nearly full"
    assert (_dice_of_unseen_scrolls(thick, BLURS[:1]) - majority).mean() < 0.5 * gain.mean()
