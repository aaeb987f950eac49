"""Everything that can be wrong with a folder of TIFF volumes: a message for each, and all of them at once."""

from __future__ import annotations

import re
import shutil
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hpo.objective import DataError
from objectives.surface.files import read
from tests.objectives.volumes import SHAPE, TABLE, picture, problems, sheet, write_file, write_folder

WANTED = (
    "give a folder with train.csv, train_images/ and train_labels/; for predictions a folder of TIFF files is enough"
)


def tiff(voxels: np.ndarray, **how: Any) -> bytes:
    content = BytesIO()
    tifffile.imwrite(content, voxels, **{"photometric": "minisblack", **how})
    return content.getvalue()


def refused(source: Path, text: str) -> None:
    with pytest.raises(DataError, match=f"^{re.escape(f'{source}: {text}')}$"):
        read(source)


# ---- folders


def test_sources_that_are_none(tmp_path: Path) -> None:
    refused(tmp_path / "absent", f"no such file or folder; {WANTED}")
    refused(tmp_path, f"no TIFF file; {WANTED}")
    (tmp_path / "test_images").mkdir()
    (tmp_path / "test_images" / "a.npy").write_bytes(b"voxels")
    refused(tmp_path, f"no TIFF file in test_images/, but a.npy; {WANTED}")


def test_a_folder_without_its_table(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", table=None)
    way_out = "add it with columns id and scroll_id, or take train_labels/ away to predict on the images alone"
    refused(folder, f"no train.csv beside train_labels/; {way_out}")
    (folder / "Train.csv").write_text(TABLE)
    refused(folder, f"no train.csv (Train.csv?) beside train_labels/; {way_out}")


def test_a_folder_without_its_images(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll")
    (folder / "train_images").rename(folder / "train_image")
    way_out = "put the image of each volume there, ID.tif"
    refused(folder, f"no folder train_images/ (train_image?) beside train.csv; {way_out}")


def test_labels_in_a_folder_of_another_name(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll")
    (folder / "train_labels").rename(folder / "train_masks")
    found = read(folder)
    assert found.unlabelled == "no folder train_labels/ (train_masks?); only predictions do without labels"


# ---- the table


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "train.csv: the file is empty; fill it or remove it"),
        ("\xff".encode("latin-1"), "train.csv: byte 0 is not UTF-8 text; save the file as UTF-8"),
        ("id,scroll_id\n", "train.csv: no rows below the header; give every volume a row"),
        (
            TABLE.replace("id,", "name,", 1),
            "train.csv, line 1: no column id; there are name, scroll_id; add it, with the name of each volume's files",
        ),
        (
            TABLE.replace("scroll_id", "scroll"),
            "train.csv, line 1: no column scroll_id or group (scroll?); there are id, scroll; add what volumes have in "
            "common, or the id once more where that is nothing",
        ),
        (TABLE.replace("scroll_id", "id,scroll_id", 1), "train.csv, line 1: more than one column id; keep one"),
        (
            TABLE.replace("b,s1", "b"),
            "train.csv, line 3: 1 cells, the header has 2; is a comma missing, or one too many?",
        ),
        (TABLE.replace("b,s1", ",s1"), "train.csv, line 3: id is empty; every row needs one"),
        (
            TABLE.replace("s1", ""),
            "train.csv, in 2 lines, first in line 2: scroll_id is empty; every row needs one",
        ),
        (TABLE.replace("c,", "a,"), "train.csv, line 4: id 'a' is in line 2 already; keep one"),
        (TABLE.replace("c,", "A,"), "train.csv, line 4: id 'A' is in line 2 already but for capitals ('a'); keep one"),
        (
            TABLE.replace("b,s1", "b,S1"),
            "train.csv, line 3: scroll_id 'S1' is 's1' in line 2; write it in one way",
        ),
    ],
)
def test_what_is_wrong_with_the_table(tmp_path: Path, table: str | bytes, expected: str) -> None:
    assert problems(write_folder(tmp_path / "scroll", table)) == [expected]


def test_ids_without_files(tmp_path: Path) -> None:
    """With what may have been meant: capitals, a slip, the ending, one that nothing else names."""
    table = "id,scroll_id\nOvule,s\novule2.tif,s\nsherd,s\nc,s\nno.tif,s\n"
    images = {"a.tif": None, "ovule.tif": picture(0), "ovule2.tif": picture(0), "shard.tif": picture(0)}
    folder = write_folder(tmp_path / "scroll", table, images=images, labels={"sherd.tif": sheet(0), "c.tif": None})
    way_out = "copy it there, correct the id, or take out the row"
    assert problems(folder) == [
        "train.csv, line 3: id 'ovule2.tif': ids are written without .tif",
        "train.csv names 3 volumes without a TIFF in train_images/: 'Ovule' in line 2 (ovule?), 'sherd' in line 4 "
        f"(shard?), 'no.tif' in line 6; {way_out}",
        "train.csv names 4 volumes without a TIFF in train_labels/: 'Ovule' in line 2, 'ovule2' in line 3, 'c' in "
        f"line 5, 'no.tif' in line 6; {way_out}",
    ]


