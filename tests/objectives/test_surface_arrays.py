"""Prepared volumes: the windows that numpy cuts, what they hold, folds that leave groups out, statistics of numpy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.objective import DataError, Params
from objectives.surface import arrays as surface_arrays
from objectives.surface.arrays import OFFSET, STRATA
from objectives.surface.objective import Surface
from tests.objectives.volumes import picture, sheet, write_file, write_folder
from tests.toy import CPU

PATCH = 8
#: Smaller than a window along one axis, along none, along two.
SHAPES = {"a": (6, 10, 12), "b": (9, 17, 20), "c": (12, 8, 5)}


def volumes(dtype: type = np.uint8) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Images and labels by name."""
    images = {name: picture(seed, shape, dtype) for seed, (name, shape) in enumerate(SHAPES.items())}
    return images, {name: sheet(seed + 7, shape) for seed, (name, shape) in enumerate(SHAPES.items())}


def written(folder: Path, dtype: type = np.uint8, table: str | None = None) -> Path:
    images, labels = ({f"{name}.tif": one for name, one in part.items()} for part in volumes(dtype))
    return write_folder(folder, table or "id,scroll_id\na,s2\nb,s1\nc,s2\n", images=images, labels=labels)


def opened(source: Path, patch: int = PATCH, overlap: float = 0.5, *, labelled: bool = True) -> Arrays:
    values = {"data.patch": patch, "data.overlap": overlap}
    return open_arrays(Surface(), source, values, source.parent / "cache", labelled=labelled)


def cut(voxels: np.ndarray, corner: np.ndarray, patch: int = PATCH) -> np.ndarray:
    return voxels[tuple(slice(at, at + patch) for at in corner.tolist())]


def continued(voxels: np.ndarray, patch: int = PATCH, *, ignored: bool = False) -> np.ndarray:
    """A volume that holds a window, by its last voxels or by ignored ones."""
    around = [(0, max(0, patch - size)) for size in voxels.shape]
    return np.pad(voxels, around, constant_values=2) if ignored else np.pad(voxels, around, mode="edge")


# ---- windows


