"""A folder of sessions: which file is whose, what is left out with a note, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpo.objective import DataError
from objectives.behaviour import files as behaviour_files
from objectives.behaviour.data import Session
from tests.objectives.behaviour_folders import GOOD, SCORER, actions, dlc_csv, numbers, problems, read, write
from tests.objectives.cases import recordings

RULE = "a file belongs to the session whose name (that of its key points up to DLC_) occurs in its own as whole words"


def sessions(folder: Path) -> dict[str, Session]:
    return {session.name: session for session in read(folder).sessions}


def test_a_good_folder_in_folders_and_flat(tmp_path: Path) -> None:
    deep = write(tmp_path / "deep")
    (deep / "keypoints").rename(deep / "KeyPoints")
    (deep / "annotations").rename(deep / "Annotations")
    (deep / "native").mkdir()
    (deep / "native/any.csv").write_text("anything")
    flat = tmp_path / "flat"
    flat.mkdir()
    for name, text in GOOD.items():
        own = Path(name).name
        (flat / (f"actions_{own}" if name.startswith("annotations") else own)).write_text(text)
    for passed_over in (".hidden.csv", "LICENSE", "README.csv", "notes.md", "notes.txt", "rat1_meta.pickle"):
        (flat / passed_over).write_text("nothing")
    one, other = read(deep), read(flat)
    assert one.notes == other.notes == () and one.classes == other.classes and one.points == other.points
    for ours, theirs in zip(one.sessions, other.sessions, strict=True):
        assert (ours.name, ours.group, ours.clips, ours.size) == (theirs.name, theirs.group, theirs.clips, theirs.size)
        np.testing.assert_array_equal(ours.points, theirs.points)
        for first, second in zip(ours.annotations, theirs.annotations, strict=True):
            np.testing.assert_array_equal(first.action, second.action)


def test_what_sessions_csv_says(tmp_path: Path) -> None:
    found = sessions(write(tmp_path))
    assert {name: (own.group, own.fps, own.size) for name, own in found.items()} == {
        "rat1": ("A", 20.0, (640, 480)),
        "rat2": ("B", 20.0, None),
        "rat12": ("A", 20.0, (640, 480)),
    }


def test_without_it_every_session_is_its_own_group(tmp_path: Path) -> None:
    found = sessions(write(tmp_path, {"sessions.csv": None}))
    assert {name: (own.group, own.fps, own.size) for name, own in found.items()} == {
        name: (name, None, None) for name in ("rat1", "rat2", "rat12")
    }


HEADER = "session,group,fps,width,height\n"
REST = "rat2,B,20,,\nrat12,A,20,640,480\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ": the file is empty; fill it or remove it"),
        ("name,group\nrat1,A\n", ", line 1: no column session; there are name, group"),
        ("rat1,A\n", ", line 1: no column session and no column group; there are rat1, a"),
        ("session,group,group\nrat1,A,B\n", ", line 1: more than one column group; keep one"),
        (f"{HEADER}rat1,A,20\n{REST}", ", line 2: 3 cells, the header has 5; is a comma missing"),
        (f"{HEADER}rat1,,20,,\n{REST}", ", line 2: session or group is empty; give both"),
        (f"{HEADER}rat1,A,20,,\nrat1,A,20,,\n{REST}", ", line 3: session 'rat1' has a row already; keep one"),
        (f"{HEADER}{REST}", ": no row for rat1; give every session with key points a row, or remove the file"),
        (f"{HEADER}rat1,A,0,,\n{REST}", ", line 2: column fps: '0' is not frames per second (above 0, 10000 at most)"),
        (f"{HEADER}rat1,A,nan,,\n{REST}", ", line 2: column fps: 'nan' is not frames per second"),
        (f"{HEADER}rat1,A,inf,,\n{REST}", ", line 2: column fps: 'inf' is not frames per second"),
        (f"{HEADER}rat1,A,fast,,\n{REST}", ", line 2: column fps: 'fast' is not frames per second"),
        (f"{HEADER}rat1,A,,640.5,480\n{REST}", ", line 2: column width: '640.5' is not a whole number of pixels"),
        (f"{HEADER}rat1,A,,640,-480\n{REST}", ", line 2: column height: '-480' is not a whole number of pixels"),
        (f"{HEADER}rat1,A,,640,\n{REST}", ", line 2: one of width and height is there without the other; give both"),
    ],
)
def test_what_is_wrong_with_sessions_csv(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(write(tmp_path, {"sessions.csv": text}))
    assert found.startswith(f"sessions.csv{expected}"), found


def test_rows_too_many_and_rates_that_differ_are_notes(tmp_path: Path) -> None:
    text = f"{HEADER}rat1,A,25,,\nrat9,C,30,,\n,,,,\n{REST}"
    assert read(write(tmp_path, {"sessions.csv": text})).notes == (
        "sessions.csv: rows of sessions without key points: rat9",
        "sessions have 20, 25 frames per second; clips are not resampled, so that a frame does not last equally long "
        "in all",
    )


FORM = '{"0": "rest", "1": "walk"} with numbers from 0, or ["rest", "walk"]'


def test_classes_may_be_a_list(tmp_path: Path) -> None:
    assert read(write(tmp_path, {"classes.json": '[" rest", "walk", "lick", "never"]'})).classes[1:] == (
        "walk",
        "lick",
        "never",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "{\n'",
            ", line 2: not JSON (Expecting property name",
        ),
        ("[" * 100_000, ": not JSON ("),
        ("3", f": no names of two or more classes; it is of the form {FORM}"),
        ("[]", f": no names of two or more classes; it is of the form {FORM}"),
        ('["rest"]', f": no names of two or more classes; it is of the form {FORM}"),
        ('["rest", 1]', f": no names of two or more classes; it is of the form {FORM}"),
        ('{"1": "rest", "2": "walk"}', f": no class 0, but '2'; classes are numbered from 0 without gaps: {FORM}"),
        ('{"rest": 0, "walk": 1}', ": no class 0, 1, but 'rest', 'walk'; classes are numbered from 0 without gaps"),
        ('{"0": "rest", "0": "walk"}', ": 0 is there twice; keep one"),
        ('["rest", "walk", "rest"]', ": more than one class is called rest; give each its own name"),
        ('["rest", ""]', ": class number 1 has no name; give it one"),
        ('["1", "0"]', ": class number 0 is called '1', the number of another; rename it"),
        ('["rest", "nan"]', ": class 'nan' would be read as '' in files of annotations; rename it"),
        ('["rest", "3.0"]', ": class '3.0' would be read as '3' in files of annotations; rename it"),
        ('["rest", "x\\ud800"]', ": class 'x\\ud800' has half a character (\\ud800 to \\udfff); rename it"),
        (str([str(number) for number in range(1001)]).replace("'", '"'), ": 1001 classes; there may be 1000"),
    ],
)
def test_what_is_wrong_with_classes_json(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(write(tmp_path, {"classes.json": text}))
    assert found[0].startswith(f"classes.json{expected}"), found


def test_names_that_do_not_overlap_are_shown(tmp_path: Path) -> None:
    folder = write(tmp_path)
    for number, path in enumerate(sorted((folder / "annotations").iterdir())):
        path.rename(path.with_name(f"mouse{number}.csv"))
    files = "annotations/mouse0.csv, annotations/mouse1.csv, annotations/mouse2.csv and 1 more"
    assert problems(folder) == [
        f"no overlap of file names: annotations are {files}, sessions are rat1, rat12, rat2; {RULE}; rename one of the "
        "two"
    ]


def test_files_without_a_session_and_sessions_without_a_file_are_notes(tmp_path: Path) -> None:
    found = read(write(tmp_path, {"annotations/rat1.csv": None, "annotations/rat3.csv": actions([0])}))
    assert [session.name for session in found.sessions] == ["rat12", "rat2"]
    assert found.notes == (
        "annotation files that belong to no session: annotations/rat3.csv",
        "sessions without annotations, left out: rat1",
    )


def test_without_annotations_all_sessions_are_unlabelled(tmp_path: Path) -> None:
    folder = write(tmp_path, {name: None for name in GOOD if name.startswith("annotations")})
    found = read(folder)
    assert found.unlabelled == "no annotation files: nothing says which action a frame shows"
    assert found.classes == ("rest", "walk", "lick")
    assert [(session.name, session.clips, session.annotations) for session in found.sessions] == [
        (name, 1, ()) for name in ("rat1", "rat12", "rat2")
    ]


def test_missing_clips_count(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "annotations/prediction_rat2.mp4_2.csv").rename(folder / "annotations/prediction_rat2.mp4_4.csv")
    found = read(folder)
    assert found.notes == ("rat2: no annotations of clip 2, 3",)
    session = next(session for session in found.sessions if session.name == "rat2")
    assert session.clips == 4 and [own.clip for own in session.annotations] == [0, 3]


def test_clips_that_nobody_can_tell_apart_are_a_problem(tmp_path: Path) -> None:
    (found,) = problems(write(tmp_path, {"annotations/rat2.csv": actions([0])}))
    assert found.startswith("annotations/rat2.csv has no number of a clip although rat2 has several files")


def test_two_files_of_a_session_are_a_problem(tmp_path: Path) -> None:
    (found,) = problems(write(tmp_path, {"keypoints/rat2DLC_other.csv": dlc_csv(numbers(5))}))
    both = f"keypoints/rat2DLC_other.csv and keypoints/rat2{SCORER}.csv"
    assert found == f"{both}: both hold key points of session rat2; keep one"


def test_videos_are_found_by_name(tmp_path: Path) -> None:
    folder = write(tmp_path, {f"Videos/{name}": "" for name in ("rat1.mp4", "x_rat2.AVI", "rat12.mov", "rat7.webm")})
    (folder / f"Videos/rat1{SCORER}_labeled.mp4").write_text("")
    found = read(folder)
    assert {session.name: session.video for session in found.sessions} == {
        "rat1": folder / "Videos/rat1.mp4",
        "rat12": folder / "Videos/rat12.mov",
        "rat2": folder / "Videos/x_rat2.AVI",
    }
    assert found.notes == (
        "videos that belong to no session: Videos/rat7.webm",
        f"not read: Videos/rat1{SCORER}_labeled.mp4",
    )
    (folder / "Videos/rat2-2.mp4").write_text("")
    (folder / "Videos/rat12.mov").unlink()
    assert problems(folder) == [
        "Videos/rat2-2.mp4 and Videos/x_rat2.AVI: both are videos of session rat2; keep one, of the whole session",
        f"videos: none of session rat12, though there are 4 ({RULE}); add them, move the videos to another folder, or "
        "set data.videos: false",
    ]
    without = behaviour_files.read(folder, 0.5, videos=False)
    assert {session.video for session in without.sessions} == {None}


def test_a_video_is_wanted_of_annotated_sessions_alone(tmp_path: Path) -> None:
    changes = {"annotations/rat1.csv": None, "videos/rat2.mp4": "", "videos/rat12.mp4": ""}
    assert all(session.video for session in read(write(tmp_path, changes)).sessions)


def test_a_flat_folder_tells_files_by_how_they_begin(tmp_path: Path) -> None:
    (tmp_path / "rat1.csv").write_text(dlc_csv(numbers(1)))
    (tmp_path / "rat1_other.csv").write_text("time,speed\n0,1\n")
    assert problems(tmp_path) == [
        "rat1_other.csv: neither key points (line 1 begins scorer) nor annotations (line 1 begins Frame); this one "
        "begins 'time,speed'; correct it, or move it to another folder"
    ]
    (tmp_path / "rat1_other.csv").rename(tmp_path / "rat1.xlsx")
    assert read(tmp_path).notes == ("not read: rat1.xlsx",)


def test_key_points_without_their_header_are_named_in_their_folder(tmp_path: Path) -> None:
    (found,) = problems(write(tmp_path, {"keypoints/rat1.csv": "Frame,Action\n0,1\n"}))
    assert found.startswith("keypoints/rat1.csv: no header row scorer and no bodyparts and no coords; the header rows")


def test_a_folder_without_key_points_is_refused(tmp_path: Path) -> None:
    (tmp_path / "DLC").mkdir()
    with pytest.raises(DataError, match=r"no key points; give CSV or HDF5 .*; there are folders DLC$"):
        read(tmp_path)
    (tmp_path / "Keypoints").mkdir()
    with pytest.raises(DataError, match=r"no key points; give CSV or HDF5 files of DeepLabCut in Keypoints/$"):
        read(tmp_path)
    (tmp_path / "keypoints").mkdir()
    assert problems(tmp_path) == ["folders Keypoints, keypoints differ in capitals alone; keep one of a kind"]


def test_names_of_files_that_are_no_text_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "keypoints/rat1.csv").rename(folder / "keypoints/rat1\udcff.csv")
    assert "keypoints/rat1\\xff.csv: the name of the file is not UTF-8; rename it" in problems(folder)


def test_mistakes_of_all_files_are_said_together_and_counted_beyond_twenty(tmp_path: Path) -> None:
    broken = {f"annotations/rat1_{number}.csv": actions(["sleep"]) for number in range(1, 31)}
    with pytest.raises(DataError, match="31 problems") as counted:
        read(write(tmp_path, {**broken, "annotations/rat1.csv": None, "sessions.csv": ""}))
    lines = str(counted.value).split("\n  ")
    assert len(lines) == 22 and lines[-1] == "and 11 more"


def test_the_recorded_sessions() -> None:
    folder = recordings("behaviour")
    found = behaviour_files.read(folder, 0.6)
    assert len(found.sessions) == 11 and found.notes == () and found.unlabelled == ""
    assert found.animal.tolist() == [0] * 5 + [1] * 5 and found.points[5] == "r2_top"
    named = np.concatenate([own.action for session in found.sessions for own in session.annotations])
    assert np.bincount(named).tolist() == [15476, 22005, 7540, 4206, 4034, 947, 643, 149]
    assert {session.fps for session in found.sessions} == {20.0} and len({s.group for s in found.sessions}) == 11


def test_the_recorded_clips() -> None:
    found = behaviour_files.read(recordings("behaviour") / "native_mouse_paw", 0.6)
    (session,) = found.sessions
    assert (session.name, session.clips) == ("shortened_2023-10-25_CFA_010_267M_tracking", 3)
    assert [(own.clip, own.first_frame, len(own.action)) for own in session.annotations] == [
        (0, 0, 360),
        (1, 0, 360),
        (2, 0, 360),
    ]
    assert session.frames == 1080 and found.notes == ()
