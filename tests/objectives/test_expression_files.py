"""Reading faces: what label files say, what is left out, and every way in which a folder can be wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hpo.arrays import open_arrays
from hpo.objective import DataError
from objectives.expression import files as expression_files
from objectives.expression.objective import Expression
from tests.objectives.cases import PREPARED
from tests.objectives.face_folders import GOOD, IMAGES, problems, write


def test_all_files_together(tmp_path: Path) -> None:
    faces = expression_files.read(write(tmp_path))
    assert faces.file.tolist() == ["a.png", "b.png", "c.png", "d.png"]
    assert faces.classes == ("calm", "glad", "very sad") and faces.emotion.tolist() == [0, 1, 2, 0]
    assert faces.unit_names == ("AU1", "AU4", "AU12")
    np.testing.assert_array_equal(faces.units, [[1, 0, 1], [-1, -1, -1], [0, 1, 0], [0, 0, 0]])
    assert faces.part is not None and faces.part.tolist() == [0, 0, 1, 2]
    assert faces.group is not None and faces.group.tolist() == ["A", "B", "A", "D"]
    assert [int(picture[0, 0, 0]) for picture in faces.pictures(4)] == [0, 1, 2, 3]
    assert faces.unlabelled == ""
    assert faces.notes == (
        "nobody looked for action units in 1 of 4 images (null)",
        "partition.txt: 0 = train 2, 1 = validation 1, 2 = test 1",
        "groups.csv: 3 groups; parts 0 and 1 of partition.txt are dealt to the folds anew",
    )
    alone = expression_files.read(write(tmp_path / "alone", {"partition.txt": None}))
    assert not [note for note in alone.notes if "groups.csv" in note]


def test_emotions_alone_are_enough(tmp_path: Path) -> None:
    alone = dict.fromkeys(GOOD, None) | {"emolabel.txt": "a.png 7\nb.png 10\nc.png 7\nd.png 2\n"}
    faces = expression_files.read(write(tmp_path, alone))
    assert faces.classes == ("2", "7", "10") and faces.emotion.tolist() == [1, 2, 1, 0]
    assert faces.units.shape == (4, 0) and faces.units.dtype == np.int64 and faces.unit_names == ()
    assert faces.part is None and faces.group is None
    assert faces.notes == ("no AUlabel.txt: action units are not learnt",)


def test_units_of_classes_json_without_a_file_of_them_are_those_that_nobody_looked_for(tmp_path: Path) -> None:
    """So that a model that was trained with units can be evaluated on faces that have emotions alone."""
    faces = expression_files.read(write(tmp_path / "new", {"AUlabel.txt": None}))
    assert faces.unit_names == ("AU1", "AU4", "AU12") and faces.units.dtype == np.int64
    np.testing.assert_array_equal(faces.units, np.full((4, 3), -1))
    assert faces.notes[0] == "no AUlabel.txt: no action unit has a label"
    new = open_arrays(Expression(), tmp_path / "new", PREPARED["expression"], tmp_path / "cache")
    trained = open_arrays(Expression(), write(tmp_path / "trained"), PREPARED["expression"], tmp_path / "cache")
    assert Expression().misfit(new.info, trained.info) == ""


def test_without_a_list_units_are_those_that_occur(tmp_path: Path) -> None:
    faces = expression_files.read(write(tmp_path, {"classes.json": None, "AUlabel.txt": GOOD["AUlabel.txt"] + "\n"}))
    assert faces.unit_names == ("AU1", "AU4", "AU12")
    nobody = "".join(f"{name}.png null\n" for name in "abcd")
    faces = expression_files.read(write(tmp_path, {"classes.json": None, "AUlabel.txt": nobody}))
    assert faces.units.shape == (4, 0)


def test_the_names_that_raf_ce_gives_its_files(tmp_path: Path) -> None:
    named: dict[str, str | None] = {"emolabel.txt": None, "AUlabel.txt": None, "partition.txt": None}
    given = {f"RAFCE_{name}": GOOD[name] for name in named}
    aligned = tuple(f"aligned/{name}_aligned.png" for name in "abcd")
    faces = expression_files.read(write(tmp_path, named | given, aligned))
    assert faces.emotion.tolist() == [0, 1, 2, 0] and faces.part is not None
    assert faces.file.tolist() == ["a.png", "b.png", "c.png", "d.png"]
    assert faces.notes[0] == (
        "read in place of images of the names that the labels give: "
        "a_aligned.png, b_aligned.png, c_aligned.png, d_aligned.png"
    )
    assert [int(picture[0, 0, 0]) for picture in faces.pictures(4)] == [0, 1, 2, 3]


def test_names_may_hold_spaces_and_paths_and_classes_their_names(tmp_path: Path) -> None:
    spaced = {
        "emolabel.txt": "a b.PNG very sad\nimages/c.png  glad\r\n\n./d.png\t2 \n",
        "AUlabel.txt": "a b.PNG AU1 AU4\nimages/c.png 12\n./d.png null\n",
        "partition.txt": "\ufeffa b.PNG 0\nimages/c.png 1\n./d.png 2\n",
        "groups.csv": "note, filename ,group\nx,a b.PNG,1\ny,images/c.png,2\nz,./d.png,3\n\n",
    }
    faces = expression_files.read(write(tmp_path, spaced, ("a b.PNG", "images/c.png", "other/c.png", "d.png")))
    assert faces.file.tolist() == ["a b.PNG", "images/c.png", "./d.png"]
    assert faces.emotion.tolist() == [2, 1, 2]
    np.testing.assert_array_equal(faces.units, [[1, 1, 0], [0, 0, 1], [-1, -1, -1]])
    assert faces.group is not None and faces.group.tolist() == ["1", "2", "3"]
    assert "1 image has no emotion label and was left out: other/c.png" in faces.notes


def test_images_without_a_label_are_left_out_and_named(tmp_path: Path) -> None:
    more = (*IMAGES, *(f"extra/{k}.jpg" for k in range(10)), ".hidden/e.png", "images/.e.png")
    faces = expression_files.read(write(tmp_path, images=more))
    assert len(faces.file) == 4
    named = ", ".join(f"extra/{k}.jpg" for k in range(8))
    assert faces.notes[0] == f"10 images have no emotion label and were left out: {named} and 2 more"


def test_images_alone_are_unlabelled(tmp_path: Path) -> None:
    alone = dict.fromkeys(GOOD, None)
    faces = expression_files.read(write(tmp_path, alone))
    assert faces.file.tolist() == sorted(IMAGES)
    assert faces.emotion.tolist() == [-1] * 4 and faces.units.shape == (4, 0) and faces.classes == ()
    assert faces.unlabelled == "no file of emotions (emolabel.txt); only predictions do without labels"
    assert [int(picture[0, 0, 0]) for picture in faces.pictures(2)] == [2, 0, 1, 3]
    one = expression_files.read(tmp_path / "c.png")
    assert one.file.tolist() == ["c.png"] and one.part is None and one.group is None
    assert one.unlabelled == "a single image is read without labels; give the folder that holds its label files"
    assert [int(picture[0, 0, 0]) for picture in one.pictures(2)] == [2]


CHANGED: list[tuple[Mapping[str, str | None], str]] = [
    # emotions
    ({"emolabel.txt": GOOD["emolabel.txt"].replace("c.png 2", "c.png 3")}, "emolabel.txt, line 3: unknown class '3'"),
    ({"emolabel.txt": GOOD["emolabel.txt"].replace("c.png 2", "c.png -1")}, "emolabel.txt, line 3: unknown class '-1'"),
    (
        {"emolabel.txt": GOOD["emolabel.txt"].replace("c.png 2", "c.png sad")},
        "emolabel.txt, line 3: unknown class 'sad'; classes.json has 0 (calm), 1 (glad), 2 (very sad)",
    ),
    (
        {"emolabel.txt": GOOD["emolabel.txt"].replace("c.png 2", "c.png sad"), "classes.json": None},
        "emolabel.txt, line 3: 'sad' is no number of a class (0, 1, ...); classes.json could list names",
    ),
    ({"emolabel.txt": GOOD["emolabel.txt"].replace("c.png 2", "c.png")}, "emolabel.txt, line 3: no class after c.png"),
    (
        {"emolabel.txt": GOOD["emolabel.txt"] + "2\n"},
        "emolabel.txt, line 5: a line is FILE with its ending (.png, .jpg, .jpeg, ...), a blank, the label; this",
    ),
    (
        {"emolabel.txt": GOOD["emolabel.txt"] + "a.png 0\n"},
        "emolabel.txt, line 5: a.png is in line 1 already; keep one",
    ),
    ({"emolabel.txt": " \n"}, "emolabel.txt: the file is empty; fill it or remove it"),
    # units
    (
        {"AUlabel.txt": GOOD["AUlabel.txt"].replace("AU4", "")},
        "AUlabel.txt, line 3: no action units; write them, 0 for a neutral face, or null where nobody looked",
    ),
    (
        {"AUlabel.txt": GOOD["AUlabel.txt"].replace("AU4", "AU5+4")},
        "AUlabel.txt, line 3: unknown action unit AU5; classes.json has 1, 4, 12",
    ),
    (
        {"AUlabel.txt": GOOD["AUlabel.txt"].replace("AU4", "AU3"), "classes.json": None},
        "AUlabel.txt, line 3: unknown action unit AU3; FACS has 1-2, 4-39, 41-46",
    ),
    (
        {"AUlabel.txt": GOOD["AUlabel.txt"].replace("AU4", "4+null")},
        "AUlabel.txt, line 3: null and 0 stand alone, no action unit beside them",
    ),
    # parts
    (
        {"partition.txt": GOOD["partition.txt"].replace("c.png 1", "c.png train")},
        "partition.txt, line 3: part 'train' is not 0 (train), 1 (validation) or 2 (test)",
    ),
    ({"partition.txt": "\n"}, "partition.txt: the file is empty; fill it or remove it"),
    (
        {"partition.txt": GOOD["partition.txt"].replace("png 0", "png 1")},
        "partition.txt: part 0 (train) has no rows; there is nothing to learn from",
    ),
    (
        {"partition.txt": GOOD["partition.txt"].replace("png 1", "png 0"), "groups.csv": None},
        "partition.txt: part 1 (validation) has no rows, and without groups.csv there are no other folds; "
        "move rows to it, add groups.csv, or remove the file",
    ),
    (
        {"partition.txt": GOOD["partition.txt"].replace("c.png 1", "c.png 2")},
        "group 'A' has c.png in part 2 (test) and a.png in others: what is learnt would be tested on; "
        "move them to one side",
    ),
    # groups
    ({"groups.csv": GOOD["groups.csv"].replace("c.png,A", "c.png,")}, "groups.csv, line 4: filename or group is empty"),
    ({"groups.csv": GOOD["groups.csv"].replace("c.png,A", "c.png")}, "groups.csv, line 4: filename or group is empty"),
    ({"groups.csv": GOOD["groups.csv"] + "a.png,B\n"}, "groups.csv, line 6: a.png is in line 2 already; keep one"),
    (
        {"groups.csv": GOOD["groups.csv"].replace("group", "person")},
        "groups.csv, line 1: no column group; there are filename, person",
    ),
    (
        {"groups.csv": GOOD["groups.csv"] + "x" * 200_000},
        "groups.csv: not a CSV file (field larger than field limit (131072)); save the table as comma-separated text",
    ),
    ({"groups.csv": ""}, "groups.csv: the file is empty; fill it or remove it"),
    ({"groups.csv": "filename,group\n\n"}, "groups.csv: no rows below the header; fill it or remove it"),
    ({"groups.csv": "\nfilename,group\n"}, "groups.csv, line 1: no column filename and no column group; the"),
    # files out of step
    (
        {"AUlabel.txt": "a.png 1\nd.png null"},
        "emolabel.txt names 2 images (b.png in line 2, c.png in line 3), missing in AUlabel.txt; add or remove them",
    ),
    (
        {"partition.txt": GOOD["partition.txt"] + "e.png 0\n"},
        "partition.txt names 1 image (e.png in line 5), missing in emolabel.txt; add or remove them",
    ),
    (
        {"groups.csv": GOOD["groups.csv"].replace("b.png", "e.png")},
        "emolabel.txt names 1 image (b.png in line 2), missing in groups.csv; add or remove them",
    ),
    ({"emolabel.txt": None}, "no emolabel.txt beside AUlabel.txt, partition.txt; add it, or remove them to predict"),
    (
        {"RAFCE_AULABEL.TXT": GOOD["AUlabel.txt"]},
        "AUlabel.txt, RAFCE_AULABEL.TXT: 2 files of one kind (*AUlabel.txt); keep one",
    ),
]


@pytest.mark.parametrize(("changes", "expected"), CHANGED)
def test_what_is_wrong_is_named_with_file_line_and_way_out(
    tmp_path: Path, changes: Mapping[str, str | None], expected: str
) -> None:
    found = problems(write(tmp_path, changes))
    assert [text for text in found if text.startswith(expected)] != [], found


@pytest.mark.parametrize("name", ["../../etc/e.png", "/etc/e.png", "images/../../e.png", "e.png", "images/c.png"])
def test_names_outside_the_folder_are_images_that_are_not_there(tmp_path: Path, name: str) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "e.png")  # beside the folder that is read
    alone = dict.fromkeys(GOOD, None) | {"emolabel.txt": f"a.png 0\n{name} 1\n"}
    assert problems(write(tmp_path / "faces", alone)) == [
        f"emolabel.txt names 1 image ({name} in line 2), missing in the folder; add or remove them"
    ]


def test_one_name_for_two_images_and_two_names_for_one(tmp_path: Path) -> None:
    alone = dict.fromkeys(GOOD, None) | {"emolabel.txt": "a.png 0\nb.png 1\nimages/b.png 1\n"}
    assert problems(write(tmp_path, alone, (*IMAGES, "more/a.png"))) == [
        "emolabel.txt, line 1: a.png is there 2 times (images/a.png, more/a.png); "
        "keep one, or give its path in the folder",
        "emolabel.txt, line 3: images/b.png is the image of line 2; keep one",
    ]


def test_text_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = write(tmp_path)
    for name in GOOD:
        (folder / name).write_bytes(b"a.png \xff")
    expected = [f"{name}: byte 6 is not UTF-8 text; save the file as UTF-8" for name in GOOD]
    assert problems(folder) == expected


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Memory of the reading process at address 0, which is nobody's: also root is refused."""
    folder = write(tmp_path)
    for name in GOOD:
        (folder / name).unlink()
        (folder / name).symlink_to("/proc/self/mem")
    expected = [f"{name}: cannot be read (Input/output error); mend that, or remove the file" for name in GOOD]
    assert problems(folder) == expected


