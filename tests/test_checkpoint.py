"""Checkpoints: a damaged one is passed over, a late writer harms nobody, a killed writer leaves the one before."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import stat
import subprocess
from collections.abc import Sequence
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
    mine.save(state(1))
    mine.save({"epochs": state(2)["epochs"], "model": Evil()})
    found, said = load(tmp_path)
    assert not (tmp_path / "owned").exists()
    assert found is not None and len(found["epochs"]) == 1
    assert len(said) == 1 and "is unreadable here (Weights only load failed" in said[0]


def whole(folder: Path, number: int, content: bytes) -> Path:
    """A file with the right name for its content, whatever that is."""
    path = folder / "1" / f"epoch-{number:05d}-{hashlib.sha256(content).hexdigest()[:32]}.pt"
    files.write_whole(path, content)
    return path


def torch_file(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"something else",
        torch_file(7),
        torch_file({"model": {}}),
        torch_file({"epochs": 3}),
        torch_file({"epochs": [{"number": 1}]}),
        torch_file({"epochs": ["of another version"]}),
    ],
)
def test_a_whole_file_of_another_version_is_named_and_the_one_before_used(tmp_path: Path, content: bytes) -> None:
    Checkpoints(tmp_path, 1).save(state(1))
    path = whole(tmp_path, 2, content)
    found, said = load(tmp_path)
    assert found is not None and len(found["epochs"]) == 1
    assert len(said) == 1
    assert said[0].startswith(f"checkpoint {path} is unreadable here (")
    assert said[0].endswith("), using the one before it")


def test_a_file_that_goes_away_meanwhile_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A late writer removes its own old ones."""
    mine = Checkpoints(tmp_path, 1)
    mine.save(state(1))
    mine.save(state(2))
    original = Path.read_bytes

    def gone(path: Path) -> bytes:
        if path.name.startswith("epoch-00002"):
            path.unlink()
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", gone)
    found, said = load(tmp_path)
    assert found is not None and len(found["epochs"]) == 1
    assert "No such file" in said[0]


def test_every_truncation_and_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    mine = Checkpoints(tmp_path, 1)
    mine.save(state(1))
    mine.save(state(2))
    path = newest(tmp_path)
    content = path.read_bytes()
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        for damaged in (content[:position], bytes(flipped)):
            path.write_bytes(damaged)
            found, said = load(tmp_path)
            assert found is not None and len(found["epochs"]) == 1, position
            assert len(said) == 1, position
    path.write_bytes(content)
    found, said = load(tmp_path)
    assert found is not None and len(found["epochs"]) == 2 and said == []


# ---- disks


def test_a_full_disk_is_said_once_and_writing_goes_on_when_there_is_room(small_disk: Path) -> None:
    folder = small_disk / "7"
    mine, said = Checkpoints(folder, 1), list[str]()
    assert mine.try_save(state(1), said.append)
    filler = fill(small_disk)
    for epochs in (2, 3):
        assert not mine.try_save(state(epochs), said.append)
    assert mine.newest == 1
    assert [line.partition(" (")[0] for line in said] == ["no checkpoint could be written"]
    assert "No space left on device" in said[0]
    found, damaged = load(folder)
    assert found is not None and len(found["epochs"]) == 1 and damaged == []
    filler.unlink()
    assert mine.try_save(state(4), said.append)
    assert said[1:] == ["checkpoints are written again, the newest after epoch 4"]
    found, damaged = load(folder)
    assert found is not None and len(found["epochs"]) == 4 and damaged == []
    assert [path.name for path in folder.rglob(".*")] == [], "nothing half written is left"


def test_a_read_only_disk_is_said_once(small_disk: Path) -> None:
    mine, said = Checkpoints(small_disk / "7", 1), list[str]()
    assert mine.try_save(state(1), said.append)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for _ in range(3):
        assert not mine.try_save(state(2), said.append)
    assert len(said) == 1 and "Read-only file system" in said[0]
    found, _ = load(small_disk / "7")
    assert found is not None and len(found["epochs"]) == 1


def fill(disk: Path) -> Path:
    """A file that takes all the room there is."""
    filler = disk / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 512)
    return filler


# ---- links and rights


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    Checkpoints(elsewhere, 1).save(state(5))
    stolen = newest(elsewhere)

    lease = tmp_path / "lease"
    lease.symlink_to(elsewhere)
    assert load(lease) == (None, [f"{lease} is a symbolic link, which is not followed"])
    with pytest.raises(OSError, match="a symbolic link is not followed"):
        Checkpoints(lease, 2).save(state(6))

    other = tmp_path / "other"
    Checkpoints(other, 1).save(state(1))
    (other / "1" / stolen.name).symlink_to(stolen)
    (other / "2").symlink_to(elsewhere / "1")
    found, said = load(other)
    assert found is not None and len(found["epochs"]) == 1
    assert said == [
        f"{other / '2'} is a symbolic link, which is not followed",
        f"checkpoint {other / '1' / stolen.name} is a symbolic link, which is not followed, using the one before it",
    ]
    with pytest.raises(OSError, match="a symbolic link is not followed"):
        Checkpoints(other, 2).save(state(6))
    assert [path.name for path in elsewhere.rglob("epoch-*")] == [stolen.name]


def test_folders_are_for_their_owner_alone(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        Checkpoints(tmp_path / "studies" / "s" / "checkpoints" / "7", 1).save(state(1))
    finally:
        os.umask(mask)
    folders = [path for path in (tmp_path / "studies").rglob("*") if path.is_dir()]
    assert len(folders) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in folders} == {0o700}


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


def test_what_earlier_holders_left_goes_when_their_successor_has_its_two(tmp_path: Path) -> None:
    Checkpoints(tmp_path, 1).save(state(5))
    (tmp_path / "1" / ".epoch-00006-x.pt.77").write_bytes(b"half")
    Checkpoints(tmp_path, 3).save(state(9))
    successor = Checkpoints(tmp_path, 2)
    successor.save(state(6))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3"]
    successor.save(state(7))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3"], "never those of a later one"


# ---- kills


def save_and_die(folder: str, moment: str, offset: int = 0) -> None:
    mine = Checkpoints(Path(folder), 1)
    mine.save(state(1))

    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    class Part(io.FileIO):
        def write(self, content: Any) -> int:
            super().write(content[:offset])
            die()
            return 0

    if moment == "being written":
        Path.open = lambda path, mode: Part(path, mode)  # type: ignore[method-assign, assignment]
    elif moment == "not renamed":
        files.os.replace = die  # type: ignore[attr-defined]
    else:
        files.sync_folder = die  # type: ignore[assignment]
    mine.save(state(2))


@pytest.mark.parametrize(
    ("moment", "offsets", "epochs"),
    [("being written", range(0, 3450, 50), 1), ("not renamed", [0], 1), ("renamed", [0], 2)],
)
def test_a_writer_killed_in_the_middle_leaves_a_whole_one(
    tmp_path: Path, moment: str, offsets: Sequence[int], epochs: int
) -> None:
    for offset in offsets:
        folder = tmp_path / str(offset)
        process = PROCESSES.Process(target=save_and_die, args=(str(folder), moment, offset))
        process.start()
        process.join(120)
        assert process.exitcode == -signal.SIGKILL
        found, said = load(folder)
        assert found is not None
        assert len(found["epochs"]) == epochs
        assert said == []
        if offset:
            left = next(folder.rglob(".epoch-*"))
            assert left.stat().st_size == offset, "it was killed after so many bytes"
