"""The processes and the connections of this machine, as /proc shows them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    """The process ids of a process's children; none once it has ended."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _status(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on, the third of proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def alive(pid: int) -> bool:
    try:
        return _status(pid)[0] != "Z"
    except OSError:
        return False


def memory(*pids: int) -> float:
    """The proportional set size of processes, in MiB."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids]
    return sum(int(text.split("Pss:")[1].split()[0]) for text in rollups) / 1024


def cpu_seconds(*pids: int) -> float:
    """The CPU time of processes so far, in seconds."""
    return sum(int(ticks) for pid in pids for ticks in _status(pid)[11:13]) / TICKS


class Socket(NamedTuple):
    """A TCP socket: its own port, the peer's port, whether the connection stands, and its inode."""

    port: int
    peer: int
    established: bool
    inode: str


def sockets() -> Iterator[Socket]:
    """The TCP sockets in the kernel's tables, also those that were closed of late."""
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, own, peer, state, *_, inode = line.split()[:10]
            yield Socket(int(own[-4:], 16), int(peer[-4:], 16), state == "01", inode)
