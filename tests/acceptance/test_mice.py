"""Tracked mice from a folder to a final model, and back: points alone are predicted, frame by frame."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.objectives.behaviour_folders import dlc_csv, numbers

Run = Callable[..., subprocess.CompletedProcess[str]]

STUDY = """\
study: mice
objective: behaviour
data: mice
metric: macro_f1
folds: {count: 2}
budget: {trials: 1, epochs: 1}
pruner: none
space:
  optimizer: {lr: {float: [1e-4, 1e-2], log: true}}
fixed:
  data: {batch_size: 2, train_T: 20, val_T: 30, min_frames: 25, context_frames: 5, image_size: 16}
  model: {width: 8, layers: 2}
  augment: {jitter: 0.02, brightness: 0.2, contrast: 0.2, temporal_drop: 0.1, noise: 0.02, roll: 3, flip: 0.5}
targets:
  - {score: segment_f1@0.3, at_least: 0.3}
  - {gap: loss, at_most: 0.5}
"""
CLASSES, FRAMES = ["rest", "walk", "lick"], 90


def film(path: Path) -> None:
    """A frame of each grey level in turn."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height = 64, 48
        for level in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64), 2 * level, np.uint8), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())


def write(folder: Path) -> None:
    """Four mice of three clips of 30 frames, the second of them annotated in its last 25."""
    for part in ("keypoints", "annotations", "videos"):
        (folder / part).mkdir(parents=True)
    (folder / "classes.json").write_text(json.dumps(CLASSES))
    for mouse in range(4):
        points = numbers(mouse, frames=FRAMES) * (0.1, 0.1, 1)  # inside the film's frame
        (folder / "keypoints" / f"m{mouse}DLC_net.csv").write_text(dlc_csv(points))
        film(folder / "videos" / f"m{mouse}.mp4")
        for clip, rows in enumerate((30, 25, 30)):
            cells = "".join(f"{row},{CLASSES[(row // 10 + clip + mouse) % 3]}\n" for row in range(rows))
            (folder / "annotations" / f"m{mouse}_{clip + 1}.csv").write_text("Frame,Action\n" + cells)


@pytest.mark.slow
def test_from_a_folder_of_mice_to_a_model_and_back(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "mice")
    (tmp_path / "mice.yaml").write_text(STUDY)
    done = hpo("launch", "mice.yaml", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    final = json.loads(hpo("status", "mice", "--json").stdout)["final"]
    page = next((tmp_path / "runs").rglob("report.html")).read_text()
    for title in ("Actions along the time of each session", "Segments of each action", "255 frames with a class"):
        assert title in page, title
    told = hpo("export", "mice", "--predictions", "-o", "unseen.csv")
    assert told.returncode == 0, told.stderr
    rows = list(csv.DictReader((tmp_path / "unseen.csv").read_text().splitlines()))
    frames = [(row["session"], int(row["frame"])) for row in rows]
    assert len(set(frames)) == len(frames) == 3 * FRAMES  # one mouse is set aside for the test
    assert {row["truth"] for row in rows if 30 <= int(row["frame"]) < 35} == {""}  # of no file of 25 rows
    assert all(row["truth"] in CLASSES for row in rows if not 30 <= int(row["frame"]) < 35)

    (tmp_path / "new").mkdir()
    for name in ("keypoints/m0DLC_net.csv", "videos/m0.mp4"):
        (tmp_path / "new" / Path(name).name).write_bytes((tmp_path / "mice" / name).read_bytes())
    told = hpo("predict", final["path"], "new", "-o", "one.csv")
    assert told.returncode == 0, told.stderr
    assert "3 rows with 90 entries" in told.stdout
    rows = list(csv.DictReader((tmp_path / "one.csv").read_text().splitlines()))
    assert [int(row["frame"]) for row in rows] == list(range(FRAMES)) and {row["truth"] for row in rows} == {""}
    again = hpo("evaluate", final["path"], "--data", "mice")
    assert again.returncode == 0 and "segment_f1@0.3" in again.stdout, again.stderr

    points = dlc_csv(numbers(0, points=2, frames=FRAMES), parts=("nose", "tail"))
    (tmp_path / "other.csv").write_text(points)
    refused = hpo("predict", final["path"], "other.csv", "-o", "o.csv")
    assert refused.returncode == 2 and "the points are nose, tail; the model was trained on" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_broken_folders_of_mice_end_with_one_message(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "mice")
    (tmp_path / "mice.yaml").write_text(STUDY)
    first = tmp_path / "mice" / "keypoints" / "m0DLC_net.csv"
    first.write_text("\n".join(first.read_text().split("\n")[2:]))
    second = tmp_path / "mice" / "annotations" / "m1_1.csv"
    second.write_text(second.read_text().replace("4,", "4,jump # "))
    for command in (("check", "mice.yaml"), ("launch", "mice.yaml")):
        done = hpo(*command)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for part in ("m0DLC_net.csv", "scorer", "bodyparts", "m1_1.csv", "jump"):
            assert part in done.stderr, done.stderr
