"""The command parity: prove a published version again on this machine."""

from argparse import Namespace

from train.arguments import model_name
from train.export import parity


def run(args: Namespace) -> None:
    """Prove a published version again, on this machine, and print its certificate as a table."""
    certificate, manifest = parity.again(args.models, model_name(args), args.version)
    print(parity.table(certificate, manifest.link))
