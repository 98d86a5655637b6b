"""The registry of the faults, by their names in the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.processes import Processes

PROXY, DISKS, STORAGE = "a proxy", "a disk of its own", "object storage"  # the possible needs of a fault

FAULTS: dict[str, Callable[[Processes], str]] = {}
NEEDS: dict[str, str] = {}


def fault(name: str, needs: str = "") -> Callable[[Callable[[Processes], str]], Callable[[Processes], str]]:
    """Register a function as a fault, by its name in the table."""

    def named(function: Callable[[Processes], str]) -> Callable[[Processes], str]:
        FAULTS[name] = function
        if needs:
            NEEDS[name] = needs
        return function

    return named
