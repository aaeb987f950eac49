"""Read labels.csv, which says of each video whom it shows, when, and how much pain was seen.

    video               its file, relative to the folder videos/ or to the folder of the table
    subject             the animal: videos of one subject never part in folds
    moment              one of MOMENTS; empty where it is not known
    score               a number; empty where nobody scored
    feature_NAME        likewise, of the feature NAME; as many columns as there are features
    event               number of a frame, from 0; the column and its cells may be left out

Further columns are ignored. Without the column `score`, or any value in it, the videos are unlabelled: enough for
predictions. Cells are separated by commas, semicolons or tabs; a decimal comma is read as a point, and a note says so.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from objectives.grimace.data import MOMENTS
from objectives.problems import Mistake, gathered, near, some
from objectives.tables import Table, plain, ragged, read_table

LABELS_FILE = "labels.csv"
_NEEDED, _OPTIONAL, _FEATURE = ("video", "subject", "moment"), ("score", "event"), "feature_"
#: Names that features may not have: scores are called mae.NAME and r2.NAME, of features and moments alike.
_TAKEN = ("score", *MOMENTS)
#: A score beyond this is another quantity, and its square no number that can be learnt from.
LARGEST = 1e6
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What the table says of one video."""

    line: int  #: of the table; 0 = there is no table
    video: str
    subject: str
    moment: int = -1  #: number in MOMENTS, -1 = not said
    score: float = math.nan  #: NaN = not scored
    features: tuple[float, ...] = ()  #: likewise
    event: int | None = None  #: number of a frame


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What the table says of all videos."""

    rows: tuple[Row, ...]
    features: tuple[str, ...] = ()  #: names of the features that have a value somewhere
    whole: bool = True  #: `rows` are all rows of the table
    notes: tuple[str, ...] = ()
    unlabelled: str = ""  #: why nothing can be learnt; empty where there are scores


def read_labels(path: Path, problems: list[str], *, events: bool) -> Labels:
    """The rows of the table; everything that is wrong with it is added to `problems`.

    Args:
        path: of the file.
        problems: where what is wrong is added.
        events: whether the column `event` is read.
    """
    table = read_table(path, LABELS_FILE, problems)
    if table is None:
        return Labels(rows=(), whole=False)
    before = len(problems)
    head = f"{LABELS_FILE}, line {table.lines[0]}"
    header, features = _named([cell.strip() for cell in table.rows[0]])
    problems += [f"{head}: {text}" for text in _strange(header, features)]
    if len(problems) > before:
        return Labels(rows=(), whole=False)
    cut = list(ragged(table))
    problems += cut
    reader = _Reader(features, events=events)
    rows = [reader.row(line, cells) for line, cells in _cells(table, header)]
    problems += gathered(LABELS_FILE, [*reader.wrong, *_spelled_otherwise(rows)])
    if not rows and len(problems) == before:
        problems.append(f"{LABELS_FILE}: no rows below the header; give every video a row")
    kept = [k for k in range(len(features)) if any(not math.isnan(row.features[k]) for row in rows)]
    lacking = ""
    if "score" not in header:
        lacking = f"no column score{_meant('score', header, (*_NEEDED, *_OPTIONAL))}; there are {_there(header)}"
    elif all(math.isnan(row.score) for row in rows):
        lacking = f"column score is empty in all {len(rows)} rows"
    return Labels(
        rows=tuple(replace(row, features=tuple(row.features[k] for k in kept)) for row in rows),
        features=tuple(features[k] for k in kept),
        whole=bool(rows) and not cut,
        notes=(*_notes(features, kept, reader.commas), *_unprefixed(header)),
        unlabelled=f"{head}: {lacking}; only predictions do without scores" if lacking else "",
    )


def _spelled_otherwise(rows: Sequence[Row]) -> Iterator[Mistake]:
    """Subjects that capitals alone tell apart: one animal would be in training and in validation."""
    first: dict[str, Row] = {}
    for row in rows:
        same = first.setdefault(row.subject.casefold(), row)
        if same.subject != row.subject:
            text = f"subject {row.subject!r} is {same.subject!r} in line {same.line}; write one animal in one way"
            yield Mistake(row.line, text, f"spelled {row.subject}")


def _unprefixed(header: Sequence[str]) -> Iterator[str]:
    """Columns that are not read; one of them may be a feature that does not say so."""
    known = (*_NEEDED, *_OPTIONAL)
    if rest := [name for name in header if name and name not in known and not _is_feature(name)]:
        yield f"{LABELS_FILE}: columns that are not read: {some(rest)}; a feature is called {_FEATURE}NAME"


def _named(cells: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names of the columns, those with a meaning in lower case, and of the features as they are written."""
    header = [cell.lower() if cell.lower() in (*_NEEDED, *_OPTIONAL) else cell for cell in cells]
    header = [_FEATURE + cell[len(_FEATURE) :].strip() if _is_feature(cell) else cell for cell in header]
    return header, [cell[len(_FEATURE) :] for cell in header if _is_feature(cell)]


def _is_feature(column: str) -> bool:
    return column.lower().startswith(_FEATURE)


