"""Read train.csv or test.csv, which name the volumes of a folder.

    id                    a volume: its files without their ending
    group, or scroll_id   volumes of one group never part in folds; test.csv may leave it out

Further columns are ignored. Cells are separated by commas, semicolons or tabs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.problems import Mistake, gathered, near, some
from objectives.tables import ragged, read_table

#: Columns that name the group; the first that is there does.
GROUPS = ("group", "scroll_id")


@dataclass(frozen=True)
class Row:
    """What a table says of a volume."""

    line: int  #: of the table; 0 = there is no table
    name: str
    group: str


@dataclass(frozen=True)
class Rows:
    """What a table says of all volumes."""

    rows: tuple[Row, ...]  #: those that can be read, of different names
    notes: tuple[str, ...] = ()


def read_rows(path: Path, problems: list[str], *, grouped: bool) -> Rows:
    """The rows of a table; everything that is wrong with it is added to `problems`.

    Args:
        path: of the file.
        problems: where what is wrong is added.
        grouped: whether volumes need a group; else one without is its own.
    """
    file = path.name
    table = read_table(path, file, problems)
    if table is None:
        return Rows(())
    header = [cell.strip().lower() for cell in table.rows[0]]
    if strange := list(_strange(header, grouped=grouped)):
        problems += [f"{file}, line {table.lines[0]}: {text}" for text in strange]
        return Rows(())
    before = len(problems)
    problems += ragged(table)
    column = next((name for name in GROUPS if name in header), None)
    read: list[Row] = []
    for line, cells in zip(table.lines[1:], table.rows[1:], strict=True):
        if len(cells) == len(header) and any(map(str.strip, cells)):  # the one is a problem already, the other none
            row = dict(zip(header, map(str.strip, cells), strict=True))
            read.append(Row(line, row["id"], row[column] if column else row["id"]))
    wrong, kept = _checked(read, column or "id")
    problems += gathered(file, wrong)
    if not read and len(problems) == before:
        problems.append(f"{file}: no rows below the header; give every volume a row")
    both = all(name in header for name in GROUPS)
    notes = [f"{file}: groups are those of column {GROUPS[0]}; {GROUPS[1]} is not read"] if both else []
    return Rows(tuple(kept), tuple(notes))


def _strange(header: Sequence[str], *, grouped: bool) -> Iterator[str]:
    """Columns that a header lacks, or has twice."""
    there = some([name[:60] or "''" for name in header])
    if "id" not in header:
        yield f"no column id; there are {there}; add it, with the name of each volume's files"
    if grouped and not any(name in header for name in GROUPS):
        free = tuple(name for name in header if name and name != "id")
        meant = near("scroll_id", free) or near("group", free)
        text = f"no column scroll_id or group{f' ({meant}?)' if meant else ''}; there are {there}"
        yield f"{text}; add what volumes have in common, or the id once more where that is nothing"
    if twice := [name for name in ("id", *GROUPS) if header.count(name) > 1]:
        yield f"more than one column {some(twice)}; keep one"


def _checked(rows: Sequence[Row], column: str) -> tuple[list[Mistake], list[Row]]:
    """What is wrong in rows, and those whose volume is named for the first time."""
    wrong: list[Mistake] = []
    names: dict[str, Row] = {}
    groups: dict[str, Row] = {}
    for row in rows:
        if not row.name:
            wrong.append(Mistake(row.line, "id is empty; every row needs one", "id"))
            continue
        if row.name in (".", "..") or "/" in row.name or "\\" in row.name:
            wrong.append(Mistake(row.line, f"id {row.name!r}: an id is a file's name without folder", "folder"))
            continue
        same = names.setdefault(row.name.casefold(), row)
        if same is not row:
            alike = "" if same.name == row.name else f" but for capitals ({same.name!r})"
            wrong.append(Mistake(row.line, f"id {row.name!r} is in line {same.line} already{alike}; keep one", "twice"))
        if not row.group:
            wrong.append(Mistake(row.line, f"{column} is empty; every row needs one", "group"))
        elif (alike_group := groups.setdefault(row.group.casefold(), row)).group != row.group:
            text = f"{column} {row.group!r} is {alike_group.group!r} in line {alike_group.line}; write it in one way"
            wrong.append(Mistake(row.line, text, f"group {row.group}"))
    return wrong, list(names.values())
