"""Every path of a run. Files appear complete: written beside their place, synced, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path

#: Studies that ship with hpo: they can be launched by their names alone.
SHIPPED = Path(__file__).parents[1] / "studies"


class FolderError(Exception):
    """The folder of a study, as the database names it, is no name of a folder; the message says what to do."""


class RunFiles:
    """The folder of all runs.

        runs/hpo.db                                    the default database
        runs/cache/                                    prepared data
        runs/studies/NAME-1a2b3c4d/trials/0012.log     one line per epoch
        runs/studies/NAME-1a2b3c4d/jobs/0003.log
        runs/workers/NAME-HOST-PID-0.log               what the first worker of the launch of that process printed
        runs/studies/NAME-1a2b3c4d/checkpoints/LEASE/TOKEN/
        runs/studies/NAME-1a2b3c4d/predictions/trial-0012/fold-0-seed-0/LEASE-TOKEN.csv
        runs/studies/NAME-1a2b3c4d/tensorboard/trial-00012-fold-0/
        runs/models/NAME-1a2b3c4d/trial-0012/          final model
        runs/models/NAME-1a2b3c4d/fold-3-of-trial-0012/    the model of one fold of a promotion
        runs/models/NAME-1a2b3c4d/continued/fold-3-of-trial-0012/    trained on by `hpo continue`

    Args:
        root: made when missing, readable by its owner alone.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.root / 'hpo.db'}"

    @staticmethod
    def new_folder(study_name: str) -> str:
        """A folder name for a new study; nothing in a study's name can lead out of the runs folder."""
        return f"{_safe(study_name)[:64]}-{secrets.token_hex(4)}"

    @staticmethod
    def require(folder: str) -> str:
        """The name of a study's folder, which comes from a database that others may write to.

        Raises:
            FolderError: for anything that a path could take for more than a name.
        """
        if not re.fullmatch(r"[A-Za-z0-9_-]+", folder):
            raise FolderError(
                f"the database names {folder!r} as the folder of a study, which is no folder that hpo makes: somebody "
                "has changed it there. No file was touched; `hpo storage restore` an older backup"
            )
        return folder

    def study(self, folder: str) -> Path:
        return self.root / "studies" / self.require(folder)

    def trial_log(self, folder: str, number: int) -> Path:
        return self._parent(self.study(folder) / "trials" / f"{number:04d}.log")

    def job_log(self, folder: str, job_id: int) -> Path:
        return self._parent(self.study(folder) / "jobs" / f"{job_id:04d}.log")

    def worker_log(self, study_name: str, worker: int) -> Path:
        """Of this process's workers: several launches of a study, on several hosts, may share the folder."""
        safe = _safe(f"{study_name[:64]}-{socket.gethostname()}")[:128]
        return self._parent(self.root / "workers" / f"{safe}-{os.getpid()}-{worker}.log")

    def tensorboard(self, folder: str) -> Path:
        """What TensorBoard is pointed at: a folder of event files per unit of work."""
        return self.study(folder) / "tensorboard"

    def checkpoints(self, folder: str, lease_id: int) -> Path:
        return self.study(folder) / "checkpoints" / str(lease_id)

    def remove_checkpoints(self, folder: str, lease_id: int) -> None:
        """A unit of work that is done needs none."""
        shutil.rmtree(self.checkpoints(folder, lease_id), ignore_errors=True)

    def checkpointed(self, folder: str) -> list[int]:
        """The leases of a study that have checkpoints."""
        place = self.study(folder) / "checkpoints"
        return sorted(int(path.name) for path in place.glob("*") if path.name.isdecimal())

    def checkpoint_bytes(self, folder: str) -> int:
        """How much of the disk the checkpoints of a study take."""
        total = 0
        for path in (self.study(folder) / "checkpoints").rglob("*"):
            with contextlib.suppress(FileNotFoundError):  # a worker has replaced it meanwhile
                total += path.lstat().st_size if path.is_file() else 0
        return total

    def adopt_checkpoints(self, old: str, new: str, begun: Mapping[int, int]) -> int:
        """Copy the checkpoints of a study's begun work to the restored study's own folder.

        Args:
            old: folder of the original, which may go on at the same time.
            new: folder of the restored study.
            begun: lease -> highest fencing token to copy; what came later belongs to the original alone.

        Returns:
            Leases of which a checkpoint was found.
        """
        adopted = set()
        for lease_id, token in begun.items():
            for path in self.checkpoints(old, lease_id).glob("*/epoch-*"):
                if path.parent.name.isdigit() and int(path.parent.name) <= token and not path.is_symlink():
                    with contextlib.suppress(FileNotFoundError):  # the original has replaced it meanwhile
                        write_whole(self.checkpoints(new, lease_id) / path.parent.name / path.name, path.read_bytes())
                        adopted.add(lease_id)
        return len(adopted)

    def predictions(self, folder: str) -> Path:
        """Predictions on rows that the model was not trained on, of every training of the promotions."""
        return self.study(folder) / "predictions"

    def fold_predictions(self, folder: str, candidate: int, fold: int, seed: int) -> Path:
        return self.predictions(folder) / f"trial-{candidate:04d}" / f"fold-{fold}-seed-{seed}"

    def model(self, folder: str, number: int) -> Path:
        return self.root / "models" / self.require(folder) / f"trial-{number:04d}"

    def fold_model(self, folder: str, number: int, fold: int) -> Path:
        """Not found by `trial-*`, as final models are."""
        return self.root / "models" / self.require(folder) / f"fold-{fold}-of-trial-{number:04d}"

    def continued(self, folder: str, name: str, number: int, fold: int) -> Path:
        """The model of a fold that was trained on, under the name of that continuation."""
        model = self.fold_model(folder, number, fold)
        return model.parent / name / model.name

    def models(self, study_name: str) -> list[Path]:
        """Every model folder of the studies of that name, whichever database knows them."""
        ours = re.compile(re.escape(_safe(study_name)[:64]) + "-[0-9a-f]{8}")
        found = [
            file.parent.relative_to(self.root / "models")
            for folder in (self.root / "models").glob("*")
            if ours.fullmatch(folder.name)
            for file in folder.rglob("config.yaml")
        ]
        whole = [path for path in found if not any(part.startswith(".") for part in path.parts)]
        return sorted(self.root / "models" / path for path in whole)

    def report(self, folder: str) -> Path:
        return self._parent(self.study(folder) / "report.html")

    @staticmethod
    def _parent(path: Path) -> Path:
        make_folder(path.parent)
        return path


def _safe(text: str) -> str:
    """Of a name what no path takes for more than a name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", text)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, each readable by its owner alone.

    `mkdir(parents=True, mode=...)` would give that mode to the last one only.

    Raises:
        NotADirectoryError: one of them is a file; its name is in the error.
    """
    for place in reversed([folder, *folder.parents]):
        if place.is_file():
            raise NotADirectoryError(errno.ENOTDIR, "is a file, and a folder is needed in its place", str(place))
        if not place.is_dir():
            place.mkdir(mode=0o700, exist_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` so that `path` holds all of it or what it held before, also after a power loss."""
    make_folder(path.parent)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
