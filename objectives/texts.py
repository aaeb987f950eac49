"""Texts of a source: label files, and names of files that tables and reports can hold."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from objectives.problems import some


def read_text(path: Path, file: str, problems: list[str]) -> str | None:
    """A file's text without byte order mark, lines however they end; None and a problem where there is none.

    Args:
        path: of the file.
        file: what messages call it.
        problems: where what is wrong is added.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        problems.append(f"{file}: cannot be read ({error.strerror}); mend that, or remove the file")
        return None
    except UnicodeDecodeError as error:
        problems.append(f"{file}: byte {error.start} is not UTF-8 text; save the file as UTF-8")
        return None
    if not text.strip():
        problems.append(f"{file}: the file is empty; fill it or remove it")
        return None
    return text


def from_json(text: str, file: str, form: str, problems: list[str]) -> Any:
    """What a text in JSON holds; a problem for one that is none, or that names a key twice.

    Args:
        text: of the file. All numbers in it are read as float, since int() raises on thousands of digits.
        file: what messages call it.
        form: what the file should look like, for messages.
        problems: where what is wrong is added.
    """
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice.extend(sorted({key for key in keys if keys.count(key) > 1}))
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=once, parse_int=float)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        problems.append(f"{file}{where}: not JSON ({error}); it is of the form {form}")
        return None
    if twice:
        problems.append(f"{file}: {some(twice)} is there twice; keep one")
    return content


def not_text(names: Iterable[str]) -> Iterator[str]:
    """Problems with names of files that are no UTF-8; tables and reports could not hold them."""
    for name in names:
        if spelled(name) != name:
            yield f"{spelled(name)}: the name of the file is not UTF-8; rename it"


def spelled(name: str) -> str:
    """A name in text that can be stored and printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
