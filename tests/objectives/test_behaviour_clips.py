"""The alignment rule: which frame each row of an annotation file belongs to, and what the rule does not allow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.objective import DataError
from objectives.behaviour.clips import LAST, SKIPPED, WHOLE, Clips, Cutting, cut
from objectives.behaviour.data import Annotation, Session, Sessions

CLASSES = tuple(f"action {number}" for number in range(400))
CUTTING = Cutting(length=360, min_frames=345, context_frames=15, clip_frames=0)


def annotation(rows: int, clip: int = 0, first_frame: int = 0, file: str = "") -> Annotation:
    """Row r names action r, so that every label tells its row."""
    return Annotation(
        file=file or f"rat_{clip + 1}.csv", clip=clip, action=np.arange(rows, dtype=np.int64), first_frame=first_frame
    )


def session(frames: int, *annotations: Annotation, name: str = "rat", clips: int = 1) -> Session:
    points = np.zeros((frames, 1, 2), np.float32)
    seen = np.ones((frames, 1), np.float32)
    return Session(name=name, group=name, points=points, likelihood=seen, annotations=annotations, clips=clips)


def of(*sessions: Session, unlabelled: str = "") -> Sessions:
    animal = np.zeros(1, np.int64)
    return Sessions(sessions=sessions, points=("nose",), animal=animal, classes=CLASSES, unlabelled=unlabelled)


def clips(*sessions: Session, unlabelled: str = "", **changes: Any) -> Clips:
    return cut(of(*sessions, unlabelled=unlabelled), replace(CUTTING, **changes), Path("source"))


def problems(*sessions: Session, **changes: Any) -> list[str]:
    with pytest.raises(DataError, match=r"^source: ") as error:
        clips(*sessions, **changes)
    first, *rest = str(error.value).split("\n  ")
    assert first == f"source: {len(rest)} problem{'s' if len(rest) > 1 else ''}"
    return rest


def nothing(count: int) -> np.ndarray:
    return np.full(count, -1)


# ---- which frame a row belongs to


def test_345_rows_belong_to_the_last_345_of_360_frames() -> None:
    found = clips(session(360, annotation(345)))
    np.testing.assert_array_equal(found.frame, [np.arange(360)])
    np.testing.assert_array_equal(found.action, [np.concatenate([nothing(15), np.arange(345)])])
    assert found.files == {WHOLE: 0, LAST: 1, SKIPPED: 0}
    assert found.notes == ()


def test_360_rows_belong_to_all_360_frames() -> None:
    found = clips(session(360, annotation(360)))
    np.testing.assert_array_equal(found.action, [np.arange(360)])
    assert found.files == {WHOLE: 1, LAST: 0, SKIPPED: 0}


@pytest.mark.parametrize("lead", [1, 7, 15])
def test_any_lead_up_to_the_context_is_of_the_first_frames(lead: int) -> None:
    found = clips(session(360, annotation(360 - lead)))
    np.testing.assert_array_equal(found.action, [np.concatenate([nothing(lead), np.arange(360 - lead)])])


def test_three_files_of_a_session_belong_to_its_three_thirds() -> None:
    found = clips(session(1080, annotation(360, 0), annotation(345, 1), annotation(360, 2), clips=3))
    np.testing.assert_array_equal(found.frame, np.arange(1080).reshape(3, 360))
    late = np.concatenate([nothing(15), np.arange(345)])
    np.testing.assert_array_equal(found.action, [np.arange(360), late, np.arange(360)])
    np.testing.assert_array_equal(found.session, [0, 0, 0])
    assert found.files == {WHOLE: 2, LAST: 1, SKIPPED: 0}


def test_a_clip_without_a_file_is_left_out_and_moves_no_other() -> None:
    found = clips(session(1080, annotation(360, 0), annotation(345, 2), clips=3))
    np.testing.assert_array_equal(found.frame, np.arange(1080).reshape(3, 360)[[0, 2]])
    np.testing.assert_array_equal(found.action[1], np.concatenate([nothing(15), np.arange(345)]))


def test_frames_behind_the_last_clip_belong_to_none() -> None:
    found = clips(session(800, annotation(360, 0), annotation(345, 1), clips=2), clip_frames=360)
    np.testing.assert_array_equal(found.frame, np.arange(720).reshape(2, 360))
    np.testing.assert_array_equal(found.action[1], np.concatenate([nothing(15), np.arange(345)]))


@pytest.mark.parametrize("first_frame", [0, 1, 15, 16])
def test_the_column_frame_may_count_from_the_start_of_the_rows_or_of_the_clip(first_frame: int) -> None:
    """From 0 or from 1."""
    found = clips(session(360, annotation(345, first_frame=first_frame)))
    np.testing.assert_array_equal(found.action, [np.concatenate([nothing(15), np.arange(345)])])


@pytest.mark.parametrize("first_frame", [375, 376])
def test_the_column_frame_may_count_through_the_session(first_frame: int) -> None:
    found = clips(session(720, annotation(360), annotation(345, 1, first_frame), clips=2))
    np.testing.assert_array_equal(found.action[1], np.concatenate([nothing(15), np.arange(345)]))


def test_a_session_of_one_file_is_its_clip_whatever_clip_frames_says() -> None:
    found = clips(session(300, annotation(290)), clip_frames=100, min_frames=200)
    np.testing.assert_array_equal(found.frame[0, :300], np.arange(300))
    np.testing.assert_array_equal(found.action[0, :300], np.concatenate([nothing(10), np.arange(290)]))


# ---- pieces


def test_a_clip_that_is_too_long_is_cut_and_its_end_padded() -> None:
    found = clips(session(250, annotation(240)), length=100, min_frames=1)
    padding = nothing(50)
    np.testing.assert_array_equal(found.frame.ravel(), np.concatenate([np.arange(250), padding]))
    expected = np.concatenate([nothing(10), np.arange(240), padding])
    np.testing.assert_array_equal(found.action.ravel(), expected)


def test_pieces_do_not_reach_into_the_next_clip() -> None:
    """Clips of 60 frames in pieces of 40: 40, 20, 40, 20, and not 40, 40, 40."""
    found = clips(session(120, annotation(60, 0), annotation(60, 1), clips=2), length=40, min_frames=1)
    starts, lengths = found.frame[:, 0].tolist(), (found.frame >= 0).sum(1).tolist()
    assert (starts, lengths) == ([0, 40, 60, 100], [40, 20, 40, 20])
    np.testing.assert_array_equal(found.action[2], np.arange(40))


def test_pieces_without_an_annotated_frame_are_left_out() -> None:
    """The first 10 frames of 60, whose file lacks them."""
    found = clips(session(60, annotation(50)), length=10, min_frames=1)
    np.testing.assert_array_equal(found.frame, np.arange(10, 60).reshape(5, 10))


def test_clips_know_their_session() -> None:
    found = clips(session(360, annotation(360), name="a"), session(720, annotation(345, 1), name="b", clips=2))
    np.testing.assert_array_equal(found.session, [0, 1])
    np.testing.assert_array_equal(found.frame[1], np.arange(360, 720))


def test_sources_without_annotations_keep_every_clip() -> None:
    found = clips(session(500), session(10, name="other"), unlabelled="no annotation files")
    np.testing.assert_array_equal(found.session, [0, 0, 1])
    assert (found.frame >= 0).sum(1).tolist() == [360, 140, 10]
    assert (found.action == -1).all()


def test_the_length_of_a_clip_is_the_longer_of_the_two_that_are_asked_for() -> None:
    data = {"train_T": 40, "val_T": 60, "min_frames": 1, "context_frames": 2, "clip_frames": 3}
    expected = Cutting(length=60, min_frames=1, context_frames=2, clip_frames=3)
    assert Cutting.of(data) == Cutting.of({**data, "train_T": 60, "val_T": 40}) == expected


# ---- files that are too short


def test_short_files_are_skipped_counted_and_named() -> None:
    found = clips(session(360, annotation(345), name="a"), session(360, annotation(344, file="b.csv"), name="b"))
    np.testing.assert_array_equal(found.session, [0])
    assert found.files == {WHOLE: 0, LAST: 1, SKIPPED: 1}
    assert found.notes == (
        "annotation files with fewer rows than data.min_frames: 345 are skipped, 1 in all: b.csv (344)",
    )


def test_a_session_shorter_than_min_frames_is_kept_if_all_of_it_is_annotated() -> None:
    found = clips(session(40, annotation(40), name="a"), session(40, annotation(39), name="b"))
    np.testing.assert_array_equal(found.session, [0])
    np.testing.assert_array_equal(found.action[0, :40], np.arange(40))
    assert found.files == {WHOLE: 1, LAST: 0, SKIPPED: 1}


def test_a_lower_min_frames_keeps_what_the_context_explains() -> None:
    found = clips(session(40, annotation(30)), min_frames=30)
    np.testing.assert_array_equal(found.action[0, :40], np.concatenate([nothing(10), np.arange(30)]))


# ---- what the rule does not allow


REFUSED: list[tuple[Session, dict[str, int], str]] = [
    (
        session(360, annotation(361)),
        {},
        "rat_1.csv: 361 rows for a clip of 360 frames; are they of another video, or at another frame rate?",
    ),
    (
        session(100, annotation(250)),
        {},
        "rat_1.csv: 250 rows for a clip of 100 frames; are they of another video, or at another frame rate?",
    ),
    (
        session(720, annotation(360), annotation(500, 1), clips=2),
        {},
        "rat_2.csv: 500 rows for a clip of 360 frames; are they of another video, or at another frame rate?",
    ),
    (
        session(361, annotation(345)),
        {},
        "rat_1.csv: 345 rows for a clip of 361 frames; it may lack the first data.context_frames: 15, not 16. Raise "
        "that where a longer context explains it; else see whether the file is of another video, or at another frame "
        "rate",
    ),
    (
        session(360, annotation(345, first_frame=14)),
        {},
        "rat_1.csv: its column Frame begins with 14, but by their number the 345 rows belong to frames 15 to 359 of a "
        "clip of 360; count from 0 or 15",
    ),
    (
        session(720, annotation(360), annotation(345, 1, first_frame=360), clips=2),
        {},
        "rat_2.csv: its column Frame begins with 360, but by their number the 345 rows belong to frames 15 to 359 of a "
        "clip of 360; count from 0 or 15 or 375",
    ),
    (
        session(1081, annotation(360), annotation(360, 2), clips=3),
        {},
        "rat: 1081 frames are not 3 clips of equal length, as its annotation files number them; name their length as "
        "data.clip_frames",
    ),
    (
        session(1080, annotation(360), annotation(360, 2), clips=3),
        {"clip_frames": 361},
        "rat: 3 clips of data.clip_frames: 361 are more than its 1080 frames",
    ),
]


@pytest.mark.parametrize(("one", "changes", "message"), REFUSED)
def test_what_contradicts_the_rule_is_refused_with_numbers(one: Session, changes: dict[str, Any], message: str) -> None:
    assert problems(one, **changes) == [message]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    sessions = [replace(one, name=f"rat{k}") for k, (one, changes, _) in enumerate(REFUSED) if not changes]
    found = problems(*sessions, session(360, annotation(360), name="good"))
    assert len(found) == len(sessions)
    assert [text.split(": ", 1)[1] for text in found] == [
        message.split(": ", 1)[1] for _, changes, message in REFUSED if not changes
    ]


def test_many_problems_are_counted() -> None:
    with pytest.raises(DataError, match=r"^source: 25 problems\n(.*\n){20}  and 5 more$"):
        clips(*(session(10, annotation(11), name=f"rat{number}") for number in range(25)))


def test_nothing_left_is_an_error_that_says_what_was_skipped() -> None:
    with pytest.raises(DataError, match=r"^source: no clip is annotated; .* are skipped, .*\(300\)$"):
        clips(session(360, annotation(300)))


def test_files_that_name_no_action_are_an_error() -> None:
    empty = Annotation(file="rat.csv", clip=0, action=nothing(360))
    with pytest.raises(DataError, match=r"^source: no clip is annotated; no annotation file names an action$"):
        clips(session(360, empty))
