"""Text files of a source: a CSV as rows of cells that know their lines, however its cells are separated."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from objectives.problems import Mistake, gathered
from objectives.texts import read_text

#: What may stand between cells; tables saved again by a spreadsheet have semicolons or tabs.
SEPARATORS = ",;\t"


@dataclass(frozen=True)
class Table:
    """The rows of a file, its header among them; empty lines are left out."""

    file: str  #: its path in the source, for messages
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]  #: where each row is in the file, from 1


def read_table(path: Path, file: str, problems: list[str]) -> Table | None:
    """The rows of a file, at least one; None and a problem where there are none."""
    text = read_text(path, file, problems)
    if text is None:
        return None
    first = text.lstrip().partition("\n")[0]
    reader = csv.reader(StringIO(text), delimiter=max(SEPARATORS, key=first.count))
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for cells in reader:
            if cells:  # the csv module gives an empty list for an empty line
                rows.append(cells)
                lines.append(reader.line_num)
    except csv.Error as error:
        problems.append(f"{file}: not a CSV file ({error}); save the table as comma-separated text")
        return None
    return Table(file, rows, lines)


def first_line(path: Path) -> str:
    """The first line of a file, to see what it holds; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as opened:
            return opened.readline(2000).strip()
    except OSError:
        return ""


def first_cell(line: str) -> str:
    """The first cell of a line in lower case."""
    return line.replace(";", ",").replace("\t", ",").partition(",")[0].strip(' "').lower()


def ragged(table: Table) -> Iterator[str]:
    """Problems with rows that are not as wide as the first."""
    width = len(table.rows[0])
    wrong = [
        Mistake(line, f"{len(row)} cells, the header has {width}; is a comma missing, or one too many?", "ragged")
        for line, row in zip(table.lines, table.rows, strict=True)
        if len(row) != width
    ]
    return gathered(table.file, wrong)


def frame_numbers(table: Table) -> list[int | None]:
    """What the first column says of each row; None where that is no whole number from 0 on."""
    texts = (plain(row[0]) for row in table.rows)
    return [int(text) if text.isdecimal() and len(text) < 12 else None for text in texts]


def gaps(table: Table, numbers: Sequence[int | None]) -> Iterator[Mistake]:
    """Rows whose frame does not follow on that of the row before."""
    for line, before, number in zip(table.lines[1:], numbers, numbers[1:], strict=False):
        if number is not None and before is not None and number != before + 1:
            text = f"Frame is {number} after {before}; frames rise by one: give every frame a row, in order"
            yield Mistake(line, text, "order")


def plain(cell: str) -> str:
    """A cell as it is compared: without blanks around it, whole numbers without point (`3.0` is 3), `nan` as empty."""
    text = cell.strip()
    if text.lower() == "nan":
        return ""
    whole, _, rest = text.partition(".")
    if whole.isdecimal() and whole.isascii() and not rest.strip("0"):
        return whole.lstrip("0") or "0"
    return text
