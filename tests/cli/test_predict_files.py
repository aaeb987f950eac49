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

    def _closed(self, keys: list[int]) -> Sums:
        for key in keys if self.folder else ():
            assert self.folder is not None
            (self.folder / f"whole-{key:03d}.txt").write_text(str(len(self._open[key])))
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
