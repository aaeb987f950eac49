"""Prepared data: built once, mapped by everybody, the same numbers on every way to the device."""

from __future__ import annotations

import multiprocessing
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hpo.arrays import ArrayFolder, Arrays, Feed, open_arrays
from hpo.objective import DataError
from tests.toy import CPU, Toy, toy_arrays, toy_run

#: Processes of their own from a server that imports torch once for all of them.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.toy"])
LARGE_ROWS = 400_000  #: 9.6 MB of features


class Counted(Toy):
    """Leaves a file for every time it prepared; `source` names the folder to leave it in, which is not read."""

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        marks = Path(data["marks"])
        (marks / f"prepared-{len(list(marks.iterdir()))}").touch()
        return super().prepare(source, data, folder)

    prepare_keys: tuple[str, ...] = ("rows", "marks")


class Writes(Toy):
    """Writes whatever the test says."""

    def __init__(self, write: Callable[[ArrayFolder], None]) -> None:
        self._write = write

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        self._write(folder)
        return {}


def wait_for_all(barrier: Barrier) -> None:
    barrier.wait(60)


def build_and_sum(cache: str, marks: str) -> tuple[str, float]:
    arrays = open_arrays(Counted(), None, {"data.rows": 20_000, "data.marks": marks}, Path(cache))
    return arrays.fingerprint, float(arrays["features"].sum(dtype=np.float64))


def private_kilobytes(cache: str) -> tuple[bool, int, int]:
    """Read all rows through a feed: whether tensor and file share memory, kilobytes of the map, those of our own."""
    arrays = toy_arrays(Path(cache), LARGE_ROWS)
    feed = Feed(arrays, CPU)
    for rows in torch.arange(LARGE_ROWS).split(4096):
        feed.take(rows)
    address = feed._maps["features"].data_ptr()
    own = mapped = 0
    for mapping in re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text(), flags=re.M):
        if "features.npy" in mapping:
            mapped += int(re.findall(r"^Rss: +(\d+) kB", mapping, re.M)[0])
            own += int(re.findall(r"^Anonymous: +(\d+) kB", mapping, re.M)[0])
    return address == arrays["features"].ctypes.data, mapped, own


def test_four_workers_that_start_at_once_build_once(tmp_path: Path) -> None:
    cache, marks = tmp_path / "cache", tmp_path / "marks"
    marks.mkdir()
    together = PROCESSES.Barrier(4)
    with ProcessPoolExecutor(4, PROCESSES, initializer=wait_for_all, initargs=(together,)) as pool:
        found = list(pool.map(build_and_sum, [str(cache)] * 4, [str(marks)] * 4))
    assert len(list(marks.iterdir())) == 1
    assert len(set(found)) == 1
    assert not list(cache.glob("*.building"))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/self/smaps")
def test_a_process_that_reads_everything_has_no_copy_of_its_own(tmp_path: Path) -> None:
    toy_arrays(tmp_path, LARGE_ROWS)
    with ProcessPoolExecutor(1, PROCESSES) as pool:
        shared, mapped, own = pool.submit(private_kilobytes, str(tmp_path)).result()
    assert shared
    assert mapped >= LARGE_ROWS * 24 / 1024
    assert own == 0


def test_the_files_never_change(tmp_path: Path) -> None:
    arrays = toy_arrays(tmp_path)
    before = arrays["features"].copy()
    Feed(arrays, CPU)._maps["features"].zero_()
    np.testing.assert_array_equal(toy_arrays(tmp_path)["features"], before)


def test_arrays_say_what_they_hold(tmp_path: Path) -> None:
    arrays = toy_arrays(tmp_path, 30)
    assert len(arrays) == 30
    assert sorted(arrays) == ["features", "number", "target"]
    assert arrays.nbytes == 30 * (6 * 4 + 4 + 8)
    assert arrays.info == {"classes": ["often", "seldom", "rare"], "synthetic": True, "rows": 30}


# ---- the cache


