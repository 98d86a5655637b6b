"""What the faults are registered with, under the names that the table has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.processes import Processes

PROXY, DISKS, STORAGE = "a proxy", "a disk of its own", "object storage"  # what a fault can need

FAULTS: dict[str, Callable[[Processes], str]] = {}
NEEDS: dict[str, str] = {}


def fault(name: str, needs: str = "") -> Callable[[Callable[[Processes], str]], Callable[[Processes], str]]:
    """Put a function among the faults, under the name that the table has."""

    def named(function: Callable[[Processes], str]) -> Callable[[Processes], str]:
        FAULTS[name] = function
        if needs:
            NEEDS[name] = needs
        return function

    return named
