"""`hpo launch --tensorboard`: what TensorBoard shows of a study whose launch was interrupted."""

from __future__ import annotations

import re
import signal

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.acceptance.test_launch import Run
from tests.faults.parts import Field, finished

EPOCHS = 12


def test_an_interrupted_launch_shows_each_epoch_once(hpo: Run, field: Field) -> None:
    field.hold(trials=2, epochs=EPOCHS)
    words = ("launch", "faults.yaml", "--workers", "2", "--devices", "cpu", "--tensorboard", "--gradient-norms")
    launched = field.start(*words, "--checkpoint-every", "0")
    field.wait(lambda: field.training() == 2, "an epoch of both trials")
    launched.send_signal(signal.SIGINT)
    field.processes.remove(launched)
    printed = finished(launched, code=130)
    field.let_go()
    printed += finished(field.start(*words))

    (folder,) = field.folder.glob("runs/studies/*/tensorboard")
    assert re.findall(r"^watch +tensorboard --logdir (.*)$", printed, re.M) == [str(folder)] * 2
    trials = ["trial-00000-fold-0", "trial-00001-fold-0"]
    shown = {run.name: EventAccumulator(str(run)).Reload() for run in folder.iterdir()}
    assert trials == sorted(name for name in shown if name.startswith("trial"))
    assert any(name.startswith("promotion-") and name.endswith("-refit") for name in shown)
    assert any(len(list((folder / trial).iterdir())) == 2 for trial in trials), "two workers have written"
    for name in trials:
        for tag in ("train/loss", "val/skill", "gradient/number", "curriculum/number", "spread/number/sd"):
            assert [e.step for e in shown[name].Scalars(tag)] == list(range(1, EPOCHS + 1)), f"{name} {tag}"
    assert " gradient.number " in hpo("logs", "faults", "0", storage=field.url).stdout

    assert hpo("delete", "faults", "--yes", storage=field.url).returncode == 0
    assert not folder.exists()