def test_prepared_data_are_found_again_only_for_the_same_question(tmp_path: Path) -> None:
    class Newer(Toy):
        version = 2

    source, other = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("50")
    other.write_text("50")
    options = {"data.rows": 50}
    first = open_arrays(Toy(), source, options, tmp_path / "cache")
    assert open_arrays(Toy(), source, options | {"optimizer.lr": 1.0}, tmp_path / "cache").path == first.path
    different = [
        open_arrays(Newer(), source, options, tmp_path / "cache"),
        open_arrays(Toy(), other, options, tmp_path / "cache"),
        open_arrays(Toy(), source, {"data.rows": 51}, tmp_path / "cache"),
        open_arrays(Toy(), None, options, tmp_path / "cache"),
    ]
    source.write_text("49")
    different.append(open_arrays(Toy(), source, options, tmp_path / "cache"))
    assert len({arrays.fingerprint for arrays in [first, *different]}) == 6


class Folders(Toy):
    """Reads no file of its folder."""

    def prepare(self, source: Path | None, data: Mapping[str, Any], folder: ArrayFolder) -> Mapping[str, Any]:
        return super().prepare(None, data, folder)


def fingerprint(source: Path) -> str:
    return open_arrays(Folders(), source, {"data.rows": 9}, source / "runs" / "cache").fingerprint


def test_the_fingerprint_does_not_depend_on_where_the_data_lie(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "deep").mkdir(parents=True)
    (here / "deep" / "a.csv").write_text("1,2")
    (here / "b.csv").write_text("3")
    shutil.copytree(here, there)
    first = fingerprint(here)
    assert fingerprint(there) == first
    (there / "b.csv").rename(there / "c.csv")
    assert fingerprint(there) != first


def test_files_may_have_any_name(tmp_path: Path) -> None:
    """Names on Linux are bytes; hpo leaves it to the objective which of them it can say."""
    found = set()
    for name in ("caf\udce9.txt", "caf\udce8.txt", "café.txt"):  # two in Latin-1, one in UTF-8
        (tmp_path / name).write_text("1")
        found.add(fingerprint(tmp_path))
        found.add(open_arrays(Folders(), tmp_path / name, {"data.rows": 9}, tmp_path / "runs" / "cache").fingerprint)
        (tmp_path / name).unlink()
    assert len(found) == 3, "a folder of one file is as the file itself"


def test_what_is_no_data_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    """`--data .`: the runs folder lies within and grows while workers open the data."""
    (tmp_path / "a.csv").write_text("1")
    first = fingerprint(tmp_path)
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "runs" / "hpo.db").write_text("x")
    assert fingerprint(tmp_path) == first
    (tmp_path / "b.csv").write_text("2")
    assert fingerprint(tmp_path) != first


def test_a_study_opens_the_data_it_was_launched_with(tmp_path: Path) -> None:
    """By fingerprint, without reading gigabytes of recordings again; built anew only from the same content."""
    source, cache, options = tmp_path / "rows.txt", tmp_path / "runs" / "cache", {"data.rows": 9}
    source.write_text("50")
    first = open_arrays(Toy(), source, options, cache)
    source.write_text("51")
    assert len(open_arrays(Toy(), source, options, cache, first.fingerprint)) == 50
    shutil.rmtree(first.path)
    message = r"rows\.txt: the content of the files has changed since the study was launched"
    with pytest.raises(DataError, match=message):
        open_arrays(Toy(), source, options, cache, first.fingerprint)
    source.write_text("50")
    assert open_arrays(Toy(), source, options, cache, first.fingerprint).fingerprint == first.fingerprint


def test_what_a_killed_worker_left_is_built_anew(tmp_path: Path) -> None:
    path = toy_arrays(tmp_path).path
    shutil.rmtree(path)
    building = path.with_name(path.name + ".building")
    building.mkdir()
    (building / "half.npy").write_bytes(b"\x93NUMPY")
    assert sorted(toy_arrays(tmp_path)) == ["features", "number", "target"]
    assert not building.exists()


