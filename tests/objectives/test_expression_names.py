"""What classes.json lists, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from objectives.expression_names import TAKEN
from tests.objectives.face_folders import problems, write

CONTENTS: list[tuple[str, str]] = [
    ("{\n'", ", line 2: not JSON (Expecting property name"),
    ("[" * 100_000, ": not JSON ("),
    ("[]", ": it holds other things than {classes: [...], action_units: [...]}"),
    (
        '{"labels": []}',
        ": it holds other things than {classes: [...], action_units: [...]}",
    ),
    ('{"classes": "abc"}', ": classes is no list of different names"),
    ('{"classes": ["a", "b", "a "]}', ": classes is no list of different names"),
    ('{"classes": ["a", "b", 3]}', ": classes is no list of different names"),
    ('{"action_units": []}', ": action_units is no list of different names"),
    (
        '{"classes": ["1", "2", "3"]}',
        ": class number 0 is called '1', the number of another; rename it",
    ),
    (
        '{"action_units": ["AU1", "AU4", "12", "smile"]}',
        ": 'smile' is no action unit; write AU and a number",
    ),
    (
        '{"action_units": ["AU1", "AU4", "12", "AU12"]}',
        ": action_units lists a unit twice; keep one",
    ),
    *(
        (json.dumps({"classes": ["calm", "glad", name]}), f": class {name!r} is also the")
        for name in (*TAKEN, "Accuracy", "AU4", "au12", "AU99")
    ),
    (
        '{"classes": ["calm", "glad", "sad\\ud800"]}',
        ": class 'sad\\ud800' has half a char",
    ),
    ('{"classes": [' + "1" * 5000 + "]}", ": classes is no list of different names"),
    (
        '{"classes": ["a", "b"], "classes": ["a", "b", "c"]}',
        ": classes is there twice; keep one",
    ),
]


@pytest.mark.parametrize(("content", "expected"), CONTENTS)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, expected: str) -> None:
    found = problems(write(tmp_path, {"classes.json": content}))
    assert [text for text in found if text.startswith(f"classes.json{expected}")] != [], found
