"""Videos of sessions as arrays: the right picture beside the right points, whatever clips are left out or cut."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from hpo.arrays import Arrays
from hpo.objective import DataError
from objectives.behaviour.objective import Behaviour
from tests.objectives.behaviour_arrays import prepared, session
from tests.objectives.behaviour_folders import actions, dlc_csv, numbers

WIDTH, HEIGHT = 32, 16


def video(path: Path, frames: int, step: int = 3) -> None:
    """Lossless; every frame is all of one grey level, `10 + step * number`."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "gray"
        pictures = [np.full((HEIGHT, WIDTH), 10 + step * number, np.uint8) for number in range(frames)]
        for picture in [*(av.VideoFrame.from_ndarray(one, "gray") for one in pictures), None]:
            for packet in stream.encode(picture):
                container.mux(packet)


def filmed(folder: Path, *, frames: int = 30, about: str = "", second: int = 30, **values: Any) -> Arrays:
    """Two sessions; the annotations of the first are of its first and last third alone, those of the last late."""
    source = folder / "source"
    for kind in ("keypoints", "annotations"):
        (source / kind).mkdir(parents=True)
    for number, name in enumerate(("rat1", "rat2")):
        points = numbers(number, 1, 30)
        points[..., :2] = points[..., :2] / 640 * HEIGHT
        (source / "keypoints" / f"{name}.csv").write_text(dlc_csv(points, ("nose",)))
    for name, rows in (("rat1_1", 10), ("rat1_3", 8), ("rat2", 30)):
        (source / "annotations" / f"{name}.csv").write_text(actions([rows % 3] * rows))
    (source / "classes.json").write_text('{"0": "rest", "1": "walk", "2": "lick"}')
    if about:
        (source / "sessions.csv").write_text(about)
    video(source / "videos" / "rat1.mkv", frames)
    video(source / "videos" / "rat2.mkv", second, step=5)
    given = {"data__train_T": 8, "data__val_T": 8, "data__min_frames": 8, "data__context_frames": 2}
    return prepared(source, folder, **{**given, "data__image_size": 16, **values})


def test_every_frame_has_its_own_picture(tmp_path: Path) -> None:
    """Clips that are left out, cut and padded: the grey level tells session and frame."""
    arrays = filmed(tmp_path)
    assert arrays["video"].dtype == np.uint8
    assert arrays["video"].shape == (len(arrays), 8, 16, 16)
    frame = arrays["frame"]
    step = np.where(arrays["session"] == arrays.info["sessions"].index("rat1"), 3, 5)[:, None]
    expected = np.where(frame >= 0, 10 + step * frame, 0)
    rat1 = frame[session(arrays, "rat1")]
    assert sorted(rat1[rat1 >= 0].tolist()) == [*range(10), *range(20, 30)]
    np.testing.assert_array_equal(arrays["video"][:, :, 4:12].min((2, 3)), expected)
    np.testing.assert_array_equal(arrays["video"][:, :, 4:12].max((2, 3)), expected)
    assert not arrays["video"][:, :, [0, 1, 2, 3, 12, 13, 14, 15]].any(), "the frame is wider than high"


def test_the_pictures_of_a_short_annotation_are_those_of_its_frames(tmp_path: Path) -> None:
    """rat1_3 has 8 rows of 10 frames: they belong to frames 22 to 29, of points and pictures alike."""
    arrays = filmed(tmp_path)
    rows = session(arrays, "rat1")
    grey = arrays["video"][rows, :, 8, 8].astype(int)
    lick = arrays["action"][rows] == 8 % 3
    assert grey[lick].tolist() == [10 + 3 * number for number in range(22, 30)]
    nose = numbers(0, 1, 30)[22:, 0, :2] / 640 * HEIGHT / WIDTH
    np.testing.assert_allclose(arrays["keypoints"][rows][lick][:, 0], nose, rtol=1e-6)


def test_the_video_gives_the_unit_unless_it_is_named(tmp_path: Path) -> None:
    found = filmed(tmp_path)
    np.testing.assert_allclose(found["extent"], np.tile([1, HEIGHT / WIDTH], (len(found), 1)))
    named = filmed(tmp_path / "named", about="session,group,width,height\nrat1,A,64,64\nrat2,B,64,64\n")
    np.testing.assert_allclose(named["extent"], np.ones((len(named), 2)))
    np.testing.assert_allclose(named["keypoints"], found["keypoints"] / 2, rtol=1e-6)


def test_statistics_of_the_video_are_those_of_the_rows(tmp_path: Path) -> None:
    arrays = filmed(tmp_path)
    rows = session(arrays, "rat2")
    grey = arrays["video"][rows] / 255
    found = Behaviour().statistics(arrays, rows)["grey"]
    np.testing.assert_allclose(found, [grey.mean(), grey.std()], rtol=1e-6)


def test_videos_may_be_left_alone(tmp_path: Path) -> None:
    assert "video" not in list(filmed(tmp_path, frames=7, data__videos=False))


def test_videos_of_another_length_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "source"))) as error:
        filmed(tmp_path, frames=29, second=31)
    assert str(error.value).split("\n  ")[1:] == [
        f"{name}.mkv: {frames} frames, but the key points of {name} have 30; track the video as it is, or set "
        "data.videos: false"
        for name, frames in (("rat1", 29), ("rat2", 31))
    ]
