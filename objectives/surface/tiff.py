"""Read stacks of slices from TIFF files, slab by slab, so that none is ever in memory whole.

A stack is a file of many pages, or a folder of files of one page each. tifffile reads what programs write: strips and
tiles, every compression of imagecodecs, BigTIFF, either order of bytes, hyperstacks of ImageJ, OME. Files are opened
for every slab and closed after it: a source may hold more of them than a process may have open.

A file that names others, as OME and Micro-Manager do, is read alone: nothing outside the source is opened. The shape
that tifffile itself notes in a file is not trusted, since programs that crop a file may leave the old one in it: one of
more axes than three is heeded where it fits the pages, and only to refuse them. Nor does what tifffile logs reach the
terminal: an error of the log is an error of the file.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tifffile import TiffFile, TiffPageSeries

from hpo.objective import DataError
from objectives.surface.data import Slabs

ENDINGS = (".tif", ".tiff")
#: How a TIFF begins: little and big endian, classic and BigTIFF.
_BEGINS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
#: ImageJ shows no more channels in one picture; tifffile calls slices channels where nobody names the axes.
_MOST_CHANNELS = 7
#: The shape that tifffile notes in a description, in its present form and its old one.
_NOTE = re.compile(r'(?:\{"shape": \[|shape=\()([0-9, ]+)')
_AGAIN = "copy or export it again"
_ALONE = "save slices, lines and columns alone"


class SingleSliceError(DataError):
    """A file holds one slice where a stack should be."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Slices of one size and type."""

    path: Path  #: file, or folder of slices
    shape: tuple[int, int, int]  #: slices, lines, columns
    dtype: np.dtype  #: in the order of bytes of this machine
    slab: Slabs  #: raises DataError where a slice cannot be decoded


def open_stack(path: Path) -> Stack:
    """What a file, or a folder of slices, holds; slices are found but not decoded.

    Raises:
        DataError: with path and way out, where it is no TIFF, no stack of grey slices of one size and type, or where
            slices are missing, in part or whole.
    """
    return _of_slices(path) if path.is_dir() else _of_pages(path)


