"""Read the label files of a folder of faces, one at a time: what RAF-CE writes, and groups.

    emolabel.txt    0001.jpg 3                  class, as its number or as its name in classes.json
    AUlabel.txt     0001.jpg 4+23               active action units; 0 = a neutral face; null = nobody looked
    partition.txt   0001.jpg 0                  0 train, 1 validation, 2 test
    groups.csv      filename,group              whose images never part; further columns are ignored

`classes.json` lists what they may name (`objectives.expression_names`).

In the text files a name goes up to its ending (`.png`, `.jpg`, ...), so that it may hold spaces; the label is what
follows. Units are written `AU1 AU2`, `1+2`, `au1, AU2` or any mixture. A letter before the number says that the unit
moved on one side (L left, R right) or one lip (T top, B bottom) only, as FACS writes it and RAF-AU does: `L12` is an
active unit 12. `null` is a row without unit labels and never a zero.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from objectives.expression_data import TEST, TRAIN, VALIDATION
from objectives.expression_folder import Images
from objectives.pictures import ENDINGS
from objectives.problems import some

#: Codes of what a face can do (Ekman, Friesen and Hager 2002, Facial Action Coding System): main codes 1 to 28, and of
#: jaw, cheeks, nostrils and lids up to 46. 3 is for babies alone, 40 (sniff) is behaviour, from 50 on it is head and
#: gaze. 41, 42 and 44 are from the manual of 1978.
FACS = tuple(code for code in range(1, 47) if code not in (3, 40))
_ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, ENDINGS))})(?=\s|$)", re.IGNORECASE)
#: A unit, and the side or lip that alone moved.
UNIT = re.compile(r"(?:AU)?(?P<half>[LRTB]?)(?P<code>\d{1,3})", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True)
class Label:
    """What one line says of an image."""

    line: int
    text: str


@dataclass(frozen=True)
class Labels:
    """What one file says of all images."""

    file: str  #: name of the file
    of: Mapping[str, Label]  #: of an image, by its name in the file

    def at(self, name: str) -> str:
        """Where it speaks of an image."""
        return f"{self.file}, line {self.of[name].line}"


def read_lines(path: Path, images: Images, problems: list[str]) -> Labels:
    """The lines of a text file, with what is wrong with their form added to `problems`.

    Where a line could begin with several names, it is the longest that `images` know, `a.jpg copy.png`; else the first.
    """
    found: dict[str, Label] = {}
    text = read_text(path, problems)
    for number, line in enumerate(text.split("\n") if text else [], start=1):
        content = line.strip()
        names = [content[: ending.end()] for ending in _ENDING.finditer(content)]
        if names:
            name = next((name for name in reversed(names) if images.called(name)), names[0])
            _add(found, name, Label(number, content[len(name) :].strip()), path, problems)
        elif content:
            problems.append(
                f"{path.name}, line {number}: {content[:60]!r} does not begin with the name of an image "
                f"({', '.join(ENDINGS[:3])}, ...) and a space"
            )
    return Labels(path.name, found)


def read_groups(path: Path, problems: list[str]) -> Labels:
    """The groups of groups.csv, with what is wrong with its form added to `problems`."""
    found: dict[str, Label] = {}
    before = len(problems)
    reader = csv.reader(StringIO(read_text(path, problems) or ""))
    try:
        header = [name.strip() for name in next(reader, [])]
        missing = [name for name in ("filename", "group") if header.count(name) != 1]
        if missing and len(problems) == before:
            problems.append(f"{path.name}, line 1: not one column {some(missing)} but {some(header)[:60]!r}")
        for cells in reader if not missing else ():
            row = dict(zip(header, map(str.strip, cells), strict=False))
            if row.get("filename") and row.get("group"):
                _add(found, row["filename"], Label(reader.line_num, row["group"]), path, problems)
            elif any(row.values()):
                problems.append(f"{path.name}, line {reader.line_num}: filename or group is empty; give both")
    except csv.Error as error:
        problems.append(f"{path.name}: not a CSV file ({error}); save the table as comma-separated text")
    if not found and len(problems) == before:
        problems.append(f"{path.name}: no rows below the header; fill it or remove it")
    return Labels(path.name, found)


def read_text(path: Path, problems: list[str]) -> str | None:
    """A file's text with lines however they end; None and a problem for none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problems.append(f"{path.name}: cannot be read ({error.strerror}); mend that, or remove the file")
        return None
    except UnicodeDecodeError as error:
        problems.append(f"{path.name}: byte {error.start} is not UTF-8 text; save the file as UTF-8")
        return None
    if not text.strip():
        problems.append(f"{path.name}: the file is empty; fill it or remove it")
        return None
    return text


