"""Folders of TIFF volumes: every way in which a stack is stored gives the voxels that were written, slab by slab."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from objectives.surface.data import Slabs
from objectives.surface.files import read
from objectives.surface.tiff import open_stack
from tests.objectives.cases import recordings
from tests.objectives.volumes import picture, sheet, write_file, write_folder


def whole(slabs: Slabs, shape: tuple[int, int, int], step: int = 4) -> np.ndarray:
    """A volume of its slabs, the last of which is shorter."""
    pieces = [slabs(first, min(first + step, shape[0])) for first in range(0, shape[0], step)]
    return np.concatenate(pieces)


# ---- how stacks are stored


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "how",
    [
        {},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"tile": (16, 16)},
        {"rowsperstrip": 3},
        {"rowsperstrip": 3, "compression": "zlib"},
        {"compression": "zlib"},
        {"compression": "zlib", "byteorder": ">", "predictor": True},
        {"compression": "zlib", "bigtiff": True, "tile": (16, 16)},
        {"compression": "lzw"},
        {"compression": "lzw", "predictor": True},
        {"compression": "zstd"},
        {"compression": "packbits"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"imagej": True, "metadata": {"axes": "TYX"}},
        {"imagej": True},  # tifffile calls the slices channels
        {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True},  # one page, as ImageJ writes beyond 4 GB
        {"ome": True, "metadata": {"axes": "ZYX"}},
        {"ome": True, "metadata": {"axes": "ZYX"}, "compression": "lzw"},
        {"metadata": None},
    ],
    ids=lambda how: "-".join(map(str, how.values())) or "plain",
)
@pytest.mark.filterwarnings("ignore:.*truncating ImageJ file:UserWarning")
def test_a_stack_is_read_as_it_was_written(tmp_path: Path, dtype: type, how: dict[str, Any]) -> None:
    voxels = picture(0, (10, 18, 21), dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, voxels, **{"photometric": "minisblack", **how})
    stack = pickle.loads(pickle.dumps(open_stack(path)))
    found = whole(stack.slab, stack.shape)
    assert stack.shape == voxels.shape and stack.dtype == found.dtype == dtype and found.dtype.isnative
    np.testing.assert_array_equal(found, voxels)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_slices_may_have_been_written_one_by_one(tmp_path: Path, compression: str | None) -> None:
    voxels = picture(0)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for piece in voxels:
            writer.write(piece, compression=compression, contiguous=False)
    stack = open_stack(tmp_path / "a.tif")
    np.testing.assert_array_equal(whole(stack.slab, stack.shape), voxels)


@pytest.mark.parametrize(
    "note",
    [
        '{"shape": [2, 10, 10, 12]}',
        '{"shape": [2, 3, 12, 10]}',
        '{"shape": [1, 1, 6, 10, 12]}',
        '{"shape": [2, "',
        "shape=(",
    ],
)
def test_a_noted_shape_of_other_pages_is_not_heeded(tmp_path: Path, note: str) -> None:
    """As programs leave it that crop or turn a stack; axes of length 1 are none."""
    write_file(tmp_path / "a.tif", picture(0), metadata=None, description=note)
    (own,) = read(tmp_path).volumes
    np.testing.assert_array_equal(whole(own.image, own.shape), picture(0))


def test_a_folder_of_slices_is_a_stack(tmp_path: Path) -> None:
    """Numbers in names count as numbers: slice 2 comes before slice 10."""
    image, label = picture(3, (12, 8, 9)), sheet(3, (12, 8, 9))
    folder = write_folder(tmp_path / "scroll", "id,scroll_id\na,s1\nd,s2\n", compression="zlib")
    for number in range(12):
        write_file(folder / "train_images" / "d" / f"slice{number}.tif", image[number])
        write_file(folder / "train_labels" / "d" / f"{number:03}.TIFF", label[number], compression="lzw")
    (folder / "train_images" / "d" / "readme.txt").write_text("scanned in May")
    own = read(folder).volumes[1]
    assert own.name == "d" and own.shape == (12, 8, 9) and own.label
    np.testing.assert_array_equal(whole(own.image, own.shape), image)
    np.testing.assert_array_equal(whole(own.label, own.shape), label)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, bool])
def test_labels_of_every_whole_type_are_read_as_uint8(tmp_path: Path, dtype: type) -> None:
    label: np.ndarray = np.minimum(sheet(0), 1 if dtype is bool else 2).astype(dtype)
    folder = write_folder(tmp_path / "scroll", "id,group\na,s1\n", labels={"a.tif": label})
    own = read(folder).volumes[0]
    assert own.label and own.label(0, 2).dtype == np.uint8
    np.testing.assert_array_equal(whole(own.label, own.shape), label)


# ---- memory and files


@pytest.mark.parametrize("how", [{"compression": "zlib", "tile": (256, 256)}, {}])
def test_a_volume_is_never_in_memory_whole(tmp_path: Path, how: dict[str, Any]) -> None:
    """Of 32 MiB a slab of 8 is decoded while the one before it is let go: 16, and what a page takes, of 24 at most."""
    voxels = np.zeros((128, 512, 512), np.uint8)
    voxels[:, ::7] = 1
    for where in ("train_images", "train_labels"):
        write_file(tmp_path / where / "a.tif", voxels, **how)
    (tmp_path / "train.csv").write_text("id,group\na,s1\n")
    expected = voxels[120:].copy()
    del voxels
    tracemalloc.start()
    try:
        volume = read(tmp_path).volumes[0]
        last = volume.image(120, 128)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    np.testing.assert_array_equal(last, expected)
    assert most < 24 * 2**20


def test_files_are_closed_after_every_slab(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", images={"c.tif": picture(2)})
    write_file(folder / "train_images" / "b.tif", picture(1), compression="zlib")
    before = len(os.listdir("/proc/self/fd"))
    volumes = read(folder).volumes
    slabs = [volume.image(0, 6) for volume in volumes]
    assert len(slabs) == 3 and len(os.listdir("/proc/self/fd")) == before


# ---- what a folder says


def test_what_a_good_folder_says(tmp_path: Path) -> None:
    found = read(write_folder(tmp_path / "scroll"))
    assert [(own.name, own.group, own.shape) for own in found.volumes] == [
        ("a", "s1", (6, 10, 12)),
        ("b", "s1", (6, 10, 12)),
        ("c", "s2", (6, 10, 12)),
    ]
    assert found.dtype is np.uint8 and found.notes == () and found.unlabelled == ""
    for seed, own in enumerate(found.volumes):
        assert own.label
        np.testing.assert_array_equal(whole(own.image, own.shape), picture(seed))
        np.testing.assert_array_equal(whole(own.label, own.shape), sheet(seed))


def test_tables_that_a_spreadsheet_has_saved(tmp_path: Path) -> None:
    """Other columns, their order, empty lines, and ids with zeros in front."""
    table = "\ufeffScroll_ID;note; ID \nx;;007\n\ny;a, b; b \n;;\n"
    folder = write_folder(
        tmp_path / "scroll", table, images={"007.tiff": picture(7)}, labels={"007.TIF": sheet(7), "b.tif": sheet(1)}
    )
    found = read(folder)
    assert [(own.name, own.group) for own in found.volumes] == [("007", "x"), ("b", "y")]
    assert found.notes == (
        "train_images/: volumes that train.csv does not name, left out: a, c",
        "train_labels/: volumes that train.csv does not name, left out: a, c",
    )


def test_the_column_group_goes_before_scroll_id(tmp_path: Path) -> None:
    found = read(write_folder(tmp_path / "scroll", "id,scroll_id,group\na,s1,g\nb,s2,g\nc,s3,h\n"))
    assert [own.group for own in found.volumes] == ["g", "g", "h"]
    assert found.notes == ("train.csv: groups are those of column group; scroll_id is not read",)


def test_notes_on_what_nothing_is_learnt_from(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", labels={"b.tif": np.full((6, 10, 12), 2, np.uint8)})
    write_file(folder / "test_images" / "t.tif", picture(0))
    assert read(folder).notes == (
        f"test_images/ is not read; to predict on it, give {folder / 'test_images'} as the data",
        "all voxels are ignored (2), so that nothing is learnt from them, in b",
    )


def test_hidden_and_other_files_are_no_volumes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll", images={"._a.tif": b"Mac OS X"})
    (folder / "train_images" / "a.txt").write_text("notes")
    (folder / "train_images" / "thumbnails").mkdir()
    assert [own.name for own in read(folder).volumes] == ["a", "b", "c"] and read(folder).notes == ()


# ---- data to predict on


def test_images_of_a_table_without_labels(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scroll")
    shutil.rmtree(folder / "train_labels")
    found = read(folder)
    assert found.unlabelled == "no folder train_labels/; only predictions do without labels"
    assert [(own.name, own.group, own.label) for own in found.volumes] == [
        ("a", "s1", None),
        ("b", "s1", None),
        ("c", "s2", None),
    ]


@pytest.mark.parametrize("where", ["", "test_images", "train_images"])
def test_images_without_a_table_are_groups_of_their_own(tmp_path: Path, where: str) -> None:
    for seed, name in enumerate(("z.tif", "y.TIFF")):
        write_file(tmp_path / "scroll" / where / name, picture(seed, dtype=np.uint16))
    found = read(tmp_path / "scroll")
    assert [(own.name, own.group, own.label) for own in found.volumes] == [("y", "y", None), ("z", "z", None)]
    assert found.dtype is np.uint16
    assert found.unlabelled == "neither train.csv nor train_labels/; only predictions do without labels"


def test_test_csv_may_name_what_is_predicted(tmp_path: Path) -> None:
    folder = tmp_path / "scroll"
    for name in ("y", "z", "x"):
        write_file(folder / "test_images" / f"{name}.tif", picture(0))
    write_file(folder / "train_images" / "a.tif", picture(0))
    (folder / "test.csv").write_text("id,size\nz,1\ny,2\n")
    found = read(folder)
    assert [(own.name, own.group) for own in found.volumes] == [("z", "z"), ("y", "y")]
    assert found.notes == (
        "train_images/ is not read, since it has neither train.csv nor labels",
        "test_images/: volumes that test.csv does not name, left out: x",
    )


def test_a_single_file(tmp_path: Path) -> None:
    write_file(tmp_path / "a.tif", picture(0))
    found = read(tmp_path / "a.tif")
    assert [(own.name, own.group) for own in found.volumes] == [("a", "a")]
    assert found.unlabelled == "a single file is read without labels; give the folder that holds its table and labels"


# ---- recorded volumes


def test_recorded_volumes() -> None:
    """Seven blocks of an ovule, as tifffile reads them whole; a fifth or so of the voxels is wall."""
    source = recordings("surface")
    found = read(source)
    assert [own.group for own in found.volumes] == ["row0", "row0", "row1", "row1", "row2", "row2", "row3"]
    assert found.notes == () and found.unlabelled == ""
    for own in found.volumes:
        assert own.label
        for where, slabs in (("train_images", own.image), ("train_labels", own.label)):
            voxels = tifffile.imread(source / where / f"{own.name}.tif")
            np.testing.assert_array_equal(whole(slabs, own.shape, step=7), voxels)


def test_what_tifffile_logs_stays_off_the_terminal(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A description that is no ASCII is logged and does no harm; after the read the log is as it was."""
    path = tmp_path / "a.tif"
    write_file(path, picture(0), description="n" * 20, metadata=None)
    path.write_bytes(path.read_bytes().replace(b"n" * 20, b"\x81" * 20))
    with caplog.at_level(logging.DEBUG):
        read(tmp_path)
        assert caplog.records == []
        with tifffile.TiffFile(path) as opened:
            assert opened.pages.first.shape == (10, 12)
    assert any("coercing invalid ASCII" in record.getMessage() for record in caplog.records)
