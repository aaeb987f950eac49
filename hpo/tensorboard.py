"""Event files for TensorBoard: the epochs of a unit of work as scalars; needs the extra `tensorboard`.

Tags are `train/NAME` and `val/NAME` (`val_fast/NAME` of a validation on a part of the rows) for every loss and score,
`train/lr`, `train/gradient_norm`, `ratios/A/B` between weighted terms, `curriculum/TERM` for the effective weight,
`gradient/TERM`, and `spread/TERM/sd|min|max` over the batches of the epoch. The step is the epoch.

The files are written here rather than by SummaryWriter, whose thread fails where nobody hears it: a full disk must
end no training.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from hpo.files import make_folder
from hpo.objective import Epoch
from hpo.store import Lease


def unit_name(lease: Lease) -> str:
    """The run of a unit of work, as TensorBoard lists it: `trial-00007-fold-0`, `promotion-trial-00007-refit`."""
    number = lease.number if lease.job_id is None else lease.candidate
    where = "refit" if lease.fold < 0 else f"fold-{lease.fold}"
    again = f"-seed-{lease.seed}" if lease.seed else ""
    return f"{'' if lease.job_id is None else 'promotion-'}trial-{number:05d}-{where}{again}"


class EventFile:
    """What one holder of a lease has trained, complete in itself.

    Each holder writes a file of its own: it begins with the epochs that were restored from the checkpoint and with the
    mark of a restart, at which TensorBoard drops what earlier files of the run hold. Files are read in the order of
    their names, which is that of the fencing tokens, so that a holder that wakes up late changes nothing.

    Args:
        folder: of all runs of the study.
        lease: of the unit of work.
        restored: epochs of earlier holders.
        say: hears, once, that the disk takes no more.
    """

    def __init__(self, folder: Path, lease: Lease, restored: Sequence[Epoch], say: Callable[[str], None]) -> None:
        name = f"events.out.tfevents.{lease.lease_id:010d}.{lease.token:06d}"
        self._path, self._say, self._failed = folder / unit_name(lease) / name, say, False
        restart = SessionLog(status=SessionLog.START)
        first = [Event(file_version="brain.Event:2"), Event(step=1, session_log=restart)]
        self._waiting = [*first, *map(_event, restored)]

    def add(self, epoch: Epoch) -> None:
        """Write an epoch; what a full disk did not take waits for the next one."""
        self._waiting.append(_event(epoch))
        try:
            self._write()
        except OSError as error:
            if not self._failed:
                self._say(f"no event files for TensorBoard for now: {error.strerror or error}")
            self._failed = True
        else:
            self._waiting, self._failed = [], False

    def _write(self) -> None:
        content = BytesIO()
        for event in self._waiting:
            RecordWriter(content).write(event.SerializeToString())
        make_folder(self._path.parent)
        end = self._path.stat().st_size if self._path.exists() else 0
        try:
            with self._path.open("ab") as file:
                file.write(content.getvalue())
        except OSError:
            with suppress(OSError):
                os.truncate(self._path, end)  # readers stop at half a record
            raise


def _event(epoch: Epoch) -> Event:
    values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(epoch)]
    return Event(wall_time=time.time(), step=epoch.number, summary=Summary(value=values))


def scalars(epoch: Epoch) -> Iterator[tuple[str, float]]:
    """Every number of an epoch by its tag."""
    yield from ((f"train/{name}", value) for name, value in epoch.train.items())
    yield "train/lr", epoch.lr
    yield "train/gradient_norm", epoch.gradient_norm
    side = "val" if epoch.full else "val_fast"
    yield from ((f"{side}/{name}", value) for name, value in epoch.validation.items())
    yield from ((f"ratios/{pair}", value) for pair, value in epoch.ratios().items())
    yield from ((f"curriculum/{term}", value) for term, value in epoch.weights.items())
    yield from ((f"gradient/{term}", value) for term, value in epoch.gradient_norms.items())
    for term, spread in epoch.spread.items():
        yield from ((f"spread/{term}/{kind}", value) for kind, value in spread.items())
