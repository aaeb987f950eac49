"""What classes.json lists, and every way in which it can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from objectives.expression.names import TAKEN, difference
from tests.objectives.face_folders import problems, write

CONTENTS: list[tuple[str, str]] = [
    ("{\n'", ", line 2: not JSON (Expecting property name"),
    ("[" * 100_000, ": not JSON ("),
    ("[]", ": it is not of the form {classes: [...], action_units: [...]}"),
    ('{"labels": []}', ": unknown key 'labels'; did you mean classes?"),
    ('{"Classes": []}', ": unknown key 'Classes'; did you mean classes?"),
    ('{"units": []}', ": unknown key 'units'; did you mean action_units?"),
    ('{"AUs": []}', ": unknown key 'AUs'; did you mean action_units?"),
    ('{"action-units": []}', ": unknown key 'action-units'; did you mean action_units?"),
    ('{"version": 1}', ": unknown key 'version'; known are classes, action_units"),
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


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ("a b c", "a b c", ""),
        ("a x c", "a b c", "x where the model has b"),
        (
            "w x y z",
            "a b c d",
            "w where the model has a, x where the model has b, y where the model has c and 1 more",
        ),
        ("b a c", "a b c", "the same names in another order"),
        ("a b c d e", "a b c", "2 more: d, e"),
        ("x a b", "a b", "1 more: x"),
        ("a", "a b c d e", "4 missing: b, c, d and 1 more"),
        ("", "a", "1 missing: a"),
        ("c a x", "a b c", "1 more: x; 1 missing: b; the others in another order"),
    ],
)
def test_how_names_differ_from_those_of_a_model(ours: str, theirs: str, expected: str) -> None:
    assert difference(ours.split(), theirs.split()) == expected
