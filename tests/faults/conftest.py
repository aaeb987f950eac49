"""A field per test and back end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.parts import Field


@pytest.fixture
def field(tmp_path: Path, url: str) -> Iterator[Field]:
    field = Field(tmp_path, url)
    yield field
    field.end()
