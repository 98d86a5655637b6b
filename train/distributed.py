"""The one seam to other processes: `torchrun -m train fit ...` starts several, each with a share of the parts.

Started without torchrun there is one process, and every function here is the identity.
"""

import os
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist

from train.errors import LostError

# Longer than one pass over a share takes; a process that is lost is noticed at once, this is for one that hangs.
TIMEOUT = timedelta(minutes=30)


@contextmanager
def joined():
    """Join the processes torchrun started, on its gloo backend; a no-op without torchrun."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield
        return
    dist.init_process_group("gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank():
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def speaks():
    """Whether this process prints and writes: number 0, before and after it has joined the others too."""
    return os.environ.get("RANK", "0") == "0"


def ranks():
    """How many processes share the work."""
    return dist.get_world_size() if dist.is_initialized() else 1


def total(tensor):
    """The sum of a tensor over all processes, the same bits in each of them."""
    if not dist.is_initialized():
        return tensor
    tensor = tensor.clone()
    with _lost():
        dist.all_reduce(tensor)
    return tensor


def gathered(value):
    """Every process's value, a plain object, in the order of their numbers."""
    if not dist.is_initialized():
        return [value]
    values = [None] * ranks()
    with _lost():
        dist.all_gather_object(values, value)
    return values


@contextmanager
def _lost():
    try:
        yield
    except RuntimeError as error:
        raise LostError(
            f"process {rank()} of {ranks()} lost another one, so nothing was written; start again, or have torchrun do "
            f"it with --max-restarts ({str(error).splitlines()[0][:120]})"
        ) from error
