"""The command publish: fit, then export, in one process, which imports PyTorch once."""

from argparse import Namespace

from train import distributed
from train.commands import export, fit


def run(args: Namespace) -> None:
    """Run the command fit, then the command export, which reads and proves the checkpoint.

    The first process of torchrun exports alone.
    """
    fit.run(args)
    distributed.leave()  # the export fits again, in this process alone
    if args.rank == 0:
        export.run(args)
