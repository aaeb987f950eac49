"""A study of the faulty objective in real processes, and what must hold of its records whatever happened."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from hpo.files import RunFiles
from hpo.launching import create_or_resume
from hpo.options import STOPPED
from hpo.records import TrialRecord
from hpo.resolve import file_hash, resolve
from hpo.store import DATABASE_ERRORS, StorageError, Store, Unknown, tables
from hpo.study import Study
from tests.faults.nursery import Forked

#: Seconds of silence after which a lease is taken over: by default more than the busiest machine keeps a process from
#: beating; less where a test waits for it, and more than the least where the living are not to be judged dead.
LEASE, GRACE, LEAST = 30, 5, 2
#: The file whose presence holds trials, as `faulty.py` has it; that one imports torch.
HOLD = "hold"
#: Seconds after which a test gives up: no promise, only an end for what would never come.
PATIENCE = 240.0

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
  loss: {{fault: {fault}, hold: {hold}, pause: {pause}}}
  stopping: {{patience: 0, min_epochs: 1}}
  schedule: {{warmup_epochs: 0}}
configurations:
  before: {{optimizer: {{lr: 1e-2}}}}
"""


def study(
    *,
    trials: int,
    objective: str = "faulty.py",
    epochs: int = 3,
    pause: float = 0.0,
    hold: int = 0,
    fault: str = "none",
    pruner: str = "none",
) -> str:
    """The study file; `pause` seconds for each of an epoch's two batches, `hold` and `fault` as `Faulty` has them."""
    return STUDY.format(
        trials=trials, objective=objective, epochs=epochs, pause=pause, hold=hold, fault=fault, pruner=pruner
    )