def test_all_problems_are_listed_at_once_but_not_more_than_twenty(tmp_path: Path) -> None:
    wrong = {
        "emolabel.txt": "a.png 9\nb.png 9\nc.png 9\nd.png 9\n",
        "partition.txt": "a.png 5\nb.png x\nc.png 1\nd.png 2",
    }
    assert [text.split(":")[0] for text in problems(write(tmp_path, wrong))] == [
        "emolabel.txt, in 4 lines, first in line 1",
        "partition.txt, line 1",
        "partition.txt, line 2",
    ]
    (tmp_path / "emolabel.txt").write_text("".join(f"{k}.png {k}\n" for k in range(10, 58)))
    with pytest.raises(DataError, match=": 54 problems") as error:
        expression_files.read(tmp_path)
    lines = str(error.value).split("\n")
    assert len(lines) == 22 and lines[-1] == "  and 34 more"


def test_without_test_rows_nothing_is_set_aside(tmp_path: Path) -> None:
    faces = expression_files.read(write(tmp_path, {"partition.txt": GOOD["partition.txt"].replace("png 2", "png 0")}))
    expected = "partition.txt: 0 = train 3, 1 = validation 1, 2 = test 0; nothing is set aside for a final test"
    assert expected in faces.notes


def test_units_of_one_side_are_active_and_noted(tmp_path: Path) -> None:
    faces = expression_files.read(write(tmp_path, {"AUlabel.txt": GOOD["AUlabel.txt"].replace("1+12", "1+L12")}))
    assert faces.units[0].tolist() == [1, 0, 1]
    assert "units of one side or lip alone (L12, B23) are active units in a.png" in faces.notes


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("nowhere", "nowhere: no such file or folder; give an image, a folder of images, or one with emolabel.txt"),
        ("empty", "empty: no images (.png, .jpg, .jpeg"),
        ("labels", "labels: no images (.png, .jpg, .jpeg"),
    ],
)
def test_sources_without_images(tmp_path: Path, source: str, expected: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "emolabel.txt").write_text(GOOD["emolabel.txt"])
    with pytest.raises(DataError, match=re.escape(expected)):
        expression_files.read(tmp_path / source)
