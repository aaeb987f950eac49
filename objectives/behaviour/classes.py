"""Read classes.json, which names the actions by their numbers: `{"0": "rest", "1": "walk"}`, or `["rest", "walk"]`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from objectives.problems import some
from objectives.tables import plain
from objectives.texts import from_json, read_text

CLASSES_FILE = "classes.json"
#: More classes than these are another quantity read as a class, such as a time.
MOST_CLASSES = 1000
_FORM = '{"0": "rest", "1": "walk"} with numbers from 0, or ["rest", "walk"]'


def read_classes(path: Path, problems: list[str]) -> tuple[str, ...]:
    """The names of the classes; empty where something is wrong with the file, which is added to `problems`."""
    before = len(problems)
    text = read_text(path, CLASSES_FILE, problems)
    content = None if text is None else from_json(text, CLASSES_FILE, _FORM, problems)
    if len(problems) > before:
        return ()
    names = _names(content, problems)
    problems += [f"{CLASSES_FILE}: {wrong}" for wrong in _strange(names)]
    return names if len(problems) == before else ()


def _names(content: object, problems: list[str]) -> tuple[str, ...]:
    """The names in the order of their numbers."""
    if isinstance(content, dict):
        wanted = [str(number) for number in range(len(content))]
        missing = [number for number in wanted if number not in content]
        unknown = [key[:60] for key in content if key not in wanted]
        if missing:
            text = f"no class {some(missing)}, but {some([repr(key) for key in unknown])}"
            problems.append(f"{CLASSES_FILE}: {text}; classes are numbered from 0 without gaps: {_FORM}")
            return ()
        content = [content[number] for number in wanted]
    if not isinstance(content, list) or len(content) < 2 or not all(isinstance(name, str) for name in content):
        problems.append(f"{CLASSES_FILE}: no names of two or more classes; it is of the form {_FORM}")
        return ()
    return tuple(name.strip() for name in content)


def _strange(names: Sequence[str]) -> list[str]:
    wrong = [f"class number {number} has no name; give it one" for number, name in enumerate(names) if not name]
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        wrong.append(f"more than one class is called {some(twice)}; give each its own name")
    for number, name in enumerate(names):
        if name.isdecimal() and name != str(number):
            wrong.append(f"class number {number} is called {name!r}, the number of another; rename it")
        elif name and plain(name) != name:
            wrong.append(f"class {name!r} would be read as {plain(name)!r} in files of annotations; rename it")
        elif any("\ud800" <= letter <= "\udfff" for letter in name):
            wrong.append(f"class {name!r} has half a character (\\ud800 to \\udfff); rename it")
    if len(names) > MOST_CLASSES:
        wrong.append(f"{len(names)} classes; there may be {MOST_CLASSES}")
    return wrong


def listed(classes: Sequence[str]) -> str:
    """The classes with their numbers, for a sentence."""
    return some([name if name == str(number) else f"{number} {name}" for number, name in enumerate(classes)], 12)
