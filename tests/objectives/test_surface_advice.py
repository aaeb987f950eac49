"""What an error about volumes advises: a mistake of many files is said once, and the way out leads out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hpo.arrays import Arrays, open_arrays
from hpo.objective import DataError
from objectives.surface.files import read
from objectives.surface.objective import Surface
from tests.objectives.volumes import TABLE, picture, problems, sheet, write_file, write_folder

# ---- ids


def test_ids_with_the_ending_of_files(tmp_path: Path) -> None:
    """Said once, and what else is wrong with the volumes beside it; a volume may be named so all the same."""
    table = "id,scroll_id\na.tif,s\nb.TIF,s\nd.tif,s\n"
    files = {"d.tif.tif": picture(0), "d.tif": picture(0)}
    labels = {"b.tif": sheet(0)[:3], "d.tif.tif": sheet(0)}
    assert problems(write_folder(tmp_path / "scroll", table, images=files, labels=labels)) == [
        "train.csv, in 2 lines, first in line 2: id 'a.tif': ids are written without .tif",
        "train_labels/b.tif: a label of 3 x 10 x 12 voxels for an image of 6 x 10 x 12 (slices, lines, columns); cut "
        "both to the same place",
    ]


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", ".", "train_images\\a", "train_images/a.tif"])
def test_ids_with_folders(tmp_path: Path, name: str) -> None:
    folder = write_folder(tmp_path / "scroll", f"{TABLE}{name},s2\n{name}/,s3\n")
    said = f"train.csv, in 2 lines, first in line 5: id {name!r}: an id is a file's name without folder"
    assert problems(folder) == [said]


# ---- mistakes that many files share


def test_a_mistake_of_many_files_is_said_once(tmp_path: Path) -> None:
    table = "id,group\n" + "".join(f"v{number},s\n" for number in range(10))
    files = {f"v{number}.tif": picture(number) for number in range(10)}
    labels = {name: np.where(sheet(number) == 1, 255, 0) for number, name in enumerate(files)}
    folder = write_folder(tmp_path / "scroll", table, images=files, labels=labels)
    names = "v0.tif, v1.tif, v2.tif, v3.tif, v4.tif, v5.tif, v6.tif, v7.tif and 2 more"
    (found,) = problems(folder)
    count = int((sheet(0) == 1).sum())
    assert found == (
        f"10 files of train_labels/ ({names}), as the first shows: label values other than 0, 1 and 2: 255 ({count} "
        "voxels, first in slice 0); 255 is foreground in many programs: write 1 for it; 0 is background, 1 foreground, "
        "2 ignored"
    )
    for name in files:
        write_file(folder / "train_images" / name, b"nothing")
    assert problems(folder)[0] == (
        f"10 files of train_images/ ({names}): not a TIFF file, whatever its name says; save the volume as TIFF"
    )


def test_a_folder_of_slices_that_is_named_itself(tmp_path: Path) -> None:
    """It is a stack for who names the folder above."""
    folder = tmp_path / "scrolls" / "scroll"
    for number in range(32):
        write_file(folder / f"{number}.tif", picture(number, (10, 12)))
    assert problems(folder) == [
        f"32 single slices of one size; one volume? name the folder above, {folder.parent}, in which scroll/ is a stack"
    ]
    assert [(own.name, own.shape) for own in read(folder.parent).volumes] == [("scroll", (32, 10, 12))]
    write_file(folder / "7.tif", picture(0, (10, 11)))
    (found,) = problems(folder)
    assert found.startswith("32 files (0.tif, 1.tif, 10.tif, 11.tif, 12.tif, 13.tif, 14.tif, 15.tif and 24 more), as ")


def test_a_hint_for_who_only_predicts(tmp_path: Path) -> None:
    """Where nothing but labels is wrong; the folder that it names can be read."""
    folder = write_folder(tmp_path / "scroll", labels={"b.tif": sheet(0)[:3], "c.tif": b""})
    images = folder / "train_images"
    with pytest.raises(
        DataError, match=f"(?s)2 problems.*\nto predict without labels name the images alone: {images}$"
    ):
        read(folder)
    assert [own.name for own in read(images).volumes] == ["a", "b", "c"]
    write_file(images / "a.tif", b"")
    with pytest.raises(DataError, match=r"(?s)3 problems((?!to predict).)*$"):
        read(folder)


# ---- too few groups


ALONE = (
    "write the id of each volume into a column group of train.csv: scores are then too good, since volumes of one "
    "group are alike"
)


@pytest.mark.parametrize(
    ("groups", "folds", "ways"),
    [
        (["s1"] * 3, 3, ["s1", "add volumes of more groups", f"or {ALONE}"]),
        (
            ["s1", "s1", "s2"],
            3,
            ["s1, s2", "ask for fewer, folds: {count: 2}", "or add volumes of more groups", f"or {ALONE}"],
        ),
        (["s1", "s1", "s2"], 4, ["s1, s2", "ask for fewer, folds: {count: 2}", "or add volumes of more groups"]),
    ],
)
@pytest.mark.parametrize("column", ["group", "scroll_id"])
def test_too_few_groups(tmp_path: Path, column: str, groups: list[str], folds: int, ways: list[str]) -> None:
    """Ids as groups are a way out where there are volumes enough, and it leads out."""
    lines = [f"{name},{group}" for name, group in zip("abc", groups, strict=True)]
    source = write_folder(tmp_path / "scroll", "\n".join([f"id,{column}", *lines]))

    def arrays() -> Arrays:
        return open_arrays(Surface(), source, {"data.patch": 8, "data.overlap": 0.5}, tmp_path / "cache", labelled=True)

    with pytest.raises(DataError) as caught:
        Surface().split(arrays(), folds, seed=0)
    first, *others = ways
    text = f"{folds} folds need at least {folds} groups, the data have {len(set(groups))}: {first}"
    assert str(caught.value).split("\n  ") == [text, *others]
    if ALONE in ways[-1]:
        alone = [f"{line},{line[0]}" for line in lines]
        (source / "train.csv").write_text("\n".join([f"id,{column.replace('group', 'of')},group", *alone]))
        assert len(Surface().split(arrays(), folds, seed=0).folds) == folds