def _add(found: dict[str, Label], name: str, label: Label, path: Path, problems: list[str]) -> None:
    if name in found:
        problems.append(f"{path.name}, line {label.line}: {name} is in line {found[name].line} already; keep one")
    else:
        found[name] = label


def emotions(labels: Labels, listed: Sequence[str] | None, problems: list[str]) -> tuple[tuple[str, ...], list[int]]:
    """The classes, and the number among them of every image; `listed` are those of classes.json."""
    numbers = {name: number for number, name in enumerate(listed or ())}
    found: list[int] = []
    for name, label in labels.of.items():
        number = int(label.text) if re.fullmatch(r"[0-9]{1,6}", label.text) else numbers.get(label.text)
        if not label.text:
            problems.append(f"{labels.at(name)}: no class after {name}")
        elif listed is not None and (number is None or number >= len(listed)):
            there = some([f"{k} ({known})" for known, k in numbers.items()])
            problems.append(f"{labels.at(name)}: unknown class {label.text[:60]!r}; classes.json has {there}")
        elif number is None:
            text = f"{label.text[:60]!r} is no number of a class (0, 1, ...); classes.json could list names"
            problems.append(f"{labels.at(name)}: {text}")
        found.append(-1 if number is None else number)
    if listed is not None:
        return tuple(listed), found
    occurring = sorted(set(found))
    return tuple(map(str, occurring)), [occurring.index(number) for number in found]


def units(
    labels: Labels, listed: Sequence[int] | None, problems: list[str]
) -> tuple[tuple[int, ...], list[frozenset[int] | None]]:
    """The codes of all units, ascending, and the active ones of every image, None where nobody looked.

    `listed` are those of classes.json; without it units are those that are active somewhere.
    """
    found: list[frozenset[int] | None] = []
    for name, label in labels.of.items():
        try:
            found.append(active(label.text, listed))
        except ValueError as error:
            problems.append(f"{labels.at(name)}: {error}")
            found.append(None)
    seen = frozenset().union(*(codes for codes in found if codes))
    return tuple(sorted(seen) if listed is None else listed), found


def active(text: str, listed: Sequence[int] | None = None) -> frozenset[int] | None:
    """The units that a label names, none for a neutral face, None for `null`.

    Raises:
        ValueError: a word that is no unit, or a unit that is neither in `listed` nor, without it, in FACS.
    """
    words = [word for word in re.split(r"[\s+,]+", text) if word]
    if [word.lower() for word in words] == ["null"]:
        return None
    if not words:
        raise ValueError("no action units; write them, 0 for a neutral face, or null where nobody looked")
    matches = {word: UNIT.fullmatch(word) for word in words}
    codes = frozenset(int(match["code"]) for match in matches.values() if match)
    if codes == {0} and all(matches.values()):
        return frozenset()
    known = FACS if listed is None else listed
    unknown = [word[:60] for word, match in matches.items() if match is None or int(match["code"]) not in known]
    if unknown:
        of = "FACS has" if listed is None else "classes.json has"
        beside = "; null and 0 stand alone" if {"null", "0", "au0"} & {word.lower() for word in unknown} else ""
        raise ValueError(f"unknown action unit {some(unknown)}; {of} {_ranges(known)}{beside}")
    return codes


def halves(text: str) -> bool:
    """Whether a label names a unit of one side or one lip."""
    return any((match := UNIT.fullmatch(word)) and match["half"] for word in re.split(r"[\s+,]+", text))


def _ranges(codes: Sequence[int]) -> str:
    """1, 2, 4-7."""
    starts = [code for code in codes if code - 1 not in codes]
    ends = [code for code in codes if code + 1 not in codes]
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))


def parts(labels: Labels, problems: list[str]) -> list[int]:
    """TRAIN, VALIDATION or TEST of every image."""
    known = {str(part): part for part in (TRAIN, VALIDATION, TEST)}
    for name, label in labels.of.items():
        if label.text not in known:
            text = f"part {label.text[:60]!r} is not 0 (train), 1 (validation) or 2 (test)"
            problems.append(f"{labels.at(name)}: {text}")
    return [known.get(label.text, -1) for label in labels.of.values()]
