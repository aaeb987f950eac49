"""Faces from a folder to a final model, and back: pictures alone are predicted, other labels refused."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

Run = Callable[..., subprocess.CompletedProcess[str]]

STUDY = """\
study: faces
objective: expression
data: faces
metric: macro_f1
folds: {count: 2}
budget: {trials: 1, epochs: 1}
pruner: none
space:
  optimizer: {lr: {float: [1e-4, 1e-2], log: true}}
fixed:
  data: {batch_size: 8, image_size: 32}
  model: {au_attention: true}
  augment: {flip: 0.5, crop: 0.1, rotation: 10, colour: 0.2, erasing: 0.2}
targets:
  - {balance: [emotion, au], at_most: 10}
"""
CLASSES = ["calm", "glad", "cross"]


def write(folder: Path, classes: list[str]) -> None:
    """Twenty-four pictures of twelve persons; the last four are the test part."""
    (folder / "images").mkdir(parents=True)
    names = [f"{k:02}.png" for k in range(24)]
    for k, name in enumerate(names):
        Image.new("RGB", (40 + k, 48), (80 * (k % 3), 10 * k, 120)).save(folder / "images" / name)
    (folder / "emolabel.txt").write_text("".join(f"{n} {k % 3}\n" for k, n in enumerate(names)))
    (folder / "AUlabel.txt").write_text("".join(f"{n} {'4+23' if k % 4 else 'null'}\n" for k, n in enumerate(names)))
    (folder / "partition.txt").write_text("".join(f"{n} {2 if k >= 20 else k % 2}\n" for k, n in enumerate(names)))
    (folder / "groups.csv").write_text("filename,group\n" + "".join(f"{n},p{k // 2}\n" for k, n in enumerate(names)))
    (folder / "classes.json").write_text(json.dumps({"classes": classes, "action_units": ["AU4", "AU23"]}))


@pytest.mark.slow
def test_from_a_folder_of_faces_to_a_model_and_back(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "faces", CLASSES)
    (tmp_path / "faces.yaml").write_text(STUDY)
    done = hpo("launch", "faces.yaml", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    final = json.loads(hpo("status", "faces", "--json").stdout)["final"]
    metrics = json.loads((Path(final["path"]) / "metrics.json").read_text())
    assert metrics["test_uses"] == 1 and 0 <= metrics["test"]["accuracy"] <= 1
    page = next((tmp_path / "runs").rglob("report.html")).read_text()
    for title in ("Emotion: truth and prediction", "data:image/png;base64", "weighted loss terms emotion and au"):
        assert title in page, title

    (tmp_path / "faces" / "images" / "notes.txt").write_text("taken in May")
    for source in ("faces/images", "faces/images/03.png"):
        told = hpo("predict", final["path"], source, "-o", "one.csv")
        note = "note: 1 file that is no image of a format that is read was left out: notes.txt"
        assert (note in told.stderr) == (source == "faces/images"), told.stderr
    assert told.returncode == 0, told.stderr
    (row,) = csv.DictReader((tmp_path / "one.csv").read_text().splitlines())
    assert (row["file"], row["truth"], row["truth.AU4"]) == ("03.png", "", "")
    assert row["prediction"] in CLASSES and row["prediction.AU23"] == str(int(float(row["p.AU23"]) > 0.5))

    again = hpo("evaluate", final["path"], "--data", "faces")
    assert again.returncode == 0, again.stderr
    write(tmp_path / "other", ["glad", "calm", "cross"])
    for command in (("evaluate", final["path"], "--data", "other"), ("predict", final["path"], "other", "-o", "o.csv")):
        refused = hpo(*command)
        assert refused.returncode == 2
        assert "the emotions are not those of the model (the same names in another order)" in refused.stderr
        assert "Traceback" not in refused.stderr


def test_broken_folders_end_with_one_message(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "faces", CLASSES)
    with (tmp_path / "faces" / "AUlabel.txt").open("a") as file:
        file.write("24.png 4\n")
    (tmp_path / "faces" / "emolabel.txt").write_text((tmp_path / "faces" / "emolabel.txt").read_text()[:-2] + "7\n")
    (tmp_path / "faces.yaml").write_text(STUDY)
    for command in (("check", "faces.yaml"), ("launch", "faces.yaml")):
        done = hpo(*command)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for part in ("emolabel.txt, line 24: unknown class '7'", "24.png in line 25"):
            assert part in done.stderr, done.stderr
