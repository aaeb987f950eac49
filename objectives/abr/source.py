"""Which reader a source of ABR recordings is for."""

from __future__ import annotations

from pathlib import Path

from hpo.objective import DataError
from objectives.abr import csv as abr_csv
from objectives.abr import epl as abr_epl
from objectives.abr.data import Grid, Recordings


def read(source: Path, grid: Grid) -> Recordings:
    """Read a table, a folder with `waveforms.csv`, a folder of EPL recordings or one of these.

    Where a folder holds `waveforms.csv`, only that is read; folders inside it are not looked at.

    Raises:
        DataError: no recordings, or everything that is wrong with them.
    """
    table = source / abr_csv.FILE_NAME
    wanted = f"give a CSV file, a folder that holds {abr_csv.FILE_NAME}, or a folder of EPL recordings"
    if source.is_file() and abr_epl.is_analysis(source):
        raise DataError(f"{source}: picks without their recording; give the folder that holds both")
    if source.is_file():
        return abr_epl.read_file(source, grid) if abr_epl.is_recording(source) else abr_csv.read(source, grid)
    if not source.is_dir():
        raise DataError(f"{source}: no such file or folder; {wanted}")
    if table.is_file():
        return abr_csv.read(table, grid)
    if abr_epl.is_folder(source):
        return abr_epl.read_folder(source, grid)
    holds = "neither" if any(source.iterdir()) else "the folder is empty: neither"
    raise DataError(f"{source}: {holds} {abr_csv.FILE_NAME} nor EPL recordings, which begin with ':RUN-'; {wanted}")
