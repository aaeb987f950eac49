"""Memory of the host: what this process may still take, and the most it took while something ran."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

#: Seconds between two looks at the process.
LOOK_EVERY = 0.002
CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: Of a line of OWN_CGROUP its resource -> folder of the tree, file of the limit, file of the use.
VERSIONS = {
    "": ("", "memory.max", "memory.current"),
    "memory": ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
}


def available() -> int:
    """Bytes that may still be allocated: of the machine, or of the container or batch job where that is less."""
    limits = [_left(*group) for group in _cgroups()]
    return max(min([psutil.virtual_memory().available, *(left for left in limits if left is not None)]), 0)


def in_use() -> int:
    """Resident bytes of this process."""
    return int(psutil.Process().memory_info().rss)


@dataclass
class Peak:
    bytes: int


@contextmanager
def peak() -> Iterator[Peak]:
    """The most resident memory of this process while the block runs, by a thread that looks every 2 ms."""
    process, done = psutil.Process(), threading.Event()
    found = Peak(int(process.memory_info().rss))

    def look() -> None:
        while not done.wait(LOOK_EVERY):
            found.bytes = max(found.bytes, int(process.memory_info().rss))

    thread = threading.Thread(target=look, name="peak-memory", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()
        found.bytes = max(found.bytes, int(process.memory_info().rss))


def _cgroups() -> Iterator[tuple[Path, str, str]]:
    """The control groups that hold this process, up to the outermost one visible here, with their files' names.

    Version 2 has one line, `0::/path`, version 1 one per resource, `4:memory:/path`, and a tree for each.
    """
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, resources, path = line.split(":", 2)
        if resources in VERSIONS:
            folder, *names = VERSIONS[resources]
            own = CGROUPS / folder / path.strip("/")
            for place in (own, *own.parents):
                if place.is_relative_to(CGROUPS / folder):
                    yield place, names[0], names[1]


def _left(cgroup: Path, limit: str, used: str) -> int | None:
    """Limit less use; pages of files that nobody uses are given back on demand. None where there is no limit."""
    try:
        most, taken = (cgroup / limit).read_text().strip(), int((cgroup / used).read_text())
        facts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except OSError:
        return None
    idle = facts.get("total_inactive_file", facts.get("inactive_file", "0"))
    return None if most == "max" else int(most) - taken + int(idle)
