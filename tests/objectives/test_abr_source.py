"""Which reader a source is given to, and what is said where there is nothing to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo.objective import DataError
from objectives.abr.data import Grid
from objectives.abr.source import read
from tests.objectives import test_abr_csv as table
from tests.objectives import test_abr_epl as epl

WANTED = "give a CSV file, a folder that holds waveforms.csv, or a folder of EPL recordings"


def test_tables_and_recordings_are_told_apart(tmp_path: Path) -> None:
    recording = epl.write(tmp_path)
    assert read(recording, Grid()).subject.tolist() == ["7"] * 5
    assert read(tmp_path, Grid()).file is not None
    csv = table.write(tmp_path / "waveforms.csv", [table.row("A")])
    assert read(csv, Grid()).subject.tolist() == ["A"]
    assert read(tmp_path, Grid()).subject.tolist() == ["A"]  # the table is what a folder is for, where it has one


@pytest.mark.parametrize("content", [{}, {"notes.txt": "a folder of something else"}])
def test_a_folder_without_recordings_is_refused(tmp_path: Path, content: dict[str, str]) -> None:
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"waveforms\.csv nor EPL recordings, which begin with ':RUN-'") as error:
        read(tmp_path, Grid())
    holds = "neither" if content else "the folder is empty: neither"
    assert str(error.value) == (
        f"{tmp_path}: {holds} waveforms.csv nor EPL recordings, which begin with ':RUN-'; {WANTED}"
    )


def test_picks_alone_are_no_source(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ABR-7-1-analyzed\.txt: picks without their recording; give the folder that"):
        read(epl.analyse(tmp_path), Grid())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other\.csv: no such file or folder; give a CSV file, a folder that holds"):
        read(tmp_path / "other.csv", Grid())