def test_an_array_can_be_written_piece_by_piece(tmp_path: Path) -> None:
    def write(folder: ArrayFolder) -> None:
        array = folder.create("clip", (4, 3), np.float32)
        for row in range(4):
            array[row] = row
        array.flush()

    arrays = open_arrays(Writes(write), None, {"data.rows": 1}, tmp_path)
    np.testing.assert_array_equal(arrays["clip"], np.repeat(np.arange(4.0), 3).reshape(4, 3))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda folder: None, "toy: no rows were found"),
        (lambda folder: folder.add("x", np.empty((0, 3))), "toy: no rows were found"),
        (
            lambda folder: (folder.add("x", np.zeros(3)), folder.add("y", np.zeros(4))),
            r"toy\.prepare wrote arrays of unequal length: \{'x': 3, 'y': 4\}|\{'y': 4, 'x': 3\}",
        ),
    ],
)
def test_useless_data_are_refused_and_leave_nothing(tmp_path: Path, write: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_arrays(Writes(write), None, {"data.rows": 1}, tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'nowhere'}: no such file or folder")):
        open_arrays(Toy(), tmp_path / "nowhere", {"data.rows": 1}, tmp_path)


def test_a_folder_without_files_is_refused_also_where_made_up_data_are_prepared(tmp_path: Path) -> None:
    """Its content is that of no source: it had the same fingerprint, and was trained as made-up data."""
    cache, empty = tmp_path / "cache", tmp_path / "empty"
    empty.mkdir()
    open_arrays(Toy(), None, {"data.rows": 1}, cache)
    with pytest.raises(DataError, match=re.escape(f"{empty}: the folder holds no files")):
        open_arrays(Toy(), empty, {"data.rows": 1}, cache)


def test_what_prepare_refuses_comes_through(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("-3")
    with pytest.raises(DataError, match=r"rows\.txt: -3 rows"):
        open_arrays(Toy(), tmp_path / "rows.txt", {"data.rows": 1}, tmp_path / "cache")


# ---- the feed


@pytest.mark.parametrize("parts", [1, 2, 7])
def test_gathered_batches_equal_resident_ones(tmp_path: Path, parts: int) -> None:
    arrays = toy_arrays(tmp_path)
    rows = torch.tensor_split(torch.randperm(len(arrays))[:50], parts)
    resident, gathered = (list(Feed(arrays, CPU, resident).batches(rows)) for resident in (True, False))
    assert len(resident) == len(gathered) == parts
    for one, other, part in zip(resident, gathered, rows, strict=True):
        assert list(one) == list(other) == list(arrays)
        for name, values in one.items():
            torch.testing.assert_close(
                values, torch.from_numpy(arrays[name][part.numpy()]), rtol=0, atol=0, equal_nan=True
            )
            torch.testing.assert_close(values, other[name], rtol=0, atol=0, equal_nan=True)


def test_a_run_does_not_see_which_way_its_batches_came(tmp_path: Path) -> None:
    arrays = toy_arrays(tmp_path)
    resident, gathered = toy_run(arrays), toy_run(arrays)
    gathered.feed = Feed(arrays, CPU, resident=False)
    for _ in range(2):
        one, other = resident.epoch(), gathered.epoch()
        assert (one.train, one.validation) == (other.train, other.validation)


def test_a_feed_left_early_stops_its_thread(tmp_path: Path) -> None:
    batches = Feed(toy_arrays(tmp_path), CPU, resident=False).batches(torch.arange(40).split(10))
    next(batches)
    batches.close()  # type: ignore[attr-defined]


def test_an_error_while_gathering_reaches_the_run(tmp_path: Path) -> None:
    feed = Feed(toy_arrays(tmp_path), CPU, resident=False)
    with pytest.raises(IndexError):
        list(feed.batches([torch.tensor([1]), torch.tensor([10**6])]))


@pytest.mark.gpu
@pytest.mark.parametrize("resident", [True, False, None])
def test_batches_on_a_gpu_equal_those_on_the_cpu(tmp_path: Path, resident: bool | None) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    arrays, device = toy_arrays(tmp_path), torch.device("cuda:0")
    feed = Feed(arrays, device, resident)
    rows = torch.arange(50, device=device if feed.resident else CPU).split(20)
    for one, part in zip(feed.batches(rows), rows, strict=True):
        for name, values in one.items():
            assert values.device.type == "cuda"
            torch.testing.assert_close(values.cpu(), torch.from_numpy(arrays[name][part.cpu().numpy()]), equal_nan=True)


def test_opening_what_is_no_prepared_data_fails(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"info\.json"):
        Arrays(tmp_path)
