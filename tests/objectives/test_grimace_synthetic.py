"""Made-up mice: what makes them a stand-in for the videos of the note, and whether their faces show their pain."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from hpo.objective import DataError
from objectives.grimace import synthetic as grimace_synthetic
from objectives.grimace.data import MOMENTS, Clips, Wanted
from objectives.grimace.drawing import Camera, Mouse, Scene, Shown

#: Ten frames all over the film: 0, 11, 22, 33 lie before the stimulus, 55 to 99 after every face has reacted.
WANTED = Wanted(max_frames=10, resolution=56, fit="stretch", frames="even", first_frame=0, last_frame=0, event_frame=40)
BEFORE, AFTER = slice(0, 4), slice(5, 10)


@pytest.fixture(scope="module")
def made() -> Clips:
    return grimace_synthetic.generate(WANTED)


@pytest.fixture(scope="module")
def films(made: Clips) -> np.ndarray:
    """uint8 `[row, frame, 3, side, side]`."""
    return np.stack([made.pictures(row) for row in range(len(made.videos))])


def _fingerprint(pictures: np.ndarray) -> str:
    return hashlib.sha256(pictures.tobytes()).hexdigest()


def test_films_are_the_same_on_every_call_and_no_two_are_alike(made: Clips, films: np.ndarray) -> None:
    again = grimace_synthetic.generate(WANTED)
    for name in ("score", "features", "moment"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    for row in (269, 0, 100):  # in any order
        np.testing.assert_array_equal(again.pictures(row), films[row])
    assert len({_fingerprint(film) for film in films}) == len(films)


def test_clips_are_what_the_interface_says(made: Clips, films: np.ndarray) -> None:
    assert films.shape == (270, 10, 3, 56, 56)
    assert films.dtype == np.uint8
    assert len(set(made.videos)) == len(made.subjects) == 270
    assert len(set(made.subjects)) == 9
    assert made.moment.shape == (270,)
    assert made.moment.dtype == np.int64
    assert made.score.shape == (270,)
    assert made.score.dtype == np.float32
    assert made.features.shape == (270, 4)
    assert made.features.dtype == np.float32
    assert made.feature_names == ("ears_frontal", "orbital_tightening", "nose_bulge", "cheek_bulge")
    assert made.fold is None
    assert not made.notes
    assert not made.unlabelled
    for subject in set(made.subjects):
        own = made.moment[np.array(made.subjects) == subject]
        np.testing.assert_array_equal(np.bincount(own), [6] * len(MOMENTS))


def test_some_scores_and_features_are_missing_and_the_others_are_in_their_range(made: Clips) -> None:
    for values, share, most in ((made.score, 0.04, 10), (made.features, 0.2, 2)):
        lost = np.isnan(values)
        deviation = np.sqrt(share * (1 - share) / lost.size)
        assert 0 < lost.mean() < share + 6 * deviation  # at random: six standard deviations
        assert abs(lost.mean() - share) < 6 * deviation
        assert np.nanmin(values) >= 0
        assert np.nanmax(values) <= most


def test_scores_peak_at_m2_and_differ_most_there(made: Clips) -> None:
    own = [made.score[(made.moment == number) & ~np.isnan(made.score)] for number in range(len(MOMENTS))]
    mean, spread = [one.mean() for one in own], [one.std() for one in own]
    assert int(np.argmax(mean)) == int(np.argmax(spread)) == MOMENTS.index("M2")
    assert spread[2] > 3 * spread[0]
    assert mean[0] < 1
    assert mean[4] < 2


def test_ears_and_eyes_are_graded_with_the_score_and_the_nose_hardly(made: Clips) -> None:
    known = ~np.isnan(made.score)[:, None] & ~np.isnan(made.features)
    ears, eyes, nose, cheeks = (
        np.corrcoef(made.score[one], grades[one])[0, 1] for one, grades in zip(known.T, made.features.T, strict=True)
    )
    assert min(ears, eyes) > 0.7
    assert nose < cheeks < min(ears, eyes)
    assert 0 < nose < 0.4


def test_before_the_stimulus_nothing_depends_on_the_pain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same mice with the scores, the unrest and the washing of other moments: frame 40 is the first to differ."""
    wanted = replace(WANTED, first_frame=30, last_frame=60, max_frames=30)
    usual = grimace_synthetic.generate(wanted)
    rows = np.flatnonzero(np.isin(usual.moment, (0, 4)) & (usual.score > 0.1))[::9].tolist()
    shown = [usual.pictures(row) for row in rows]
    for name in ("SCORES", "RESTLESS", "WASHES"):
        monkeypatch.setattr(grimace_synthetic, name, {m: getattr(grimace_synthetic, name)["M2"] for m in MOMENTS})
    other = grimace_synthetic.generate(wanted)
    for row, pictures in zip(rows, shown, strict=True):
        same = (pictures == other.pictures(row)).all((1, 2, 3))
        assert same[:10].all()
        assert not same[20:].any()


