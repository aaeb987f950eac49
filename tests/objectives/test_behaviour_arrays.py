"""What `prepare` writes of folders of sessions: units, sides, rarity, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.arrays import Arrays, open_arrays
from hpo.objective import DataError
from hpo.predictions import long
from objectives.behaviour.objective import Behaviour
from tests.objectives.behaviour_arrays import SHORT, prepared, session
from tests.objectives.behaviour_folders import FRAMES, GOOD, actions, dlc_csv, numbers, write


def good(folder: Path, changes: Mapping[str, str | None] | None = None, **values: Any) -> Arrays:
    return prepared(write(folder / "source", changes), folder, **values)


def one(
    folder: Path, values: np.ndarray, parts: tuple[str, ...] = ("nose",), about: str = "", **changes: Any
) -> Arrays:
    """A source of one session, `rat`, whose every frame is annotated."""
    source = folder / "source"
    for kind, text in (("keypoints", dlc_csv(values, parts)), ("annotations", actions([0] * len(values)))):
        (source / kind).mkdir(parents=True)
        (source / kind / "rat.csv").write_text(text)
    if about:
        (source / "sessions.csv").write_text(about)
    return prepared(source, folder, **changes)


def at(*places: tuple[float, float]) -> np.ndarray:
    """A certain point, `[frame, 1, 3]`."""
    return np.asarray([[(x, y, 1.0)] for x, y in places])


# ---- what is written


def test_arrays_are_of_the_shapes_and_types_that_are_promised(tmp_path: Path) -> None:
    arrays = good(tmp_path)
    found = {name: (str(arrays[name].dtype), arrays[name].shape[1:]) for name in arrays}
    assert found == {
        "keypoints": ("float32", (FRAMES, 3, 2)),
        "extent": ("float32", (2,)),
        "action": ("int64", (FRAMES,)),
        "frame": ("int64", (FRAMES,)),
        "session": ("int64", ()),
        "group": ("int64", ()),
        "mirror": ("int64", (3,)),
        "rarity": ("float32", ()),
    }
    assert arrays.info["classes"] == ["rest", "walk", "lick"]
    assert arrays.info["points"] == ["nose", "ear", "tail"]
    assert arrays.info["groups"] == ["A", "B"]
    assert {name: arrays.info["groups"][arrays["group"][session(arrays, name)[0]]] for name in ("rat1", "rat2")} == {
        "rat1": "A",
        "rat2": "B",
    }
    assert arrays.info["fps"] == {"rat1": 20, "rat12": 20, "rat2": 20}
    assert arrays.info["unlabelled"] == ""
    assert arrays.info["synthetic"] is False


def test_clips_of_a_session_hold_its_frames_and_no_others(tmp_path: Path) -> None:
    """rat2 was cut into two clips of three frames: each is padded to six."""
    arrays = good(tmp_path)
    rows = session(arrays, "rat2")
    assert arrays["frame"][rows].tolist() == [[0, 1, 2, -1, -1, -1], [3, 4, 5, -1, -1, -1]]
    assert arrays["action"][rows].tolist() == [[0, 1, -1, -1, -1, -1], [2, 2, 2, -1, -1, -1]]
    expected = numbers(2)[..., :2] / 640
    found = arrays["keypoints"][rows]
    # A pixel with two digits, in single precision.
    np.testing.assert_allclose(found[:, :3].reshape(6, 3, 2), expected, rtol=1e-6)
    assert np.isnan(found[:, 3:]).all()


# ---- units


def test_a_named_frame_is_the_unit(tmp_path: Path) -> None:
    about = "session,group,width,height\nrat,A,800,1000\n"
    arrays = one(tmp_path, at((400, 500), (800, 1000), (0, 0)), about=about)
    np.testing.assert_allclose(arrays["keypoints"][0, :3, 0], [[0.4, 0.5], [0.8, 1.0], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(arrays["extent"], [[0.8, 1.0]], rtol=1e-6)
    assert not any("is taken to have" in note for note in arrays.info["notes"])


@pytest.mark.parametrize(
    ("farthest", "width", "height"),
    [
        ((319, 239), 320, 240),
        ((320, 241), 640, 480),
        ((100, 700), 1280, 720),
        ((1900, 10), 1920, 1080),
        ((3000, 2000), 3840, 2160),
        ((5000.5, 700), 5001, 700),
    ],
)
def test_an_unknown_frame_is_the_smallest_format_that_holds_all_points(
    tmp_path: Path, farthest: tuple[float, float], width: int, height: int
) -> None:
    arrays = one(tmp_path, at((1, 1), farthest))
    x, y = farthest
    np.testing.assert_allclose(arrays["keypoints"][0, 1, 0], [x / width, y / width], rtol=1e-6)
    np.testing.assert_allclose(arrays["extent"], [[1.0, height / width]], rtol=1e-6)
    said = f"a frame is taken to have {width} x {height} pixels, which holds all points of rat; "
    assert any(note.startswith(said) and "sessions.csv" in note for note in arrays.info["notes"])


def test_unknown_frames_of_one_source_are_scaled_alike(tmp_path: Path) -> None:
    """One animal stays in a corner; both were filmed by the camera that the other shows."""
    small, large = np.full((FRAMES, 3, 3), 9.0), numbers(1)
    small[..., 2] = 1
    changes = {"keypoints/rat1.csv": dlc_csv(small), "keypoints/rat12.csv": dlc_csv(large), "sessions.csv": None}
    arrays = good(tmp_path, changes)
    np.testing.assert_allclose(arrays["keypoints"][session(arrays, "rat1")], 9 / 640, rtol=1e-6)


def test_points_that_are_not_seen_are_nan(tmp_path: Path) -> None:
    values = numbers(1)
    values[2, 1, :2], values[2, 1, 2] = np.nan, 0.0
    values[3, 0, 2] = 0.1
    arrays = good(tmp_path, {"keypoints/rat1.csv": dlc_csv(values)})
    hidden = np.isnan(arrays["keypoints"][session(arrays, "rat1")[0]])
    assert sorted(set(map(tuple, np.argwhere(hidden)[:, :2].tolist()))) == [(2, 1), (3, 0)]
    assert Behaviour().counts(arrays)["point"] == {"seen": 3 * 18 - 2, "not seen": 2}


def test_points_beyond_a_named_frame_are_refused_those_at_its_edge_are_not(tmp_path: Path) -> None:
    about = "session,group,width,height\nrat,A,320,240\n"
    np.testing.assert_allclose(
        one(tmp_path / "edge", at((350, 260)), about=about)["keypoints"][0, 0, 0], [350 / 320, 260 / 320], rtol=1e-6
    )
    with pytest.raises(DataError, match=r"rat: points lie at up to 400, 100, beyond a frame of 320 x 240 pixels$"):
        one(tmp_path / "beyond", at((400, 10), (10, 100)), about=about)


# ---- sides and rarity


@pytest.mark.parametrize(
    ("parts", "mirror"),
    [
        (("nose", "L_paw", "R_paw", "tail"), [0, 2, 1, 3]),
        (("left_ear", "nose", "right_ear"), [2, 1, 0]),
        (("ear_Left", "ear_Right", "paw_left"), [1, 0, 2]),
        (("m1_l_ear", "m1_r_ear", "m2_l_ear", "m2_r_ear"), [1, 0, 3, 2]),
        (("leftEar", "rightEar", "LPaw", "RPaw"), [1, 0, 3, 2]),
        (("ear-left", "ear-right", "paw L1", "paw R1", "pawL2", "pawR2"), [1, 0, 3, 2, 5, 4]),
        (("leftover", "rightover", "l"), [0, 1, 2]),
    ],
)
def test_a_mirror_image_swaps_left_and_right(tmp_path: Path, parts: tuple[str, ...], mirror: list[int]) -> None:
    arrays = one(tmp_path, numbers(0, len(parts)), parts)
    assert arrays["mirror"].tolist() == [mirror]
    assert np.asarray(mirror)[mirror].tolist() == list(range(len(parts)))


def test_in_a_mirror_image_an_animal_stays_that_animal(tmp_path: Path) -> None:
    parts, of = ("l_ear", "r_ear", "l_ear", "r_ear"), ("m1", "m1", "m2", "m2")
    changes: dict[str, str | None] = {name: None for name in GOOD if name.startswith(("keypoints/", "annotations/"))}
    changes |= {"keypoints/rat1.csv": dlc_csv(numbers(1, 4), parts, of), "annotations/rat1.csv": actions([0] * 6)}
    arrays = good(tmp_path, changes | {"sessions.csv": None})
    assert arrays.info["points"] == ["m1_l_ear", "m1_r_ear", "m2_l_ear", "m2_r_ear"]
    assert arrays.info["animal"] == [0, 0, 1, 1]
    assert arrays["mirror"][0].tolist() == [1, 0, 3, 2]


def test_rarity_is_the_share_of_a_clips_rarest_action(tmp_path: Path) -> None:
    arrays = good(tmp_path)
    known = [action[action >= 0] for action in arrays["action"]]
    total = np.concatenate(known)
    expected = [min((total == k).mean() for k in set(own.tolist())) for own in known]
    np.testing.assert_allclose(arrays["rarity"], expected, rtol=1e-6)
    assert len(set(expected)) > 1


@pytest.mark.parametrize("classes", [GOOD["classes.json"], None])
def test_rarity_of_clips_without_annotations_is_one(tmp_path: Path, classes: str | None) -> None:
    without = {name: None for name in GOOD if name.startswith("annotations/")}
    source = write(tmp_path / "source", {**without, "classes.json": classes})
    arrays = open_arrays(Behaviour(), source, SHORT, tmp_path / "cache", labelled=False)
    assert (arrays["rarity"] == 1).all()
    assert arrays.info["unlabelled"]
    assert arrays.info["classes"] == (["rest", "walk", "lick"] if classes else [])


def test_actions_called_like_rows_of_reports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source: actions are called like rows of reports: Accuracy; rename them$"):
        good(tmp_path, {"classes.json": '{"0": "rest", "1": "walk", "2": "lick", "3": "Accuracy"}'})


# ---- what hpo check and predictions say of it


def test_counts(tmp_path: Path) -> None:
    changes = {"annotations/rat1.csv": actions([0, 1, 1, 1, 2])}  # lacks the first frame
    arrays = good(tmp_path, changes, data__min_frames=4)
    found = Behaviour().counts(arrays)
    assert found["frame"] == {"rest": 4, "walk": 4, "lick": 7, "not annotated": 3}
    assert found["session, in clips"] == {"rat1": 1, "rat12": 1, "rat2": 2}
    assert found["annotation file"] == {
        "of the whole clip": 3, "of its last frames": 1, "skipped, shorter than min_frames": 0
    }  # fmt: skip
    assert found["point"] == {"seen": 54, "not seen": 0}


def test_skipped_files_are_noted(tmp_path: Path) -> None:
    arrays = good(tmp_path, {"annotations/rat1.csv": actions([0, 1, 1, 1, 2])})
    assert any("skipped" in note and "rat1.csv (5)" in note for note in arrays.info["notes"])
    assert Behaviour().counts(arrays)["session, in clips"]["rat1"] == 0


def test_identify_masks_what_is_behind_a_sessions_end(tmp_path: Path) -> None:
    arrays = good(tmp_path)
    table = long(Behaviour().identify(arrays))
    expected = [(name, frame) for name in ("rat1", "rat12", "rat2") for frame in range(FRAMES)]
    assert sorted(zip(table["session"].tolist(), table["frame"].tolist(), strict=True)) == expected
    np.testing.assert_allclose(table["time_s"], table["frame"] / 20)


def test_identify_gives_no_time_without_a_rate(tmp_path: Path) -> None:
    some = GOOD["sessions.csv"].replace("rat1,A,20", "rat1,A,")
    table = long(Behaviour().identify(good(tmp_path / "some", {"sessions.csv": some})))
    assert set(table["session"][np.isnan(table["time_s"])].tolist()) == {"rat1"}
    assert "time_s" not in Behaviour().identify(good(tmp_path / "none", {"sessions.csv": None}))


def test_a_model_fits_data_of_its_points_and_actions_alone() -> None:
    trained = {"points": ["nose", "tail"], "classes": ["rest", "walk"], "unlabelled": "", "video": False, "guessed": ""}
    misfit = Behaviour().misfit
    assert misfit(trained, trained) == ""
    turned = misfit({**trained, "points": ["tail", "nose"]}, trained)
    assert turned == "the points are tail, nose; the model was trained on nose, tail"
    other = misfit({**trained, "classes": ["rest", "walk", "lick"]}, trained)
    assert other == "the actions are rest, walk, lick; the model was trained on rest, walk"
    without = {**trained, "classes": [], "unlabelled": "no annotation files"}
    assert misfit(without, trained) == ""
    assert misfit({**without, "points": ["nose"]}, trained).startswith("the points are nose; ")


def test_a_model_that_looks_at_videos_is_not_used_without() -> None:
    """Its net would leave out what the camera saw, and say something all the same."""
    blind = {"points": ["nose"], "classes": ["rest", "walk"], "unlabelled": "", "video": False, "guessed": ""}
    seeing = {**blind, "video": True}
    assert Behaviour().misfit(blind, seeing) == "there are no videos; the model was trained with videos"
    assert Behaviour().misfit(seeing, blind) == Behaviour().misfit(seeing, seeing) == ""


def test_a_guessed_frame_that_is_not_the_models_is_refused(tmp_path: Path) -> None:
    """An animal that keeps to a corner of a frame of 640 x 480 would look twice as large, and move twice as fast."""
    trained = one(tmp_path / "trained", at((9, 9), (600, 400))).info
    corner, camera = at((9, 9), (300, 200)), "session,group,width,height\nrat,A,640,480\n"
    expected = (
        "a frame is taken to have 320 x 240 pixels, which holds all points, but those that the model was trained on "
        "have 640 x 480; give a folder whose sessions.csv names width and height"
    )
    assert Behaviour().misfit(one(tmp_path / "corner", corner).info, trained) == expected
    for number, named in enumerate((camera, camera.replace("640,480", "320,240"))):
        assert Behaviour().misfit(one(tmp_path / f"named{number}", corner, about=named).info, trained) == ""
    assert Behaviour().misfit(one(tmp_path / "alike", at((500, 9))).info, trained) == ""


def test_a_clip_of_single_points_says_nothing_of_the_size_of_animals(tmp_path: Path) -> None:
    alone = numbers(12)
    alone[:, 1:] = np.nan
    arrays = good(tmp_path, {"keypoints/rat12.csv": dlc_csv(alone)})
    every, others = np.arange(len(arrays)), np.setdiff1d(np.arange(len(arrays)), session(arrays, "rat12"))
    sizes = [Behaviour().statistics(arrays, rows)["body"] for rows in (every, others, session(arrays, "rat12"))]
    assert 0 < sizes[0] == sizes[1] < 0.5
    assert sizes[2] == 1


def test_a_source_of_one_action_is_noted(tmp_path: Path) -> None:
    said = "every annotated frame is of action 0: there is nothing to tell apart, and its F1 is always 1"
    assert said in one(tmp_path / "one", at((1, 1), (2, 2))).info["notes"]
    assert not any("every annotated frame" in note for note in good(tmp_path).info["notes"])
