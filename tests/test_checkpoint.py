"""Checkpoints: a damaged one is passed over, a late writer harms nobody, a killed writer leaves the one before."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from hpo import files
from hpo.checkpoint import KEPT, Checkpoints
from hpo.objective import Epoch

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.toy"])


def state(epochs: int, mark: float = 0.0) -> dict[str, Any]:
    """What a run of so many epochs leaves; tensors, numbers, None and nested lists as in FoldRun.state_dict()."""
    facts: dict[str, Any] = {"lr": 0.1, "gradient_norm": 1.0, "seconds": 1.5, "samples": 7, "peak_memory_mb": 9.0}
    done = [Epoch(number=k, train={"loss": 1 / k}, validation={"f1": 0.1 * k}, **facts) for k in range(1, epochs + 1)]
    return {
        "model": {"weight": torch.full((300,), float(epochs) + mark)},
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 0.1, "betas": (0.9, 0.99)}]},
        "schedule": {"drops": [1, 2], "best": None, "waited": 0},
        "best": None,
        "epochs": tuple(done),
    }


def load(folder: Path, token: int = 99) -> tuple[dict[str, Any] | None, list[str]]:
    said: list[str] = []
    return Checkpoints(folder, token).load(said.append), said


def newest(folder: Path) -> Path:
    return max(folder.glob("*/epoch-*.pt"))


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, 1)
    mine.save(state(3))
    assert mine.newest == 3
    theirs = Checkpoints(tmp_path, 2)
    found = theirs.load(pytest.fail)
    assert found is not None
    assert theirs.newest == 3
    assert found["epochs"] == state(3)["epochs"]
    assert torch.equal(found["model"]["weight"], torch.full((300,), 3.0))
    assert {key: found[key] for key in ("schedule", "best")} == {"schedule": state(3)["schedule"], "best": None}
    assert found["optimizer"]["param_groups"] == state(3)["optimizer"]["param_groups"]


def test_without_a_checkpoint_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert load(tmp_path / "nowhere") == (None, [])
    assert load(tmp_path) == (None, [])


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, 4)
    for epochs in (8, 9, 10, 11):
        mine.save(state(epochs))
    assert KEPT == 2
    assert [path.name[:11] for path in sorted(tmp_path.glob("4/*"))] == ["epoch-00010", "epoch-00011"]


# ---- damage


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("damage", ["truncated", "flipped"])
def test_a_damaged_newest_is_named_and_the_one_before_used(tmp_path: Path, damage: str, share: float) -> None:
    mine = Checkpoints(tmp_path, 1)
    mine.save(state(1))
    mine.save(state(2))
    path = newest(tmp_path)
    content = bytearray(path.read_bytes())
    position = int(share * len(content))
    if damage == "truncated":
        del content[position:]
    else:
        content[position] ^= 1
    path.write_bytes(content)
    found, said = load(tmp_path)
    assert said == [f"checkpoint {path} is damaged, using the one before it"]
    assert found is not None
    assert len(found["epochs"]) == 1


def test_all_damaged_is_as_none(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, 1)
    for epochs in (1, 2):
        mine.save(state(epochs))
        newest(tmp_path).write_bytes(b"")
    found, said = load(tmp_path)
    assert found is None
    assert len(said) == 2


def test_a_file_with_a_pickle_inside_is_not_run(tmp_path: Path) -> None:
    """Even one that carries the right hash."""

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "owned"),)

    mine = Checkpoints(tmp_path, 1)
    mine.save({"epochs": (), "model": Evil()})
    with pytest.raises(Exception, match=r"(?i)weights_only|unsupported"):
        load(tmp_path)
    assert not (tmp_path / "owned").exists()


# ---- tokens


def test_the_highest_token_counts_not_the_furthest_epoch(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 9).save(state(30))
    Checkpoints(tmp_path, 10).save(state(4, mark=0.5))
    Checkpoints(tmp_path, 9).save(state(31))  # it wakes up late
    found, said = load(tmp_path)
    assert found is not None
    assert found["model"]["weight"][0] == 4.5
    assert said == []


def test_a_late_writer_removes_nothing_of_its_successor(tmp_path: Path) -> None:
    late, successor = Checkpoints(tmp_path, 1), Checkpoints(tmp_path, 2)
    successor.save(state(5))
    for epochs in (6, 7, 8):
        late.save(state(epochs))
    assert [path.parent.name for path in sorted(tmp_path.glob("*/*"))] == ["1", "1", "2"]


def test_a_successor_without_a_checkpoint_uses_the_one_before(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 1).save(state(5))
    (tmp_path / "2").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "2" / ".epoch-00006-x.pt.77").write_bytes(b"half")  # its writer was killed
    found, said = load(tmp_path)
    assert found is not None
    assert len(found["epochs"]) == 5
    assert said == []


# ---- kills


def save_and_die(folder: str, moment: str) -> None:
    mine = Checkpoints(Path(folder), 1)
    mine.save(state(1))

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    class Half(io.FileIO):
        def write(self, content: Any) -> int:
            super().write(content[: len(content) // 2])
            die()
            return 0

    if moment == "half written":
        Path.open = lambda path, mode: Half(path, mode)  # type: ignore[method-assign, assignment]
    elif moment == "not renamed":
        files.os.replace = die  # type: ignore[attr-defined]
    else:
        files.sync_folder = die  # type: ignore[assignment]
    mine.save(state(2))


@pytest.mark.parametrize(("moment", "epochs"), [("half written", 1), ("not renamed", 1), ("renamed", 2)])
def test_a_writer_killed_in_the_middle_leaves_a_whole_one(tmp_path: Path, moment: str, epochs: int) -> None:
    process = PROCESSES.Process(target=save_and_die, args=(str(tmp_path), moment))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    found, said = load(tmp_path)
    assert found is not None
    assert len(found["epochs"]) == epochs
    assert said == []
