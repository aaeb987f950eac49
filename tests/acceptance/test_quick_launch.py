"""`hpo launch --quick`: from search to report in two epochs, loudly, beside the real study."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.acceptance.test_launch import SMALL, Run

WARNING = "QUICK: 2 epochs on at most a few hundred rows; the numbers mean nothing"


def test_a_quick_study_goes_all_the_way_and_says_what_it_is(hpo: Run, url: str, tmp_path: Path) -> None:
    text = SMALL.replace("trials: 6, epochs: 4", "trials: 60, epochs: 400")
    (tmp_path / "small.yaml").write_text(text)
    done = hpo("launch", "small.yaml", "--quick", "--trials", "3", storage=url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert WARNING in done.stdout and "3 of 3 trials begun" in done.stdout

    now = json.loads(hpo("status", "small-quick", "--json", storage=url).stdout)
    assert now["quick"] is True and now["final"]["status"] == "done"
    assert f"numbers    {WARNING}\n" in hpo("status", "small-quick", storage=url).stdout
    assert (Path(now["final"]["path"]) / "README.md").read_text().splitlines()[2] == f"**{WARNING}.**"
    page = Path(re.findall(r"^report +(.*)$", done.stdout, re.M)[0]).read_text()
    assert f'<p class="banner">{WARNING}.</p>' in page
    assert "epoch 2/2 " in hpo("logs", "small-quick", "0", storage=url).stdout

    again = hpo("launch", "small-quick", storage=url)
    assert again.returncode == 2 and again.stderr.endswith("\n  hpo launch small.yaml --quick\n")
    (tmp_path / "small.yaml").write_text(text.replace("1e-4, 1e-1", "1e-3, 1e-1"))
    changed = hpo("launch", "small.yaml", "--quick", storage=url)
    assert changed.returncode == 2 and "`hpo delete small-quick`" in changed.stderr
    names = [row["study"] for row in json.loads(hpo("studies", "--json", storage=url).stdout)]
    assert names == ["small-quick"], "the real study's name stays free"


def test_a_name_of_its_own_for_a_quick_study(hpo: Run, tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    words = ("launch", "small.yaml", "--quick", "--trials", "1", "--no-promote", "--no-report", "--new-name")
    assert hpo(*words, "tried").returncode == 0
    again = hpo("launch", "tried")
    assert again.stderr.endswith("\n  hpo launch small.yaml --quick --new-name tried\n")
    (tmp_path / "small.yaml").write_text(SMALL.replace("study: small", f"study: {'x' * 60}"))
    long = hpo("launch", "small.yaml", "--quick")
    assert long.returncode == 2 and "--new-name xxxx" in long.stderr
