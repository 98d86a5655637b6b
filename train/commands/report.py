"""The command report: find the newest version's report."""

import sys
import webbrowser
from argparse import Namespace

from train.arguments import model_name
from train.errors import ExportError
from train.export.publish import newest
from train.report.report import PAGE


def run(args: Namespace) -> None:
    """Print the path of the newest export's report; on a terminal, also open it in the browser."""
    home = args.models / model_name(args)
    page = home / str(newest(home)) / PAGE
    if not page.exists():
        raise ExportError(f"{home}: there is no export with a report; export it first (make export)")
    print(page)
    if sys.stdout.isatty() and "CI" not in args.environ:
        webbrowser.open(page.absolute().as_uri())
