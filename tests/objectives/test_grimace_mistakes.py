"""Everything that can be wrong with a folder of videos of faces: a message for each, and all of them at once."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from hpo.objective import DataError
from tests.objectives.grimace_folders import FOLDS, GOOD, HEADER, film, problems, read, write


def test_sources_that_are_none(tmp_path: Path) -> None:
    wants = "give a folder with labels.csv and its videos in videos/; for predictions videos alone are enough"
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels.csv").write_text(GOOD)
    for name, text in (("absent", "no such file or folder"), ("labels.csv", "no video")):
        with pytest.raises(DataError, match=re.escape(f"{tmp_path / name}: {text}; {wants}")):
            read(tmp_path / name)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'empty'}: neither labels.csv nor videos; {wants}")):
        read(tmp_path / "empty")


HEAD = "labels.csv, line 1: "
UNSCORED = "leave the cell empty where nobody scored"


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "labels.csv: the file is empty; fill it or remove it"),
        ("\xff".encode("latin-1"), "labels.csv: byte 0 is not UTF-8 text; save the file as UTF-8"),
        (HEADER, "labels.csv: no rows below the header; give every video a row"),
        (
            GOOD.replace("subject", "subjekt").replace("moment", "momment"),
            f"{HEAD}no column subject (subjekt?) and no column moment (momment?); there are video, subjekt, momment, "
            "score, feature_ears, feature_eyes; correct that",
        ),
        (GOOD.replace("eyes", "eyes,score", 1), f"{HEAD}more than one column score; keep one"),
        (
            GOOD.replace("eyes", "Ears"),
            f"{HEAD}feature ears, Ears is there more than once, capitals aside; keep one, or rename it",
        ),
        (
            GOOD.replace("eyes", ""),
            f"{HEAD}a column is called feature_ and nothing more; write what was scored, feature_ears",
        ),
        (
            GOOD.replace("ears", "Score").replace("eyes", "m2"),
            f"{HEAD}feature Score, m2 has the name of the score or of a moment (M0, M1, M2, M3, M4), whose errors are "
            "reported by that name; rename it",
        ),
        (
            GOOD.replace("feature_eyes", '"feature_eyes\nleft"'),
            "labels.csv, line 2: feature 'eyes\\nleft' has a line break or the like in its name; rename it",
        ),
        (
            GOOD.replace("7.5,2,1", "7.5,2"),
            "labels.csv, line 3: 5 cells, the header has 6; is a comma missing, or one too many?",
        ),
        (GOOD.replace("b.mp4", ""), "labels.csv, line 3: video is empty; every row needs one"),
        (GOOD.replace("m1", ""), "labels.csv, in 2 lines, first in line 2: subject is empty; every row needs one"),
        (
            GOOD.replace("M2", "m2"),
            "labels.csv, line 3: moment 'm2' is unknown (M2?); moments are M0, M1, M2, M3, M4; leave the cell empty "
            "where it is none of them",
        ),
        (
            GOOD.replace("M2", "baseline"),
            "labels.csv, line 3: moment 'baseline' is unknown; moments are M0, M1, M2, M3, M4; leave the cell empty "
            "where it is none of them",
        ),
        *(
            (
                GOOD.replace("7.5", text),
                f"labels.csv, line 3: column score: {text!r} is no finite number; {UNSCORED}",
            )
            for text in ("high", "nan", "inf", "1.234.5")
        ),
        (
            GOOD.replace("-1", "none"),
            f"labels.csv, line 5: column feature_eyes: 'none' is no finite number; {UNSCORED}",
        ),
        (
            GOOD.replace("7.5", "1e30"),
            "labels.csv, line 3: column score: '1e30' is beyond 1,000,000; is it in another unit?",
        ),
    ],
)
def test_what_is_wrong_with_the_table(tmp_path: Path, table: str | bytes, expected: str) -> None:
    assert problems(write(tmp_path / "faces", table)) == [expected]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("soon", "labels.csv, line 2: column event: 'soon' is no number of a frame (0, 1, 2, ...)"),
        ("-1", "labels.csv, line 2: column event: '-1' is no number of a frame (0, 1, 2, ...)"),
        ("2.5", "labels.csv, line 2: column event: '2.5' is no number of a frame (0, 1, 2, ...)"),
    ],
)
def test_events_that_are_no_frames(tmp_path: Path, event: str, expected: str) -> None:
    table = f"video,subject,moment,score,event\na.mp4,m1,M0,0,{event}\n"
    (found,) = problems(write(tmp_path / "faces", table), frames="event", max_frames=2)
    assert found == f"{expected}; correct it or leave the cell empty"


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ("", ["folds.csv: the file is empty; fill it or remove it"]),
        (
            FOLDS.replace("fold", "folds"),
            [
                "folds.csv, line 1: no column fold (folds?); there are subject, folds; correct that, or take the file "
                "away"
            ],
        ),
        (FOLDS.replace("fold", "fold,fold"), ["folds.csv, line 1: more than one column fold; keep one"]),
        (
            FOLDS.replace("m2,2", "m2"),
            [
                "folds.csv, line 3: 1 cells, the header has 2; is a comma missing, or one too many?",
                "labels.csv: subject in no fold of folds.csv: 'm2' in line 4; give each a row there, or remove "
                "folds.csv to have the folds dealt",
            ],
        ),
        (FOLDS + "m1,2\n", ["folds.csv, line 5: subject 'm1' is in line 2 already; keep one"]),
        (FOLDS + ",2\n", ["folds.csv, line 5: subject is empty; every row needs one"]),
        (
            FOLDS.replace("m2,2", "m2,two"),
            ["folds.csv, line 3: fold 'two' of subject 'm2' is no number of a fold (0, 1, 2, ...); correct it"],
        ),
        (
            FOLDS.replace("m2,2", "m2,"),
            ["folds.csv, line 3: fold '' of subject 'm2' is no number of a fold (0, 1, 2, ...); correct it"],
        ),
        (
            FOLDS.replace("m2,2", "m2,4"),
            ["folds.csv: no fold 2, 3, though there is fold 4; number them from 0 or 1 without gaps"],
        ),
        (
            FOLDS.replace(",1", ",3"),
            ["folds.csv: no fold 1, though there is fold 3; number them from 0 or 1 without gaps"],
        ),
        (
            FOLDS.replace(",2", ",1"),
            [
                "folds.csv: fold 1 alone; each fold is tested on a model of the others: name two or more, or remove "
                "the file to have them dealt"
            ],
        ),
        (
            FOLDS.replace("m2", "mm2"),
            [
                "labels.csv: subject in no fold of folds.csv: 'm2' in line 4 (mm2?); give each a row there, or remove "
                "folds.csv to have the folds dealt",
                "folds.csv: subject that labels.csv does not name: 'mm2' in line 3 (m2?); correct or remove its row",
            ],
        ),
        (
            FOLDS + "rat,2\n",
            ["folds.csv: subject that labels.csv does not name: 'rat' in line 5; correct or remove its row"],
        ),
    ],
)
def test_what_is_wrong_with_the_folds(tmp_path: Path, folds: str, expected: list[str]) -> None:
    assert problems(write(tmp_path / "faces", folds=folds)) == expected


def test_a_video_that_is_not_there(tmp_path: Path) -> None:
    table = GOOD.replace("a.mp4", "A.mp4").replace("b.mp4", "session.avi").replace("c.mp4", "../c.mp4")
    found = problems(write(tmp_path / "faces", table))
    assert found == [
        "labels.csv names 3 videos that are not in the folder: 'A.mp4' in line 2 (a.mp4?), 'session.avi' in line 3, "
        "'../c.mp4' in line 4 (c.mp4?); copy them into videos/, correct the names, or take out the rows"
    ]
    assert problems(write(tmp_path / "other", videos={"d.mp4": None})) == [
        "labels.csv names a video that is not in the folder: 'd.mp4' in line 5; copy them into videos/, "
        "correct the names, or take out the rows"
    ]


def test_a_table_does_not_point_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "other.mp4").write_bytes(film())
    for name in ("../other.mp4", str(tmp_path / "other.mp4")):
        folder = write(tmp_path / f"faces{len(name)}", GOOD.replace("a.mp4", name))
        assert "that is not in the folder" in problems(folder)[0]


def test_a_name_that_no_report_can_hold(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", None)
    Path(os.fsdecode(os.fsencode(folder / "videos") + b"/\xff.mp4")).write_bytes(film())
    assert problems(folder) == ["\\xff.mp4: the name of the file is not UTF-8; rename it"]
    (folder / "labels.csv").write_text(GOOD)
    assert read(folder).notes == ("videos that labels.csv does not name, left out: \\xff.mp4",)


def test_a_video_that_is_there_twice(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", videos={"../a.mp4": 5})
    assert problems(folder) == [
        "labels.csv, line 2: video 'a.mp4' is there 2 times (a.mp4, videos/a.mp4); keep one, or write videos/ before it"
    ]


@pytest.mark.parametrize("again", ["a.mp4", "videos/a.mp4", "./videos/a.mp4", "link.mp4"])
def test_rows_of_one_video(tmp_path: Path, again: str) -> None:
    folder = write(tmp_path / "faces", f"{GOOD}{again},m1,M0,9,,\n")
    (folder / "videos/link.mp4").symlink_to(folder / "videos/a.mp4")
    assert problems(folder) == [f"labels.csv, line 6: video {again!r} is that of line 2 once more; keep one row"]


def test_videos_that_cannot_be_read_are_all_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    broken = {"a.mp4": b"", "b.mp4": b"no video " * 99, "c.mp4": film(60)[:-400]}
    none = r"no video, or one that was cut off \(.*\); MP4, MOV"
    found = problems(write(tmp_path / "faces", videos=broken))
    for text, line, (name, why) in zip(
        found,
        (2, 3, 4),
        {"a.mp4": none, "b.mp4": none, "c.mp4": "0 of 60 frames are there, the file was cut off; copy it"}.items(),
        strict=True,
    ):
        assert re.match(rf"labels\.csv, line {line}: video {name}: {why}", text)
    assert capfd.readouterr() == ("", "")


def test_a_video_that_cannot_be_read_is_named_without_a_table(tmp_path: Path) -> None:
    (found,) = problems(write(tmp_path / "faces", None, videos={"b.mp4": b""}))
    assert found.startswith("video b.mp4: no video, or one that was cut off (the file is empty); MP4")


def test_a_frame_that_cannot_be_decoded_is_named_by_its_file(tmp_path: Path) -> None:
    """Counting sees all packets, decoding sees what is in them."""
    content = bytearray(film(60))
    start = content.index(b"mdat") + 1200
    content[start : start + 200] = bytes(200)
    clips = read(write(tmp_path / "faces", videos={"b.mp4": bytes(content)}))
    with pytest.raises(DataError, match=r"videos/b\.mp4: frame [0-9]+ .*is damaged"):
        clips.pictures(1)


# ---- videos that are too short


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"max_frames": 32},
            [
                "data.max_frames: 32, but there are fewer frames: 12 in a.mp4 (line 2), 20 in c.mp4 (line 4), 12 in "
                "d.mp4 (line 5); set data.max_frames: 12, or leave out those videos"
            ],
        ),
        (
            {"max_frames": 13, "first_frame": 8},
            [
                "data.max_frames: 13, but there are fewer frames from 8 on: 4 in a.mp4 (line 2), 12 in c.mp4 (line 4), "
                "4 in d.mp4 (line 5); set data.max_frames: 4, or leave out those videos"
            ],
        ),
        (
            {"max_frames": 4, "first_frame": 18},
            [
                "data.max_frames: 4, but there are fewer frames from 18 on: 0 in a.mp4 (line 2), 2 in c.mp4 (line 4), "
                "0 in d.mp4 (line 5); set data.first_frame: 0, or leave out those videos"
            ],
        ),
        (
            {"max_frames": 12, "last_frame": 15},
            [
                "data.last_frame: 15 is beyond the end of a.mp4 (line 2) with 12 frames, d.mp4 (line 5) with 12 "
                "frames; set data.last_frame: 12, or 0 for the end of each video"
            ],
        ),
        (
            {"max_frames": 5, "first_frame": 4, "last_frame": 8},
            [
                "data.max_frames: 5, but there are fewer frames from 4 to 7: 4 in a.mp4 (line 2), 4 in b.mp4 (line 3), "
                "4 in c.mp4 (line 4), 4 in d.mp4 (line 5); set data.max_frames: 4, or leave out those videos"
            ],
        ),
        (
            {"max_frames": 5, "first_frame": 8, "last_frame": 8},
            [
                "data.first_frame: 8 and data.last_frame: 8 leave no frame; set data.last_frame to more, or to 0 for "
                "the end of each video"
            ],
        ),
        (
            {"frames": "event", "max_frames": 13, "event_frame": 12, "first_frame": 50},
            [
                "data.max_frames: 13, but there are fewer frames: 12 in a.mp4 (line 2), 12 in d.mp4 (line 5); set "
                "data.max_frames: 12, or leave out those videos",
                "data.event_frame: 12 is not in a.mp4 (line 2) with 12 frames, d.mp4 (line 5) with 12 frames; correct "
                "it, or name the frame of each video in a column event of the table",
            ],
        ),
    ],
)
def test_videos_without_the_frames_that_are_wanted(
    tmp_path: Path, values: dict[str, int | str], expected: list[str]
) -> None:
    assert problems(write(tmp_path / "faces", videos={"b.mp4": 40, "c.mp4": 20}), **values) == expected


def test_the_way_out_of_short_videos_is_one(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces", videos={"b.mp4": 7})
    (found,) = problems(folder, max_frames=12, first_frame=2)
    named = re.search(r"set data\.max_frames: (\d+)", found)
    assert named and len(read(folder, max_frames=int(named[1]), first_frame=2).pictures(1)) == 5


def test_events_behind_the_end(tmp_path: Path) -> None:
    table = "video,subject,moment,score,event\na.mp4,m1,M0,0,12\nb.mp4,m1,M0,0,11\nc.mp4,m1,M0,0,99\n"
    assert problems(write(tmp_path / "faces", table), frames="event", max_frames=2, event_frame=50) == [
        "column event names frames that are not in the video: 12 of a.mp4 (line 2), which has 12 frames, 99 of c.mp4 "
        "(line 4), which has 12 frames; frames are counted from 0: correct them"
    ]


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    three = GOOD.replace("M2", "M9").replace("m2", "").replace("7.5", "?").partition("d.mp4")[0]
    table = f"{three}x.mp4,m1,M0,1,,\nvideos/a.mp4,m1,M0,1,,\n"
    folder = write(tmp_path / "faces", table, folds="subject,fold\nm1,a\nm9,0\n", videos={"c.mp4": 3, "b.mp4": b"?"})
    beginnings = (
        "labels.csv, line 3: moment 'M9' is unknown",
        "labels.csv, line 3: column score: '?' is no finite number",
        "labels.csv, line 4: subject is empty",
        "folds.csv, line 2: fold 'a' of subject 'm1' is no number",
        "folds.csv: subject that labels.csv does not name: 'm9' in line 3",
        "labels.csv, line 6: video 'videos/a.mp4' is that of line 2",
        "labels.csv names a video that is not in the folder: 'x.mp4' in line 5",
        "labels.csv, line 3: video b.mp4: no video",
        "data.max_frames: 12, but there are fewer frames: 3 in c.mp4 (line 4)",
    )
    found = problems(folder)
    assert [text[: len(beginning)] for text, beginning in zip(found, beginnings, strict=True)] == list(beginnings)


def test_one_animal_under_two_spellings_is_refused(tmp_path: Path) -> None:
    """It could be trained on and validated on."""
    folder = write(tmp_path / "faces", GOOD.replace("b.mp4,m1", "b.mp4,M1"))
    expected = "labels.csv, line 3: subject 'M1' is 'm1' in line 2; write one animal in one way"
    assert problems(folder) == [expected]


def test_what_is_not_as_it_may_seem_is_noted(tmp_path: Path) -> None:
    labels = GOOD.replace("feature_eyes", "eyes")
    clips = read(write(tmp_path / "faces", labels, folds=FOLDS), frames="event", max_frames=4)
    assert "labels.csv: columns that are not read: eyes; a feature is called feature_NAME" in clips.notes
    assert "folds are those of folds.csv, counted from 0: fold 0: m1, m3; fold 1: m2" in clips.notes
    assert any("clips are taken around frame 0, the start of each video" in note for note in clips.notes)
