"""Arrays kept in a temporary file, so that a table of any length takes little memory, and work on their blocks."""

import mmap
import os
import tempfile
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from passfail.arrays import Bools, Floats
from train.errors import TrainError

RESIDENT = 256 << 20  # bytes of a file that stay mapped in before they are handed back
# Rows at a time: they fit the processor's cache, and each operation on them lasts long beside the time one thread takes
# to hand Python's lock to another.
BLOCK = 1 << 15

Result = TypeVar("Result")
Job = Callable[[], Result]


class TemporaryArray:
    """A file that grows by blocks of float64 and then is read as one array.

    The file has no name (POSIX: unlinked as it is made), so it is gone when the process ends, in whatever way. It lies
    in the folder that TMPDIR names.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="passfail-") as file:
            self.file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.file)

    def append(self, block: Floats) -> None:
        """Write a block behind the others. Raises TrainError if the disk is full."""
        left = np.ascontiguousarray(block, dtype=np.float64).ravel().view(np.uint8).data
        try:
            while left:
                left = left[os.write(self.file, left) :]
        except OSError as error:
            remedy = "a table takes 8 bytes a cell there; name a folder with more room in TMPDIR"
            raise TrainError(f"{tempfile.gettempdir()}: can't be written: {error.strerror}; {remedy}") from error

    def array(self, *shape: int) -> Floats:
        """All blocks as one writable array of that shape."""
        return np.ndarray(shape, buffer=mmap.mmap(self.file, 0)) if 0 not in shape else np.empty(shape)


def ones(n: int) -> Floats:
    """A float64 array (n,) of 1.0 that takes no memory: its elements are one and the same."""
    return np.ndarray(n, buffer=np.ones(1), strides=(0,))


def taken(array: Floats, keep: Bools) -> Floats:
    """array[keep], keep bool (n,), as an array of its own, in a temporary file if it is large."""
    if array.nbytes <= RESIDENT:
        return array[keep]
    kept = TemporaryArray()
    for rows in pieces(len(array), BLOCK, array):
        kept.append(array[rows][keep[rows]])
    return kept.array(int(np.count_nonzero(keep)), *array.shape[1:])


def pieces(n: int, rows: int, *arrays: npt.NDArray[Any]) -> Iterator[slice]:
    """Slices of `rows` rows each that cover n rows; hands the arrays' pages back to the system on the way.

    The pages of a TemporaryArray stay in the system's file cache, and come back when they are next read.
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


def in_order(jobs: Iterable[Job[Result]], threads: int) -> Iterator[Result]:
    """Run the jobs in threads and yield their results in the jobs' order; at most 2 * threads are under way."""
    jobs = iter(jobs)
    first = list(islice(jobs, 2))
    if len(first) < 2:  # a short table: starting a thread takes longer than the job
        yield from (job() for job in first)
        return
    # Once a piece of 32 MB is freed, glibc keeps what the blocks free (mallopt(3), M_MMAP_THRESHOLD). Otherwise it
    # returns it to the system and gets it anew, zeroed, at every operation, which takes longer than the operations.
    np.empty(31 << 20, dtype=np.uint8)
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for job in chain(first, jobs):
                waiting.append(pool.submit(job))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def one_thread() -> Iterator[int]:
    """Run each torch operation on one thread, so that its bits are the same on any number of processors.

    Two threads that share the work of a small matrix are no faster, and hundreds of times slower where other programs
    use the processors too, since they wait for one another. Yields the number of threads that torch had.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def each(jobs: Iterable[Job[Result]]) -> Iterator[Result]:
    """Run the jobs in order on as many threads as torch has, each torch operation on one."""
    with one_thread() as threads:
        yield from in_order(jobs, threads)


def blockwise(n: int, compute: Callable[[slice], torch.Tensor], *arrays: Floats) -> Floats:
    """An array (n,) of compute(slice of rows), a block at a time; arrays: those whose pages to hand back."""
    found = np.empty(n)

    def block(rows: slice) -> None:
        with torch.inference_mode():
            found[rows] = compute(rows).numpy()

    for _ in each(partial(block, rows) for rows in pieces(n, BLOCK, *arrays)):
        pass
    return found


def _release(array: object) -> None:
    while isinstance(array, np.ndarray) and array.base is not None:
        array = array.base
    if isinstance(array, mmap.mmap):
        array.madvise(mmap.MADV_DONTNEED)
