"""The command reproduce: fit the table again, and compare it with a published version."""

import io
import math
from argparse import Namespace
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from train.arguments import fit_arguments, model_name
from train.commands import fit
from train.errors import ExportError
from train.export import checkpoint, parity, reproduce


def run(args: Namespace) -> None:
    """Fit the table again as a published version was fitted, and print the differences.

    Raises ExportError if there is a difference.
    """
    _, manifest, files = parity.published(args.models, model_name(args), args.version)
    if not manifest.arguments:
        raise ExportError(f"version {manifest.version} doesn't record its fit's arguments; export it again")
    again = fit_arguments(manifest.arguments)
    again.data = again.data and args.data
    again.environ, again.rank, again.name = {}, 0, manifest.name
    with TemporaryDirectory() as folder:
        again.checkpoints = Path(folder)
        with redirect_stdout(io.StringIO()):
            fit.run(again)
        description, model, _ = checkpoint.load(again.checkpoints, manifest.name)
    found = reproduce.compare(manifest, files, description, model)
    for part, differences in found.items():
        print(f"{part}: {'the same' if not differences else f'{len(differences)} differ'}")
        for one in differences[:10]:
            print(f"  {one}")
    numbers = [one.size for differences in found.values() for one in differences if not math.isnan(one.size)]
    changed = [part for part, differences in found.items() if differences]
    if changed:
        largest = f"; the largest relative difference of a number is {max(numbers):.1e}" if numbers else ""
        raise ExportError(f"not reproduced: {', '.join(changed)}{largest}")
    print(f"reproduced: this table and this code give version {manifest.version} again, bit for bit")
