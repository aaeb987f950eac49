"""Drawn faces: what makes them a stand-in for a database of faces, and whether their muscles do what they say."""

from __future__ import annotations

import hashlib
from itertools import islice

import numpy as np
import pytest

from objectives.expression import synthetic as expression_synthetic
from objectives.expression.drawing import UNITS, Person, Pose, draw_face

#: The note's order of the action units.
UNIT_NAMES = "AU1 AU2 AU4 AU5 AU6 AU7 AU9 AU10 AU12 AU15 AU17 AU20 AU23 AU24 AU25 AU26 AU43 AU45".split()
#: Where on an upright face of 128 pixels a unit is seen, rows from the top: above the lower lids, between brows and
#: cheeks, between brows and upper lip, or below the nose.
BROWS, EYES, MIDDLE, MOUTH = (10, 60), (35, 80), (32, 88), (75, 128)
SEEN = {
    1: BROWS, 2: BROWS, 4: BROWS, 5: EYES, 6: EYES, 7: EYES, 9: MIDDLE, 10: MOUTH, 12: MOUTH, 15: MOUTH, 17: MOUTH,
    20: MOUTH, 23: MOUTH, 24: MOUTH, 25: MOUTH, 26: MOUTH, 43: EYES, 45: EYES,
}  # fmt: skip


def _drawn(units: dict[int, float], side: int = 128) -> np.ndarray:
    """A plain upright face, grey levels `[3, side, side]`."""
    return draw_face(units, Person(), Pose(), side, np.random.default_rng(0)).astype(np.float64)


def test_faces_are_the_same_on_every_call_and_no_two_are_alike() -> None:
    first, second = expression_synthetic.generate(), expression_synthetic.generate()
    for name in ("file", "emotion", "units", "group"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    prints = [hashlib.sha256(picture.tobytes()).digest() for picture in first.pictures(32)]
    assert prints == [hashlib.sha256(picture.tobytes()).digest() for picture in second.pictures(32)]
    assert len(prints) == len(set(prints)) == len(first.file) == len(set(first.file))
    for _ in range(2):  # asking again starts again
        np.testing.assert_array_equal(next(first.pictures(48)), next(second.pictures(48)))


def test_emotions_are_imbalanced_as_promised_and_each_has_persons_for_three_folds_and_a_test_part() -> None:
    faces = expression_synthetic.generate()
    assert faces.group is not None
    assert faces.part is None
    assert faces.emotion.min() == 0
    assert len(faces.classes) == len(set(faces.classes)) == 14
    rows = np.bincount(faces.emotion, minlength=14)
    assert rows.max() == 20 * rows.min()
    assert 450 <= rows.sum() <= 500
    falling = np.sort(rows)[::-1]
    geometric = rows.max() * 20 ** (-np.arange(14) / 13)
    np.testing.assert_allclose(falling, geometric, atol=0.5)  # rows are whole
    assert set(np.argsort(rows)[:4]) == {4, 8, 12, 13}
    assert all(len(np.unique(faces.group[faces.emotion == number])) >= 5 for number in range(14))
    assert len(np.unique(faces.group)) == 60
    assert all(len(np.unique(faces.emotion[faces.group == person])) >= 3 for person in np.unique(faces.group))


def test_units_are_null_in_more_than_half_of_the_rows_and_zeros_for_nulls_would_make_no_the_best_answer() -> None:
    faces = expression_synthetic.generate()
    assert list(faces.unit_names) == UNIT_NAMES == [f"AU{unit}" for unit in UNITS]
    null = (faces.units == -1).all(1)
    assert ((faces.units == -1).any(1) == null).all()  # nobody looks at half a face
    assert null.mean() == pytest.approx(0.6, abs=1 / len(null))
    looked = faces.units[~null]
    assert set(np.unique(looked)) == {0, 1}
    assert (looked.sum(1) > 0).all()
    assert (looked.sum(0) >= 15).all()  # every unit can be learned
    happily_surprised = faces.emotion == 0
    smiles = faces.units[happily_surprised, UNIT_NAMES.index("AU12")]
    assert (smiles[smiles >= 0]).mean() > 0.7
    assert (smiles == 1).mean() < 0.5  # what a network is told that reads -1 as 0
    missing = [null[faces.emotion == number].mean() for number in range(14) if (faces.emotion == number).sum() > 30]
    assert np.abs(np.array(missing) - 0.6).max() < 6 * np.sqrt(0.6 * 0.4 / 30)  # at random: six standard deviations


def test_units_of_rare_emotions_are_in_common_ones_too() -> None:
    common = {unit for _, rows, units in expression_synthetic.EMOTIONS if rows > 15 for unit in units}
    rare = {unit for _, rows, units in expression_synthetic.EMOTIONS if rows <= 15 for unit in units}
    assert rare < common
    prototypes = [units for _, _, units in expression_synthetic.EMOTIONS]
    assert len(set(prototypes)) == 14


@pytest.mark.parametrize("unit", UNITS)
def test_a_unit_changes_the_picture_and_mostly_where_its_muscles_are(unit: int) -> None:
    change = np.abs(_drawn({unit: 1.0}) - _drawn({})).sum((0, 2))
    first, last = SEEN[unit]
    assert change.sum() > 3 * 20 * 128  # as much as 128 pixels that change by 20 grey levels
    assert change[first:last].sum() > 0.8 * change.sum()


def test_units_at_half_strength_lie_between_rest_and_full_strength() -> None:
    rest, half, full = (_drawn({26: strength}) for strength in (0.0, 0.5, 1.0))
    assert 0 < np.abs(half - rest).sum() < np.abs(full - rest).sum()


@pytest.mark.parametrize("side", [16, 32, 128, 256])
def test_pictures_of_different_sides_show_the_same_face(side: int) -> None:
    faces = expression_synthetic.generate()
    for picture, other in islice(zip(faces.pictures(64), faces.pictures(side), strict=True), 12):
        assert other.shape == (3, side, side)
        assert other.dtype == np.uint8
        small, large = sorted((picture.astype(np.float64), other.astype(np.float64)), key=np.size)
        factor = large.shape[1] // small.shape[1]
        reduced = large.reshape(3, small.shape[1], factor, small.shape[1], factor).mean((2, 4))
        assert np.abs(reduced - small).mean() < 3  # of 255 grey levels: rounding, and noise that is interpolated
