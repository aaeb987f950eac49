"""Read the key points that DeepLabCut has written as HDF5, without pandas.

DeepLabCut saves a pandas table with PyTables (`DataFrame.to_hdf`, format "table"): a group, `df_with_missing`, holds
the dataset `table`, whose field `values_block_0` has a row of numbers per frame. What its columns are, PyTables keeps
as a pickle in the attribute `values_block_0_kind`: a list of tuples (scorer, individual where there are several, body
part, coordinate). Unpickling runs whatever code a file brings along, so the pickle is only taken apart into its
opcodes (`pickletools`), and all but those of lists, tuples and texts are refused.
"""

from __future__ import annotations

import pickletools
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from objectives.behaviour.points import Track, layout, track

ENDINGS = (".h5", ".hdf5")
_FRAMES, _VALUES, _COLUMNS = "index", "values_block_0", "values_block_0_kind"
_WAY_OUT = "give the CSV that DeepLabCut writes beside it (save_as_csv, or analyze_videos_converth5_to_csv)"
#: A file that is damaged or made up may claim more rows than fit into memory; deflate packs about 1030 bytes into one
#: (RFC 1951: 258 bytes in two bits).
_MOST_PACKED = 1032
_MARK = object()


class _OtherLayout(ValueError):
    """What a file holds in place of DeepLabCut's table."""


def read_h5(path: Path, file: str, min_likelihood: float, problems: list[str]) -> Track | None:
    """The points of one file; None where something is wrong with it, which is added to `problems`."""
    try:
        with h5py.File(path, "r") as opened:
            table = _table(opened)
            columns = _columns(_pickled(table))
            values = np.asarray(table.fields(_VALUES)[:], np.float64)
            frames = table.fields(_FRAMES)[:] if _FRAMES in table.dtype.names else np.zeros(0)
    except _OtherLayout as error:
        problems.append(f"{file}: not a table of DeepLabCut: {error}; {_WAY_OUT}")
        return None
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        # What h5py raises for files that are damaged, cut off, compressed by filters that are not here, or no HDF5.
        problems.append(f"{file}: cannot be read as HDF5 ({str(error)[:200]}); {_WAY_OUT}")
        return None
    if values.shape != (len(values), len(columns)) or not len(values):
        problems.append(f"{file}: {len(columns)} columns are named, the numbers are {values.shape}; {_WAY_OUT}")
        return None
    if frames.dtype.kind in "iu" and len(jumps := np.flatnonzero(np.diff(frames) != 1)):
        text = f"Frame is {frames[jumps[0] + 1]} after {frames[jumps[0]]}; frames rise by one: give every frame a row"
        problems.append(f"{file}: {text}, in order")
        return None
    found = layout(columns, file, problems)
    return track(found, values, min_likelihood, file, problems) if found else None


def _table(opened: h5py.File) -> h5py.Dataset:
    """The one table; links that lead out of the file are not followed."""
    found: list[h5py.Dataset] = []
    for name in opened:
        group = opened[name] if isinstance(opened.get(name, getlink=True), h5py.HardLink) else None
        inside = isinstance(group, h5py.Group) and isinstance(group.get("table", getlink=True), h5py.HardLink)
        table = group["table"] if group is not None and inside else None
        if isinstance(table, h5py.Dataset) and not table.external and not table.is_virtual:
            found.append(table)
    if len(found) != 1:
        raise _OtherLayout(f"{len(found)} groups with a dataset 'table', there is one in DeepLabCut's")
    blocks = [name for name in found[0].dtype.names or () if name.startswith("values_block_")]
    if blocks != [_VALUES]:
        raise _OtherLayout(f"the table has {', '.join(blocks) or 'no values'} where DeepLabCut has {_VALUES}")
    held, claimed = Path(opened.filename).stat().st_size, found[0].size * found[0].dtype.itemsize
    if claimed > _MOST_PACKED * held:
        raise _OtherLayout(f"the table claims {found[0].size} rows, {claimed} bytes, in a file of {held}")
    return found[0]


def _pickled(table: h5py.Dataset) -> bytes:
    pickled = table.attrs.get(_COLUMNS)
    if not isinstance(pickled, bytes):
        raise _OtherLayout(f"it has no attribute {_COLUMNS} that names its columns")
    return pickled


def _columns(pickled: bytes) -> list[tuple[str, str, str]]:
    """Individual (empty where there are none), body part and coordinate of every column, out of a pickle.

    Raises:
        _OtherLayout: it holds anything but a list of tuples of three or four texts; nothing of it has run.
    """
    try:
        found = _assembled(pickled)
    except (ValueError, IndexError, KeyError, AttributeError) as error:
        raise _OtherLayout(f"the names of its columns are no list of texts ({error})") from None
    if not isinstance(found, list) or not found:
        raise _OtherLayout("the names of its columns are no list")
    columns: list[tuple[str, str, str]] = []
    for names in found:
        texts = isinstance(names, tuple) and all(isinstance(name, str) for name in names)
        if not texts or len(names) not in (3, 4) or len(names) != len(found[0]):
            raise _OtherLayout("a column is named by other things than scorer, (individual,) body part and coordinate")
        columns.append(("", *names[1:])[-3:])
    return columns


def _assembled(pickled: bytes) -> Any:
    """What a pickle of lists, tuples and texts describes (protocol 0, that of PyTables)."""
    stack: list[Any] = []
    memory: dict[Any, Any] = {}
    for opcode, given, _ in pickletools.genops(pickled):
        match opcode.name:
            case "UNICODE" | "STRING":
                stack.append(given)
            case "MARK":
                stack.append(_MARK)
            case "LIST" | "TUPLE":
                start = len(stack) - 1 - stack[::-1].index(_MARK)
                parts = stack[start + 1 :]
                stack[start:] = [parts if opcode.name == "LIST" else tuple(parts)]
            case "APPEND":
                part = stack.pop()
                stack[-1].append(part)
            case "PUT":
                memory[given] = stack[-1]
            case "GET":
                stack.append(memory[given])
            case "STOP":
                return stack.pop()
            case other:
                raise ValueError(f"it holds {other}, which could run code or is not needed; it was not run")
    raise ValueError("it has no end")
