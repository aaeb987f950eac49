"""Texts of a source: label files, and names of files that tables and reports can hold."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


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


def not_text(names: Iterable[str]) -> Iterator[str]:
    """Problems with names of files that are no UTF-8; tables and reports could not hold them."""
    for name in names:
        if spelled(name) != name:
            yield f"{spelled(name)}: the name of the file is not UTF-8; rename it"


def spelled(name: str) -> str:
    """A name in text that can be stored and printed."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
