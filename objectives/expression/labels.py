"""Read the label files of a folder of faces, one at a time: what RAF-CE writes, and groups.

    emolabel.txt    0001.jpg 3                  class, as its number or as its name in classes.json
    AUlabel.txt     0001.jpg 4+23               active action units; 0 = a neutral face; null = nobody looked
    partition.txt   0001.jpg 0                  0 train, 1 validation, 2 test
    groups.csv      filename,group              whose images never part; further columns are ignored

`classes.json` lists what they may name (`objectives.expression.names`).

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

from objectives.expression.data import TEST, TRAIN, VALIDATION
from objectives.expression.folder import Images
from objectives.pictures import ENDINGS
from objectives.problems import Mistake, gathered, near, some
from objectives.texts import read_text

#: Codes of what a face can do (Ekman, Friesen and Hager 2002, Facial Action Coding System): main codes 1 to 28, and of
#: jaw, cheeks, nostrils and lids up to 46. 3 is for babies alone, 40 (sniff) is behaviour, from 50 on it is head and
#: gaze. 41, 42 and 44 are from the manual of 1978.
FACS = tuple(code for code in range(1, 47) if code not in (3, 40))
_ENDING = re.compile(rf"(?:{'|'.join(map(re.escape, ENDINGS))})(?=\s|$)", re.IGNORECASE)
#: A unit, and the side or lip that alone moved.
UNIT = re.compile(r"(?:AU)?(?P<half>[LRTB]?)(?P<code>\d{1,3})", re.IGNORECASE | re.ASCII)
#: What stands between units by mistake.
_SEPARATED = re.compile(r"[^\w\s+,]+")
#: Kind of mistake of a line that names no image, so that nobody knows which images have no line.
_FORM = "form"


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
    whole: bool  #: every line was understood, and there are some: an image that has none here is lacking


def read_lines(path: Path, images: Images, problems: list[str]) -> Labels:
    """The lines of a text file, with what is wrong with their form added to `problems`.

    Where a line could begin with several names, it is the longest that `images` know, `a.jpg copy.png`; else the first.
    """
    found: dict[str, Label] = {}
    wrong: list[Mistake] = []
    text = read_text(path, path.name, problems)
    for number, line in enumerate(text.split("\n") if text else [], start=1):
        content = line.strip()
        names = [content[: ending.end()] for ending in _ENDING.finditer(content)]
        if names:
            name = next((name for name in reversed(names) if images.called(name)), names[0])
            wrong += _add(found, name, Label(number, content[len(name) :].strip()))
        elif content:
            form = f"a line is FILE with its ending ({', '.join(ENDINGS[:3])}, ...), a blank, the label"
            wrong.append(Mistake(number, f"{form}; this is {content[:60]!r}", _FORM))
    problems += gathered(path.name, wrong)
    return Labels(path.name, found, bool(found) and all(mistake.kind != _FORM for mistake in wrong))


def read_groups(path: Path, problems: list[str]) -> Labels:
    """The groups of groups.csv, with what is wrong with its form added to `problems`."""
    found: dict[str, Label] = {}
    wrong: list[Mistake] = []
    before = len(problems)
    reader = csv.reader(StringIO(read_text(path, path.name, problems) or ""))
    try:
        header = [name.strip() for name in next(reader, [])]
        strange = _header(header)
        if strange and len(problems) == before:
            problems.append(f"{path.name}, line 1: {strange}")
        for cells in reader if not strange else ():
            row = dict(zip(header, map(str.strip, cells), strict=False))
            if row.get("filename") and row.get("group"):
                wrong += _add(found, row["filename"], Label(reader.line_num, row["group"]))
            elif any(row.values()):
                wrong.append(Mistake(reader.line_num, "filename or group is empty; give both", _FORM))
    except csv.Error as error:
        problems.append(f"{path.name}: not a CSV file ({error}); save the table as comma-separated text")
    problems += gathered(path.name, wrong)
    if not found and len(problems) == before:
        problems.append(f"{path.name}: no rows below the header; fill it or remove it")
    return Labels(path.name, found, bool(found) and all(mistake.kind != _FORM for mistake in wrong))


def _header(names: Sequence[str]) -> str:
    """What is wrong with the first line of groups.csv; empty where nothing is."""
    there = f"there are {some([name[:60] for name in names])}" if any(names) else "the line is empty"
    for name, separator in ((";", "';'"), ("\t", "tabs")):
        if len(names) == 1 and name in names[0]:
            return f"separate columns by commas, not by {separator}: filename,group"
    if missing := [name for name in ("filename", "group") if name not in names]:
        return f"no column {' and no column '.join(missing)}; {there}"
    twice = [name for name in ("filename", "group") if names.count(name) > 1]
    return f"more than one column {some(twice)}; keep one" if twice else ""


def _add(found: dict[str, Label], name: str, label: Label) -> list[Mistake]:
    if name in found:
        return [Mistake(label.line, f"{name} is in line {found[name].line} already; keep one", "twice")]
    found[name] = label
    return []


def emotions(labels: Labels, listed: Sequence[str] | None, problems: list[str]) -> tuple[tuple[str, ...], list[int]]:
    """The classes, and the number among them of every image; `listed` are those of classes.json."""
    numbers = {name: number for number, name in enumerate(listed or ())}
    found: list[int] = []
    wrong: list[Mistake] = []
    for name, label in labels.of.items():
        number = int(label.text) if re.fullmatch(r"[0-9]{1,6}", label.text) else numbers.get(label.text)
        if not label.text:
            wrong.append(Mistake(label.line, f"no class after {name}", "no class"))
        elif listed is not None and (number is None or number >= len(listed)):
            wrong.append(Mistake(label.line, f"unknown class {label.text[:60]!r}; {_meant(label.text, numbers)}"))
        elif number is None:
            text = f"{label.text[:60]!r} is no number of a class (0, 1, ...); classes.json could list names"
            wrong.append(Mistake(label.line, text, "no number"))
        found.append(-1 if number is None else number)
    problems += gathered(labels.file, wrong)
    if listed is not None:
        return tuple(listed), found
    occurring = sorted(set(found))
    return tuple(map(str, occurring)), [occurring.index(number) for number in found]


def _meant(text: str, numbers: Mapping[str, int]) -> str:
    """The class that a text is near to, else those there are."""
    if meant := near(text, tuple(numbers)):
        return f"did you mean {meant!r} ({numbers[meant]})?"
    return f"classes.json has {some([f'{number} ({name})' for name, number in numbers.items()])}"


def units(
    labels: Labels, listed: Sequence[int] | None, problems: list[str]
) -> tuple[tuple[int, ...], list[frozenset[int] | None]]:
    """The codes of all units, ascending, and the active ones of every image, None where nobody looked.

    `listed` are those of classes.json; without it units are those that are active somewhere.
    """
    found: list[frozenset[int] | None] = []
    wrong: list[Mistake] = []
    for label in labels.of.values():
        try:
            found.append(active(label.text, listed))
        except ValueError as error:
            wrong += [Mistake(label.line, text) for text in error.args]
            found.append(None)
    problems += gathered(labels.file, wrong)
    seen = frozenset().union(*(codes for codes in found if codes))
    return tuple(sorted(seen) if listed is None else listed), found


def active(text: str, listed: Sequence[int] | None = None) -> frozenset[int] | None:
    """The units that a label names, none for a neutral face, None for `null`.

    Raises:
        ValueError: words that are no unit, or units neither in `listed` nor, without it, in FACS; a text for each.
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
    there = f"{'FACS' if listed is None else 'classes.json'} has {_ranges(known)}"
    unknown = [word for word, match in matches.items() if match is None or int(match["code"]) not in known]
    if unknown:
        raise ValueError(*dict.fromkeys(_unknown(word, there) for word in unknown))
    return codes


def _unknown(word: str, there: str) -> str:
    """What is wrong with a word, in the same words for all that are wrong in the same way."""
    match = UNIT.fullmatch(word)
    if word.lower() == "null" or (match and not int(match["code"])):
        return "null and 0 stand alone, no action unit beside them"
    if match:
        return f"unknown action unit AU{int(match['code'])}; {there}"
    if (separators := _SEPARATED.findall(word)) and all(UNIT.fullmatch(piece) for piece in _SEPARATED.split(word)):
        return f"separate units by + or blanks, not by {' or '.join(map(repr, sorted(set(separators))))}"
    hint = "did you mean null?" if near(word, ("null",)) else f"{there}; where nobody looked write null"
    return f"unknown action unit {word[:60]!r}; {hint}"


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
    wrong = [
        Mistake(label.line, f"part {label.text[:60]!r} is not 0 (train), 1 (validation) or 2 (test)")
        for label in labels.of.values()
        if label.text not in known
    ]
    problems += gathered(labels.file, wrong)
    return [known.get(label.text, -1) for label in labels.of.values()]