def test_a_missing_image_and_a_missing_label(tmp_path: Path) -> None:
    way_out = "copy it there, correct the id, or take out the row"
    folder = write_folder(tmp_path / "scroll", images={"a.tif": None}, labels={"c.tif": None})
    assert problems(folder) == [
        f"train.csv names 1 volume without a TIFF in train_images/: 'a' in line 2; {way_out}",
        f"train.csv names 1 volume without a TIFF in train_labels/: 'c' in line 4; {way_out}",
    ]


def test_labels_in_another_format(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", "id,group\na,s1\n")
    shutil.rmtree(folder / "train_labels")
    (folder / "train_labels").mkdir()
    (folder / "train_labels" / "a.nrrd").write_bytes(b"NRRD")
    (found,) = problems(folder)
    assert found.startswith("train.csv names 1 volume without a TIFF in train_labels/, where there is a.nrrd: 'a' in")


def test_volumes_that_are_there_twice(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", images={"a.tiff": picture(0)})
    write_file(folder / "train_labels" / "b" / "0.tif", sheet(0)[0])
    assert problems(folder) == [
        "train_images/a is there more than once (a.tif, a.tiff); keep one",
        "train_labels/b is there more than once (b/, b.tif); keep one",
    ]
    write_file(folder / "train_images" / "b.tiff", picture(0))
    assert problems(folder)[0] == (
        "train_images/: 2 volumes are there more than once: a (a.tif, a.tiff), b (b.tif, b.tiff); keep one of each"
    )


# ---- files that are no stacks


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty; copy or export it again"),
        (b"\x89PNG\r\n", "not a TIFF file, whatever its name says; save the volume as TIFF"),
        (
            picture(0, (10, 12)),
            "a single 2-D image (10 x 12); save all slices of a volume as pages of one file, or as files in a folder "
            "of the volume's name",
        ),
        (
            tiff(np.zeros((6, 10, 12, 3), np.uint8), photometric="rgb"),
            "3 values per voxel, as of colours (RGB); save it in grey",
        ),
        (
            tiff(np.zeros((2, 10, 12), np.uint8), imagej=True, metadata={"axes": "CYX"}),
            "2 channels; save the one that shows the surface",
        ),
        (
            tiff(np.zeros((2, 6, 10, 12), np.uint8), imagej=True, metadata={"axes": "TZYX"}),
            "4 axes (TZYX, 2 x 6 x 10 x 12); save slices, lines and columns alone",
        ),
        *[
            (
                tiff(np.zeros((2, 6, 10, 12), np.uint8), **how),
                "written as an array of 4 axes (2 x 6 x 10 x 12), as of several volumes or channels; save slices, "
                "lines and columns alone",
            )
            for how in ({}, {"compression": "zlib"}, {"metadata": None, "description": "shape=(2, 6, 10, 12)"})
        ],
        (
            tiff(np.zeros((16, 32, 32), np.uint8), tile=(16, 16, 16), compression="zlib"),
            "tiles that are several slices deep; save every slice as a page of its own",
        ),
    ],
)
def test_files_that_are_no_stacks(tmp_path: Path, content: bytes | np.ndarray, expected: str) -> None:
    folder = write_folder(tmp_path / "scroll", images={"b.tif": content})
    assert problems(folder) == [f"train_images/b.tif: {expected}"]


