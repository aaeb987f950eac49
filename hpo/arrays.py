"""Prepared data: built once under a lock, memory-mapped by every worker, never copied per process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from hpo.files import make_folder
from hpo.objective import Batch, DataError, Objective
from hpo.windows import Windows

#: Share of the free device memory that prepared arrays may take to live there for the whole run.
RESIDENT_SHARE = 0.5


#: Folders beside the arrays of rows.
_FIELDS, _WINDOWS = "fields", "windows"


class ArrayFolder:
    """Where `Objective.prepare` writes: one `.npy` file per array, first dimension the row.

    Rows may be windows of something larger, such as a volume: fields hold it once, `add_windows` says where they lie.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, name: str, array: np.ndarray) -> None:
        """Write a whole array."""
        np.save(self._path / f"{name}.npy", array, allow_pickle=False)

    def create(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.memmap:
        """An array on disk to be filled piece by piece, for data larger than memory."""
        return np.lib.format.open_memmap(self._path / f"{name}.npy", mode="w+", dtype=dtype, shape=shape)

    def create_field(self, name: str, size: int, dtype: Any) -> np.memmap:
        """A flat array without rows, to be filled piece by piece; a batch holds the windows of its rows by its name."""
        (self._path / _FIELDS).mkdir(exist_ok=True)
        return self.create(f"{_FIELDS}/{name}", (size,), dtype)

    def add_windows(self, start: np.ndarray, stride: np.ndarray, shape: tuple[int, ...]) -> None:
        """Where in the fields the window of each row lies; see `hpo.windows.Windows` for shapes."""
        (self._path / _WINDOWS).mkdir()
        for name, array in (("start", start), ("stride", stride), ("shape", np.asarray(shape))):
            self.add(f"{_WINDOWS}/{name}", array.astype(np.int64))


class Arrays:
    """Named arrays of one prepared data set with equal first dimension, and the facts `prepare` returned.

    Attributes:
        fields: what rows are windows of, see `ArrayFolder.create_field`; mostly none.
        windows: where; None without fields.
    """

    def __init__(self, path: Path) -> None:
        facts = json.loads((path / "info.json").read_text())
        self.path = path
        self.fingerprint: str = facts["fingerprint"]
        self.info: Mapping[str, Any] = facts["info"]
        self._arrays = _maps(path)
        self.fields: Mapping[str, np.ndarray] = _maps(path / _FIELDS)
        where = {name: np.array(array) for name, array in _maps(path / _WINDOWS).items()}
        self.windows: Windows | None = None
        if where:
            start, stride = torch.from_numpy(where["start"]), torch.from_numpy(where["stride"])
            self.windows = Windows(start, stride, tuple(where["shape"].tolist()))

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Any:
        return iter(self._arrays)

    def __len__(self) -> int:
        return int(self.info["rows"])

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in (*self._arrays.values(), *self.fields.values()))


class Feed:
    """Takes batches of rows from `Arrays` to a device.

    The arrays are resident on the device when they fit RESIDENT_SHARE of its free memory; otherwise rows are gathered
    from the map. On a CPU the map itself is the resident copy, shared by all workers through the page cache.
    The numbers are the same either way.
    """

    def __init__(self, arrays: Arrays, device: torch.device, resident: bool | None = None) -> None:
        self.device = device
        self._maps = {name: torch.from_numpy(arrays[name]) for name in arrays}
        self._fields = {name: torch.from_numpy(field) for name, field in arrays.fields.items()}
        self._windows = arrays.windows
        if resident is None:
            resident = device.type == "cpu" or _fits(arrays.nbytes, device)
        self.resident = resident
        if resident:
            self._maps = {name: tensor.to(device) for name, tensor in self._maps.items()}
            self._fields = {name: tensor.to(device) for name, tensor in self._fields.items()}
            self._windows = self._windows.to(device) if self._windows else None

    def batches(self, parts: Sequence[torch.Tensor]) -> Iterator[Batch]:
        """The batches of `parts` in order; when they must be gathered, a thread gathers the next one meanwhile."""
        if self.resident or len(parts) == 1:
            yield from map(self.take, parts)
            return
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as pool:
            following = pool.submit(self.take, parts[0])
            for part in parts[1:]:
                batch, following = following.result(), pool.submit(self.take, part)
                yield batch
            yield following.result()

    def take(self, rows: torch.Tensor) -> Batch:
        """The batch of the given rows.

        Args:
            rows: `int64[batch]`, on the device when the arrays are resident, else on the CPU.
        """
        gathered = {name: tensor.index_select(0, rows) for name, tensor in self._maps.items()}
        if self._windows is not None:
            gathered |= self._windows.take(self._fields, rows)
        if self.resident or self.device.type == "cpu":
            return gathered
        return {name: tensor.pin_memory().to(self.device, non_blocking=True) for name, tensor in gathered.items()}


