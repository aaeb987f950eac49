"""Workers forked from a process that has imported torch: each the real command, started in a tenth of a second."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["torch._dynamo", "hpo.worker", "hpo.cli.worker", "tests.faults.nursery"])


class Forked:
    """A process that runs `hpo WORDS`, with the methods of `subprocess.Popen` that tests use.

    Args:
        words: command and arguments.
        folder: where it runs.
        environ: beside what is in ours.
        output: takes both streams.
        batch_seconds: of the running batch for which it waits when it is asked to end; as in `hpo.leaving` otherwise.
    """

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        environ: Mapping[str, str],
        output: Path,
        batch_seconds: float | None = None,
    ) -> None:
        self._output = output
        arguments = (list(words), str(folder), dict(environ), str(output), batch_seconds)
        self._process = _FORKS.Process(target=_run, args=arguments)
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


def _run(words: list[str], folder: str, environ: dict[str, str], output: str, batch_seconds: float | None) -> None:
    from hpo import leaving
    from hpo.cli import main

    if batch_seconds is not None:
        vars(leaving)["BATCH"] = batch_seconds
    os.setsid()
    os.chdir(folder)
    os.environ.update(environ)
    with open(output, "ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    sys.argv = ["hpo", *words]
    main()
