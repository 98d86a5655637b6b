"""The communication between processes of `torchrun -m train fit ...`.

Each process has a share of the parts. Without torchrun there is one process, and every function here is the identity.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from torch import Tensor

from train.errors import LostError

T = TypeVar("T")

# A lost process is detected at once; this limit is for one that hangs. It exceeds the time of a pass over a share.
TIMEOUT = timedelta(minutes=30)


@contextmanager
def joined(launched: bool) -> Iterator[None]:
    """Join the processes that torchrun started, with the gloo backend, if `launched`."""
    if launched:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        leave()


def leave() -> None:
    """Leave the other processes: every function here is the identity again."""
    if dist.is_initialized():
        dist.destroy_process_group()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """The number of processes that share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def total(tensor: Tensor) -> Tensor:
    """Sum a tensor over all processes, with the same bits in each."""
    if not dist.is_initialized():
        return tensor
    tensor = tensor.clone()
    with _lost():
        dist.all_reduce(tensor)
    return tensor


def gathered(value: T) -> list[T]:
    """The value, a plain object, of each process, in the order of their numbers."""
    if not dist.is_initialized():
        return [value]
    values = [value] * ranks()
    with _lost():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            f"process {rank()} of {ranks()} lost contact with another process, so nothing was written; start again, or "
            f"let torchrun restart it with --max-restarts ({str(error).splitlines()[0][:120]})"
        ) from error
