"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(
    condition: Callable[[], Found], seconds: float = 120, every: float = 0.02, why: Callable[[], object] = str
) -> Found:
    """Return what `condition` returns once that is true; an OSError means not yet.

    Fails with what `why` returns when `seconds` have passed.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} seconds: {why()}")
        time.sleep(every)
