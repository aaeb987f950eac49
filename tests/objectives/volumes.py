"""Folders of TIFF volumes for tests of what reads them: a good one, changed in one place or another."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from hpo.objective import DataError
from objectives.surface import files as surface_files

SHAPE = (6, 10, 12)
TABLE = "id,scroll_id\na,s1\nb,s1\nc,s2\n"
#: What a file of a folder is: voxels, bytes as they are, or None for no file.
Content = np.ndarray | bytes | None


def picture(seed: int, shape: tuple[int, ...] = SHAPE, dtype: type = np.uint8) -> np.ndarray:
    """Voxels of every value."""
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def sheet(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A label with all three values, in a random order."""
    return np.random.default_rng(seed).integers(0, 3, shape, np.uint8)


def write_folder(
    folder: Path,
    table: str | bytes | None = TABLE,
    *,
    images: Mapping[str, Content] | None = None,
    labels: Mapping[str, Content] | None = None,
    **how: Any,
) -> Path:
    """A folder of the volumes a, b and c, but for what is given by file name; `how` is handed to `tifffile.imwrite`."""
    good = {
        "train_images": {f"{name}.tif": picture(seed) for seed, name in enumerate("abc")} | dict(images or {}),
        "train_labels": {f"{name}.tif": sheet(seed) for seed, name in enumerate("abc")} | dict(labels or {}),
    }
    for where, contents in good.items():
        (folder / where).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_file(folder / where / name, content, **how)
    if table is not None:
        (folder / "train.csv").write_bytes(table if isinstance(table, bytes) else table.encode())
    return folder


def write_file(path: Path, content: Content, **how: Any) -> None:
    """A TIFF of voxels, or bytes as they are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        tifffile.imwrite(path, content, **{"photometric": "minisblack", **how})


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with a folder, without what is said below the list."""
    with pytest.raises(DataError) as error:
        surface_files.read(folder)
    first, *others = str(error.value).split("\nto predict")[0].split("\n  ")
    assert first == f"{folder}: {len(others)} problem{'s' if len(others) > 1 else ''}"
    return others
