"""The command compare: cross-validate combinations, print them sorted, and draw their loss."""

from argparse import Namespace

from train.arguments import reading_of
from train.compare import combinations, compare, draw, lines
from train.report import plots
from train.table.table import read_table


def run(args: Namespace) -> None:
    """Cross-validate every requested combination, print them sorted, and draw their loss."""
    plots.check(args.picture)
    given = {name: getattr(args, name) for name in ("lr", "epochs", "seed") if getattr(args, name) is not None}
    wanted = combinations(args.losses, args.optimizers, args.activations, args.links, args.hidden, **given)
    reading = reading_of(args)
    rows = compare(read_table(args.data, reading), reading.given(), wanted, args.folds, args.results)
    for line in lines(rows):
        print(line)
    draw(rows, args.picture)
    print(f"wrote {args.picture}")