def test_a_film_is_the_same_whichever_frames_are_taken_of_it(made: Clips, films: np.ndarray) -> None:
    around = grimace_synthetic.generate(replace(WANTED, frames="event", max_frames=32))
    spread = grimace_synthetic.generate(replace(WANTED, max_frames=32, first_frame=24, last_frame=56))
    every = grimace_synthetic.generate(replace(WANTED, max_frames=100))
    np.testing.assert_array_equal(around.pictures(5), spread.pictures(5))
    np.testing.assert_array_equal(every.pictures(5)[::11], films[5])
    np.testing.assert_array_equal(every.score, made.score)


@pytest.mark.parametrize("side", [28, 112])
def test_pictures_of_different_sides_show_the_same_face(side: int, films: np.ndarray) -> None:
    """Up to rounding and noise, whose standard deviation is at most 5 grey levels at any side."""
    other = grimace_synthetic.generate(replace(WANTED, resolution=side)).pictures(7)
    small, large = sorted((films[7].astype(np.float64), other.astype(np.float64)), key=np.size)
    half = small.shape[-1]
    reduced = large.reshape(10, 3, half, 2, half, 2).mean((3, 5))
    assert np.abs(reduced - small).mean() < 5


def test_more_frames_than_the_film_has_are_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"data\.max_frames: 128.*100 in every film; set data\.max_frames: 100"):
        grimace_synthetic.generate(replace(WANTED, max_frames=128))


def _drawn(shown: Shown) -> np.ndarray:
    """Grey levels `[side, side]` of a plain mouse."""
    scene = Scene(Mouse(), Camera(), 112)
    return np.asarray(scene.draw(shown, np.random.default_rng(0)).mean(0))


@pytest.mark.parametrize(
    ("half", "full", "rows"),
    [
        (Shown(ears=0.5), Shown(ears=1.0), (0, 60)),
        (Shown(eyes=0.5), Shown(eyes=1.0), (40, 70)),
        (Shown(nose=0.5), Shown(nose=1.0), (55, 80)),
        (Shown(cheeks=0.5), Shown(cheeks=1.0), (50, 85)),
    ],
    ids=["ears", "eyes", "nose", "cheeks"],
)
def test_a_part_of_the_face_changes_the_picture_where_it_is(half: Shown, full: Shown, rows: tuple[int, int]) -> None:
    change = np.abs(_drawn(full) - _drawn(Shown())).sum(1)
    assert change[slice(*rows)].sum() > 0.95 * change.sum()
    assert change.sum() > 20 * 50  # as much as 50 pixels that change by 20 grey levels
    assert 0 < np.abs(_drawn(half) - _drawn(Shown())).sum() < 1.1 * change.sum()


def _left_out(x: np.ndarray, made: Clips) -> tuple[np.ndarray, np.ndarray]:
    """True scores and those that a ridge regression gives to the clips of mice that it has not seen."""
    known = ~np.isnan(made.score)
    groups = np.array(made.subjects)[known]
    model, folds = Ridge(alpha=1.0), LeaveOneGroupOut()
    return made.score[known], cross_val_predict(model, x[known], made.score[known], groups=groups, cv=folds)


def _r2(true: np.ndarray, given: np.ndarray) -> float:
    return float(1 - ((true - given) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def test_unseen_mice_are_scored_by_what_their_eyes_do_but_not_by_their_pixels(made: Clips, films: np.ndarray) -> None:
    """Eyes are the darkest there is: how much of a picture is dark falls when they narrow."""
    grey = films.mean(2) / 255
    dark = (grey < 0.15).mean((2, 3))
    eyes = dark[:, AFTER].mean(1) / dark[:, BEFORE].mean(1)
    true, given = _left_out(eyes[:, None], made)
    assert _r2(true, given) > 0.4
    pixels = grey[:, ::3, ::4, ::4].reshape(len(grey), -1)
    assert _r2(*_left_out(pixels - pixels.mean(0), made)) < 0.6 * _r2(true, given)
    still = grey[:, BEFORE, ::2, ::2].mean(1).reshape(len(grey), -1)
    assert _r2(*_left_out(still - still.mean(0), made)) < 0.05
    error, moment = np.abs(true - given), made.moment[~np.isnan(made.score)]
    mae = [error[moment == number].mean() for number in range(len(MOMENTS))]
    assert mae[2] == max(mae)
