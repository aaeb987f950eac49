"""Workers as child processes of this machine: started, watched, restarted, stopped.

Imports no torch: the supervisor stays small while its children train.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpo.options import GONE, MISTAKE, STOPPED
from hpo.store import Store
from hpo.wording import last_line

#: Restarts of one slot whose worker brought nothing to an end before the slot is given up.
MOST_RESTARTS = 3
#: How a worker ends that was asked to by a signal, also before it listens to any.
ASKED = (STOPPED, -signal.SIGTERM, -signal.SIGINT, -signal.SIGUSR1)
#: Seconds a worker has to give its work back before it is killed. It needs 5 at most, unless the machine is too busy.
PATIENCE = 10.0


def devices(wanted: str, workers: int) -> list[str]:
    """A device per worker: `auto` (every GPU in turn, else the CPU), `cpu`, or a list such as `cuda:0,cuda:1`.

    Raises:
        ValueError: for anything else.
    """
    if wanted == "auto":
        names = [f"cuda:{number}" for number in range(_gpus())] or ["cpu"]
    else:
        names = [name.strip() for name in wanted.split(",")]
        bad = [name for name in names if name != "cpu" and not re.fullmatch(r"cuda:\d+", name)]
        if bad:
            raise ValueError(f"--devices {wanted}: {', '.join(bad)} is not auto, cpu or cuda:N")
    return [names[slot % len(names)] for slot in range(workers)]


def _gpus() -> int:
    """Number of visible NVIDIA GPUs, asked without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")])
    if shutil.which("nvidia-smi") is None:
        return 0
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


