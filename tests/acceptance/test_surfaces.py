"""Volumes from a folder of TIFFs to a model and its TIFFs; broken folders; a volume larger than most."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import tifffile

from hpo.store import Store
from tests.objectives.volumes import write_file

Run = Callable[..., subprocess.CompletedProcess[str]]

STUDY = """\
study: scrolls
objective: surface
data: scrolls
metric: dice
folds: {count: 2}
budget: {trials: 2, epochs: 2}
pruner: none
space:
  optimizer: {lr: {float: [1e-3, 3e-2], log: true}}
fixed:
  data: {batch_size: 4, patch: 16, overlap: 0.5, sheets: thin}
  model: {initial_filters: 4, depth: 2}
  stopping: {min_epochs: 1}
configurations:
  before: {optimizer: {lr: 1e-3}}
  recommended: {optimizer: {lr: 1e-2}}
"""
#: Two smaller than a window along one axis; groups of one volume and of two.
SHAPES = {"a": (20, 24, 28), "b": (12, 32, 20), "c": (16, 24, 14)}
TABLE = "id,scroll_id\na,s1\nb,s2\nc,s2\n"


def volume(shape: tuple[int, int, int], seed: int, thickness: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Image and label of bright waves in noise."""
    slices = np.arange(shape[0], dtype=np.float32)[:, None, None]
    wave = 4 * np.sin(np.arange(shape[1], dtype=np.float32) / 12)[:, None] + np.arange(shape[2], dtype=np.float32) / 30
    label = ((slices + wave) % 16 < thickness).astype(np.uint8)
    noise = np.random.default_rng(seed).integers(60, 120, shape, np.uint8)
    return noise + 50 * label, label


def write(folder: Path, shapes: Mapping[str, tuple[int, int, int]], table: str) -> None:
    for seed, (name, shape) in enumerate(shapes.items()):
        image, label = volume(shape, seed)
        if seed == 0:
            label[:, :, -2:] = 2
        write_file(folder / "train_images" / f"{name}.tif", image, compression="deflate")
        write_file(folder / "train_labels" / f"{name}.tif", label, compression="deflate")
    (folder / "train.csv").write_text(table)


def dice(folder: Path, name: str, written: Path) -> float:
    """By numpy, of the file that was written and the label; both are looked at on the way."""
    said, label = tifffile.imread(written / f"{name}.tif"), tifffile.imread(folder / "train_labels" / f"{name}.tif")
    assert said.shape == label.shape and said.dtype == np.uint8 and said.max() <= 1
    said, true = (part[label < 2] == 1 for part in (said, label))
    return float(2 * np.sum(said & true) / (said.sum() + true.sum()))


