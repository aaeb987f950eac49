"""Volumes of types, shapes and values that are refused, and the way out that each message names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.objectives.volumes import SHAPE, TABLE, picture, problems, sheet, write_file, write_folder


def test_images_of_other_types(tmp_path: Path) -> None:
    images = {"a.tif": picture(0).astype(np.float32), "b.tif": picture(0).astype(np.float32)}
    folder = write_folder(tmp_path / "scroll", images=images)
    assert problems(folder) == [
        "train_images/: of type float32: a, b; scale them to 0 .. 255 and save them as uint8, as the others are"
    ]
    way_out = "scale them and save all as uint8 (0 .. 255), or all as uint16 (0 .. 65535)"
    write_file(folder / "train_images" / "c.tif", picture(0).astype(np.int16))
    assert problems(folder) == [
        f"train_images/: of type float32: a, b; {way_out}",
        f"train_images/: of type int16: c; {way_out}",
    ]


def test_images_of_two_types(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", images={"b.tif": picture(0, dtype=np.uint16)})
    assert problems(folder) == ["images of 2 types (uint8: a, c; uint16: b); save all in one type"]


def test_labels_that_are_no_whole_numbers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", labels={"b.tif": sheet(0).astype(np.float32)})
    assert problems(folder) == ["train_labels/: not of whole numbers: b (float32); save labels as uint8"]


def test_images_and_labels_of_unequal_shape(tmp_path: Path) -> None:
    labels = {"a.tif": sheet(0, (6, 10, 11)), "b.tif": sheet(0, (12, 10, 6))}
    assert problems(write_folder(tmp_path / "scroll", labels=labels)) == [
        "train_labels/a.tif: a label of 6 x 10 x 11 voxels for an image of 6 x 10 x 12 (slices, lines, columns); cut "
        "both to the same place",
        "train_labels/b.tif: a label of 12 x 10 x 6 voxels for an image of 6 x 10 x 12 (slices, lines, columns); are "
        "its axes in another order?; cut both to the same place",
    ]


def test_labels_of_other_values(tmp_path: Path) -> None:
    """255 for foreground, one value too many, objects that are numbered, and values that 8 bits would hide."""
    usual = "0 is background, 1 foreground, 2 ignored"
    foreground, third = (sheet(0) > 1).astype(np.uint8) * 255, sheet(1)
    foreground[:2] = 0
    third[5, 0, :7] = 3
    numbered = np.arange(6, dtype=np.int32)[:, None, None] * np.ones(SHAPE, np.int32) - 2
    wide = np.full(SHAPE, 1, np.uint16)
    wide[3, 2, 1] = 257
    labels = {"a.tif": foreground, "b.tif": third, "c.tif": numbered, "d.tif": wide}
    table = TABLE + "d,s2\n"
    folder = write_folder(tmp_path / "scroll", table, images={"d.tif": picture(0)}, labels=labels)
    says = "label values other than 0, 1 and 2"
    count = int((foreground == 255).sum())
    assert problems(folder) == [
        f"train_labels/a.tif: {says}: 255 ({count} voxels, first in slice 2); 255 is foreground in many programs: "
        f"write 1 for it; {usual}",
        f"train_labels/b.tif: {says}: 3 (7 voxels, first in slice 5); {usual}; correct them",
        f"train_labels/c.tif: {says}: -2 (120 voxels, first in slice 0), -1 (120 voxels, first in slice 1), 3 (120 "
        f"voxels, first in slice 5); a number for each object? write 1 for all that is surface; {usual}",
        f"train_labels/d.tif: {says}: 257 (1 voxel, first in slice 3); {usual}; correct them",
    ]


def test_labels_without_any_foreground(tmp_path: Path) -> None:
    labels = dict.fromkeys(("a.tif", "b.tif", "c.tif"), np.zeros(SHAPE, np.uint8))
    assert problems(write_folder(tmp_path / "scroll", labels=labels)) == [
        "train_labels/: no voxel is foreground (1) in any label; there is nothing to learn"
    ]