@pytest.mark.parametrize("slab", [2**23, 300], ids=["whole", "slab by slab"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("resident", [True, False])
def test_windows_are_what_numpy_cuts_out_of_the_files(
    tmp_path: Path, dtype: type, resident: bool, slab: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surface_arrays, "SLAB", slab)
    arrays = opened(written(tmp_path / "scrolls", dtype))
    images, labels = volumes(dtype)
    assert [about["name"] for about in arrays.info["volumes"]] == list(SHAPES)
    seen = {name: np.zeros(shape, bool) for name, shape in SHAPES.items()}
    for batch in Feed(arrays, CPU, resident).batches(torch.arange(len(arrays)).split(5)):
        assert batch["image"].dtype == (torch.int16 if dtype is np.uint16 else torch.uint8)
        assert batch["label"].dtype == torch.uint8
        rows = (batch[key].numpy() for key in ("volume", "corner", "image", "label"))
        for number, corner, image, label in zip(*rows, strict=True):
            name = list(SHAPES)[number]
            expected = cut(continued(images[name]), corner).astype(np.int32) - (OFFSET if dtype is np.uint16 else 0)
            np.testing.assert_array_equal(image, expected)
            np.testing.assert_array_equal(label, cut(continued(labels[name], ignored=True), corner))
            cut(seen[name], corner)[...] = True
    assert all(covered.all() for covered in seen.values())


def test_each_volume_is_stored_once(tmp_path: Path) -> None:
    arrays = opened(written(tmp_path / "scrolls", np.uint16), overlap=0.8)
    entries = sum(int(np.prod(np.maximum(shape, PATCH))) for shape in SHAPES.values())
    assert {name: (field.size, field.dtype) for name, field in arrays.fields.items()} == {
        "image": (entries, np.dtype(np.int16)),
        "label": (entries, np.dtype(np.uint8)),
    }
    assert len(arrays) * PATCH**3 > 3 * entries
    assert arrays.info["dtype"] == "uint16" and not arrays.info["synthetic"] and not arrays.info["unlabelled"]


def test_what_windows_hold(tmp_path: Path) -> None:
    arrays = opened(written(tmp_path / "scrolls"))
    assert set(arrays) == {"volume", "corner", "group", "foreground", "labelled", "stratum"}
    assert all(arrays[name].dtype == np.int64 for name in arrays)
    _, labels = volumes()
    for row, (number, corner) in enumerate(zip(arrays["volume"], arrays["corner"], strict=True)):
        label = cut(continued(labels[list(SHAPES)[number]], ignored=True), corner)
        assert arrays["foreground"][row] == (label == 1).sum()
        assert arrays["labelled"][row] == (label < 2).sum()
    of_volumes = [(about["foreground"], about["labelled"]) for about in arrays.info["volumes"]]
    assert of_volumes == [((label == 1).sum(), (label < 2).sum()) for label in labels.values()], "each voxel once"
    assert arrays.info["groups"] == ["s1", "s2"]
    assert np.asarray(arrays["group"]).tolist() == [1 if number != 1 else 0 for number in arrays["volume"]]
    identified = Surface().identify(arrays)
    assert identified["group"].tolist() == ["s1" if name == "b" else "s2" for name in identified["volume"]]
    np.testing.assert_array_equal(np.stack([identified[k] for k in ("slice", "line", "column")], 1), arrays["corner"])


#: Foreground and labelled voxels of a window of 1000 -> its stratum.
STRATUM = {
    (0, 1000): "up to 2%",
    (20, 1000): "up to 2%",
    (21, 1000): "up to 10%",
    (100, 1000): "up to 10%",
    (101, 1000): "up to 25%",
    (10, 40): "up to 25%",
    (500, 1000): "up to 50%",
    (501, 1000): "up to 75%",
    (750, 1000): "up to 75%",
    (751, 1000): "up to 100%",
    (3, 3): "up to 100%",
    (0, 0): None,
}


def test_strata_of_windows(tmp_path: Path) -> None:
    labels, table = {}, ["id,scroll_id"]
    for number, (foreground, known) in enumerate(STRATUM):
        flat = np.full(1000, 2, np.uint8)
        flat[:known], flat[:foreground] = 0, 1
        labels[f"v{number:02}.tif"] = np.random.default_rng(number).permutation(flat).reshape(10, 10, 10)
        table.append(f"v{number:02},s{number}")
    images = {name: picture(0, (10, 10, 10)) for name in labels}
    source = write_folder(tmp_path / "scrolls", "\n".join(table) + "\n", images=images, labels=labels)
    arrays = opened(source, patch=10)
    assert list(zip(arrays["foreground"], arrays["labelled"], strict=True)) == list(STRATUM)
    expected = [-1 if stratum is None else list(STRATA).index(stratum) for stratum in STRATUM.values()]
    assert Surface().labels(arrays).tolist() == expected

    counts = Surface().counts(arrays)
    of_strata = [stratum for stratum in STRATUM.values() if stratum]
    assert counts["foreground in a window"] == {name: of_strata.count(name) for name in STRATA} | {"unlabelled": 1}
    assert counts["group"] == dict.fromkeys(sorted(f"s{number}" for number in range(12)), 1)
    foreground, known = np.sum(list(STRATUM), 0).tolist()
    assert counts["voxels in windows"] == {"background": known - foreground, "foreground": foreground}

    params = Params.from_flat(Surface().parameters())
    assert Surface().training_rows(arrays, np.arange(12), params).tolist() == list(range(11))
    with pytest.raises(DataError, match="none of 1 training windows has a labelled voxel"):
        Surface().training_rows(arrays, np.asarray([11]), params)


def test_without_labels_everything_is_ignored(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for name, image in volumes()[0].items():
        write_file(source / f"{name}.tif", image)
    arrays = opened(source, labelled=False)
    assert (np.asarray(arrays.fields["label"]) == 2).all() and (Surface().labels(arrays) == -1).all()
    with pytest.raises(DataError, match=r"scans: neither train.csv nor train_labels/; only predictions do without lab"):
        opened(source)


# ---- folds


def test_folds_leave_groups_out_and_validate_each_window_once(tmp_path: Path) -> None:
    table = "id,scroll_id\na,s1\nb,s2\nc,s3\n"
    arrays = opened(written(tmp_path / "scrolls", table=table))
    for count in (2, 3):
        split = Surface().split(arrays, count, 5)
        assert sorted(np.concatenate([fold.validation for fold in split.folds]).tolist()) == list(range(len(arrays)))
        assert not len(split.test)
        for fold in split.folds:
            assert not set(arrays["group"][fold.train]) & set(arrays["group"][fold.validation])
            assert sorted([*fold.train, *fold.validation]) == list(range(len(arrays)))
            assert (np.diff(arrays["volume"][fold.validation]) >= 0).all(), "a volume's windows are neighbours"
        again = Surface().split(arrays, count, 5)
        assert again.to_json() == split.to_json()


def test_more_folds_than_groups_are_refused(tmp_path: Path) -> None:
    arrays = opened(written(tmp_path / "scrolls"))
    with pytest.raises(DataError, match=r"3 folds need at least 3 groups, the data have 2: s1, s2\n  ask for fewer"):
        Surface().split(arrays, 3, 0)


def test_folds_are_the_same_whatever_the_windows_are(tmp_path: Path) -> None:
    """Foreground that lies in the middle, where windows overlap, counts for more windows than that of the edges."""
    names, images, labels = [f"v{number:02}" for number in range(12)], {}, {}
    for number, name in enumerate(names):
        label = np.zeros((16, 16, 16), np.uint8)
        at = slice(4, 12) if number % 2 else slice(0, 8)
        label[at, at, at] = np.random.default_rng(number).random((8, 8, 8)) < 0.5 + 0.005 * number
        images[f"{name}.tif"], labels[f"{name}.tif"] = picture(number, label.shape), label
    table = "id,scroll_id\n" + "".join(f"{name},{name}\n" for name in names)
    source, dealt = write_folder(tmp_path / "scrolls", table, images=images, labels=labels), []
    for patch, overlap in ((4, 0.5), (8, 0.0), (8, 0.75), (16, 0.5), (32, 0.5)):
        arrays = opened(source, patch, overlap)
        folds = Surface().split(arrays, 3, 1).folds
        dealt.append([sorted(set(np.asarray(arrays["volume"])[fold.validation].tolist())) for fold in folds])
    assert all(len(fold) == 4 for fold in dealt[0]) and all(one == dealt[0] for one in dealt)


@pytest.mark.parametrize(
    ("unlabelled", "named"), [("c", "group s3"), ("bc", "groups s2, s3")], ids=["one group", "two groups"]
)
def test_groups_in_which_nothing_is_labelled_are_refused(tmp_path: Path, unlabelled: str, named: str) -> None:
    """They would be folds without a score; a group with one labelled volume is none of them."""
    images, _ = ({f"{name}.tif": one for name, one in part.items()} for part in volumes())
    labels = {f"{name}.tif": np.full(SHAPES[name], 2, np.uint8) for name in unlabelled}
    labels = {f"{name}.tif": sheet(0, shape) for name, shape in SHAPES.items()} | labels
    source = write_folder(tmp_path / "scrolls", "id,scroll_id\na,s1\nb,s2\nc,s3\n", images=images, labels=labels)
    way = r"a fold of theirs could not be scored; take their volumes out of train\.csv"
    with pytest.raises(DataError, match=f"^no voxel is labelled in {named}: {way}$"):
        Surface().split(opened(source), 2, 0)
    (source / "train.csv").write_text("id,scroll_id\na,s1\nb,s1\nc,s1\n")
    with pytest.raises(DataError, match="2 folds need at least 2 groups"):
        Surface().split(opened(source), 2, 0)


# ---- statistics


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_statistics_are_those_of_numpy_over_the_training_windows(tmp_path: Path, dtype: type) -> None:
    arrays = opened(written(tmp_path / "scrolls", dtype))
    rows = np.flatnonzero(arrays["volume"] != 1)
    assert 1 < len(rows) <= 64
    feed = Feed(arrays, CPU).take(torch.from_numpy(rows))
    image, label = feed["image"].numpy().astype(np.float64), feed["label"].numpy()
    found = Surface().statistics(arrays, rows)
    np.testing.assert_allclose(found["pixels"], [image.mean(), image.std()], rtol=1e-6)  # float32
    assert found["voxels"].tolist() == [(label == 0).sum(), (label == 1).sum()]


def test_brightness_is_that_of_windows_spread_over_the_rows(tmp_path: Path) -> None:
    arrays = opened(written(tmp_path / "scrolls"), overlap=0.9)
    rows = np.arange(len(arrays))
    some = rows[[round(k * (len(rows) - 1) / 63) for k in range(64)]]
    assert len(rows) > 128 and len(set(some)) == 64
    image = Feed(arrays, CPU).take(torch.from_numpy(some))["image"].numpy().astype(np.float64)
    found = Surface().statistics(arrays, rows)
    np.testing.assert_allclose(found["pixels"], [image.mean(), image.std()], rtol=1e-6)  # float32
    labelled, foreground = (int(arrays[name].sum()) for name in ("labelled", "foreground"))
    assert found["voxels"].tolist() == [labelled - foreground, foreground]


def test_an_image_without_contrast_is_scaled_by_one(tmp_path: Path) -> None:
    images = {f"{name}.tif": np.full(shape, 7, np.uint8) for name, shape in SHAPES.items()}
    labels = {f"{name}.tif": sheet(0, shape) for name, shape in SHAPES.items()}
    arrays = opened(write_folder(tmp_path / "scrolls", images=images, labels=labels))
    assert Surface().statistics(arrays, np.arange(len(arrays)))["pixels"].tolist() == [7, 1]
