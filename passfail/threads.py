"""Runs jobs in threads, with the results in the order of the jobs."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TypeVar

import numpy as np

Result = TypeVar("Result")
Job = Callable[[], Result]


def in_order(jobs: Iterable[Job[Result]], threads: int) -> Generator[Result, None, None]:
    """Run the jobs in threads, and yield results in order; at most 2 * threads jobs wait or run."""
    jobs = iter(jobs)
    first = list(islice(jobs, 2))
    if len(first) < 2:  # starting a thread takes longer than a single job
        yield from (job() for job in first)
        return
    # After a piece of 32 MB is freed, glibc keeps the memory that blocks free (mallopt(3), M_MMAP_THRESHOLD). Otherwise
    # it would return that memory and get it again, zeroed, at each operation, which takes longer than the operation.
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
