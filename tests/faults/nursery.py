"""Workers forked from a process that has imported torch: each the real command, started in a tenth of a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

#: Variable of the environment of a worker here: seconds that its running batch may take when it is asked to end.
BATCH = "BATCH_SECONDS"
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["torch._dynamo", "hpo.worker", "hpo.cli.worker", "tests.faults.nursery"])


class Forked:
    """A process that runs `hpo WORDS`, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, words: Sequence[str], folder: Path, environ: Mapping[str, str], output: Path) -> None:
        self._output = output
        self._process = _FORKS.Process(target=_run, args=(list(words), str(folder), dict(environ), str(output)))
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self.stdout = None

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(f"worker {self.pid}", timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        self.wait(timeout)
        return self._output.read_text(), None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(words: list[str], folder: str, environ: dict[str, str], output: str) -> None:
    from hpo import leaving
    from hpo.cli import main

    if BATCH in environ:
        vars(leaving)["BATCH"] = float(environ[BATCH])
    os.setsid()
    os.chdir(folder)
    os.environ.update(environ)
    with open(output, "ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = ["hpo", *words]
    main()
