"""The faults of the service as processes.

Each function causes one fault, and returns the observed effect. It raises if the fault was not reached.
"""

from bench.faults import processes, clients, versions, machine, network  # noqa: F401, I001  (the table's order)
from bench.faults.registry import DISKS, FAULTS, NEEDS, PROXY, STORAGE

__all__ = ["DISKS", "FAULTS", "NEEDS", "PROXY", "STORAGE"]
