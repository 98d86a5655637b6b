"""Counters that all workers share: a table of float64 in memory, one row for each worker.

The table is an anonymous memory mapping that gunicorn's parent makes before it forks. Any worker can thus answer for
all of them, without files (a full disk, a read-only root or a missing /dev/shm breaks nothing) and without messages.
Each worker writes to its own row only; readers sum over the rows. When a worker dies, its replacement takes over its
row, so that counters never fall.
"""

import functools
import mmap
import os
import select
from collections.abc import Hashable

WORKERS = 512  # twice the limit of serve/server/gunicorn_conf.py: an old worker may still end while the next one begins
CELLS = 32768  # float64 cells of a row; a page that nobody touches takes no memory
IN_FLIGHT = 0  # the cell that goes back to 0 when its worker ends
DROPPED_LINES = 1  # of the log
COUNTING = 2  # 1 while the worker's thread counts its rows for drift when it is called; 0 when its worker ends
SERVED = CELLS - 1  # the version that the worker serves, or OPENING; 0 when it has ended
OPENING = -1.0  # the worker opens a version that it doesn't serve yet


class SharedCounters:
    """The table of all workers' counters.

    Attributes
    ----------
    mine : the row (CELLS,) of this process, float64, to add to.
    """

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 8 * (WORKERS * CELLS + 1))).cast("d")
        self._cells[-1] = 1  # rows ever assigned; a process without a parent that assigns one has the first
        self._assigned: dict[Hashable, int] = {}
        self._unreported = os.eventfd(1, os.EFD_NONBLOCK)
        self._calls = os.eventfd(0, os.EFD_NONBLOCK)
        self.mine = self.rows()[0]

    def assign(self, worker: Hashable) -> None:
        """In the parent: give a new worker the lowest free row."""
        row = self._assigned[worker] = min(set(range(WORKERS)) - set(self._assigned.values()))
        self._cells[-1] = max(self._cells[-1], row + 1)
        self._cells[row * CELLS + SERVED] = OPENING

    def release(self, worker: Hashable) -> None:
        """In the parent: free the row of a worker that has ended; its counts stay."""
        row = self._assigned.pop(worker)
        for cell in (IN_FLIGHT, COUNTING, SERVED):
            self._cells[row * CELLS + cell] = 0.0

    def use(self, worker: Hashable) -> None:
        """In the worker: count into the row that was assigned to it."""
        self.mine = self.rows()[self._assigned[worker]]

    def first(self) -> bool:
        """Return True to exactly one caller of all workers: that one reports for all."""
        try:
            return os.eventfd_read(self._unreported) == 1
        except BlockingIOError:
            return False

    def call(self) -> None:
        """Wake every worker's thread that waits at `calls`."""
        os.eventfd_write(self._calls, 1)

    def calls(self) -> select.epoll:
        """Return an epoll object with which a thread waits for the next call.

        It is edge-triggered, so that each call wakes all workers.
        """
        waiting = select.epoll()
        waiting.register(self._calls, select.EPOLLIN | select.EPOLLET)
        return waiting

    def rows(self) -> "list[memoryview[float]]":
        """Return the rows that were ever assigned, float64 (CELLS,) each."""
        return [self._cells[row * CELLS : (row + 1) * CELLS] for row in range(int(self._cells[-1]))]


@functools.cache
def shared() -> SharedCounters:
    """The table of gunicorn's workers: their parent makes it before it forks."""
    return SharedCounters()
