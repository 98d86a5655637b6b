"""The command line of the trainer: python -m train fit | export."""

import argparse
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from serve import manifest as contract
from serve.manifest import Training
from train import checkpoint, distributed
from train.activations import ACTIVATIONS
from train.data import read_table
from train.descent import OPTIMIZERS
from train.errors import FitError, LostError, TrainError
from train.evaluate import held_out, logits, metrics
from train.export import export
from train.fit import SOLVERS, Options, fit
from train.links import LINKS
from train.losses import LOSSES
from train.statistics import lines, statistics

MISSING = ("mean", "median", "most-frequent", "indicator", "error")
NAMED_ROWS = 100_000  # more rows than these take too long to name the columns by that separate the outcomes
LECTURE_DATA = Path("data/hours.csv")
LECTURE = Options(solver="sgd", standardize=False, lr=0.01, epochs=1000)


def main(arguments=None):
    """Run one command; returns the exit status: 0, or with one line on standard error 2, or 130 for Ctrl-C."""
    args = _parser().parse_args(arguments)
    try:
        with distributed.joined():
            args.run(args)
    except TrainError as error:
        if distributed.speaks() or isinstance(error, LostError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: nothing was written", file=sys.stderr)
        return 130
    return 0


def run_fit(args):
    """Read the table, fit on all its rows, measure, and write the checkpoint."""
    data = args.data or LECTURE_DATA
    options = _options(args)
    name = _name(args)
    say = print if distributed.speaks() else lambda *words: None
    table = read_table(
        data,
        args.target,
        args.categorical,
        args.drop,
        args.positive,
        args.labels,
        args.weights,
        dict(args.missing),
        say,
    )
    n, positives = table.rows, table.positives
    say(f"{data}: {n} rows; {table.target.name} is {table.target.values[1]} in {positives} of them")
    for feature in table.features:
        say(f"  {feature.name}: {_describe(feature)}")

    fitted = fit(table.features, table.x, table.y, options, log=say, weight=table.weight)
    for note in fitted.notes:
        say(note)
    rows = (table.x, table.y, table.weight) if n <= NAMED_ROWS and distributed.ranks() == 1 else (None,) * 3
    rows = (None if values is None else torch.from_numpy(values) for values in rows)
    found = statistics(table.features, fitted, options, *rows)
    for line in lines(found, options) if found else []:
        say(line)
    fitted_metrics = metrics(logits(fitted.model, table.x), table.y, options.link)
    outside = held_out(table.features, table.x, table.y, options)
    say("all rows:", _figures(fitted_metrics))
    say("held out:", _figures(outside) if outside else "too few rows to hold some out")

    training = Training(
        data=table.source,
        data_sha256=table.sha256,
        rows=n,
        positives=positives,
        options=vars(options),
        converged=fitted.converged,
        notes=fitted.notes,
        metrics=fitted_metrics,
        held_out=outside,
        versions={"python": sys.version.split()[0], **{p: version(p) for p in ("torch", "onnx", "onnxruntime")}},
        statistics=found,
    )
    description = checkpoint.Description(name, table.features, table.target, 0.5, training)
    if not distributed.speaks():
        return
    path = checkpoint.save(args.checkpoints, description, fitted.model)
    print(f"wrote {path}")


def run_export(args):
    """Export the named checkpoint and show what the new version answers to its recorded examples."""
    description, model = checkpoint.load(args.checkpoints, _name(args))
    manifest = export(description, model, args.models)
    proof = manifest.certificate
    print(
        f"proven on {proof.rows} rows: {proof.logit_differences} logits differ between ONNX Runtime, TorchScript and "
        f"the closed form; probabilities within {proof.probability_ulp} units in the last place"
    )
    print(f"wrote {Path(args.models) / manifest.name / str(manifest.version)}")
    for example in (manifest.examples[0], manifest.examples[4]):
        label = manifest.target.labels[example.logit > manifest.logit_threshold]
        print(f"predict {_say(example.instance)}: {label}")


def _options(args):
    """The options given, over the lecture's for the lecture's data, over the solver's own."""
    given = {name: getattr(args, name) for name in vars(Options()) if getattr(args, name) is not None}
    if args.data is None and args.solver in (None, "sgd"):
        return replace(LECTURE, **given)
    linear = not given.get("hidden") and given.get("loss", "log") == "log"
    solver = given.setdefault("solver", "newton" if linear else "lbfgs")
    if solver in OPTIMIZERS:
        given.setdefault("lr", OPTIMIZERS[solver].lr)
    return Options(**given)


def _describe(feature):
    missing = ""
    flagged = ", and is told apart by a column of its own" if feature.missing == "indicator" else ""
    if feature.kind == "categorical":
        if feature.nullable:
            missing = f"; missing becomes {feature.levels[int(feature.fill)]}, the most frequent{flagged}"
        return f"categorical, {len(feature.levels)} levels: {', '.join(feature.levels)}{missing}"
    if feature.nullable:
        way = feature.missing if feature.missing != "indicator" else "mean"
        missing = f"; missing becomes {feature.fill:g}, the {way.replace('-', ' ')}{flagged}"
    return f"numeric, {feature.minimum:g} to {feature.maximum:g}{missing}"


def _figures(m):
    return f"log loss {m.log_loss:.4f}, accuracy {m.accuracy:.4f}, AUC {m.auc:.4f} ({m.rows} rows)"


def _say(instance):
    """`7 hours` where that is the whole instance, else `gre=220, rank=1`."""
    if len(instance) > 1 or isinstance(next(iter(instance.values())), str):
        return ", ".join(
            f"{name}={value if isinstance(value, str) else f'{value:g}'}" for name, value in instance.items()
        )
    name, value = next(iter(instance.items()))
    return f"{value:g} {name.removesuffix('s') if value == 1 else name}"


def _name(args):
    """The model's name: --name, else the file's without its endings."""
    path = args.data or LECTURE_DATA
    stem = path.name.removesuffix(".gz").removesuffix(".csv").removesuffix(".parquet")
    name = args.name or stem
    if not contract.NAME.fullmatch(name):
        raise FitError(
            f"'{name}' can't name a model: use letters, digits, . _ - and give it with --name (make: NAME=...)"
        )
    return name


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


def _class_weight(text):
    try:
        weights = [float(part) for part in text.split(",")]
    except ValueError:
        weights = []
    if text != "balanced" and not (len(weights) == 2 and all(0 < weight < float("inf") for weight in weights)):
        raise argparse.ArgumentTypeError("takes balanced, or two numbers above 0, the negative's first: 1,5")
    return text


def _at_least(kind, least, strictly=False):
    def parse(text):
        value = kind(text)
        if not least <= value < float("inf") or (strictly and value == least):
            raise argparse.ArgumentTypeError(f"must be {'above' if strictly else 'at least'} {least}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value" with it
    return parse


def _parser():
    parser = argparse.ArgumentParser("python -m train", description="Fit a logistic model to a table and export it.")
    commands = parser.add_subparsers(required=True, metavar="fit | export")
    both = argparse.ArgumentParser(add_help=False)
    both.add_argument("--data", type=Path, help="a CSV or Parquet file, or a folder of parts (default: the lecture's)")
    both.add_argument("--name", help="the model's name (default: the file's, without .csv)")
    both.add_argument("--checkpoints", type=Path, default=checkpoint.FOLDER, help="default: %(default)s")

    fits = commands.add_parser("fit", parents=[both], help="fit a model and write its checkpoint")
    fits.set_defaults(run=run_fit)
    columns = fits.add_argument_group("columns")
    columns.add_argument("--target", help="the yes/no column (default: the last)")
    columns.add_argument("--positive", help="the target's value that counts as yes")
    columns.add_argument("--labels", type=_labels, metavar="NO,YES", help="what answers call the two outcomes")
    columns.add_argument("--categorical", action="append", default=[], metavar="COLUMN", help="its numbers name groups")
    columns.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave it out")
    columns.add_argument("--weights", metavar="COLUMN", help="how many rows each row counts for")
    columns.add_argument(
        "--missing", type=_missing, action="append", default=[], metavar="[COLUMN=]WAY",
        help=f"what a missing cell becomes: {', '.join(MISSING)}; for one column or all (default: mean, most-frequent)",
    )  # fmt: skip
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

    exports = commands.add_parser("export", parents=[both], help="export the checkpoint, proven, to the repository")
    exports.set_defaults(run=run_export)
    exports.add_argument("--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
