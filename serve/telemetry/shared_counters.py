"""Counts that all workers share: a table of float64 in memory, a row for each worker.

It is an anonymous mapping made before gunicorn forks, so that any worker can answer for all, without files (a full
disk, a read-only root, no /dev/shm: nothing to break) and without messages. Each worker writes its own row only; what
is read is the sum over the rows. A worker that dies leaves its row to the one that replaces it: counters never fall.
"""

import mmap
import os

WORKERS = 512  # twice as many as gunicorn_conf.py lets run: one may still end while the next begins
CELLS = 32768  # of 8 bytes in a row; pages that nobody touches take no memory
IN_FLIGHT = 0  # the cell that goes back to 0 when its worker ends


class Tally:
    """The table, and `mine`: the row (CELLS,) of this process, a memoryview of float64 to add to."""

    def __init__(self):
        self._cells = memoryview(mmap.mmap(-1, 8 * (WORKERS * CELLS + 1))).cast("d")
        self._cells[-1] = 1  # rows that were ever lent; the first is whoever's has no parent to lend one
        self._lent = {}
        self._spoken = os.eventfd(1, os.EFD_NONBLOCK)
        self.take(0)

    def lend(self, worker):
        """In the parent: the lowest free row, for a new worker (any hashable)."""
        row = self._lent[worker] = min(set(range(WORKERS)) - set(self._lent.values()))
        self._cells[-1] = max(self._cells[-1], row + 1)
        return row

    def give_back(self, worker):
        """In the parent: the worker has ended; its counts stay."""
        row = self._lent.pop(worker)
        self._cells[row * CELLS + IN_FLIGHT] = 0.0

    def take(self, row):
        """In the worker: make the row that was lent to it its own."""
        self.mine = self._cells[row * CELLS : (row + 1) * CELLS]

    def first(self):
        """Whether this is the first time that any worker asks: of what all would say, one says it."""
        try:
            return os.eventfd_read(self._spoken) == 1
        except BlockingIOError:
            return False

    def rows(self):
        """The rows that were ever lent, each a memoryview (CELLS,)."""
        return [self._cells[row * CELLS : (row + 1) * CELLS] for row in range(int(self._cells[-1]))]


# The one that gunicorn's workers share: gunicorn_conf.py imports it into their parent.
SHARED = Tally()
