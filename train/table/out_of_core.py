"""Arrays in a temporary file, and work on their blocks, for tables larger than the memory."""

import mmap
import os
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from passfail.arrays import Bools, Floats
from passfail.threads import Job, Result, in_order
from train.errors import TrainError

RESIDENT = 256 << 20  # bytes of a file that stay mapped before they are released
# Rows at a time: they fit the CPU's cache, and an operation on them takes much longer than handing over Python's lock.
BLOCK = 1 << 15


class TemporaryArray:
    """A file that grows by blocks of float64, and is then read as one array.

    The file has no name (POSIX: it is unlinked at its creation), so it disappears when the process ends for any reason.
    It is in the folder that TMPDIR names.
    """

    def __init__(self) -> None:
        with tempfile.TemporaryFile(prefix="passfail-") as file:
            self.file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self.file)

    def append(self, block: Floats) -> None:
        """Append a block. Raises TrainError if the disk is full."""
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
    """A float64 array (n,) of 1.0 that takes no memory, because all elements share one value."""
    return np.ndarray(n, buffer=np.ones(1), strides=(0,))


def selected(array: Floats, rows: Bools) -> Floats:
    """Copy array[rows], rows bool (n,); a large result is in a temporary file."""
    if array.nbytes <= RESIDENT:
        return array[rows]
    copy = TemporaryArray()
    for piece in pieces(len(array), BLOCK, array):
        copy.append(array[piece][rows[piece]])
    return copy.array(int(np.count_nonzero(rows)), *array.shape[1:])


def pieces(n: int, rows: int, *arrays: npt.NDArray[Any]) -> Iterator[slice]:
    """Yield slices of `rows` rows that cover n rows, and release the arrays' pages meanwhile.

    The pages of a TemporaryArray stay in the system's file cache until they are read again.
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


def throttled(log: Callable[[str], object], seconds: float) -> Callable[[str], None]:
    """Pass a line of progress on to log if the last one, or the start, is so many seconds ago."""
    last = time.monotonic()

    def say(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            log(line)

    return say


@contextmanager
def one_thread() -> Iterator[int]:
    """Run each torch operation on one thread, so that its bits do not depend on the CPUs.

    Two threads are not faster on a small matrix. On a busy machine they wait for one another, and are hundreds of times
    slower. Yields the number of threads that torch had.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def each(jobs: Iterable[Job[Result]]) -> Iterator[Result]:
    """Run the jobs in order on torch's number of threads, each torch operation on one thread."""
    with one_thread() as threads:
        yield from in_order(jobs, threads)


def blockwise(n: int, compute: Callable[[slice], torch.Tensor], *arrays: Floats) -> Floats:
    """Compute an array (n,) block by block, as compute(slice of rows).

    arrays : the arrays whose pages are released meanwhile.
    """
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
