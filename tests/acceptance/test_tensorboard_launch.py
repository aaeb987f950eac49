"""`hpo launch --tensorboard`: what TensorBoard shows of a study whose launch was interrupted."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.acceptance.test_launch import SMALL, Run, Wait, start

LONG = SMALL.replace("epochs: 4", "epochs: 12").replace("name: asha, min_resource: 2", "name: none")


def test_an_interrupted_launch_shows_each_epoch_once(hpo: Run, url: str, tmp_path: Path, wait_until: Wait) -> None:
    (tmp_path / "small.yaml").write_text(LONG)
    words = ("launch", "small.yaml", "--trials", "2", "--workers", "2", "--tensorboard", "--gradient-norms")
    launched = start(tmp_path, url, *words, "--checkpoint-every", "0")
    logs = tmp_path / "runs"
    wait_until(lambda: any("epoch 3/12" in f.read_text() for f in logs.glob("studies/*/trials/*.log")), "an epoch")
    launched.send_signal(signal.SIGINT)
    output = launched.communicate(timeout=60)[0]
    assert launched.returncode == 130, output
    done = hpo(*words, storage=url)
    assert done.returncode == 0, done.stdout + done.stderr

    (folder,) = logs.glob("studies/*/tensorboard")
    assert re.findall(r"^watch +tensorboard --logdir (.*)$", output + done.stdout, re.M) == [str(folder)] * 2
    trials = ["trial-00000-fold-0", "trial-00001-fold-0"]
    shown = {run.name: EventAccumulator(str(run)).Reload() for run in folder.iterdir()}
    assert trials == sorted(name for name in shown if name.startswith("trial"))
    assert any(name.startswith("promotion-") and name.endswith("-refit") for name in shown)
    assert any(len(list((folder / trial).iterdir())) == 2 for trial in trials), "two workers have written"
    for name in trials:
        for tag in ("train/loss", "val/macro_f1", "gradient/class", "curriculum/class", "spread/class/sd"):
            assert [e.step for e in shown[name].Scalars(tag)] == list(range(1, 13)), f"{name} {tag}"
    assert " gradient.class " in hpo("logs", "small", "0", storage=url).stdout

    assert hpo("delete", "small", "--yes", storage=url).returncode == 0
    assert not folder.exists()
