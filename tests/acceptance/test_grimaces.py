"""Videos of faces from a folder to models of every fold, and on: by moment, continued, fine-tuned, combined."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

STUDY = """\
study: faces
objective: grimace
data: faces
metric: r2
folds: {count: 2}
budget: {trials: 2, epochs: 2}
pruner: none
space:
  optimizer: {lr: {float: [1e-4, 1e-2], log: true}}
fixed:
  data: {batch_size: 4, max_frames: 4, resolution: 32}
  model: {width: 8, lstm_hidden: 16}
  stopping: {min_epochs: 1}
  augment: {flip: 0.5, brightness: 0.2, hue: 0.1, rotation: 10.0, translate: 0.1, scale: 0.1, blur: 0.5, M2_factor: 1.5}
configurations:
  before: {optimizer: {lr: 1e-4}}
  recommended: {optimizer: {lr: 1e-3}}
targets:
  - {score: r2, at_least: 0.15}
  - {score: mae.M2, at_most: 3.0}
  - {epochs: kept, at_least: 2}
"""
MICE, MOMENTS, SCORES = 4, 5, (0.0, 2.0, 8.0, 3.0, 1.0)


def write(folder: Path) -> None:
    """Two videos of each of four mice at each moment: the brighter, the worse."""
    (folder / "videos").mkdir(parents=True)
    rows = ["video,subject,moment,score,feature_ears"]
    for number in range(2 * MICE * MOMENTS):
        mouse, moment = number % MICE, number // MICE % MOMENTS
        name, score = f"v{number}.mp4", SCORES[moment] + 0.1 * mouse
        with av.open(str(folder / "videos" / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=20)
            stream.width, stream.height = 48, 32
            for frame in range(8):
                level = np.full((32, 48), 30 + 20 * score + frame, np.uint8)
                picture = av.VideoFrame.from_ndarray(level, format="gray")
                container.mux(stream.encode(picture.reformat(format="yuv420p")))
            container.mux(stream.encode())
        rows.append(f"{name},m{mouse},M{moment},{score},{'' if number % 3 else score / 8}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.slow
def test_from_videos_to_models_and_on(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "faces")
    (tmp_path / "faces.yaml").write_text(STUDY)
    done = hpo("launch", "faces.yaml", "--workers", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    final = json.loads(hpo("status", "faces", "--json").stdout)["final"]
    page = next((tmp_path / "runs").rglob("report.html")).read_text()
    for title in ("Pain score: predicted and true", "kept epoch"):
        assert title in page, title
    told = hpo("export", "faces", "--predictions", "-o", "unseen.csv")
    assert told.returncode == 0, told.stderr
    rows = list(csv.DictReader((tmp_path / "unseen.csv").read_text().splitlines()))
    assert sorted(row["video"] for row in rows) == sorted(f"v{n}.mp4" for n in range(2 * MICE * MOMENTS))
    assert {row["feature.ears"] == "" for row in rows} == {True, False}

    folder = Path(final["path"]).parent
    folds = sorted(folder.glob("fold-*-of-trial-*"))
    assert len(folds) in (2, 4)  # of the best, and of the baseline where that is another trial
    told = hpo("evaluate", str(folds[0]), "--data", "faces", "--by-class", "--json")
    assert told.returncode == 0, told.stderr
    found = json.loads(told.stdout)
    assert (found["rows"]["scored"], found["rows"]["of"]) == (20, 40)
    assert "rows that the model was not trained on" in found["note"]
    told = hpo("evaluate", str(folds[0]), "--data", "faces", "--by-class")
    assert all(name in told.stdout for name in ("M0", "M4", "mae.M2", "r2 at least 0.15")), told.stdout

    told = hpo("continue", "faces", "--folds", "all", "--configuration", "recommended", "--epochs", "1")
    assert told.returncode == 0, told.stderr
    assert len(list((folder / "continued").glob("fold-*"))) == 2, told.stdout
    told = hpo("finetune", str(folds[0]), "--only", "M2", "--metric", "mae.M2", "--epochs", "1", "--output", "m2")
    assert told.returncode == 0, told.stderr
    both = hpo("evaluate", str(folds[0]), "--with", "m2", "--data", "faces")
    assert both.returncode == 0 and "ensemble" in both.stdout, both.stderr
    refused = hpo("finetune", str(folds[0]), "--only", "M7", "--epochs", "1", "--output", "m7")
    assert refused.returncode == 2 and "M0, M1, M2, M3, M4" in refused.stderr, refused.stderr
    assert "Traceback" not in refused.stderr and not (tmp_path / "m7").exists()

    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "a.mp4").write_bytes((tmp_path / "faces" / "videos" / "v0.mp4").read_bytes())
    told = hpo("predict", final["path"], "new", "-o", "one.csv")
    assert told.returncode == 0, told.stderr
    (row,) = csv.DictReader((tmp_path / "one.csv").read_text().splitlines())
    assert row["score"] == "" and float(row["prediction"]) == pytest.approx(float(row["prediction"]))


def test_broken_folders_of_faces_end_with_one_message(hpo: Run, tmp_path: Path) -> None:
    write(tmp_path / "faces")
    (tmp_path / "faces.yaml").write_text(STUDY)
    videos = tmp_path / "faces" / "videos"
    (videos / "v0.mp4").write_bytes((videos / "v0.mp4").read_bytes()[:200])
    labels = tmp_path / "faces" / "labels.csv"
    labels.write_text(labels.read_text().replace("m1,M0", "m1,M9", 1) + "v3.mp4,m3,M0,1.0,\n")
    (tmp_path / "faces" / "folds.csv").write_text("subject,fold\nm0,0\nm1,1\nm2,1\n")
    for command in (("check", "faces.yaml"), ("launch", "faces.yaml")):
        done = hpo(*command)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for part in ("v0.mp4", "M9", "M0, M1, M2, M3, M4", "v3.mp4", "m3", "folds.csv"):
            assert part in done.stderr, done.stderr
