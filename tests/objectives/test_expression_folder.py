"""Images in a folder: links, names that are no text, and which image a line means."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from PIL import Image

from hpo.objective import DataError
from objectives.expression import files as expression_files
from objectives.expression import folder as expression_folder
from tests.objectives.face_folders import GOOD, IMAGES, problems, write

ALONE = dict.fromkeys(GOOD, None)
NOT_ENTERED = "is a link to a folder and not entered; link the images themselves instead: cp -rs /THEIR/FOLDER ."


def test_images_may_be_links_to_anywhere(tmp_path: Path) -> None:
    folder = write(tmp_path / "faces")
    (folder / "c.png").rename(tmp_path / "elsewhere")
    (folder / "c.png").symlink_to(tmp_path / "elsewhere")
    faces = expression_files.read(folder)
    assert [int(picture[0, 0, 0]) for picture in faces.pictures(4)] == [0, 1, 2, 3]


def test_links_to_folders_are_not_entered_but_named(tmp_path: Path) -> None:
    there, folder = tmp_path / "there", tmp_path / "faces"
    write(there, ALONE)
    folder.mkdir()
    (folder / "linked").symlink_to(there / "images")
    with pytest.raises(DataError, match=re.escape(f"{folder}: no images (.png") + ".*; linked " + NOT_ENTERED):
        expression_files.read(folder)

    write(folder, dict(GOOD), IMAGES[2:])
    assert problems(folder) == [
        f"emolabel.txt names 2 images (a.png in line 1, b.png in line 2), missing in the folder; linked {NOT_ENTERED}"
    ]
    write(folder)
    (folder / "images" / "round").symlink_to(folder)
    assert expression_files.read(folder).notes[0] == (
        "images/round, linked are links to folders and not entered; "
        "link the images themselves instead: cp -rs /THEIR/FOLDER ."
    )
    write(folder, ALONE)
    for name in GOOD:
        (folder / name).unlink()
    assert expression_files.read(folder).notes[0].startswith("images/round, linked are links to folders")
    (tmp_path / "link").symlink_to(folder)  # the source itself may be one
    assert expression_files.read(tmp_path / "link").file.tolist() == sorted(IMAGES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "images").chmod(0)
    try:
        with pytest.raises(DataError, match=re.escape(f"{folder}/images: cannot be read (Permission denied); mend")):
            expression_files.read(folder)
    finally:
        (folder / "images").chmod(0o700)


def test_names_that_are_no_text(tmp_path: Path) -> None:
    """What is stored in JSON and CSV and printed must be UTF-8; names on Linux are bytes, here of Latin-1."""
    folder, name = write(tmp_path), "caf\udce9.png"
    Image.new("RGB", (4, 4)).save(folder / "images" / name)
    (folder / "partition.txt").rename(folder / "b\udce4_partition.txt")
    said = "the name of the file is not UTF-8; rename it"
    assert problems(folder) == [rf"images/caf\xe9.png: {said}", rf"b\xe4_partition.txt: {said}"]
    with pytest.raises(DataError, match=rf"^caf\\xe9\.png: {said}$"):
        expression_files.read(folder / "images" / name)
    for label_file in (*GOOD, "b\udce4_partition.txt"):
        (folder / label_file).unlink(missing_ok=True)
    assert problems(folder) == [rf"images/caf\xe9.png: {said}"]


@pytest.mark.parametrize(
    ("there", "name", "emotion"),
    [
        (("a.jpg", "a.jpg copy.png", "b.png"), "a.jpg copy.png", "glad"),
        (("a.jpg copy.png", "b.png"), "a.jpg copy.png", "glad"),
        (("sub/a.jpg copy.png", "b.png"), "a.jpg copy.png", "glad"),
        (("a.jpg copy_aligned.png", "b.png"), "a.jpg copy.png", "glad"),
        (("a.jpg", "b.png"), "a.jpg", "copy.png 1"),
    ],
)
def test_a_line_names_the_longest_image_that_is_there(
    tmp_path: Path, there: tuple[str, ...], name: str, emotion: str
) -> None:
    classes = '{"classes": ["calm", "glad", "copy.png 1"]}'
    lines = ALONE | {"emolabel.txt": "a.jpg copy.png 1\nb.png 0\n", "classes.json": classes}
    faces = expression_files.read(write(tmp_path, lines, there))
    assert faces.file.tolist() == [name, "b.png"]
    assert [faces.classes[number] for number in faces.emotion] == [emotion, "calm"]


def test_images_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    images = expression_folder.find(
        write(tmp_path, ALONE, ("a.png", "s/a.png", "s/b_aligned.png", "b.JPG", "s/.c.png"))
    )
    assert images.paths == ("a.png", "b.JPG", "s/a.png", "s/b_aligned.png")
    assert list(images.called("a.png")) == ["a.png", "s/a.png"] and list(images.called("s/a.png")) == ["s/a.png"]
    assert list(images.called("b.png")) == ["s/b_aligned.png"] and list(images.called("s/b.png")) == []
    assert not any(images.called(name) for name in (".c.png", "s/../a.png", "../a.png", f"{tmp_path}/a.png"))