def is_tiff(path: Path) -> bool:
    """Whether something is a file with the ending of a TIFF; hidden ones are none."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file()


def _of_pages(path: Path) -> Stack:
    with _opened(path) as tiff:
        series = _series(path, tiff)
        if series.ndim == 2:
            text = f"a single 2-D image ({_by(series.shape)}); save all slices of a volume as pages of one file, or as"
            raise SingleSliceError(f"{path}: {text} files in a folder of the volume's name")
        slices, lines, columns = series.shape
        shape, dtype = (slices, lines, columns), np.dtype(series.dtype)
        if series.dataoffset is not None:
            _reaches(path, series.dataoffset + series.nbytes)
            slab: Slabs = partial(_mapped, path, series.dataoffset, dtype.newbyteorder(tiff.byteorder), shape)
        elif len(series) != shape[0]:
            raise DataError(f"{path}: tiles that are several slices deep; save every slice as a page of its own")
        else:
            _complete(path, series)
            slab = partial(_decoded, path)
        return Stack(path=path, shape=shape, dtype=dtype, slab=slab)


def _of_slices(folder: Path) -> Stack:
    files = sorted(filter(is_tiff, folder.iterdir()), key=lambda path: _natural(path.name))
    found: dict[tuple[tuple[int, ...], np.dtype], list[str]] = {}
    for path in files:
        with _opened(path) as tiff:
            series = _series(path, tiff)
            if series.ndim != 2:
                raise DataError(f"{path}: {series.shape[0]} pages; in a folder of slices each file holds one")
            _complete(path, series)
            found.setdefault((series.shape, np.dtype(series.dtype)), []).append(path.name)
    if len(found) > 1:
        kinds = "; ".join(f"{_kind(*kind)}: {len(names)} from {names[0]}" for kind, names in found.items())
        raise DataError(f"{folder}: slices of unequal size or type ({kinds}); make them equal")
    ((lines, columns), dtype) = next(iter(found))
    return Stack(path=folder, shape=(len(files), lines, columns), dtype=dtype, slab=partial(_slices, files))


def _natural(name: str) -> list[str | int]:
    """Sorts `slice2` before `slice10`."""
    return [int(part) if k % 2 else part.lower() for k, part in enumerate(re.split(r"([0-9]+)", name))]


class _Log(logging.Filter):
    """Keeps what tifffile logs from the terminal, and its first error."""

    error = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            self.error = self.error or record.getMessage()
        return False


@contextmanager
def _opened(path: Path) -> Iterator[TiffFile]:
    """An open file; whatever is wrong with its bytes is a DataError."""
    log, logger = _Log(), logging.getLogger("tifffile")
    logger.addFilter(log)
    try:
        _begins(path)
        with TiffFile(path, is_shaped=False, is_mmstack=False, is_ndtiff=False, _multifile=False) as tiff:
            yield tiff
            if log.error:
                raise _damaged(path, log.error)
    except DataError as error:  # slices that a broken chain of pages hides are no mistake of their own
        raise (_damaged(path, log.error) if log.error else error) from None
    except Exception as error:  # damaged bytes reach parsers that raise anything, from struct.error to KeyError
        raise _damaged(path, log.error or error) from None
    finally:
        logger.removeFilter(log)


def _begins(path: Path) -> None:
    try:
        with path.open("rb") as opened:
            first = opened.read(4)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); mend that, or take it out") from None
    if not first:
        raise DataError(f"{path}: the file is empty; {_AGAIN}")
    if first not in _BEGINS:
        raise DataError(f"{path}: not a TIFF file, whatever its name says; save the volume as TIFF")


def _series(path: Path, tiff: TiffFile) -> TiffPageSeries:
    """The only series of a file, of grey slices."""
    if len(tiff.series) != 1:
        kinds = dict.fromkeys(_kind(series.keyframe.shape, series.keyframe.dtype) for series in tiff.series)
        text = f"pages of unequal size, type or compression ({', '.join(kinds)})" if kinds else "no pages"
        raise DataError(f"{path}: {text}; save slices of one kind, and nothing else")
    series = tiff.series[0]
    if not series.size:
        raise _damaged(path, f"slices of {_by(series.shape[-2:])} voxels")
    if "S" in series.axes:
        samples = series.shape[series.axes.index("S")]
        raise DataError(f"{path}: {samples} values per voxel, as of colours (RGB); save it in grey")
    if "C" in series.axes and (channels := series.shape[series.axes.index("C")]) <= _MOST_CHANNELS:
        raise DataError(f"{path}: {channels} channels; save the one that shows the surface")
    if series.ndim not in (2, 3) or not series.axes.endswith("YX"):
        text = f"{series.ndim} axes ({series.axes}, {_by(series.shape)})"
        raise DataError(f"{path}: {text}; {_ALONE}")
    if len(noted := _noted(series)) > 3:
        text = f"written as an array of {len(noted)} axes ({_by(noted)}), as of several volumes or channels"
        raise DataError(f"{path}: {text}; {_ALONE}")
    return series


def _noted(series: TiffPageSeries) -> list[int]:
    """The axes longer than 1 that tifffile noted when it wrote the pages; none where the note is not of these."""
    found = _NOTE.match(series.keyframe.shaped_description or "")
    axes = [int(length) for length in re.findall("[0-9]{1,9}", found[1])] if found else []
    fits = math.prod(axes) == series.size and tuple(axes[-2:]) == series.shape[-2:]
    return [length for length in axes if length > 1] if fits else []


def _kind(shape: Sequence[int], dtype: np.dtype | None) -> str:
    return f"{_by(shape)} {dtype}"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _reaches(path: Path, end: int) -> None:
    if (size := path.stat().st_size) < end:
        raise _damaged(path, f"{size:,} bytes where its pages end at {end:,}")


def _complete(path: Path, series: TiffPageSeries) -> None:
    """Refuse slices of which parts are not in the file: tifffile would fill some of them with zeros."""
    for number, page in enumerate(series):
        if page is None or not page.dataoffsets or not all(page.dataoffsets) or not all(page.databytecounts):
            raise _damaged(path, f"slice {number} is missing, or parts of it")
        _reaches(path, max(map(sum, zip(page.dataoffsets, page.databytecounts, strict=True))))


def _damaged(path: Path, why: object) -> DataError:
    reason = re.sub(r"<[^<>]*> *", "", str(why))[:120]  # tifffile begins with objects: <tifffile.TiffPages @8>
    return DataError(f"{path}: damaged or cut short ({reason}); {_AGAIN}")


def _mapped(path: Path, offset: int, dtype: np.dtype, shape: tuple[int, int, int], first: int, last: int) -> np.ndarray:
    """Slices that lie one after the other, uncompressed."""
    try:
        pages = np.memmap(path, dtype, "r", offset, shape)
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return np.array(pages[first:last], dtype.newbyteorder("="))


def _decoded(path: Path, first: int, last: int) -> np.ndarray:
    """Slices that are decoded page by page, on one thread, since workers share the cores."""
    with _opened(path) as tiff:
        series = _series(path, tiff)
        slab = np.empty((last - first, *series.shape[-2:]), series.dtype)
        for number, piece in enumerate(slab, first):
            try:
                page = series[number]
                if page is None:
                    raise ValueError("it is missing")
                piece[...] = page.asarray(maxworkers=1)
            except Exception as error:  # as in _opened
                raise _damaged(path, f"slice {number}: {error}") from None
        return slab


def _slices(files: Sequence[Path], first: int, last: int) -> np.ndarray:
    return np.concatenate([_decoded(path, 0, 1) for path in files[first:last]])