class Field:
    """A folder with a study file, a database, and the processes started in it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.environ = {"HPO_STORAGE": url, "HPO_LEASE_SECONDS": str(LEASE), "OMP_NUM_THREADS": "1"}
        self.processes: list[subprocess.Popen[str] | Forked] = []
        (folder / "faulty.py").write_text((Path(__file__).parent / "faulty.py").read_text())

    def lease(self, seconds: int) -> None:
        """Silence after which processes started from now on take a lease over."""
        self.environ["HPO_LEASE_SECONDS"] = str(seconds)

    def write(self, *, trials: int, more: str = "", **facts: Any) -> None:
        """The study file, see `study`."""
        (self.folder / "faults.yaml").write_text(study(trials=trials, **facts) + more)

    def hold(self, *, trials: int, epochs: int, pause: float = 0.05, more: str = "", **facts: Any) -> None:
        """A study none of whose trials ends before `let_go`, however late a test does what it does to them.

        Each waits in its last epoch; `pause` and `epochs` say how long a test usually meets it between two batches.
        Epochs come on record once a second: by then all but those of the last one are.
        """
        (self.folder / HOLD).touch()
        self.write(trials=trials, epochs=epochs, pause=pause, more=more, **{"hold": epochs - 1} | facts)

    def waits(self, pid: int) -> bool:
        """Whether a process is inside a batch that does not end before `let_go`."""
        return (self.folder / f"held-{pid}").exists()

    def let_go(self) -> None:
        """The trials that are held come to their end, without pauses."""
        (self.folder / HOLD).unlink()

    def launch(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """`hpo launch` of the study, without promotion and report."""
        return self.start("launch", "faults.yaml", "--no-promote", "--no-report", "--devices", "cpu", *words, **environ)

    def create(self) -> None:
        """The study on record, for workers of one's own."""
        spec = Study.read(self.folder / "faults.yaml", resolve)
        objective, store, files = resolve(spec.objective), Store(self.url, create=True), RunFiles(self.folder / "runs")
        create_or_resume(spec, None, store, files, objective, file_hash(spec.objective), lambda _: None)
        store.close()

    def work(self, *words: str, promote: bool = False, batch_seconds: float | None = None) -> Forked:
        """`hpo worker` of the study, which nobody supervises; `batch_seconds`: see `Forked`."""
        command = ("worker", "faults", "--device", "cpu", "--threads", "1", *words)
        command = command if promote else (*command, "--no-promote")
        output = self.folder / f"worker-{len(self.processes)}.txt"
        worker = Forked(command, self.folder, self.environ, output, batch_seconds)
        self.processes.append(worker)
        return worker

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "hpo", *words],
            cwd=self.folder,
            env=os.environ | self.environ | environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

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

    def leases(self) -> dict[int, Any]:
        """Worker, process, state, token and attempt of every trial; none while there is no study."""
        lease, trial, worker = tables.leases.c, tables.optuna_trials.c, tables.workers.c
        query = (
            sa.select(trial.number, worker.pid, lease.worker, lease.state, lease.token, lease.attempt, lease.losses)
            .join(tables.optuna_trials, trial.trial_id == lease.trial_id)
            .join(tables.workers, worker.name == lease.worker)
        )
        try:
            with self.store() as store, store.database.reading() as connection:
                return {row.number: row for row in connection.execute(query)}
        except (StorageError, *DATABASE_ERRORS):
            return {}

    def registered(self) -> set[str]:
        """Names of all workers there have been."""
        with self.store() as store:
            return {worker.name for worker in store.reading.workers(store.studies.get("faults").study_id)}

    def held_by(self, pid: int) -> int | None:
        """Number of the trial that a process works on."""
        return next((n for n, row in self.leases().items() if row.pid == pid and row.state == "held"), None)

    def holders(self) -> set[int]:
        """Processes that work on a trial."""
        return {row.pid for row in self.leases().values() if row.state == "held"}

    def done_by(self, pid: int) -> list[int]:
        """Numbers of the trials that a process has brought to an end."""
        return [n for n, row in self.leases().items() if row.pid == pid and row.state == "done"]

    def states(self) -> Counter[str]:
        """How many trials are in which state."""
        return Counter(trial.state for trial in self.trials())

    def ended(self) -> int:
        return sum(row.state == "done" for row in self.leases().values())

    def epochs(self) -> int:
        return sum(len(trial.epochs) for trial in self.trials())

    def wait_for_epochs(self, more: int) -> None:
        """Until so many more epochs are on record than now."""
        goal = self.epochs() + more
        self.wait(lambda: self.epochs() >= goal, f"{more} more epochs")

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
        """Until the condition holds; at once a failure when a process has failed, by itself and not by our hand."""
        deadline = time.monotonic() + seconds
        while not condition():
            for process in self.processes:
                if process.poll() not in (None, 0, STOPPED, -signal.SIGKILL):
                    raise AssertionError(f"no {what}: exit code {process.returncode}\n{process.communicate()[0]}")
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
            time.sleep(0.05)

    def logs(self) -> str:
        """Every trial log, one after the other."""
        return "\n".join(file.read_text() for file in self._trial_logs())

    def trial_log(self, number: int) -> str:
        return next(file.read_text() for file in self._trial_logs() if int(file.stem) == number)

    def _trial_logs(self) -> list[Path]:
        return sorted(self.folder.glob("runs/studies/*/trials/*.log"))

    def trained(self) -> int:
        """Epochs that were trained, as the logs have it: also those that are not on record."""
        return sum(self.trained_epochs().values())

    def training(self) -> int:
        """Trials that have been trained for an epoch: none of them begins anew when somebody else goes on."""
        return len({trial for trial, _ in self.trained_epochs()})

    def trained_epochs(self) -> Counter[tuple[str, int]]:
        """How often each epoch of each trial was trained."""
        found: Counter[tuple[str, int]] = Counter()
        for file in self._trial_logs():
            found.update((file.stem, int(epoch)) for epoch in re.findall(r" epoch (\d+)/", file.read_text()))
        return found

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


def finished(process: subprocess.Popen[str] | Forked, code: int | None = 0, seconds: float = PATIENCE) -> str:
    """What a process has printed, once it has ended with this exit code."""
    output = process.communicate(timeout=seconds)[0]
    assert code is None or process.returncode == code, f"exit code {process.returncode}:\n{output}"
    return output


def assert_whole(field: Field, trials: int, epochs: int | None = None) -> list[TrialRecord]:
    """Nothing lost, nothing twice: so many trials, all ended, each with its curve and a value, no parameters twice."""
    found = field.trials()
    assert [trial.number for trial in found] == list(range(trials)), f"{len(found)} trials where {trials} were due"
    others = [trial for trial in found if trial.state not in ("COMPLETE", "PRUNED")]
    assert not others, [(trial.number, trial.state, trial.end_text) for trial in others]
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