def _strange(header: Sequence[str], features: Sequence[str]) -> Iterator[str]:
    """What is wrong with the first line."""
    yield from strange_columns(header, _NEEDED, _OPTIONAL)
    counts = Counter(name.lower() for name in features)
    if twice := [name for name in dict.fromkeys(features) if name and counts[name.lower()] > 1]:
        yield f"feature {some(twice)} is there more than once, capitals aside; keep one, or rename it"
    if "" in features:
        yield f"a column is called {_FEATURE} and nothing more; write what was scored, {_FEATURE}ears"
    taken = {name.lower() for name in _TAKEN}
    if clash := [name for name in features if name.lower() in taken]:
        text = f"feature {some(clash)} has the name of the score or of a moment ({', '.join(MOMENTS)})"
        yield f"{text}, whose errors are reported by that name; rename it"
    if odd := [name for name in features if not name.isprintable()]:
        yield f"feature {some([repr(name) for name in odd])} has a line break or the like in its name; rename it"


def strange_columns(
    header: Sequence[str], needed: Sequence[str], optional: Sequence[str] = (), *, way_out: str = "correct that"
) -> Iterator[str]:
    """Columns that a header lacks, or has twice."""
    if missing := [name for name in needed if name not in header]:
        meant = " and ".join(f"no column {name}{_meant(name, header, (*needed, *optional))}" for name in missing)
        yield f"{meant}; there are {_there(header)}; {way_out}"
    if twice := [name for name in (*needed, *optional) if header.count(name) > 1]:
        yield f"more than one column {some(twice)}; keep one"


def hint(name: str, known: Sequence[str]) -> str:
    """` (NAME?)` where a known name was meant by another; else nothing."""
    meant = near(name, tuple(known))
    return f" ({meant}?)" if meant else ""


def _meant(name: str, header: Sequence[str], used: Sequence[str]) -> str:
    """Which column may have been meant."""
    return hint(name, [cell for cell in header if cell not in used and not _is_feature(cell)])


def _there(header: Sequence[str]) -> str:
    return some([name[:60] or "''" for name in header])


def _cells(table: Table, header: Sequence[str]) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The rows that are as wide as the header and not empty, by column."""
    for line, cells in zip(table.lines[1:], table.rows[1:], strict=True):
        if len(cells) == len(header) and any(map(str.strip, cells)):
            yield line, dict(zip(header, map(str.strip, cells), strict=True))


class _Reader:
    """Reads rows one by one, and keeps what is wrong with them."""

    def __init__(self, features: Sequence[str], *, events: bool) -> None:
        self._features = [_FEATURE + name for name in features]
        self._events = events
        self.wrong: list[Mistake] = []
        self.commas: list[str] = []  #: cells with a decimal comma

    def row(self, line: int, cells: Mapping[str, str]) -> Row:
        """Check and read one row; what is wrong in it counts as not said."""
        for column in ("video", "subject"):
            if not cells[column]:
                self.wrong.append(Mistake(line, f"{column} is empty; every row needs one", column))
        return Row(
            line=line,
            video=cells["video"],
            subject=cells["subject"],
            moment=self._moment(line, cells["moment"]),
            score=self._number(line, "score", cells.get("score", "")),
            features=tuple(self._number(line, column, cells[column]) for column in self._features),
            event=self._event(line, cells.get("event", "")) if self._events else None,
        )

    def _moment(self, line: int, text: str) -> int:
        if not text or text in MOMENTS:
            return MOMENTS.index(text) if text else -1
        unknown = f"moment {text[:60]!r} is unknown{hint(text, MOMENTS)}"
        way_out = f"moments are {', '.join(MOMENTS)}; leave the cell empty where it is none of them"
        self.wrong.append(Mistake(line, f"{unknown}; {way_out}"))
        return -1

    def _number(self, line: int, column: str, text: str) -> float:
        """The value, NaN for an empty cell."""
        if not text:
            return math.nan
        if _DECIMAL_COMMA.fullmatch(text):
            self.commas.append(text)
            text = text.replace(",", ".")
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            says = f"column {column}: {text[:60]!r} is no finite number; leave the cell empty where nobody scored"
            self.wrong.append(Mistake(line, says))
        elif abs(value) > LARGEST:
            says = f"column {column}: {text[:60]!r} is beyond {LARGEST:,.0f}; is it in another unit?"
            self.wrong.append(Mistake(line, says, f"large {column}"))
        return value

    def _event(self, line: int, text: str) -> int | None:
        number = plain(text)
        if not number:
            return None
        if number.isdecimal() and number.isascii() and len(number) < 12:
            return int(number)
        says = f"column event: {text[:60]!r} is no number of a frame (0, 1, 2, ...); correct it or leave the cell empty"
        self.wrong.append(Mistake(line, says))
        return None


def _notes(features: Sequence[str], kept: Sequence[int], commas: Sequence[str]) -> Iterator[str]:
    if empty := [name for k, name in enumerate(features) if k not in kept]:
        are = "column is" if len(empty) == 1 else "columns are"
        yield f"{LABELS_FILE}: features without any value are left out, their {are} empty: {some(empty)}"
    if commas:
        cells = "1 number" if len(commas) == 1 else f"{len(commas)} numbers"
        point = commas[0].replace(",", ".")
        yield f"{LABELS_FILE}: {cells} with a decimal comma were read as with a point: {commas[0]} as {point}"
