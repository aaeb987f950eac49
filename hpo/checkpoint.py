"""Checkpoints of one unit of work: `LEASE/TOKEN/epoch-00012-HASH.pt`.

A holder writes into the folder of its own token only and reads the highest there is, so that a worker that wakes up
late can never replace its successor's checkpoint.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from hpo.files import write_whole
from hpo.objective import Epoch

_NAME = re.compile(r"epoch-(\d+)-([0-9a-f]{32})\.pt")
#: The newest and the one before it, in case the newest is damaged.
KEPT = 2


class Checkpoints:
    """The checkpoints of one lease as its holder with `token` sees them."""

    def __init__(self, folder: Path, token: int) -> None:
        self._folder, self._own = folder, folder / str(token)
        self.newest = 0  #: epoch of the newest checkpoint written or loaded

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state at an epoch boundary (`FoldRun.state_dict()`)."""
        epochs = state["epochs"]
        buffer = io.BytesIO()
        torch.save({**state, "epochs": [epoch.to_json() for epoch in epochs]}, buffer)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()[:32]
        write_whole(self._own / f"epoch-{len(epochs):05d}-{digest}.pt", content)
        self.newest = len(epochs)
        for old in sorted(self._own.glob("epoch-*.pt"))[:-KEPT]:
            old.unlink(missing_ok=True)

    def load(self, say: Callable[[str], None]) -> dict[str, Any] | None:
        """The newest state that is whole; damaged files are named through `say` and passed over."""
        for path in self._newest_first():
            content = path.read_bytes()
            match = _NAME.fullmatch(path.name)
            if match is None or hashlib.sha256(content).hexdigest()[:32] != match.group(2):
                say(f"checkpoint {path} is damaged, using the one before it")
                continue
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            state["epochs"] = tuple(Epoch.from_json(record) for record in state["epochs"])
            self.newest = len(state["epochs"])
            return state
        return None

    def _newest_first(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        tokens = sorted((int(f.name) for f in self._folder.iterdir() if f.name.isdigit()), reverse=True)
        return [
            path for token in tokens for path in sorted((self._folder / str(token)).glob("epoch-*.pt"), reverse=True)
        ]