def environment(storage: str, threads: int) -> dict[str, str]:
    """Of a child: the storage URL travels here and not in the arguments, where `ps` would show it."""
    count = str(threads)
    return os.environ | {"HPO_STORAGE": storage, "TZ": "UTC", "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count}


@dataclass
class Slot:
    """One worker process and its successors."""

    arguments: Sequence[str]
    log: Path
    #: Read end of a pipe on which the process says that it has prepared the study; closed without a word if it failed.
    ready: int | None = None
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    restart_at: float = 0.0
    finished: bool = False


class LocalEngine:
    """Runs one worker per slot until all have finished.

    Args:
        environ: of the children.
        say: prints a line; another one may take its place.
    """

    def __init__(self, environ: dict[str, str], say: Callable[[str], None]) -> None:
        self.environ, self.say = environ, say
        self.slots: list[Slot] = []

    def start(self, arguments: Sequence[str], log: Path, prepare: Sequence[str] = ()) -> None:
        """Start a worker; it waits for `go` before it touches the study.

        Args:
            arguments: of `hpo`, for this process and its successors.
            log: takes its output.
            prepare: arguments of `hpo` for the first process in their place, which prepares the study before it works:
                what it says until then goes where ours goes, and `prepared` waits for it.
        """
        slot = Slot(arguments, log)
        if prepare:
            slot.ready, told = os.pipe()
            slot.process = self._popen([*prepare, "--ready", str(told), "--log", str(log)], None, (told,))
            os.close(told)
        else:
            self._spawn(slot)
        self.slots.append(slot)

    def prepared(self, patience: float) -> int | None:
        """Exit code of the process that prepares, 0 when it is ready; None when it goes on after `patience` seconds.

        2 for the user's mistake, which it has explained, and 1 for any other end.
        """
        slot = next(slot for slot in self.slots if slot.ready is not None)
        assert slot.ready is not None and slot.process is not None
        if select.select([slot.ready], [], [], patience)[0] and os.read(slot.ready, 1):
            return 0
        # Not the pipe's end alone: what the objective has forked may outlive it and hold the pipe open.
        code = _ended(slot.process)
        if code is None:
            return None
        if code == MISTAKE:
            return code
        self.say(f"the study could not be prepared ({_cause(code)})")
        return 1

    def go(self) -> None:
        """The study is there: work."""
        for slot in self.slots:
            self._tell(slot)

    def tick(self, store: Store, study_id: int) -> bool:
        """Look after every slot once; False when none is left running."""
        for slot in self.slots:
            if slot.finished:
                continue
            if slot.process is None:
                if time.monotonic() >= slot.restart_at:
                    self._spawn(slot)
                    self._tell(slot)
                continue
            code = _ended(slot.process)
            if code is not None:
                self._reap(slot, code, store, study_id)
        return any(not slot.finished for slot in self.slots)

    @property
    def running(self) -> bool:
        """Whether any worker is alive, or will be started again; not one that has given the database up."""
        return any(not s.finished and (s.process is None or _ended(s.process) != GONE) for s in self.slots)

    @property
    def alive(self) -> bool:
        """Whether any worker is alive."""
        return any(slot.process and _ended(slot.process) is None for slot in self.slots)

    def kill(self) -> None:
        """End every worker at once, with all that it has started; waits for nothing, as a signal handler must not."""
        for slot in self.slots:
            if slot.process and slot.process.returncode is None:
                _kill_group(slot.process.pid)

    def stop(self, patience: float = PATIENCE) -> None:
        """Ask every worker to give its work back, then kill what is left, with all that it has started."""
        running = [slot.process for slot in self.slots if slot.process and _ended(slot.process) is None]
        for process in running:
            # By its pipe: Slurm, systemd and docker signal it, too, and a second signal would end it at once.
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()
        deadline = time.monotonic() + patience
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _kill_group(process.pid)
                process.wait()

    def give_back(self, store: Store, study_id: int) -> None:
        """Return what workers held that had to be killed; they were asked to end, so it counts as no loss."""
        for slot in self.slots:
            if slot.process is not None:
                for name in store.workers.names(study_id, socket.gethostname(), slot.process.pid):
                    store.leases.give_back_lost(name, losses=0)
                    store.workers.gone(name, "stopped")

    def _spawn(self, slot: Slot) -> None:
        slot.log.parent.mkdir(parents=True, exist_ok=True)
        with slot.log.open("ab") as output:
            slot.process = self._popen(slot.arguments, output)

    def _popen(
        self, arguments: Sequence[str], output: IO[bytes] | None, descriptors: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches the supervisor alone, which asks the workers one by one.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "hpo", *arguments],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            env=self.environ,
            start_new_session=True,
            pass_fds=descriptors,
        )

    @staticmethod
    def _tell(slot: Slot) -> None:
        assert slot.process is not None and slot.process.stdin is not None
        try:
            slot.process.stdin.write(b"go\n")
            slot.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died already: the next tick reaps it

    def _reap(self, slot: Slot, code: int, store: Store, study_id: int) -> None:
        assert slot.process is not None
        pid = slot.process.pid
        names = store.workers.names(study_id, socket.gethostname(), pid)
        returned = sum(store.leases.give_back_lost(name, losses=int(code not in (*ASKED, GONE))) for name in names)
        ended = code in ASKED or (code == 0 and not returned)  # because it was asked to, or by itself
        for name in names:
            store.workers.gone(name, "stopped" if ended else "lost")
        slot.process = None  # only now: while the database is away, the next tick tries again
        slot.finished = ended or code in (MISTAKE, GONE)
        if code in ASKED:
            self.say(f"worker {pid} was asked to end by a signal, and gave its work back")
        elif returned:
            self.say(f"worker {pid} died ({_cause(code)}); its work goes on elsewhere")
        if code in (MISTAKE, GONE):
            self.say(last_line(slot.log.read_text(errors="replace")) or f"a worker ended ({_cause(code)})")
        if slot.finished:
            return
        slot.restarts = 1 if store.leases.ended_by(names) else slot.restarts + 1
        if slot.restarts > MOST_RESTARTS:
            slot.finished = True
            self.say(f"worker slot given up after {MOST_RESTARTS} restarts ({_cause(code)}); its log: {slot.log}")
            return
        slot.restart_at = time.monotonic() + 2.0 ** (slot.restarts - 1)


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Exit code of a process that has ended, and with it all that it had started; None while it lives."""
    if process.returncode is None:
        if os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _kill_group(process.pid)  # before it is reaped: from then on another group may have its number
    return process.wait()


def _kill_group(pid: int) -> None:
    """End a worker with what it has started; each worker leads a process group of its own."""
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: of another user's rights
        os.killpg(pid, signal.SIGKILL)


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