def test_pages_of_unequal_size(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll")
    with tifffile.TiffWriter(folder / "train_labels" / "b.tif") as writer:
        for lines in (10, 10, 9, 10):
            writer.write(np.zeros((lines, 12), np.uint8), contiguous=False)
    assert problems(folder) == [
        "train_labels/b.tif: pages of unequal size, type or compression (10 x 12 uint8, 9 x 12 uint8); save slices of "
        "one kind, and nothing else"
    ]


def test_folders_of_slices_that_are_no_stacks(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", images={"a.tif": None, "b.tif": None})
    write_file(folder / "train_images" / "a" / "1.tif", picture(0))
    write_file(folder / "train_images" / "b" / "1.tif", picture(0, (10, 12)))
    write_file(folder / "train_images" / "b" / "2.tif", picture(0, (10, 12), np.uint16))
    write_file(folder / "train_images" / "b" / "3.tif", picture(0, (10, 12)))
    assert problems(folder) == [
        "train_images/a/1.tif: 6 pages; in a folder of slices each file holds one",
        "train_images/b: slices of unequal size or type (10 x 12 uint8: 2 from 1.tif; 10 x 12 uint16: 1 from 2.tif); "
        "make them equal",
    ]


@pytest.mark.parametrize("by_one", [False, True], ids=["together", "one by one"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits", "zstd"])
def test_a_file_that_is_cut_short(
    tmp_path: Path, compression: str | None, by_one: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it is cut: in the header, in a directory of pages, in a slice, between slices."""
    content = BytesIO()
    with tifffile.TiffWriter(content) as writer:
        for piece in picture(0) if by_one else [picture(0)]:
            writer.write(piece, compression=compression, contiguous=False)
    whole = content.getvalue()
    folder = tmp_path / "scroll"
    for cut in range(4, len(whole) - 1, 97):
        write_file(folder / "a.tif", whole[:cut])
        with pytest.raises(DataError, match=r"a\.tif: damaged or cut short \(.*\); copy or export it again$"):
            read(folder)
    assert caplog.records == []


def test_a_slice_that_cannot_be_decoded(tmp_path: Path) -> None:
    """Directories are whole, so that nothing shows before the slice is decoded."""
    folder = write_folder(tmp_path / "scroll", compression="zlib")
    for where, number in (("train_images", 4), ("train_labels", 2)):
        path = folder / where / "b.tif"
        with tifffile.TiffFile(path) as opened:
            at = opened.pages[number].dataoffsets[0]
        content = bytearray(path.read_bytes())
        content[at : at + 8] = b"\xff" * 8
        path.write_bytes(content)
    image, label = problems(folder)
    assert re.fullmatch(r"train_images/b\.tif: damaged or cut short \(slice 4: .+\); copy or export it again", image), (
        image
    )
    assert re.fullmatch(r"train_labels/b\.tif: damaged or cut short \(slice 2: .+\); copy or export it again", label), (
        label
    )


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_changes_after_it_was_looked_at(tmp_path: Path, compression: str | None) -> None:
    folder = write_folder(tmp_path / "scroll", compression=compression)
    volume = read(folder).volumes[0]
    path = folder / "train_images" / "a.tif"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"a\.tif: damaged or cut short"):
        volume.image(0, 6)


def test_altered_bytes_are_refused_or_harmless(tmp_path: Path) -> None:
    """Nothing but a DataError, whichever bytes of the directories are changed; the voxels keep shape and type."""
    rng = np.random.default_rng(0)
    for how in ({}, {"compression": "zlib"}, {"imagej": True, "metadata": {"axes": "ZYX"}}):
        whole = tiff(picture(0), **how)
        for _ in range(60):
            content = bytearray(whole)
            content[rng.integers(400)] = rng.integers(256)
            write_file(tmp_path / "a.tif", bytes(content))
            try:
                (volume,) = read(tmp_path).volumes
            except DataError:
                continue
            assert volume.image(0, 1).shape == (1, *volume.shape[1:]) and volume.image(0, 1).dtype.kind == "u"


# ---- all together


def test_everything_is_said_at_once(tmp_path: Path) -> None:
    table = TABLE.replace("c,s2", "c,") + "d,s3\n"
    images = {"a.tif": b"no", "b.tif": picture(0, dtype=np.uint16), "d.tif": None}
    labels = {"a.tif": sheet(0)[:3], "b.tif": sheet(0)[:5] + 7, "d.tif": sheet(0)}
    found = problems(write_folder(tmp_path / "scroll", table, images=images, labels=labels))
    assert [text[:50] for text in found] == [
        "train.csv, line 4: scroll_id is empty; every row n",
        "train.csv names 1 volume without a TIFF in train_i",
        "train_images/a.tif: not a TIFF file, whatever its ",
        "images of 2 types (uint16: b; uint8: c); save all ",
        "train_labels/b.tif: a label of 5 x 10 x 12 voxels ",
        "train_labels/b.tif: label values other than 0, 1 a",
    ]


def test_many_problems_are_counted(tmp_path: Path) -> None:
    table = "id,group\n" + "".join(f"v{number},s\n" for number in range(25))
    files: dict[str, Any] = {f"v{number}.tif": sheet(0) for number in range(25)}
    labels = files | {name: np.full(SHAPE, value, np.uint8) for value, name in enumerate(files, 3)}
    folder = write_folder(tmp_path / "scroll", table, images=files, labels=labels)
    with pytest.raises(DataError, match=r"25 problems\n(?s:.*)v19\.tif: label values.*\n  and 5 more\nto predict"):
        read(folder)