@pytest.mark.slow
def test_from_volumes_to_a_model_and_its_files(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "scrolls", SHAPES, TABLE)
    (tmp_path / "scrolls.yaml").write_text(STUDY)
    done = hpo("launch", "scrolls.yaml", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    final = json.loads(hpo("status", "scrolls", "--json").stdout)["final"]
    assert final["status"] == "done" and 0 < final["scores"]["competition"] < 1
    page = Path(re.findall(r"^report +(.*)$", done.stdout, re.M)[0]).read_text()
    titles = ("Example slices", "Surface Dice of each volume", "Share of foreground: said and true", "Loss terms")
    for title in (*titles, "What has learned nothing"):
        assert title in page, title

    fold = sorted(Path(final["path"]).parent.glob("fold-0-of-trial-*"))[0]
    told = hpo("evaluate", str(fold), "--data", "scrolls", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert "rows that the model was not trained on" in found["note"]
    assert {"dice", "surface_dice@2", "competition", "component_error"} <= set(found["models"][str(fold)]["scores"])

    told = hpo("predict", final["path"], "scrolls", "-o", "t.csv", "--files", "predicted")
    assert told.returncode == 0, told.stderr
    assert told.stdout.endswith("3 files -> predicted\n")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert {row["volume"] for row in rows} == set(SHAPES)
    by_hand = {name: dice(tmp_path / "scrolls", name, tmp_path / "predicted") for name in SHAPES}
    for row in rows:  # seven digits stand in the table
        assert float(row["volume.dice"]) == pytest.approx(by_hand[row["volume"]], rel=1e-6)

    (tmp_path / "scrolls" / "train_images").rename(tmp_path / "scans")
    told = hpo("predict", final["path"], "scans", "-o", "u.csv", "--files", "again")
    assert told.returncode == 0, told.stderr
    for name in SHAPES:
        first, again = (tifffile.imread(tmp_path / folder / f"{name}.tif") for folder in ("predicted", "again"))
        np.testing.assert_array_equal(first, again)
    labels = {path: path.read_bytes() for path in (tmp_path / "scrolls" / "train_labels").iterdir()}
    for full in ("again", "scrolls/train_labels"):
        refused = hpo("predict", final["path"], "scans", "-o", "u.csv", "--files", full)
        assert refused.returncode == 2 and "Traceback" not in refused.stderr
        assert f"--files {full} holds a.tif and 2 more: name a new folder, or empty this one" in refused.stderr
    assert {path: path.read_bytes() for path in labels} == labels
    rows = list(csv.DictReader((tmp_path / "u.csv").read_text().splitlines()))
    assert {row["truth"] + row["volume.dice"] for row in rows} == {""} and all(row["prediction"] for row in rows)
    refused = hpo("evaluate", final["path"], "--data", "scans")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "scans: neither train.csv nor train_labels/; only predictions do without labels" in refused.stderr
    write_file(tmp_path / "deep" / "a.tif", np.zeros((16, 16, 16), np.uint16))
    refused = hpo("predict", final["path"], "deep", "-o", "u.csv")
    assert refused.returncode == 2 and "Traceback" not in refused.stderr
    assert "deep: the images are uint16; the model was trained on uint8: save them as that" in refused.stderr


@pytest.mark.slow
def test_a_quick_look_without_data(hpo: Run, tmp_path: Path) -> None:
    text = STUDY.replace("data: scrolls\n", "").replace("study: scrolls", "study: made").replace("0.5", "0.0")
    (tmp_path / "made.yaml").write_text(text)
    done = hpo("launch", "made.yaml", "--quick", "--trials", "1", "--no-promote", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SYNTHETIC DATA" in done.stdout and "QUICK: 2 epochs" in done.stdout
    now = json.loads(hpo("status", "made-quick", "--json").stdout)
    assert now["states"]["COMPLETE"] == 1 and now["best"]["params"]["data.sheets"] == "thin"


def unequal(folder: Path) -> None:
    write_file(folder / "train_labels" / "b.tif", volume((12, 32, 21), 0)[1])


def missing(folder: Path) -> None:
    (folder / "train_labels" / "c.tif").unlink()


def other_values(folder: Path) -> None:
    label = volume(SHAPES["a"], 0)[1]
    label[7, 0, :5] = 3
    write_file(folder / "train_labels" / "a.tif", label)


def truncated(folder: Path) -> None:
    file = folder / "train_images" / "b.tif"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def no_table(folder: Path) -> None:
    (folder / "train.csv").unlink()


def everything(folder: Path) -> None:
    for damage in (unequal, missing, other_values, truncated):
        damage(folder)


UNEQUAL = "train_labels/b.tif: a label of 12 x 32 x 21 voxels for an image of 12 x 32 x 20 (slices, lines, columns)"
MISSING = "train.csv names 1 volume without a TIFF in train_labels/: 'c' in line 4"
OTHER = "train_labels/a.tif: label values other than 0, 1 and 2: 3 (5 voxels, first in slice 7)"
TRUNCATED = "train_images/b.tif: damaged or cut short"


@pytest.mark.parametrize(
    ("damage", "texts"),
    [
        (unequal, [UNEQUAL]),
        (missing, [MISSING]),
        (other_values, [OTHER]),
        (truncated, [TRUNCATED]),
        (no_table, ["no train.csv beside train_labels/"]),
        (everything, [MISSING, OTHER, TRUNCATED]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_folder_ends_with_one_message_and_leaves_nothing(
    hpo: Run, tmp_path: Path, damage: Callable[[Path], None], texts: list[str]
) -> None:
    write(tmp_path / "scrolls", SHAPES, TABLE)
    (tmp_path / "scrolls.yaml").write_text(STUDY)
    damage(tmp_path / "scrolls")
    done = hpo("launch", "scrolls.yaml")
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith(f"Error: {tmp_path / 'scrolls'}: ") and "Traceback" not in done.stderr
    for text in texts:
        assert done.stderr.count(text) == 1, done.stderr
    problems = done.stderr.strip().split("\n  ")[1:] or [done.stderr]
    assert len(problems) == len(texts), done.stderr
    left = [path for path in (tmp_path / "runs").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert [path.name for path in left] == ["hpo.db"], "neither prepared data nor a study"
    store = Store(f"sqlite:///{left[0]}")
    assert not store.studies.exists("scrolls")
    store.close()


# ---- a large volume

BIG, LITTLE = (512, 512, 128), (64, 64, 64)
#: A process that says on its last line what the largest process that its command has started needed, in KiB.
PEAK = """
import resource, subprocess, sys
done = subprocess.run(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(done.returncode)
"""


def peak(folder: Path, *words: str) -> int:
    """Bytes of the largest process of a command, which must go well."""
    command = [sys.executable, "-c", PEAK, sys.executable, "-P", "-m", "hpo", *words]
    done = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return 1024 * int(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_a_large_volume_is_trained_on_and_predicted_in_little_memory(hpo: Run, tmp_path: Path) -> None:
    """Under 3 GB in every process. The large volume is trained on, the little one validated; the first is predicted.

    A model comes of little volumes: to promote a trial validates every volume, which takes minutes for the large one.
    """
    text = STUDY.replace("patch: 16, overlap: 0.5", "patch: 64, overlap: 0.0").replace("filters: 4", "filters: 2")
    text = text.replace("trials: 2, epochs: 2", "trials: 1, epochs: 1").replace(
        "  recommended: {optimizer: {lr: 1e-2}}\n", ""
    )
    text += "promotion: {baseline: false}\n"
    write(tmp_path / "little", {"a": LITTLE, "b": LITTLE}, "id,scroll_id\na,s1\nb,s2\n")
    write(tmp_path / "big", {"a": BIG, "b": LITTLE}, "id,scroll_id\na,s1\nb,s2\n")
    for name, more in (("little", ""), ("big", ", search: 1")):
        own = text.replace("scrolls", name).replace("count: 2", f"count: 2{more}")
        (tmp_path / f"{name}.yaml").write_text(own)

    trained = peak(tmp_path, "launch", "big.yaml", "--workers", "1", "--no-promote", "--no-report")
    log = hpo("logs", "big", "0").stdout
    support = [int(number) for number in re.findall(r" (?:background|foreground) .* (\d+)$", log, re.M)]
    assert sum(support) == math.prod(LITTLE), f"the large volume is in the other part: {log}"

    done = hpo("launch", "little.yaml", "--workers", "1", "--no-report")
    assert done.returncode == 0, done.stdout + done.stderr
    (model,) = (tmp_path / "runs" / "models").glob("little-*/trial-0000")
    predicted = peak(tmp_path, "predict", str(model), "big", "-o", "t.csv", "--files", "predicted")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [row["volume"] for row in rows] == ["a"] * (math.prod(BIG) // 64**3) + ["b"]
    for name, row in (("a", rows[0]), ("b", rows[-1])):
        assert float(row["volume.dice"]) == pytest.approx(
            dice(tmp_path / "big", name, tmp_path / "predicted"), rel=1e-6
        )
    for used in (trained, predicted):
        assert 3e8 < used < 3e9, "less than torch itself needs has not been measured"
