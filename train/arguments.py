"""What the trainer's command line takes."""

import argparse
from pathlib import Path

from passfail.proof.activations import ACTIVATIONS
from train.export import checkpoint
from train.model.links import LINKS
from train.model.losses import LOSSES
from train.solvers.fit import SOLVERS
from train.solvers.gradient_descent import OPTIMIZERS

MISSING = ("mean", "median", "most-frequent", "indicator", "error")


def _labels(text):
    labels = tuple(label.strip() for label in text.split(","))
    if len(labels) != 2 or "" in labels or labels[0] == labels[1]:
        raise argparse.ArgumentTypeError("takes two different words, the negative first: fail,pass")
    return labels


def _missing(text):
    """(column, way), the column "" where the way is for all."""
    name, _, way = text.rpartition("=")
    if way not in MISSING:
        raise argparse.ArgumentTypeError(f"takes {', '.join(MISSING)}, after COLUMN= for one column only")
    return name, way


def _unit(text):
    """(column, its unit)."""
    name, _, unit = (part.strip() for part in text.rpartition("="))
    if not name or not unit:
        raise argparse.ArgumentTypeError("takes COLUMN=UNIT: age=years")
    return name, unit


def _some(known):
    def parse(text):
        names = list(known) if text == "all" else text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"no '{unknown[0]}': takes all, or some of {', '.join(known)}")
        return names

    return parse


def _class_weight(text):
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if text != "balanced" and not (len(weights) == 2 and all(0 < weight < float("inf") for weight in weights)):
        raise argparse.ArgumentTypeError("takes balanced, or two numbers above 0, the negative's first: 1,5")
    return text


