"""Arrays that lie in a temporary file, so that a table of any length takes little memory, and work on their blocks."""

import mmap
import os
import tempfile
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch

from train.errors import TrainError

RESIDENT = 256 << 20  # bytes of a file left mapped in before they are handed back
# Rows at a time: they stay in the processor's cache for all that is done with them; but each operation on them must
# last long beside what it takes one thread to hand Python's lock to another.
BLOCK = 1 << 15


class Spool:
    """A file that grows by blocks of float64 and then is read as one array.

    The file has no name (POSIX: unlinked as it is made), so it is gone with the process, however that ends. It lies
    in the folder that TMPDIR names.
    """

    def __init__(self):
        with tempfile.TemporaryFile(prefix="passfail-") as file:
            self.file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.file)

    def append(self, block):
        """Raises TrainError where the disk is full."""
        left = memoryview(np.ascontiguousarray(block, dtype=np.float64).ravel()).cast("B") if block.size else b""
        try:
            while left:
                left = left[os.write(self.file, left) :]
        except OSError as error:
            place = tempfile.gettempdir()
            remedy = "a table takes 8 bytes a cell there; name a folder with more room in TMPDIR"
            raise TrainError(f"{place}: can't be written: {error.strerror}; {remedy}") from error

    def array(self, *shape):
        """All blocks as one writable array of that shape."""
        return np.ndarray(shape, buffer=mmap.mmap(self.file, 0)) if 0 not in shape else np.empty(shape)


def ones(n):
    """A float64 array (n,) of 1.0 that takes no memory: its elements are one and the same."""
    return np.ndarray(n, buffer=np.ones(1), strides=(0,))


def taken(array, keep):
    """array[keep], keep bool (n,), as an array of its own that takes little memory either."""
    if array.nbytes <= RESIDENT:
        return array[keep]
    spool = Spool()
    for rows in pieces(len(array), BLOCK, array):
        spool.append(array[rows][keep[rows]])
    return spool.array(int(np.count_nonzero(keep)), *array.shape[1:])


def pieces(n, rows, *arrays):
    """Slices of `rows` rows each that cover n rows; hands the arrays' pages back to the system on the way.

    The pages of a spool stay in the system's file cache, and come back when they are next read.
    """
    held = 0
    for start in range(0, n, rows):
        part = slice(start, min(start + rows, n))
        yield part
        held += sum(array[part].nbytes for array in arrays)
        if held > RESIDENT or part.stop == n > rows:
            held = 0
            for array in arrays:
                _release(array)


def in_order(jobs, threads):
    """The jobs' results in the order of the jobs, functions without argument; a few are under way at a time."""
    # Once a piece of 32 MB is freed, glibc keeps what the blocks free (mallopt(3), M_MMAP_THRESHOLD): else it gives it
    # back to the system and gets it anew, zeroed, at every operation, which takes longer than the operations.
    np.empty(31 << 20, dtype=np.uint8)
    waiting = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in jobs:
                waiting.append(pool.submit(job))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for job in waiting:
                job.cancel()


@contextmanager
def one_thread():
    """Each torch operation on one thread, so that its bits are the same on any number of processors.

    Two threads that share the work of a small matrix are no faster, and hundreds of times slower where other programs
    want the processors too, since they wait for one another. Says how many threads torch had.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def each(jobs):
    """in_order on torch's threads, each torch operation on one."""
    with one_thread() as threads:
        yield from in_order(jobs, threads)


def _release(array):
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    if isinstance(array, mmap.mmap):
        array.madvise(mmap.MADV_DONTNEED)