def _maps(path: Path) -> dict[str, np.ndarray]:
    """Copy-on-write: torch wants writable memory, the file must never change."""
    return {f.stem: np.load(f, mmap_mode="c") for f in sorted(path.glob("*.npy"))}


def _fits(nbytes: int, device: torch.device) -> bool:
    free, _ = torch.cuda.mem_get_info(device)
    return nbytes < RESIDENT_SHARE * free


def open_arrays(
    objective: Objective,
    source: Path | None,
    values: Mapping[str, Any],
    cache: Path,
    fingerprint: str | None = None,
    *,
    labelled: bool = True,
) -> Arrays:
    """The prepared data of `source`, built now if no worker has built them before.

    Args:
        objective: whose `prepare` reads the source.
        source: folder or file with the raw data; None for the objective's own (synthetic or bundled) data.
        values: flat parameters, of which `prepare` gets those of the group `data` that it names in `prepare_keys`;
            the objective's defaults for those left out.
        cache: folder of all prepared data sets.
        fingerprint: of the data a study was launched with, which are opened without a look at the raw ones.
        labelled: whether labels are needed; predictions do without.

    Raises:
        DataError: when the source is missing, `prepare` refuses it, it has no labels, or it no longer has that
            fingerprint.
    """
    prepared = cache / f"{objective.name}-{(fingerprint or '')[:16]}"
    if fingerprint is not None and prepared.exists():
        return Arrays(prepared)
    complete = {**objective.defaults, **values}
    options = {key: complete[f"data.{key}"] for key in objective.prepare_keys}
    key = {"objective": objective.name, "version": objective.version, "options": options}
    found = _fingerprint(source, key, cache.parent)
    if fingerprint not in (None, found):
        raise DataError(f"{source}: the content of the files has changed since the study was launched")
    fingerprint = found
    path = cache / f"{objective.name}-{fingerprint[:16]}"
    if not path.exists():
        make_folder(cache)
        with FileLock(cache / f"{path.name}.lock"):
            if not path.exists():
                _build(objective, source, options, path, fingerprint)
    arrays = Arrays(path)
    if labelled and arrays.info.get("unlabelled"):
        raise DataError(f"{source or objective.name}: {arrays.info['unlabelled']}")
    return arrays


def _build(objective: Objective, source: Path | None, options: Mapping[str, Any], path: Path, fingerprint: str) -> None:
    building = path.with_name(path.name + ".building")
    shutil.rmtree(building, ignore_errors=True)  # left by a process that was killed: we hold the lock
    building.mkdir()
    try:
        info = dict(objective.prepare(source, options, ArrayFolder(building)))
        lengths = {f.stem: len(np.load(f, mmap_mode="r")) for f in building.glob("*.npy")}
        if not lengths or min(lengths.values()) == 0:
            raise DataError(f"{source or objective.name}: no rows were found")
        if len(set(lengths.values())) > 1:
            raise DataError(f"{objective.name}.prepare wrote arrays of unequal length: {lengths}")
        info["rows"] = next(iter(lengths.values()))
        (building / "info.json").write_text(json.dumps({"fingerprint": fingerprint, "info": info}))
        os.replace(building, path)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def require_source(source: Path | None) -> None:
    """Refuse a path at which there is nothing; None is the objective's own data.

    Raises:
        DataError: nothing is there.
    """
    if source is not None and not source.exists():
        raise DataError(f"{source}: no such file or folder")


def _fingerprint(source: Path | None, key: Mapping[str, Any], runs: Path) -> str:
    """SHA-256 over every file's name and content, and over what `prepare` was asked to do.

    Hidden files and the folder of the runs, which a source such as `.` may hold, are not data.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
    if source is None:
        return digest.hexdigest()
    require_source(source)
    source, runs = source.absolute(), runs.absolute()
    inside = runs if source in runs.parents else None
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if _is_data(p, inside))
    if not files:  # it would have the fingerprint of made-up data
        raise DataError(f"{source}: the folder holds no files")
    for file in files:
        digest.update(os.fsencode(file.relative_to(source) if source.is_dir() else file.name))
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def _is_data(path: Path, runs: Path | None) -> bool:
    return path.is_file() and not path.name.startswith(".") and not (runs and path.is_relative_to(runs))
