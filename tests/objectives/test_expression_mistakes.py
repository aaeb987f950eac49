"""Slips that a whole folder of faces shares are one problem, with a way out; what others follow from is said once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from objectives.expression import files as expression_files
from tests.objectives.face_folders import GOOD, IMAGES, problems, write

NAMES = [f"{k:03}.png" for k in range(60)]
CLASSES = '{"classes": ["face-smiling", "face-with-tears-of-joy", "face-hat", "calm"], "action_units": ["AU4", "AU23"]}'
FORM = "a line is FILE with its ending (.png, .jpg, .jpeg, ...), a blank, the label; this is"


def many(folder: Path, of: str, line: Callable[[int, str], str]) -> list[str]:
    """Problems of sixty faces with the lines of one file written by a function of number and name."""
    texts: dict[str, str | None] = {
        "emolabel.txt": "".join(f"{name} {k % 4}\n" for k, name in enumerate(NAMES)),
        "AUlabel.txt": "".join(f"{name} 4+23\n" for name in NAMES),
        "partition.txt": "".join(f"{name} {k % 3}\n" for k, name in enumerate(NAMES)),
        "groups.csv": None,
        "classes.json": CLASSES,
    }
    changed = {of: "".join(f"{line(k, name)}\n" for k, name in enumerate(NAMES))}
    return problems(write(folder, texts | changed, tuple(NAMES)))


@pytest.mark.parametrize(
    ("of", "line", "expected"),
    [
        (
            "AUlabel.txt",
            lambda k, name: f"{name} {'nul' if k >= 10 else 'null'}",
            ["AUlabel.txt, in 50 lines, first in line 11: unknown action unit 'nul'; did you mean null?"],
        ),
        (
            "AUlabel.txt",
            lambda k, name: f"{name} {'4;23' if k % 2 else 'AU23;4'}",
            ["AUlabel.txt, in 60 lines, first in line 1: separate units by + or blanks, not by ';'"],
        ),
        (
            "AUlabel.txt",
            lambda k, name: f"{name} {('au5+AU6', '6+L5', 'AU4')[k % 3]}",
            [
                "AUlabel.txt, in 40 lines, first in line 1: unknown action unit AU5; classes.json has 4, 23",
                "AUlabel.txt, in 40 lines, first in line 1: unknown action unit AU6; classes.json has 4, 23",
            ],
        ),
        (
            "AUlabel.txt",
            lambda k, name: f"{name},4",
            [f"AUlabel.txt, in 60 lines, first in line 1: {FORM} '000.png,4'"],
        ),
        (
            "emolabel.txt",
            lambda k, name: f"{name}{' ,'[k % 2]}1",
            [f"emolabel.txt, in 30 lines, first in line 2: {FORM} '001.png,1'"],
        ),
        (
            "emolabel.txt",
            lambda k, name: f"{name} {'face-smilling' if k % 2 else 'FACE-HAT'}",
            [
                "emolabel.txt, in 30 lines, first in line 1: unknown class 'FACE-HAT'; did you mean 'face-hat' (2)?",
                "emolabel.txt, in 30 lines, first in line 2: unknown class 'face-smilling'; did you mean "
                "'face-smiling' (0)?",
            ],
        ),
        ("emolabel.txt", lambda k, name: name, ["emolabel.txt, in 60 lines, first in line 1: no class after 000.png"]),
        (
            "emolabel.txt",
            lambda k, name: f"{name} 1\n{name} 2",
            ["emolabel.txt, in 60 lines, first in line 2: 000.png is in line 1 already; keep one"],
        ),
    ],
)
def test_a_slip_of_many_lines_is_one_problem(
    tmp_path: Path, of: str, line: Callable[[int, str], str], expected: list[str]
) -> None:
    assert many(tmp_path, of, line) == expected


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("groups.csv", "filename", "group", "line 1: no column filename; there are group, group"),
        ("groups.csv", "group", "group,group", "line 1: more than one column group; keep one"),
        ("groups.csv", ",", ";", "line 1: separate columns by commas, not by ';': filename,group"),
        ("groups.csv", ",", "\t", "line 1: separate columns by commas, not by tabs: filename,group"),
        ("AUlabel.txt", "AU4", "4;12/1", "line 3: separate units by + or blanks, not by '/' or ';'"),
        (
            "AUlabel.txt",
            "AU4",
            "none",
            "line 3: unknown action unit 'none'; classes.json has 1, 4, 12; where nobody looked write null",
        ),
    ],
)
def test_one_slip_is_one_problem(tmp_path: Path, file: str, old: str, new: str, expected: str) -> None:
    assert problems(write(tmp_path, {file: GOOD[file].replace(old, new)})) == [f"{file}, {expected}"]


def test_classes_by_name_without_a_list_of_them(tmp_path: Path) -> None:
    alone = dict.fromkeys(GOOD, None) | {"emolabel.txt": "a.png calm\nb.png glad\nc.png 2\nd.png calm\n"}
    assert problems(write(tmp_path, alone)) == [
        "emolabel.txt, in 3 lines, first in line 1: 'calm' is no number of a class (0, 1, ...); "
        "classes.json could list names"
    ]


def test_images_that_are_all_there_twice_are_one_problem(tmp_path: Path) -> None:
    alone = dict.fromkeys(GOOD, None) | {"emolabel.txt": GOOD["emolabel.txt"]}
    copies = tuple(f"copies/{Path(image).name}" for image in IMAGES)
    assert problems(write(tmp_path, alone, IMAGES + copies)) == [
        "emolabel.txt, in 4 lines, first in line 1: a.png is there 2 times (copies/a.png, images/a.png); "
        "keep one, or give its path in the folder"
    ]


def test_a_stray_line_is_one_problem(tmp_path: Path) -> None:
    stray = {"emolabel.txt": GOOD["emolabel.txt"] + "e.png 2\n"}
    where = "missing in AUlabel.txt, partition.txt, groups.csv and the folder"
    assert problems(write(tmp_path / "image", stray)) == [
        f"emolabel.txt names 1 image (e.png in line 5), {where}; add or remove them"
    ]
    broken = {"emolabel.txt": GOOD["emolabel.txt"].replace("d.png 0", "d.png,0")}
    assert problems(write(tmp_path / "form", broken)) == [f"emolabel.txt, line 4: {FORM} 'd.png,0'"]


def test_images_of_another_ending(tmp_path: Path) -> None:
    alone = dict.fromkeys(GOOD, None) | {"emolabel.txt": GOOD["emolabel.txt"].replace(".png", ".jpg")}
    missing = ", ".join(f"{name}.jpg in line {k}" for k, name in enumerate("abcd", start=1))
    assert problems(write(tmp_path, alone)) == [
        f"emolabel.txt names 4 images ({missing}), missing in the folder; "
        "with another ending there are a.png, b.png, c.png and 1 more; write the endings as they are there"
    ]


def test_files_that_are_no_images_are_named_where_nothing_is_labelled(tmp_path: Path) -> None:
    folder = write(tmp_path, dict.fromkeys(GOOD, None))
    for name in ("c.heic", "images/notes.txt", ".hidden", "caf\udce9.doc"):
        (folder / name).write_bytes(b"")
    assert expression_files.read(folder).notes == (
        r"3 files that are no images of a format that is read were left out: c.heic, caf\xe9.doc, images/notes.txt",
    )
    assert expression_files.read(folder / "c.png").notes == ()
    Image.new("RGB", (4, 4)).save(folder / "extra.png")
    assert not [note for note in expression_files.read(write(folder)).notes if "no image" in note]
