"""`hpo predict --files`: what rows make together is written where the user says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from hpo.arrays import Arrays
from hpo.objective import Objective, Params, Sums
from hpo.promoted_model import save_model
from tests.promoted import command
from tests.test_final_model import REFIT, final_record
from tests.test_whole import SIZE, Together, Wholes
from tests.toy import STUDY, Toy, launch


class InFiles(Together):
    """A file per whole, which holds the rows that it is of."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder
        self._files: list[Path] = []

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(self._files)

    def _closed(self, keys: list[int]) -> Sums:
        for key in keys if self.folder else ():
            assert self.folder is not None
            self._files.append(self.folder / f"whole-{key:03d}.txt")
            self._files[-1].write_text(str(len(self._open[key])))
        return super()._closed(keys)


class Filed(Wholes):
    def whole(self, arrays: Arrays, folder: Path | None = None) -> InFiles:
        return InFiles(folder)

    def report(self, sums: object, info: object) -> dict[str, dict[str, float]]:
        return {}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def model_of(root: Path, objective: Objective, named: str) -> Path:
    """The folder of a final model of the objective, after one epoch."""
    text = STUDY.replace("tests.toy:Toy", named)
    launched = launch(f"sqlite:///{root / 'hpo.db'}", root, text, objective=objective)
    params: Params = launched.spec.params({"optimizer.lr": 0.02})
    run = launched.around.run(REFIT, params, epochs=1)
    run.epoch()
    path = save_model(run, launched.around, REFIT, final_record(), {})
    launched.store.close()
    return path


def test_files_of_wholes_are_written_beside_the_table(tmp_path: Path) -> None:
    named = "tests.cli.test_predict_files:Filed"
    path, to = model_of(tmp_path, Filed(), named), tmp_path / "new" / "predicted"
    words = ["predict", path, "--objective", named, "-o", to / "rows.csv"]
    plain = command(tmp_path, *words)
    assert plain.exit_code == 0, plain.output
    assert plain.stdout == f"120 rows -> {to / 'rows.csv'}\n" and [p.name for p in to.iterdir()] == ["rows.csv"]
    done = command(tmp_path, *words, "--files", to)
    assert done.exit_code == 0, done.output
    wholes = 120 // SIZE
    assert done.stdout == f"120 rows -> {to / 'rows.csv'}\n{wholes} files -> {to}\n", "the table is not counted"
    assert {p.name: p.read_text() for p in to.glob("*.txt")} == {f"whole-{k:03d}.txt": "3" for k in range(wholes)}
    (to / "whole-000.txt").write_text("old")
    (to / "mine.txt").write_text("mine")
    again = command(tmp_path, *words, "--files", to, "--with", _twin(path))
    assert again.exit_code == 0, again.output
    assert again.stdout.endswith(f"\n{wholes} files -> {to}\n"), "an ensemble writes, too; others' files are no news"
    assert (to / "whole-000.txt").read_text() == "3" and (to / "mine.txt").read_text() == "mine"
    below = command(tmp_path, *words, "--files", to / "mine.txt" / "deeper")
    assert below.exit_code == 2
    assert f"{to / 'mine.txt'}: is a file, and a folder is needed in its place" in below.stderr


def _twin(path: Path) -> Path:
    """The same model under another name."""
    twin = path.with_name("twin")
    twin.mkdir()
    for file in path.iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    return twin


def test_an_objective_without_wholes_writes_no_files(tmp_path: Path) -> None:
    path, to = model_of(tmp_path, Toy(), "tests.toy:Toy"), tmp_path / "predicted"
    words = ["predict", path, "--objective", "tests.toy:Toy", "-o", tmp_path / "rows.csv", "--files"]
    refused = command(tmp_path, *words, to)
    assert refused.exit_code == 2 and "Traceback" not in refused.output
    assert "toy writes no files: its rows are no parts of something larger; leave --files out" in refused.stderr
    assert not to.exists() and not (tmp_path / "rows.csv").exists()
    to.write_text("a file")
    refused = command(tmp_path, *words, to)
    assert refused.exit_code == 2 and f"Directory '{to}' is a file" in refused.stderr


#: Where the data are and where files are to be written -> whether the latter lies in the data.
PLACES = {
    ("scans", "scans"): True,
    ("scans", "scans/.."): False,
    ("scans", "scans/out/deeper"): True,
    ("scans", "alias"): True,
    ("alias", "scans/out"): True,
    ("scans/a.txt", "scans"): True,
    ("scans/a.txt", "alias"): True,
    ("scans/a.txt", "scans/out"): False,
    ("scans/a.txt", "scans-out"): False,
    ("alias.txt", "scans"): True,
}


@pytest.mark.parametrize(("read", "written"), PLACES)
def test_files_are_kept_out_of_the_data(tmp_path: Path, read: str, written: str) -> None:
    """By where they really are, before a model is loaded: there is none, which is said of what is kept apart."""
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "a.txt").write_text("120")
    (tmp_path / "alias").symlink_to(scans)
    (tmp_path / "alias.txt").symlink_to(scans / "a.txt")
    data, to = tmp_path / read, tmp_path / written
    words = ["predict", tmp_path / "model", data, "-o", tmp_path / "rows.csv", "--files", to]
    before = sorted(tmp_path.rglob("*"))
    done = command(tmp_path, *words)
    assert done.exit_code == 2 and "Traceback" not in done.output
    refused = f"--files {to} lies in the data, {data}, whose files it could replace: name another folder"
    assert (refused in done.stderr) is PLACES[read, written]
    assert str(tmp_path / "model") in done.stderr or PLACES[read, written]
    assert sorted(tmp_path.rglob("*")) == before and (scans / "a.txt").read_bytes() == b"120"


def test_data_of_one_file_are_predicted_into_a_folder_beside_it(tmp_path: Path) -> None:
    named = "tests.cli.test_predict_files:Filed"
    path, source = model_of(tmp_path, Filed(), named), tmp_path / "scans" / "whole-000.txt"
    source.parent.mkdir()
    source.write_text("120")
    words = ["predict", path, source, "--objective", named, "-o", tmp_path / "rows.csv", "--files"]
    refused = command(tmp_path, *words, source.parent)
    assert refused.exit_code == 2 and source.read_bytes() == b"120" and not (tmp_path / "rows.csv").exists()
    done = command(tmp_path, *words, source.parent / "predicted")
    assert done.exit_code == 0, done.output
    assert source.read_bytes() == b"120" and (source.parent / "predicted" / source.name).read_text() == "3"


def test_rows_of_wholes_are_not_scored_class_by_class(tmp_path: Path) -> None:
    named = "tests.cli.test_predict_files:Filed"
    words = ["evaluate", model_of(tmp_path, Filed(), named), "--objective", named]
    done = command(tmp_path, *words, "--by-class")
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert "--by-class: rows of toy are scored together, not class by class; leave it out" in done.stderr
    plain = command(tmp_path, *words)
    assert plain.exit_code == 0 and "total" in plain.stdout, plain.output
