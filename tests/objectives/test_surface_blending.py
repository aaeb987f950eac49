"""Windows become volumes: the weighted mean that loops compute, scored whole, whatever the batches and the overlap."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from hpo.arrays import Arrays, Feed, open_arrays
from hpo.objective import Sums
from objectives.surface.blending import COLUMNS, SCORES, Blended, _write
from objectives.surface.objective import Surface
from objectives.surface.volume_scores import volume_scores
from tests.objectives.volumes import picture, sheet, write_file, write_folder
from tests.toy import CPU

PATCH = 8
#: The first is smaller than a window along one axis.
SHAPES = {"a": (6, 10, 12), "b": (9, 17, 13), "c": (12, 8, 20)}


def label(name: str) -> np.ndarray:
    """Two curved sheets; some voxels are ignored."""
    generator = np.random.default_rng(ord(name))
    slices, lines, _ = np.indices(SHAPES[name])
    sheets = (slices + lines // 3) % 6 < 2
    return np.where(generator.random(SHAPES[name]) < 0.1, 2, sheets).astype(np.uint8)


def opened(folder: Path, overlap: float = 0.5) -> Arrays:
    images = {f"{name}.tif": picture(seed, shape) for seed, (name, shape) in enumerate(SHAPES.items())}
    source = write_folder(folder / "scrolls", images=images, labels={f"{name}.tif": label(name) for name in SHAPES})
    return open_arrays(Surface(), source, {"data.patch": PATCH, "data.overlap": overlap}, folder / "cache")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return opened(tmp_path_factory.mktemp("blending"))


def said(arrays: Arrays) -> Tensor:
    """Logits of every window, drawn."""
    return torch.randn(len(arrays), PATCH, PATCH, PATCH, generator=torch.Generator().manual_seed(4))


def blended(
    arrays: Arrays, logits: Tensor, rows: Sequence[int] | None = None, size: int = 4, folder: Path | None = None
) -> tuple[Sums, Blended]:
    """What all batches of some rows come to together."""
    whole = Blended(arrays, folder)
    found: Sums = {}
    chosen = torch.arange(len(arrays)) if rows is None else torch.tensor(rows)
    parts = [
        whole.add({"logits": logits[part]}, batch)
        for part, batch in zip(chosen.split(size), Feed(arrays, CPU).batches(chosen.split(size)), strict=True)
    ]
    for sums in [*parts, whole.finish()]:
        for name, value in sums.items():
            found[name] = found[name] + value if name in found else value
    return found, whole


def by_loops(arrays: Arrays, logits: Tensor, rows: Sequence[int], number: int) -> tuple[np.ndarray, np.ndarray]:
    """Probability of each voxel of a volume, and whether a window covers it: Gaussian weights, at least 1e-6."""
    shape = tuple(np.maximum(SHAPES["abc"[number]], PATCH).tolist())
    total, weight = np.zeros(shape), np.zeros(shape)
    p = 1 / (1 + np.exp(-logits.double().numpy()))
    middle, spread = (PATCH - 1) / 2, PATCH / 8
    for row in (row for row in rows if arrays["volume"][row] == number):
        for place in product(range(PATCH), repeat=3):
            distance = sum((at - middle) ** 2 for at in place)
            own = max(float(np.exp(-distance / (2 * spread**2))), 1e-6)
            voxel = tuple((arrays["corner"][row] + place).tolist())
            total[voxel] += own * p[row][place]
            weight[voxel] += own
    inside = tuple(slice(size) for size in SHAPES["abc"[number]])
    return (total / np.where(weight > 0, weight, 1))[inside], (weight > 0)[inside]


@pytest.mark.parametrize("part", [1, 3], ids=["all windows", "every third window"])
def test_windows_are_blended_as_loops_do_and_scored_whole(arrays: Arrays, tmp_path: Path, part: int) -> None:
    """No mean lies so near one half that float32 could turn it; voxels that no window covers are not scored."""
    rows, logits = list(range(0, len(arrays), part)), said(arrays)
    sums, whole = blended(arrays, logits, rows, folder=tmp_path)
    scores, outcomes = [], np.zeros(4)
    for number, name in enumerate(SHAPES):
        p, covered = by_loops(arrays, logits, rows, number)
        assert covered.all() == (part == 1) and np.abs(p - 0.5)[covered].min() > 1e-6
        mask, truth, valid = p > 0.5, label(name) == 1, (label(name) < 2) & covered
        written = tifffile.imread(tmp_path / f"{name}.tif")
        assert written.dtype == np.uint8
        np.testing.assert_array_equal(written, mask & covered)
        scores.append(volume_scores(mask, truth, valid))
        outcomes += [np.sum(a & b & valid) for a, b in product((mask, ~mask), (truth, ~truth))]
    # of the products: hits, invented, missed, rest
    assert sums["voxels"].tolist() == outcomes.tolist()
    expected = {name: np.mean([one[name] for one in scores]) for name in SCORES}
    found = Surface().score({name: value.numpy() for name, value in sums.items()}, arrays.info)
    assert {name: found[name] for name in SCORES} == pytest.approx(expected)
    hits, invented, missed, _ = outcomes
    assert found["dice"] == pytest.approx(2 * hits / (2 * hits + invented + missed))

    columns, volume = whole.columns(), np.asarray(arrays["volume"])[rows]
    assert list(columns) == [f"volume.{name}" for name in COLUMNS]
    for name in COLUMNS:
        assert columns[f"volume.{name}"].tolist() == [scores[number][name] for number in volume]


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
def test_a_network_that_says_the_truth_is_right_everywhere(tmp_path: Path, overlap: float) -> None:
    arrays = opened(tmp_path, overlap)
    truth = Feed(arrays, CPU).take(torch.arange(len(arrays)))["label"]
    sums, whole = blended(arrays, torch.where(truth == 1, 9.0, -9.0))
    found = Surface().score({name: value.numpy() for name, value in sums.items()}, arrays.info)
    assert found.pop("component_error") == found.pop("foreground_error") == 0
    assert found.pop("foreground.predicted") == found.pop("foreground.true")
    assert found == pytest.approx(dict.fromkeys(found, 1.0)) and set(found) == {"dice", "iou", *SCORES} - {
        "component_error"
    }
    assert all((column == 1).all() for name, column in whole.columns().items())


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_batches_of_any_size_give_the_same_sums(arrays: Arrays, size: int) -> None:
    logits = said(arrays)
    expected, one = blended(arrays, logits)
    found, other = blended(arrays, logits, size=size)
    for name, value in expected.items():
        assert torch.equal(found[name], value)
    for name, column in one.columns().items():
        np.testing.assert_array_equal(other.columns()[name], column)


def test_volumes_add_up(arrays: Arrays) -> None:
    """Those of two passes over a volume or two are those of one over all."""
    logits, first = said(arrays), np.asarray(arrays["volume"]) == 0
    (one, _), (rest, _) = (blended(arrays, logits, np.flatnonzero(part).tolist()) for part in (first, ~first))
    for name, value in blended(arrays, logits)[0].items():
        torch.testing.assert_close(one[name] + rest[name], value)


def test_windows_of_a_volume_must_not_come_apart(arrays: Arrays) -> None:
    rows = [int(np.flatnonzero(np.asarray(arrays["volume"]) == number)[0]) for number in (0, 1)]
    with pytest.raises(ValueError, match="windows of volume 0 come apart: rows must be in their order"):
        blended(arrays, said(arrays), [*rows, rows[0] + 1], size=2)


def test_ignored_voxels_are_not_scored_whatever_is_said_of_them(arrays: Arrays) -> None:
    logits, ignored = said(arrays), Feed(arrays, CPU).take(torch.arange(len(arrays)))["label"] == 2
    expected, _ = blended(arrays, logits)
    found, _ = blended(arrays, torch.where(ignored, -logits, logits))
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_volumes_without_labels_have_files_and_no_scores(tmp_path: Path) -> None:
    for name, shape in SHAPES.items():
        write_file(tmp_path / "scans" / f"{name}.tif", picture(0, shape))
    values, cache = {"data.patch": PATCH}, tmp_path / "cache"
    arrays = open_arrays(Surface(), tmp_path / "scans", values, cache, labelled=False)
    (tmp_path / "out").mkdir()
    sums, whole = blended(arrays, torch.full((len(arrays), PATCH, PATCH, PATCH), 3.0), folder=tmp_path / "out")
    assert sums == {} and Surface().score({}, arrays.info) == {}
    assert all(np.isnan(column).all() and len(column) == len(arrays) for column in whole.columns().values())
    for name, shape in SHAPES.items():
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / f"{name}.tif"), np.ones(shape))


def test_a_file_of_a_volume_takes_the_place_of_a_link_and_leaves_its_target(arrays: Arrays, tmp_path: Path) -> None:
    source, out = tmp_path / "scan.tif", tmp_path / "out"
    write_file(source, picture(0, SHAPES["a"]))
    before = source.read_bytes()
    out.mkdir()
    (out / "a.tif").symlink_to(source)
    (out / "b.tif").write_text("old")
    logits = said(arrays)
    _, whole = blended(arrays, logits, folder=out)
    assert source.read_bytes() == before and not (out / "a.tif").is_symlink()
    assert sorted(out.iterdir()) == sorted(whole.files) == [out / f"{name}.tif" for name in SHAPES]
    assert [tifffile.imread(out / f"{name}.tif").shape for name in SHAPES] == list(SHAPES.values())


def test_a_file_that_cannot_be_put_in_its_place_leaves_nothing_behind(arrays: Arrays, tmp_path: Path) -> None:
    """And is said by its own name."""
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        blended(arrays, said(arrays), folder=tmp_path)
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "a.tif"), None)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tif"]


def test_a_volume_may_have_the_longest_name_that_a_file_can_have(tmp_path: Path) -> None:
    """255 bytes, of which four are the ending; what is written beside it has room."""
    name = "v" * 251
    images = {f"{one}.tif": picture(0) for one in (name, "w")}
    labels = {file: sheet(0) for file in images}
    table = f"id,scroll_id\n{name},s1\nw,s2\n"
    none = dict.fromkeys(("a.tif", "b.tif", "c.tif"))
    source = write_folder(tmp_path / "long", table, images=images | none, labels=labels | none)
    arrays = open_arrays(Surface(), source, {"data.patch": PATCH, "data.overlap": 0.5}, tmp_path / "cache")
    out = tmp_path / "out"
    out.mkdir()
    blended(arrays, said(arrays), folder=out)
    assert sorted(path.name for path in out.iterdir()) == sorted(images)


def test_a_name_that_no_file_can_have_is_said(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long") as caught:
        _write(tmp_path / f"{'v' * 252}.tif", np.zeros(SHAPES["a"], bool))
    assert caught.value.filename == str(tmp_path / f"{'v' * 252}.tif") and not list(tmp_path.iterdir())


def test_no_window_is_no_volume(arrays: Arrays) -> None:
    whole = Blended(arrays, None)
    assert whole.finish() == {} and all(len(column) == 0 for column in whole.columns().values())
