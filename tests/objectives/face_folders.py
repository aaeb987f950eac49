"""Folders of faces for tests of what reads them: a good one, changed in one place or another."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from hpo.objective import DataError
from objectives.expression import files as expression_files

GOOD: Mapping[str, str] = {
    "emolabel.txt": "a.png 0\nb.png 1\nc.png 2\nd.png 0\n",
    "AUlabel.txt": "a.png 1+12\nb.png null\nc.png AU4\nd.png 0\n",
    "partition.txt": "a.png 0\nb.png 0\nc.png 1\nd.png 2\n",
    "groups.csv": "filename,group\na.png,A\nb.png,B\nc.png,A\nd.png,D\n",
    "classes.json": '{"classes": ["calm", "glad", "very sad"], "action_units": ["AU12", "AU1", "AU4"]}',
}
IMAGES = ("images/a.png", "images/b.png", "c.png", "more/of them/d.png")


def write(folder: Path, changes: Mapping[str, str | None] | None = None, images: tuple[str, ...] = IMAGES) -> Path:
    """A good folder with files replaced, or left out where the text is None."""
    for number, image in enumerate(images):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number, 100, 200)).save(path)
    for name, text in {**GOOD, **(changes or {})}.items():
        if text is not None:
            (folder / name).write_text(text, encoding="utf-8")
    return folder


def problems(folder: Path) -> list[str]:
    with pytest.raises(DataError, match=re.escape(f"{folder}: ")) as error:
        expression_files.read(folder)
    first, *rest = str(error.value).split("\n  ")
    assert first == f"{folder}: {len(rest)} problem{'s' if len(rest) > 1 else ''}"
    return rest
