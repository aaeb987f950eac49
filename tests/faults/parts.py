"""A study of the faulty objective in real processes, and what must hold of its records whatever happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from hpo.files import RunFiles
from hpo.records import TrialRecord
from hpo.store import DATABASE_ERRORS, StorageError, Store, Unknown

#: Seconds of silence after which a lease is taken over in these tests.
GRACE = 2

STUDY = """\
study: faults
objective: {objective}:Faulty
metric: skill
folds: {{count: 2}}
budget: {{trials: {trials}, epochs: {epochs}}}
sampler: random
pruner: {pruner}
space:
  optimizer: {{lr: {{float: [1e-4, 1e-1], log: true}}}}
fixed:
  loss: {{pause: {pause}}}
  stopping: {{patience: 0, min_epochs: 1}}
  schedule: {{warmup_epochs: 0}}
configurations:
  before: {{optimizer: {{lr: 1e-2}}}}
"""


class Field:
    """A folder with a study file, a database, and the processes started in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.processes: list[subprocess.Popen[str]] = []
        (folder / "faulty.py").write_text((Path(__file__).parent / "faulty.py").read_text())

    def write(self, *, trials: int, epochs: int = 3, pause: float = 0.0, pruner: str = "none", more: str = "") -> None:
        """The study file; `pause` seconds for each of an epoch's two batches."""
        text = STUDY.format(objective="faulty.py", trials=trials, epochs=epochs, pause=pause, pruner=pruner)
        (self.folder / "faults.yaml").write_text(text + more)

    def prepare(self) -> None:
        """Create the study of the file, as a launch does, without any worker."""
        from hpo.launching import create_or_resume
        from hpo.resolve import file_hash, resolve
        from hpo.study import Study

        spec = Study.read(self.folder / "faults.yaml", resolve)
        files, objective = RunFiles(self.folder / "runs"), resolve(spec.objective)
        store = Store(self.url, create=True)
        create_or_resume(spec, None, store, files, objective, file_hash(spec.objective), lambda _: None)
        store.close()

    def launch(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """`hpo launch` of the study, without promotion and report."""
        return self.start("launch", "faults.yaml", "--no-promote", "--no-report", "--devices", "cpu", *words, **environ)

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        own = {"HPO_STORAGE": self.url, "HPO_LEASE_SECONDS": str(GRACE), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hpo", *words],
            cwd=self.folder,
            env=os.environ | own | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[str]) -> float:
        """`kill -9` a process started here; the moment, by the monotonic clock."""
        self.processes.remove(process)
        moment = time.monotonic()
        process.kill()
        process.communicate()
        return moment

    def workers(self) -> list[psutil.Process]:
        """Live worker processes of this folder, whoever started them."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = process.info["cmdline"] or []
            if process.info["cwd"] == str(self.folder) and ("worker" in words or "prepare" in words):
                found.append(process)
        return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]

    @contextmanager
    def store(self) -> Iterator[Store]:
        store = Store(self.url)
        try:
            yield store
        finally:
            store.close()

    def trials(self) -> list[TrialRecord]:
        """Every trial on record; none while there is no study, or the database is away."""
        try:
            with self.store() as store:
                return store.reading.trials(store.studies.get("faults").study_id)
        except (StorageError, Unknown, *DATABASE_ERRORS):
            return []

    def epochs(self) -> int:
        return sum(len(trial.epochs) for trial in self.trials())

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = 90.0) -> None:
        """Until the condition holds; at once a failure when a process has failed."""
        deadline = time.monotonic() + seconds
        while not condition():
            for process in self.processes:
                if process.poll():
                    raise AssertionError(f"no {what}: exit code {process.returncode}\n{process.communicate()[0]}")
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
            time.sleep(0.05)

    def logs(self) -> str:
        """Every trial log, one after the other."""
        files = sorted(self.folder.glob("runs/studies/*/trials/*.log"))
        return "\n".join(file.read_text() for file in files)

    def trained(self) -> int:
        """Epochs that were trained, as the logs have it: also those that are not on record."""
        return len(re.findall(r" epoch \d+/", self.logs()))

    def end(self) -> None:
        """Kill whatever is left."""
        for process in [*self.processes, *self.workers()]:
            try:
                os.kill(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for started in self.processes:
            started.wait()
            if started.stdout:
                started.stdout.close()


def finished(process: subprocess.Popen[str], code: int | None = 0, seconds: float = 120.0) -> str:
    """What a process has printed, once it has ended with this exit code."""
    output = process.communicate(timeout=seconds)[0]
    assert code is None or process.returncode == code, f"exit code {process.returncode}:\n{output}"
    return output


def assert_whole(field: Field, trials: int, epochs: int | None = None) -> list[TrialRecord]:
    """Nothing lost, nothing twice: so many trials, all ended, each with its curve and a value, no parameters twice."""
    found = field.trials()
    assert [trial.number for trial in found] == list(range(trials))
    assert {trial.state for trial in found} <= {"COMPLETE", "PRUNED"}, [(t.number, t.state, t.end_text) for t in found]
    points = {tuple(sorted(trial.params.items())) for trial in found}
    assert len(points) == trials, "parameters were evaluated twice"
    with field.store() as store:
        study_id = store.studies.get("faults").study_id
        theirs = {trial.number: trial for trial in store.database.get_all_trials(study_id, deepcopy=False)}
        assert store.leases.open(study_id) == 0
    for trial in found:
        numbers = [epoch.number for epoch in trial.epochs]
        assert numbers == list(range(1, len(numbers) + 1)), f"trial {trial.number} has epochs {numbers}"
        if trial.state == "COMPLETE":
            assert epochs is None or len(numbers) == epochs
            best = max(epoch.validation["skill"] for epoch in trial.epochs)
            assert trial.value == theirs[trial.number].value == best
        reported = {epoch.number: epoch.validation["skill"] for epoch in trial.epochs}
        assert theirs[trial.number].intermediate_values == reported
    return found
