"""Read classes.json, which names the classes and action units of a folder of faces, each of the two optional.

Like this: `{"classes": ["anger", ...], "action_units": ["AU1", ...]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from objectives.expression.labels import UNIT
from objectives.problems import near, some
from objectives.scores import AVERAGES
from objectives.texts import from_json, read_text

#: What rows of reports are called beside the classes, and columns of predictions.
TAKEN = (*AVERAGES, "truth", "prediction", "file", "group", "row", "fold")

_KEYS = ("classes", "action_units")
_FORM = "{classes: [...], action_units: [...]}"
#: What else they are called, but not here.
_OTHERWISE = {"labels": "classes", "emotions": "classes", "units": "action_units", "aus": "action_units"}


@dataclass(frozen=True)
class Names:
    """What classes.json lists; None where it does not."""

    classes: tuple[str, ...] | None = None
    units: tuple[int, ...] | None = None  #: codes, ascending


def read_names(path: Path, problems: list[str]) -> Names:
    """classes.json, with what is wrong with it added to `problems`."""
    before = len(problems)
    text = read_text(path, path.name, problems)
    content = None if text is None else from_json(text, path.name, _FORM, problems)
    sound = len(problems) == before
    if isinstance(content, dict):
        problems += [f"{path.name}: {_unknown(key)}" for key in content if key not in _KEYS]
    elif sound:
        problems.append(f"{path.name}: it is not of the form {_FORM}")
    if not sound or not isinstance(content, dict):
        return Names()
    lists = {key: _words(path, key, content[key], problems) for key in _KEYS if key in content}
    return Names(_classes(path, lists.get("classes"), problems), _units(path, lists.get("action_units"), problems))


def _unknown(key: str) -> str:
    meant = _OTHERWISE.get(key.lower()) or near(key, _KEYS)
    return f"unknown key {key[:60]!r}; {f'did you mean {meant}?' if meant else f'known are {some(_KEYS)}'}"


def _words(path: Path, key: str, value: object, problems: list[str]) -> tuple[str, ...] | None:
    words = [word.strip() for word in value if isinstance(word, str)] if isinstance(value, list) else []
    if not (isinstance(value, list) and 0 < len(value) == len(set(words) - {""})):
        problems.append(f"{path.name}: {key} is no list of different names")
        return None
    return tuple(words)


def _classes(path: Path, names: tuple[str, ...] | None, problems: list[str]) -> tuple[str, ...] | None:
    for number, name in enumerate(names or ()):
        if name.isdecimal() and name != str(number):
            problems.append(f"{path.name}: class number {number} is called {name!r}, the number of another; rename it")
        elif name.lower() in TAKEN:
            problems.append(f"{path.name}: class {name!r} is also the name of a row or column of reports; rename it")
        elif name.lower().startswith("au") and UNIT.fullmatch(name):
            problems.append(f"{path.name}: class {name!r} is also the name of an action unit; rename it")
        elif any("\ud800" <= letter <= "\udfff" for letter in name):
            problems.append(f"{path.name}: class {name!r} has half a character (\\ud800 to \\udfff); rename it")
    return names


def _units(path: Path, words: Sequence[str] | None, problems: list[str]) -> tuple[int, ...] | None:
    if words is None:
        return None
    matches = [UNIT.fullmatch(word) for word in words]
    for word, match in zip(words, matches, strict=True):
        if match is None or match["half"] or not int(match["code"]):
            problems.append(f"{path.name}: {word!r} is no action unit; write AU and a number")
    codes = sorted(int(match["code"]) for match in matches if match)
    if len(set(codes)) < len(codes):
        problems.append(f"{path.name}: action_units lists a unit twice; keep one")
    return tuple(codes)


def difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """How names differ from those of a model, for a sentence; empty where they are the same in the same order."""
    if list(ours) == list(theirs):
        return ""
    instead = {own: their for own, their in zip(ours, theirs, strict=False) if own not in theirs and their not in ours}
    more = [name for name in ours if name not in theirs and name not in instead]
    fewer = [name for name in theirs if name not in ours and name not in instead.values()]
    found = [some([f"{own} where the model has {their}" for own, their in instead.items()], 3)] if instead else []
    found += [f"{len(more)} more: {some(more, 3)}"] if more else []
    found += [f"{len(fewer)} missing: {some(fewer, 3)}"] if fewer else []
    if [name for name in ours if name in theirs] != [name for name in theirs if name in ours]:
        found.append("the others in another order" if found else "the same names in another order")
    return "; ".join(found)
