"""`hpo predict --files`: what rows make together is written where the user says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import Result

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
    done = command(tmp_path, *words, "--files", to)
    assert done.exit_code == 0, done.output
    wholes = 120 // SIZE
    assert done.stdout == f"120 rows -> {to / 'rows.csv'}\n{wholes} files -> {to}\n", "the table is not counted"
    assert {p.name: p.read_text() for p in to.glob("*.txt")} == {f"whole-{k:03d}.txt": "3" for k in range(wholes)}
    other = tmp_path / "of two"
    other.mkdir()
    words[-1] = tmp_path / "rows.csv"
    both = command(tmp_path, *words, "--files", other, "--with", _twin(path))
    assert both.exit_code == 0, both.output
    assert both.stdout == f"120 rows -> {words[-1]}\n{wholes} files -> {other}\n", "an ensemble, into an empty folder"
    plain = command(tmp_path, *words)
    assert plain.exit_code == 0 and plain.stdout == f"120 rows -> {words[-1]}\n", "its own table is replaced"
    below = command(tmp_path, *words, "--files", to / "whole-000.txt" / "deeper")
    assert below.exit_code == 2
    assert f"{to / 'whole-000.txt'}: is a file, and a folder is needed in its place" in below.stderr


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


#: Where the data are and where files are to be written -> why they are not.
IN_DATA, FULL = "lies in the data, {data}: name a folder outside of them", "holds {held}: name a new folder, or empty"
PLACES = {
    ("source", "source"): IN_DATA,
    ("source", "source/images"): IN_DATA,
    ("source", "source/new"): IN_DATA,
    ("source", "source/.."): FULL.format(held="alias and 2 more"),
    ("source", "alias/images"): IN_DATA,
    ("alias", "source/new"): IN_DATA,
    ("source", "source-new"): "",
    ("source/images", "source/labels"): FULL.format(held="a.txt"),
    ("source/images", "source"): FULL.format(held="images and 2 more"),
    ("source/images", "source/new"): "",
    ("source/images/a.txt", "source/images"): FULL.format(held="a.txt and 1 more"),
    ("source/images/a.txt", "source/labels"): FULL.format(held="a.txt"),
    ("source/images/a.txt", "source/images/new"): "",
    ("alias.txt", "source/images"): FULL.format(held="a.txt and 1 more"),
    ("", "source/labels"): FULL.format(held="a.txt"),
    ("", "source/new"): "",
}

#: Where the data are and where the table is to be written -> why it is not.
OF_DATA, OTHER = "would replace a file of the data, {data}: name another file", "exists and is no table of predictions"
TABLES = {
    ("source", "source/train.csv"): OF_DATA,
    ("source", "alias/images/a.txt"): OF_DATA,
    ("source/images/a.txt", "source/images/a.txt"): OF_DATA,
    ("source", "source/new.csv"): "",
    ("source/images", "source/train.csv"): OTHER,
    ("source/images/a.txt", "source/train.csv"): OTHER,
    ("source/images/a.txt", "source/labels/a.txt"): OTHER,
    ("", "source/train.csv"): OTHER,
    ("", "source/new.csv"): "",
}


def sources(root: Path) -> dict[Path, bytes]:
    """What is there before a model is loaded, of which there is none: that is said of places that are allowed."""
    files = {"train.csv": "id,scroll_id\na,s\n", "images/a.txt": "120", "images/b.txt": "120", "labels/a.txt": "60"}
    for name, content in files.items():
        path = root / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (root / "alias").symlink_to(root / "source")
    (root / "alias.txt").symlink_to(root / "source" / "images" / "a.txt")
    return held(root)


def held(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("read", "written"), PLACES)
def test_files_are_written_where_nothing_is(tmp_path: Path, read: str, written: str) -> None:
    """By where they really are: labels have the names of the images, whichever of the two are read."""
    before, to, data = sources(tmp_path), tmp_path / written, [tmp_path / read] if read else []
    done = command(tmp_path, "predict", tmp_path / "model", *data, "-o", tmp_path / "rows.csv", "--files", to)
    said = f"--files {to} {PLACES[read, written]}".format(data=tmp_path / read)
    refused(done, said if PLACES[read, written] else f"{tmp_path / 'model'} is not a model folder")
    assert held(tmp_path) == before


@pytest.mark.parametrize(("read", "written"), TABLES)
def test_a_table_replaces_no_file_but_an_older_table(tmp_path: Path, read: str, written: str) -> None:
    before, to, data = sources(tmp_path), tmp_path / written, [tmp_path / read] if read else []
    done = command(tmp_path, "predict", tmp_path / "model", *data, "-o", to)
    said = f"-o {to} {TABLES[read, written]}".format(data=tmp_path / read)
    refused(done, said if TABLES[read, written] else f"{tmp_path / 'model'} is not a model folder")
    assert held(tmp_path) == before


@pytest.mark.parametrize(("content", "replaced"), [("row,a\r\n0,1\r\n", True), ("", True), ("rows,a\n", False)])
def test_a_table_is_known_by_its_first_column(tmp_path: Path, content: str, replaced: bool) -> None:
    (tmp_path / "t.csv").write_text(content)
    done = command(tmp_path, "predict", tmp_path / "model", "-o", tmp_path / "t.csv")
    refused(done, "is not a model folder" if replaced else f"-o {tmp_path / 't.csv'} exists and is no table of")


def refused(done: Result, text: str) -> None:
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert text in done.stderr, done.stderr


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