def _share(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be a number above 0, at most 1")
    return value


def _at_least(kind, least, strictly=False):
    def parse(text):
        value = kind(text)
        if not least <= value < float("inf") or (strictly and value == least):
            raise argparse.ArgumentTypeError(f"must be {'above' if strictly else 'at least'} {least}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value" with it
    return parse


def parse(arguments=None):
    """The command line's arguments, as argparse has them; `command` is the name of the command."""
    parser = argparse.ArgumentParser("python -m train", description="Fit a logistic model to a table and export it.")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="fit | export | parity | conform | report | lesson | compare"
    )
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--data", type=Path, help="a CSV or Parquet file, or a folder of parts (default: the lecture's)")
    both.add_argument("--name", help="the model's name (default: the file's, without .csv)")
    both.add_argument("--checkpoints", type=Path, default=checkpoint.FOLDER, help="default: %(default)s")

    reads = argparse.ArgumentParser(add_help=False)
    columns = reads.add_argument_group("columns")
    columns.add_argument("--target", help="the yes/no column (default: the last)")
    columns.add_argument("--positive", help="the target's value that counts as yes")
    columns.add_argument("--categorical", action="append", default=[], metavar="COLUMN", help="its numbers name groups")
    columns.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave it out")
    columns.add_argument("--weights", metavar="COLUMN", help="how many rows each row counts for")
    columns.add_argument(
        "--missing", type=_missing, action="append", default=[], metavar="[COLUMN=]WAY",
        help=f"what a missing cell becomes: {', '.join(MISSING)}; for one column or all (default: mean, most-frequent)",
    )  # fmt: skip

    fits = commands.add_parser("fit", parents=[both, reads], help="fit a model and write its checkpoint")
    fits.add_argument("--labels", type=_labels, metavar="NO,YES", help="what answers call the two outcomes")
    fits.add_argument(
        "--unit", type=_unit, action="append", default=[], metavar="COLUMN=UNIT", help="shown with its numbers"
    )
    fitting = fits.add_argument_group("fitting")
    fitting.add_argument(
        "--solver", choices=SOLVERS, help="default: newton where it applies, else lbfgs; the lecture's is sgd"
    )
    fitting.add_argument("--loss", choices=LOSSES, help="default: log, the cross entropy")
    fitting.add_argument("--hidden", type=_at_least(int, 0), metavar="UNITS", help="of a hidden layer (default: none)")
    fitting.add_argument("--activation", choices=ACTIVATIONS, help="of the hidden layer (default: ReLU)")
    fitting.add_argument("--link", choices=LINKS, help="from score to probability; newton's (default: logit)")
    fitting.add_argument("--firth", action="store_true", default=None, help="Firth's penalty: finite where separated")
    fitting.add_argument(
        "--no-intercept", dest="intercept", action="store_false", default=None, help="the logit of all zeros is zero"
    )
    fitting.add_argument(
        "--class-weight", type=_class_weight, metavar="balanced|NO,YES", help="what the rows of each outcome count for"
    )
    fitting.add_argument("--l2", type=_at_least(float, 0), help="penalty on the scaled weights (default: 0)")
    fitting.add_argument(
        "--standardize", action=argparse.BooleanOptionalAction, default=None, help="scale the numeric columns first"
    )
    fitting.add_argument(
        "--lr", type=_at_least(float, 0, strictly=True), help="the learning rate (default: the solver's)"
    )
    fitting.add_argument("--epochs", type=_at_least(int, 1), help="the most steps (default: 1000)")
    fitting.add_argument("--seed", type=_at_least(int, 0), help="default: 0")

    judging = fits.add_argument_group("judging")
    judging.add_argument("--folds", type=_at_least(int, 2), default=5, help="of the cross-validation (default: 5)")
    cost = _at_least(float, 0, strictly=True)
    judging.add_argument("--cost-fp", type=cost, metavar="COST", help="of a yes that should be no: sets the threshold")
    judging.add_argument("--cost-fn", type=cost, metavar="COST", help="of a no that should be yes (each 1 by default)")
    judging.add_argument("--precision", type=_share, help="the threshold that reaches it on held-out rows")
    judging.add_argument("--recall", type=_share, help="the threshold that reaches it on held-out rows")

    exports = commands.add_parser("export", parents=[both], help="export the checkpoint, proven, to the repository")
    exports.add_argument("--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)")
    proofs = commands.add_parser("parity", parents=[both], help="prove a published version again, and print the table")
    conforms = commands.add_parser("conform", parents=[both], help="replay a version's examples in other engines")
    for command in (proofs, conforms):
        command.add_argument("--version", type=_at_least(int, 1), help="default: the highest")
        command.add_argument(
            "--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)"
        )
    reports = commands.add_parser("report", parents=[both], help="say where the newest export's report is, and open it")
    reports.add_argument("--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)")

    lessons = commands.add_parser("lesson", help="walk through the lecture, and draw its model")
    lessons.add_argument("--picture", type=Path, default=Path("lesson.png"), help="the file (default: %(default)s)")

    compares = commands.add_parser(
        "compare", parents=[reads], help="cross-validate losses, optimizers, activations and links"
    )
    compares.add_argument("--data", type=Path, default=Path("data/study_hours.csv"), help="default: %(default)s")
    for name, known, default in [
        ("losses", LOSSES, "log"),
        ("optimizers", OPTIMIZERS, "all"),
        ("activations", ACTIVATIONS, None),
        ("links", LINKS, None),
    ]:
        compares.add_argument(
            f"--{name}", type=_some(known), default=default or [], help=f"all, or some, as a,b (default: {default})"
        )
    compares.add_argument("--hidden", type=_at_least(int, 1), default=8, help="units the activations get (default: 8)")
    compares.add_argument("--lr", type=_at_least(float, 0, strictly=True), help="default: each optimizer's own")
    compares.add_argument("--epochs", type=_at_least(int, 1), help="the most steps (default: 1000)")
    compares.add_argument("--seed", type=_at_least(int, 0), help="default: 0")
    compares.add_argument("--folds", type=_at_least(int, 2), default=5, help="default: %(default)s")
    compares.add_argument("--results", type=Path, default=Path("compare.jsonl"), help="kept in (default: %(default)s)")
    compares.add_argument("--picture", type=Path, default=Path("compare.png"), help="default: %(default)s")
    return parser.parse_args(arguments)
