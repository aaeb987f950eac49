"""Folders of videos of faces: which frames of which video a clip has, what is left out, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from objectives.grimace.data import MOMENTS
from objectives.grimace.frames import chosen
from tests.objectives.cases import recordings
from tests.objectives.grimace_folders import (
    FOLDS,
    FRAMES,
    GOOD,
    level,
    read,
    wanted,
    write,
)


def seen(pictures: np.ndarray) -> list[float]:
    """The number of the frame of each picture, told by its level: lossless YUV moves it by less than half of 4."""
    assert np.ptp(pictures, axis=(1, 2, 3)).max() <= 2
    return [round((float(picture.mean()) - level(0)) / (level(1) - level(0))) for picture in pictures]


# ---- which frames


@pytest.mark.parametrize(
    ("frames", "values", "expected"),
    [
        (12, {"max_frames": 12}, range(12)),
        (100, {"max_frames": 5}, [0, 25, 50, 74, 99]),
        (100, {"max_frames": 1}, [0]),
        (100, {"max_frames": 3, "first_frame": 40}, [40, 70, 99]),
        (100, {"max_frames": 5, "last_frame": 40}, [0, 10, 20, 29, 39]),
        (50, {"max_frames": 10, "first_frame": 40, "last_frame": 50}, range(40, 50)),
    ],
)
def test_even_frames_reach_from_end_to_end(frames: int, values: dict[str, int], expected: list[int]) -> None:
    assert chosen(wanted(**values), frames, None).tolist() == list(expected)


def test_even_frames_always_rise() -> None:
    """Whatever the length: halves are rounded to even numbers, which must not bring two together."""
    for frames in range(2, 90):
        for most in range(2, frames + 1):
            numbers = chosen(wanted(max_frames=most), frames, None)
            assert (np.diff(numbers) > 0).all() and (numbers[0], numbers[-1], len(numbers)) == (0, frames - 1, most)


@pytest.mark.parametrize(
    ("most", "event", "first"),
    [(4, 50, 48), (5, 50, 48), (4, 1, 0), (4, 0, 0), (4, 98, 96), (4, 99, 96), (100, 3, 0)],
)
def test_frames_around_an_event_follow_on_each_other_inside_the_video(most: int, event: int, first: int) -> None:
    own = wanted(max_frames=most, frames="event", event_frame=7, first_frame=60)
    assert chosen(own, 100, event).tolist() == list(range(first, first + most))
    assert chosen(own, 100, None).tolist() == list(range(max(7 - most // 2, 0), max(7 - most // 2, 0) + most))


def test_a_clip_has_the_pictures_of_its_frames(tmp_path: Path) -> None:
    """Videos of different lengths, read over again from a copy of the reader as a worker has it."""
    folder = write(tmp_path / "faces", videos={"b.mp4": 40})
    clips = pickle.loads(pickle.dumps(read(folder, max_frames=4, first_frame=2)))
    first, second = clips.pictures(0), clips.pictures(1)
    assert first.dtype == np.uint8 and first.shape == (4, 3, 8, 8)
    assert seen(first) == [2, 5, 8, 11]
    assert seen(second) == np.linspace(2, 39, 4).round().tolist()


def test_a_frame_is_stretched_or_padded(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces")
    assert seen(read(folder, fit="stretch", max_frames=2).pictures(0)) == [0, 11]
    padded = read(folder, fit="pad", max_frames=2).pictures(0)
    assert not padded[:, :, [0, 1, 6, 7]].any() and padded[:, :, 2:6].all(), "frames are twice as wide as high"


def test_the_table_may_name_the_event_of_a_video(tmp_path: Path) -> None:
    events = GOOD.replace("\n", ",event\n", 1).replace("0.5,\n", "0.5,,9\n").replace("2,1\n", "2,1,3.0\n")
    table = events.replace(",,0\n", ",,0,\n").replace("1,-1\n", "1,-1,nan\n")
    clips = read(write(tmp_path / "faces", table), frames="event", max_frames=2, event_frame=6)
    assert [seen(clips.pictures(row)) for row in range(4)] == [[8, 9], [2, 3], [5, 6], [5, 6]]


def test_the_column_event_is_not_read_where_frames_are_spread(tmp_path: Path) -> None:
    table = "video,subject,moment,score,event\na.mp4,m1,M0,0,shock\n"
    assert len(read(write(tmp_path / "faces", table)).videos) == 1


# ---- what the tables say


def test_what_a_good_folder_says(tmp_path: Path) -> None:
    """Empty cells are NaN and -1, never zero."""
    clips = read(write(tmp_path / "faces"))
    assert clips.videos == ("a.mp4", "b.mp4", "c.mp4", "d.mp4")
    assert clips.subjects == ("m1", "m1", "m2", "m3")
    assert clips.moment.dtype == np.int64 and clips.moment.tolist() == [0, 2, 1, -1]
    assert clips.score.dtype == clips.features.dtype == np.float32
    np.testing.assert_array_equal(clips.score, np.asarray([0, 7.5, np.nan, 3], np.float32))
    assert clips.feature_names == ("ears", "eyes")
    np.testing.assert_array_equal(clips.features, np.asarray([[0.5, np.nan], [2, 1], [np.nan, 0], [1, -1]], np.float32))
    assert clips.fold is None and clips.notes == () and clips.unlabelled == ""


@pytest.mark.parametrize("first", [0, 1])
def test_folds_are_those_of_the_file_counted_from_0(tmp_path: Path, first: int) -> None:
    folds = f"Subject;Fold;note\nm3;{first}.0;\n\nm2;{first + 1};x\nm1;{first};y\n"
    clips = read(write(tmp_path / "faces", folds=folds))
    assert clips.fold is not None and clips.fold.dtype == np.int64
    assert clips.fold.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + GOOD.encode(),
        GOOD.replace(",", ";").encode(),
        GOOD.replace(",", "\t").encode(),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("video,subject", "Video, SUBJECT ")
        .replace("feature_e", "Feature_ e")
        .replace("M2", " M2 ")
        .encode(),
        GOOD.replace("\n", "\n\n,,,,,\n").encode(),
    ],
    ids=["byte order mark", "semicolons", "tabs", "Windows", "blanks and capitals", "empty rows"],
)
def test_tables_as_spreadsheets_save_them(tmp_path: Path, content: bytes) -> None:
    clips, expected = read(write(tmp_path / "faces", content)), read(write(tmp_path / "expected"))
    assert (clips.videos, clips.subjects, clips.feature_names) == (
        expected.videos,
        expected.subjects,
        expected.feature_names,
    )
    np.testing.assert_array_equal(clips.score, expected.score)
    np.testing.assert_array_equal(clips.features, expected.features)


def test_a_decimal_comma_is_read_as_a_point_with_a_note(tmp_path: Path) -> None:
    clips = read(write(tmp_path / "faces", GOOD.replace(",", ";").replace(".5", ",5")))
    np.testing.assert_array_equal(clips.score, np.asarray([0, 7.5, np.nan, 3], np.float32))
    assert clips.notes == ("labels.csv: 2 numbers with a decimal comma were read as with a point: 0,5 as 0.5",)


def test_features_without_any_value_and_videos_without_a_row_are_left_out(tmp_path: Path) -> None:
    table = "video,subject,moment,score,feature_nose,feature_ears\na.mp4,m1,M0,1,,2\nb.mp4,m1,M0,1,,\n"
    clips = read(write(tmp_path / "faces", table))
    assert clips.feature_names == ("ears",)
    np.testing.assert_array_equal(clips.features, np.asarray([[2], [np.nan]], np.float32))
    assert clips.notes == (
        "labels.csv: features without any value are left out, their column is empty: nose",
        "videos that labels.csv does not name, left out: c.mp4, d.mp4",
    )


def test_a_video_is_named_by_its_path_in_the_folder_or_in_videos(tmp_path: Path) -> None:
    """Wherever it lies; `videos` may be a link to where there is space, and any ending is opened that is named."""
    folder = write(tmp_path / "faces", videos={"../e.mp4": 5, "../more/f.mp4": 6, "deep/g.mp4": 7, "h.film": 8})
    (folder / "videos").rename(tmp_path / "elsewhere")
    (folder / "videos").symlink_to(tmp_path / "elsewhere")
    names = ("videos/a.mp4", "./b.mp4", "e.mp4", "more/f.mp4", "deep/g.mp4", "videos/h.film")
    rows = "".join(f"{name},m1,M0,1\n" for name in names)
    (folder / "labels.csv").write_text(f"video,subject,moment,score\n{rows}")
    clips = read(folder, max_frames=2)
    assert clips.videos == names
    assert [seen(clips.pictures(row))[1] + 1 for row in range(6)] == [FRAMES, FRAMES, 5, 6, 7, 8]


# ---- without labels


def test_videos_alone_are_enough_for_predictions(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "faces", None, folds=FOLDS, videos={"../e.mp4": FRAMES, ".hidden.mp4": b"", "notes.txt": b""}
    )
    clips = read(folder)
    assert clips.unlabelled == "no labels.csv; only predictions do without labels"
    assert clips.videos == clips.subjects == ("e.mp4", "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    assert clips.moment.tolist() == [-1] * 5 and np.isnan(clips.score).all() and clips.features.shape == (5, 0)
    assert clips.fold is None and clips.notes == ("folds.csv: not read, since there is no labels.csv",)
    assert seen(clips.pictures(4)) == list(range(FRAMES))
    (folder / "label.csv").write_text(GOOD)
    assert read(folder).unlabelled == "no labels.csv (label.csv?); only predictions do without labels"


def test_a_single_video_is_read_without_labels(tmp_path: Path) -> None:
    clips = read(write(tmp_path / "faces") / "videos/b.mp4")
    assert clips.videos == ("b.mp4",) and seen(clips.pictures(0)) == list(range(FRAMES))
    assert clips.unlabelled == "a single video is read without labels; give the folder that holds them"


@pytest.mark.parametrize(
    ("table", "lacks"),
    [
        (
            "video,subject,moment,pain_score\na.mp4,m1,M0,1\n",
            "no column score (pain_score?); there are video, subject, moment, pain_score",
        ),
        ("video,subject,moment,score\na.mp4,m1,M0,\nb.mp4,m1,M1,\n", "column score is empty in all 2 rows"),
    ],
)
def test_a_table_without_scores_is_unlabelled(tmp_path: Path, table: str, lacks: str) -> None:
    clips = read(write(tmp_path / "faces", table))
    assert clips.unlabelled == f"labels.csv, line 1: {lacks}; only predictions do without scores"
    assert clips.moment[0] == 0 and np.isnan(clips.score).all()


# ---- recordings


def test_the_recordings_of_mice() -> None:
    """150 clips of five mice, as their README says; the stimulus sets the score of a moment."""
    clips = read(recordings("grimace"), max_frames=32, resolution=112)
    assert len(clips.videos) == 150 and sorted(set(clips.subjects)) == ["m1", "m2", "m3", "m4", "m5"]
    assert clips.feature_names == ("motion",) and not np.isnan(clips.features).any() and clips.notes == ()
    for moment, score in enumerate((0, 0.5, 1.5, 3, 5)):
        assert set(clips.score[clips.moment == moment].tolist()) == {score}, MOMENTS[moment]
    pictures = clips.pictures(149)
    assert pictures.shape == (32, 3, 112, 112) and pictures.std() > 10
