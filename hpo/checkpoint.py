"""Checkpoints of one unit of work: `LEASE/TOKEN/epoch-00012-HASH.pt`.

A holder writes into the folder of its own token only and reads the highest there is, so that a worker that wakes up
late can never replace its successor's checkpoint.
"""

from __future__ import annotations

import errno
import hashlib
import io
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hpo.files import write_whole
from hpo.objective import Epoch
from hpo.wording import last_line

if TYPE_CHECKING:
    from hpo.training import FoldRun

_NAME = re.compile(r"epoch-(\d+)-([0-9a-f]{32})\.pt")
#: The newest and the one before it, in case the newest is damaged.
KEPT = 2

Say = Callable[[str], None]


class Checkpoints:
    """The checkpoints of one lease as its holder with `token` sees them."""

    def __init__(self, folder: Path, token: int) -> None:
        self._folder, self._token, self._own = folder, token, folder / str(token)
        self.newest = 0  #: epoch of the newest checkpoint written or loaded
        self._failing = False

    def try_save(self, state: Mapping[str, Any], say: Say) -> bool:
        """`save`, unless the disk is full, read-only or away, which ends no training; said once, until it works."""
        try:
            self.save(state)
        except OSError as error:
            if not self._failing:
                say(f"no checkpoint could be written ({error}); training goes on, tried again at every epoch")
            self._failing = True
            return False
        if self._failing:
            say(f"checkpoints are written again, the newest after epoch {self.newest}")
        self._failing = False
        return True

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state at an epoch boundary (`FoldRun.state_dict()`).

        Raises:
            OSError: nothing was written; what was there still is.
        """
        for folder in (self._folder, self._own):
            if folder.is_symlink():
                raise OSError(errno.ELOOP, "a symbolic link is not followed", str(folder))
        epochs = state["epochs"]
        buffer = io.BytesIO()
        torch.save({**state, "epochs": [epoch.to_json() for epoch in epochs]}, buffer)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:32]
        write_whole(self._own / f"epoch-{len(epochs):05d}-{digest}.pt", content)
        self.newest = len(epochs)
        own = sorted(self._own.glob("epoch-*.pt"))
        for old in own[:-KEPT]:
            old.unlink(missing_ok=True)
        if len(own) >= KEPT:  # those of earlier holders, and what they left half written, have done their duty
            for token in self._tokens():
                if token < self._token:
                    shutil.rmtree(self._folder / str(token), ignore_errors=True)

    def load(self, say: Say) -> dict[str, Any] | None:
        """The newest state that can be read."""
        return next(self.newest_first(say), None)

    def newest_first(self, say: Say) -> Iterator[dict[str, Any]]:
        """Every state that can be read; files that are damaged or strange are named through `say` and passed over."""
        for path in self._files(say):
            try:
                state = _read(path)
            # torch raises what it likes for a file of another version, or one that wants to run code.
            except Exception as error:
                say(f"checkpoint {path} is {_unusable(error)}, using the one before it")
                continue
            self.newest = len(state["epochs"])
            yield state
        self.newest = 0

    def resume(self, run: FoldRun, say: Say) -> bool:
        """Go on from the newest checkpoint that fits the run; False, and the run as it was, when there is none."""
        for state in self.newest_first(say):
            fresh = run.snapshot()
            try:
                run.load_state_dict(state)
                return True
            except Exception as error:  # of another version of the objective, of torch, of hpo
                why = last_line(str(error)) or repr(error)
                say(f"the checkpoint after epoch {self.newest} does not fit ({why}), using the one before it")
                run.load_state_dict(fresh)
        return False

    def _files(self, say: Say) -> Iterator[Path]:
        if self._folder.is_symlink():
            say(f"{self._folder} is a symbolic link, which is not followed")
            return
        for token in self._tokens():
            folder = self._folder / str(token)
            if folder.is_symlink():
                say(f"{folder} is a symbolic link, which is not followed")
            else:
                yield from sorted(folder.glob("epoch-*.pt"), reverse=True)

    def _tokens(self) -> list[int]:
        """Of all holders there have been, the last one first."""
        if not self._folder.is_dir():
            return []
        return sorted((int(f.name) for f in self._folder.iterdir() if f.name.isdecimal()), reverse=True)


class _Damaged(Exception):
    """The content is not what was written."""


def _read(path: Path) -> dict[str, Any]:
    if path.is_symlink():
        raise _Damaged("a symbolic link, which is not followed")
    content = path.read_bytes()
    match = _NAME.fullmatch(path.name)
    if match is None or hashlib.sha256(content).hexdigest()[:32] != match.group(2):
        raise _Damaged("damaged")
    state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    state["epochs"] = tuple(Epoch.from_json(record) for record in state["epochs"])
    return state


def _unusable(error: Exception) -> str:
    if isinstance(error, _Damaged):
        return str(error)
    return f"unreadable here ({(str(error).strip() or repr(error)).splitlines()[0]})"
