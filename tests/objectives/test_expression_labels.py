"""How action units are written, and the real label files against what plain Python finds in them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from objectives.expression import files as expression_files
from objectives.expression.labels import active
from tests.objectives.cases import recordings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("AU1 AU2", {1, 2}),
        ("1+2", {1, 2}),
        ("AU1+AU2", {1, 2}),
        ("au1 + 2, AU25", {1, 2, 25}),
        ("4+23", {4, 23}),
        ("12+12", {12}),
        ("43 45 46", {43, 45, 46}),
        ("L12+R14+T23+b24", {12, 14, 23, 24}),
        ("AUL12", {12}),
        ("0", set()),
        ("AU0", set()),
        ("null", None),
        (" NULL ", None),
    ],
)
def test_how_units_are_written(text: str, expected: set[int] | None) -> None:
    assert active(text) == expected


@pytest.mark.parametrize("text", ["", "+", "AU", "AU40", "47", "3", "12F", "1.5", "-4", "1+null", "0+4", "nul", "٤"])
def test_what_is_no_unit(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(no action units;|unknown action unit |separate units by |null and 0)"):
        active(text)


def test_the_drawn_faces() -> None:
    folder = recordings("expression")
    faces = expression_files.read(folder)
    lines = {
        kind: dict(line.split(" ", 1) for line in (folder / f"{kind}.txt").read_text().splitlines())
        for kind in ("emolabel", "AUlabel", "partition")
    }
    with (folder / "groups.csv").open() as opened:
        groups = {row["filename"]: row["group"] for row in csv.DictReader(opened)}
    listed = json.loads((folder / "classes.json").read_text())

    files = faces.file.tolist()
    assert files == list(lines["emolabel"]) and len(files) == 300
    assert faces.classes == tuple(listed["classes"]) and len(faces.classes) == 12
    assert faces.emotion.tolist() == [int(lines["emolabel"][file]) for file in files]
    assert faces.unit_names == tuple(listed["action_units"]) and len(faces.unit_names) == 18
    assert (faces.units == -1).all(1).sum() == 50
    for file, row in zip(files, faces.units.tolist(), strict=True):
        text = lines["AUlabel"][file]
        active_units = [int(name[2:] in text.split("+")) for name in faces.unit_names]
        assert row == ([-1] * 18 if text == "null" else active_units)
    assert faces.part is not None and np.bincount(faces.part).tolist() == [210, 47, 43]
    assert faces.part.tolist() == [int(lines["partition"][file]) for file in files]
    assert faces.group is not None and faces.group.tolist() == [groups[file] for file in files]
    assert faces.notes == (
        "nobody looked for action units in 50 of 300 images (null)",
        "partition.txt: 0 = train 210, 1 = validation 47, 2 = test 43",
        "groups.csv: 112 groups; parts 0 and 1 of partition.txt are dealt to the folds anew",
    )
    for number, picture in enumerate(faces.pictures(96)):  # their own size: nothing is scaled
        with Image.open(folder / "images" / files[number]) as image:
            np.testing.assert_array_equal(picture.transpose(1, 2, 0), np.asarray(image))
    assert number == 299
