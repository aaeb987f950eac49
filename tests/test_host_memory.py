"""What memory a process may still take: the kernel's numbers, and files laid out as the kernel does."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pytest

from hpo import host_memory

GB = 2**30


def lay_out(root: Path, folder: str, names: tuple[str, str], limit: str, used: int, stat: str) -> None:
    place = root / folder
    place.mkdir(parents=True)
    (place / names[0]).write_text(f"{limit}\n")
    (place / names[1]).write_text(f"{used}\n")
    (place / "memory.stat").write_text(stat)


@pytest.fixture
def cgroups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_memory, "OWN_CGROUP", tmp_path / "own")
    return tmp_path


def test_without_a_limit_it_is_what_the_machine_has(cgroups: Path) -> None:
    assert 0 < host_memory.available() <= psutil.virtual_memory().total
    (cgroups / "own").write_text("0::/job\n")
    lay_out(cgroups / "cgroup", "job", ("memory.max", "memory.current"), "max", GB, "anon 5\n")
    assert host_memory.available() > 2**20


@pytest.mark.parametrize(
    ("own", "folder", "names", "stat"),
    [
        ("0::/slurm/job\n", "slurm", ("memory.max", "memory.current"), "anon 900\ninactive_file 100\n"),
        (
            "5:cpuset:/\n4:memory:/slurm/job\n0::/\n",
            "memory/slurm",
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            "inactive_file 7\ntotal_inactive_file 100\n",
        ),
    ],
)
def test_a_limit_of_an_outer_group_counts_less_what_is_in_use(
    cgroups: Path, own: str, folder: str, names: tuple[str, str], stat: str
) -> None:
    """Of 3000 bytes 1000 are in use, 100 of them cached pages that would be given back."""
    (cgroups / "own").write_text(own)
    lay_out(cgroups / "cgroup", folder, names, "3000", 1000, stat)
    lay_out(cgroups / "cgroup", f"{folder}/job", names, str(GB * GB), 1000, stat)
    assert host_memory.available() == 2100


def test_a_group_in_debt_leaves_nothing(cgroups: Path) -> None:
    (cgroups / "own").write_text("0::/\n")
    lay_out(cgroups, "cgroup", ("memory.max", "memory.current"), "1000", 1200, "anon 1\n")
    assert host_memory.available() == 0


def test_the_peak_is_seen_though_it_is_given_back(wait_until: Callable[[Callable[[], bool], str], None]) -> None:
    size = 256 * 2**20
    before = host_memory.in_use()
    with host_memory.peak() as found:
        block = np.ones(size, np.uint8)
        wait_until(lambda: found.bytes - before > 0.9 * size, "a look at the process")
        del block
    assert found.bytes - before < 1.5 * size
    assert host_memory.in_use() - before < size / 2
    assert host_memory.in_use() == pytest.approx(psutil.Process(os.getpid()).memory_info().rss, rel=0.1)
