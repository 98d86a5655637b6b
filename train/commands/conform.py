"""The command conform: replay a published version in other engines."""

from argparse import Namespace

from train.arguments import model_name
from train.export.interop import conform


def run(args: Namespace) -> None:
    """Replay a published version's examples in other engines, from the same bytes."""
    for line in conform(args.models, model_name(args), args.version):
        print(line)
