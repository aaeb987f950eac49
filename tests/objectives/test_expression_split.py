"""Folds of faces that the data do not allow; those that they do are in test_expression.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.arrays import open_arrays
from hpo.objective import DataError
from objectives.expression.objective import Expression
from tests.objectives.cases import PREPARED
from tests.objectives.face_folders import GOOD, write


def test_too_many_folds_beside_that_of_the_partition(tmp_path: Path) -> None:
    parts = {"groups.csv": None, "partition.txt": "a.png 0\nb.png 0\nc.png 1\nd.png 0\n"}
    faces = write(tmp_path / "faces", dict(GOOD) | parts)
    arrays = open_arrays(Expression(), faces, PREPARED["expression"], tmp_path / "cache")
    text = (
        r"^beside fold 0, which the partition makes, its part 0 \(train\) is dealt to the other 2 folds: "
        r"2 folds need 2 rows of every class; fewer have: glad \(1\)\. Ask for fewer folds$"
    )
    with pytest.raises(DataError, match=text):
        Expression().split(arrays, 3, 0)
