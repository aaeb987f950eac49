"""hpo check --lr-range and --batch-size as users call them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from hpo.cli.group import hpo as group
from tests.toy import STUDY

Hpo = Callable[..., subprocess.CompletedProcess[str]]
Invoke = Callable[..., Result]

#: The toy, whose training batches of more than 20 rows the device refuses.
TIGHT = """\
import torch

from tests.toy import Toy


class Own(Toy):
    name = "own"

    def losses(self, outputs, batch, params, statistics):
        if outputs["logits"].requires_grad and len(batch["target"]) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return super().losses(outputs, batch, params, statistics)
"""


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """The command in this process and an empty folder; it sets the number of threads, which others must not see."""
    threads = torch.get_num_threads()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.yaml").write_text(STUDY)
    yield lambda *words: CliRunner(env={"HPO_RUNS": str(tmp_path / "runs")}).invoke(group, words)
    torch.set_num_threads(threads)


def test_rates_of_digits_with_their_page(hpo: Hpo, tmp_path: Path) -> None:
    done = hpo("check", "digits", "--lr-range", "--device", "cpu", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    for text in (
        "lr range   fold 0, configuration 'before', batches of 64 rows",
        "     rate  mean loss",
        " falls fastest",
        " lowest",
        " breaks",
        "reading    The loss falls fastest near 0.00",
        "           To search: optimizer: {lr: {float: [",
        "The configuration's optimizer.lr is 0.001, searched are 0.0001 to 0.03;",
        "plot       digits-lr-range.html",
        "result     ok",
    ):
        assert text in done.stdout, text
    rows = re.findall(r"^ *\d\.\de[-+]\d\d +([\d.]+) #+>? *(.*)$", done.stdout, flags=re.MULTILINE)
    assert min(rows, key=lambda row: float(row[0]))[1] == "lowest", "the mark stands at the lowest of the rows"
    (broken,) = (row for row in rows if row[1].startswith("breaks: above "))
    assert float(broken[0]) > float(broken[1].split()[2].strip(","))
    assert "training with a growing rate ..." in done.stderr
    page = (tmp_path / "digits-lr-range.html").read_text()
    assert "digits: learning-rate range test" in page and "SYNTHETIC" not in page
    before_the_library = page.split("<script nonce")[0]
    assert not re.search(r"(src|href)=.?http|@import|url\(", before_the_library), "nothing is fetched"
    assert "default-src 'none'" in before_the_library
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["cache"]


def test_rates_of_digits_for_scripts(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("check", "digits", "--lr-range", "--json", "--fold", "2", "--device", "cpu")
    record = json.loads(done.stdout)
    found = record["lr_range"]
    assert (done.exit_code, record["ok"], record["fold"], record["plot"]) == (0, True, 2, None)
    assert found["space"] == [1e-4, 3e-2] and found["suggested"][0] < found["suggested"][1] < found["broken_rate"]
    assert set(found["curve"][0]) == {"rate", "loss", "smooth_rate", "smooth_loss"}
    assert min(point["smooth_loss"] for point in found["curve"]) == found["lowest"] < found["start"]
    assert not (tmp_path / "digits-lr-range.html").exists(), "only where --plot names it"


def test_batches_of_digits(hpo: Hpo) -> None:
    done = hpo("check", "digits", "--batch-size", "--device", "cpu", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    for text in (
        "    rows     memory    ms/step     rows/s",
        "<- data.batch_size",
        "limit      the fold's 620 training rows: no batch can be larger; memory was not the limit",
        "largest    620 rows",
        "fastest    ",
        "study      data.batch_size is 64, which fits",
        "result     ok",
    ):
        assert text in done.stdout, text
    assert "trying a batch of 512 rows ..." in done.stderr


def test_batches_of_digits_for_scripts(invoke: Invoke) -> None:
    record = json.loads(invoke("check", "digits", "--batch-size", "--json", "--device", "cpu").stdout)
    found = record["batch_size"]
    assert (record["ok"], found["largest"], found["limit"], found["study"]) == (True, 620, "rows", 64)
    assert [trial["rows"] for trial in found["tried"]] == [8, 16, 32, 64, 128, 256, 512, 620]
    assert all(trial["fits"] and trial["memory"] > 0 and trial["rows_per_second"] > 0 for trial in found["tried"])
    assert found["fastest"] in [trial["rows"] for trial in found["tried"]]


def test_a_batch_that_the_study_wants_and_the_device_refuses_is_a_problem(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(TIGHT)
    text = STUDY.replace("tests.toy:Toy", "own.py:Own")
    (tmp_path / "own.yaml").write_text(text.replace("fixed:", "fixed:\n  data: {batch_size: 32}"))
    done = invoke("check", "own.yaml", "--batch-size")
    assert done.exit_code == 1, done.output
    assert "      24 does not fit: requested 2 GiB: CUDA out of memory" in done.stdout
    assert "PROBLEM    data.batch_size 32 does not fit the device: the largest that does is 16" in done.stdout
    space = "space:\n  data: {batch_size: {choice: [8, 48]}}"
    before = "before: {data: {batch_size: 8}, "
    (tmp_path / "own.yaml").write_text(text.replace("space:", space).replace("before: {", before))
    done = invoke("check", "own.yaml", "--batch-size")
    assert done.exit_code == 0, done.output
    assert "WARNING    data.batch_size is searched up to 48, which does not fit the device" in done.stdout


def test_a_loss_that_is_never_finite_is_a_problem(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "toy.yaml").write_text(STUDY.replace("fixed:", "fixed:\n  loss: {scale: 1.0e+30}"))
    done = invoke("check", "toy.yaml", "--lr-range", "--plot", "page.html")
    assert done.exit_code == 1 and not (tmp_path / "page.html").exists()
    assert "PROBLEM    the loss is not finite at the first step: `hpo check` without --lr-range names" in done.stdout


def test_made_up_data_are_announced_on_screen_and_page(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("check", "toy.yaml", "--lr-range", "--plot", str(tmp_path / "new" / "page.html"))
    assert done.exit_code == 0 and "SYNTHETIC DATA" in done.stdout
    assert "SYNTHETIC DATA" in (tmp_path / "new" / "page.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lr-range", "--batch-size"], "--lr-range and --batch-size are two questions: ask one after the other"),
        (["--lr-range", "--epochs", "3"], "--epochs 3: --lr-range trains steps of its own, no epochs"),
        (["--batch-size", "--epochs", "3"], "--epochs 3: --batch-size trains single steps, no epochs"),
        (["--plot", "page.html"], "--plot page.html: only --lr-range draws; add it, or leave --plot out"),
        (["--batch-size", "--plot", "page.html"], "--plot page.html: only --lr-range draws"),
        (["--lr-range", "--fold", "9"], "--fold 9: the study has folds 0 to 2"),
        (["--lr-range", "--plot", "."], "'.' is a directory"),
    ],
)
def test_wrong_options_are_the_users_mistake(invoke: Invoke, words: list[str], message: str) -> None:
    done = invoke("check", "toy.yaml", *words)
    assert done.exit_code == 2 and message in done.stderr and "Traceback" not in done.stderr
