"""The command publish: fit, then export, in one process, which imports PyTorch once."""

from argparse import Namespace

from train.commands import export, fit


def run(args: Namespace) -> None:
    """Run the command fit, then the command export, which reads and proves the checkpoint."""
    fit.run(args)
    if args.rank == 0:
        export.run(args)
