"""Annotations frame by frame: what a file says, how the actions get their numbers, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from objectives.behaviour.data import Annotation
from tests.objectives.behaviour_folders import actions, problems, read, write

FILE = "annotations/rat1.csv"
OTHERS: Mapping[str, str | None] = {
    "annotations/prediction_rat2.mp4_1.csv": None,
    "annotations/prediction_rat2.mp4_2.csv": None,
    "annotations/rat12.csv": None,
    "sessions.csv": None,
}
THERE = "there are 0 rest, 1 walk, 2 lick; an empty cell names none"


def one(folder: Path, text: str, **changes: str | None) -> tuple[tuple[str, ...], Annotation]:
    """The classes and the annotation of the only annotated session, without classes.json where none is given."""
    found = read(write(folder, {**OTHERS, FILE: text, "classes.json": None, **changes}))
    (session,) = found.sessions
    (annotation,) = session.annotations
    return found.classes, annotation


def test_a_good_folder(tmp_path: Path) -> None:
    found = read(write(tmp_path))
    assert found.classes == ("rest", "walk", "lick") and found.unlabelled == "" and found.notes == ()
    actions = {
        (session.name, own.clip): (own.file, own.first_frame, own.action.tolist())
        for session in found.sessions
        for own in session.annotations
    }
    assert actions == {
        ("rat1", 0): ("annotations/rat1.csv", 0, [0, 0, 1, 1, 2, -1]),
        ("rat12", 0): ("annotations/rat12.csv", 0, [0, 2, -1, 2, 2, 0]),
        ("rat2", 0): ("annotations/prediction_rat2.mp4_1.csv", 0, [0, 1, -1]),
        ("rat2", 1): ("annotations/prediction_rat2.mp4_2.csv", 0, [2, 2, 2]),
    }
    assert {session.name: session.clips for session in found.sessions} == {"rat1": 1, "rat12": 1, "rat2": 2}
    assert all(own.action.dtype == np.int64 for session in found.sessions for own in session.annotations)


@pytest.mark.parametrize(
    ("text", "classes", "expected"),
    [
        (actions(["walk", "rest", "", "NaN", "walk"]), ("rest", "walk"), [1, 0, -1, -1, 1]),
        (actions([3, "3.0", "0", " 1 ", "01"]), ("0", "1", "2", "3"), [3, 3, 0, 1, 1]),
        ("Frame,walk,rest\n0,0,1\n1,1.0,0.0\n2,0,0\n", ("walk", "rest"), [1, 0, -1]),
        ("Frame,0,1\n0,0,1\n1,1,0\n", ("0", "1"), [1, 0]),
    ],
)
def test_files_name_the_classes_where_nothing_else_does(
    tmp_path: Path, text: str, classes: tuple[str, ...], expected: list[int]
) -> None:
    found, annotation = one(tmp_path, text)
    assert found == classes and annotation.action.tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffFrame,Action\n0,a\n1,b\n",
        " frame , ACTION \r\n0,a\r\n1,b\r\n",
        "Frame;Action\n0;a\n1;b\n",
        "Frame\tAction\n0.0\t a\n1.0\tb \n\n",
        '"Frame","Action"\n"0","a"\n"1","b"\n',
        "Frame;b;a\n0;0;1\n1;1;0\n",
    ],
)
def test_spelling_is_taken_lightly(tmp_path: Path, text: str) -> None:
    classes, annotation = one(tmp_path, text)
    assert [classes[number] for number in annotation.action] == ["a", "b"]


def test_frames_may_begin_late(tmp_path: Path) -> None:
    _, annotation = one(tmp_path, actions(["a", "b"], first=15))
    assert (annotation.first_frame, len(annotation.action)) == (15, 2)


def test_numbers_of_every_file_make_the_classes(tmp_path: Path) -> None:
    changes = {**OTHERS, FILE: actions([0, 1]), "annotations/rat12.csv": actions([4, 0]), "classes.json": None}
    assert read(write(tmp_path, changes)).classes == ("0", "1", "2", "3", "4")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"{FILE}: the file is empty; fill it or remove it"),
        ("Frame,Action\n", f"{FILE}: no rows below the header; give an action per frame, or remove the file"),
        ("Time,Action\n0,0\n", f"{FILE}, line 1: the header is Frame,Action, or Frame and a column for every action; "),
        ("Frame\n0\n", f"{FILE}, line 1: the header is Frame,Action, or Frame and a column for every action; this one"),
        ("Frame,Action,sure\n0,0,1\n", f"{FILE}, line 1: a column Action and others beside it; "),
        ("Frame,Label\n0,1\n", f"{FILE}, line 1: the second column is called 'Label'; call it Action"),
        ("Frame,rest,\n0,0,1\n", f"{FILE}, line 1: column 3 has no name; "),
        ("Frame,rest,rest\n0,0,1\n", f"{FILE}, line 1: more than one column rest; keep one of each"),
        ("Frame,Action\n0,0\n1\n2,0\n", f"{FILE}, line 3: 1 cells, the header has 2; is a comma missing"),
        ("Frame,Action\n0,0\n2,0\n", f"{FILE}, line 3: Frame is 2 after 0; frames rise by one: give every frame a row"),
        ("Frame,Action\n0,0\n0,0\n", f"{FILE}, line 3: Frame is 0 after 0; frames rise by one"),
        ("Frame,Action\n0.5,0\n", f"{FILE}, line 2: Frame is '0.5', which is no whole number from 0 on"),
        ("Frame,Action\n-1,0\n0,0\n", f"{FILE}, line 2: Frame is '-1', which is no whole number from 0 on"),
        ("Frame,Action\n,0\n", f"{FILE}, line 2: Frame is '', which is no whole number from 0 on"),
        ("Frame,rest,walk\n0,1,1\n", f"{FILE}, line 2: two actions, rest, walk; a frame has one action or none"),
        ("Frame,rest,walk\n0,0,0.5\n", f"{FILE}, line 2: column walk: '0.5' is neither 1 nor 0"),
        ("Frame,rest,wlak\n0,0,1\n", f"{FILE}, line 1: unknown action 'wlak'; did you mean 'walk' (1)? {THERE}"),
        (actions([0, "wlak"]), f"{FILE}, line 3: unknown action 'wlak'; did you mean 'walk' (1)? {THERE}"),
        (actions([0, 3, 3]), f"{FILE}, in 2 lines, first in line 3: unknown action '3'; {THERE}"),
        (actions([0, -1]), f"{FILE}, line 3: unknown action '-1'; {THERE}"),
        (actions([0, "1.5"]), f"{FILE}, line 3: unknown action '1.5'; {THERE}"),
        (actions([0, "Walk"]), f"{FILE}, line 3: unknown action 'Walk'; did you mean 'walk' (1)? {THERE}"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, expected: str) -> None:
    (found,) = problems(write(tmp_path, {FILE: text}))
    assert found.startswith(expected)


def test_everything_wrong_is_said_at_once_and_a_slip_of_many_lines_once(tmp_path: Path) -> None:
    text = "Frame,rest,walk\n" + "".join(f"{2 * frame},1,{frame % 3}\n" for frame in range(9))
    found = problems(write(tmp_path, {FILE: text, "annotations/rat12.csv": actions(["sleep"] * 5)}))
    order = "give every frame a row, in order"
    assert found == [
        f"{FILE}, in 8 lines, first in line 3: Frame is 2 after 0; frames rise by one: {order}",
        f"{FILE}, in 3 lines, first in line 3: two actions, rest, walk; a frame has one action or none",
        f"{FILE}, in 3 lines, first in line 4: column walk: '2' is neither 1 nor 0",
        f"annotations/rat12.csv, in 5 lines, first in line 2: unknown action 'sleep'; {THERE}",
    ]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (
            (actions([0, "walk"]), actions([1])),
            "some actions are numbers (1, annotations/rat12.csv), others names (walk, annotations/rat1.csv); write "
            "them alike, or name the classes in classes.json",
        ),
        (
            ("Frame,rest,walk\n0,0,1\n", "Frame,walk,rest\n0,0,1\n"),
            "annotations/rat12.csv: other columns than annotations/rat1.csv (rest, walk); make them alike, or name the "
            "classes in classes.json",
        ),
        (
            (actions([0]), "Frame,walk,rest\n0,0,1\n"),
            "annotations/rat1.csv: other columns than annotations/rat12.csv (walk, rest); make them alike, or name the "
            "classes in classes.json",
        ),
        (
            (actions([0]), actions([1000])),
            "annotations/rat12.csv: action 1000 is no number of a class; they count from 0 to 999 at most",
        ),
        (
            (actions([0]), actions(["1" + 5000 * "0"])),
            "annotations/rat12.csv: action 10000000000000000000 is no number of a class; they count from 0 to 999 at "
            "most",
        ),
        (
            (actions([""]), actions(["nan"])),
            "annotations/rat1.csv, annotations/rat12.csv: no frame has an action; there is nothing to learn",
        ),
    ],
)
def test_files_that_do_not_agree_on_classes(tmp_path: Path, texts: tuple[str, str], expected: str) -> None:
    changes = {**OTHERS, FILE: texts[0], "annotations/rat12.csv": texts[1], "classes.json": None}
    assert problems(write(tmp_path, changes)) == [expected]
