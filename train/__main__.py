"""The command line of the trainer: python -m train fit | export | parity | conform | report | lesson | compare."""

import argparse
import os
import sys
import webbrowser
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from serve import manifest as contract
from serve.activations import ACTIVATIONS
from serve.manifest import Figures, Training
from train import checkpoint, distributed, parity, picture
from train.compare import combinations, compare, draw
from train.compare import lines as compared
from train.conform import conform
from train.data import read_table
from train.descent import OPTIMIZERS
from train.errors import ExportError, FitError, LostError, TrainError
from train.evaluate import cheapest, evaluation, everyone, held_out, logits, looked_at, metrics, reaching
from train.export import export, newest
from train.fit import SOLVERS, Options, fit
from train.lesson import lesson
from train.links import LINKS
from train.losses import LOSSES
from train.report import PAGE
from train.statistics import lines, statistics
from train.suspect import warnings

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
    except KeyboardInterrupt as interrupted:
        print(str(interrupted) or "interrupted: nothing was written", file=sys.stderr)
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
    scores = held_out(table.features, table.x, table.y, options, args.folds, table.weight)
    threshold = _threshold(args, scores, options.link)
    logit, y, weight = everyone(logits(fitted.model, table.x), table.y, table.weight)
    fitted_metrics = metrics(logit, y, options.link, threshold, weight)
    some = looked_at(table.x, table.y, table.weight)
    outside = scores and evaluation(
        scores, options.link, threshold, fitted.losses, some[0], some[1], table.features, some[2]
    )
    suspicions = warnings(table.features, some[0], len(some[0]) == n, outside)
    say("all rows:", _figures(fitted_metrics))
    say("held out:", f"{_figures(outside.metrics)}, {outside.how}" if outside else "too few rows to hold some out")
    say(f"threshold: {threshold:.6g} on the probability")
    for suspicion in suspicions:
        say("warning:", suspicion)

    training = Training(
        data=table.source,
        data_sha256=table.sha256,
        rows=n,
        positives=positives,
        options=vars(options),
        converged=fitted.converged,
        notes=fitted.notes,
        metrics=fitted_metrics,
        held_out=outside.metrics if outside else None,
        versions={"python": sys.version.split()[0], **{p: version(p) for p in ("torch", "onnx", "onnxruntime")}},
        statistics=found,
        calibration=outside.calibration if outside else (),
        warnings=suspicions,
    )
    description = checkpoint.Description(name, table.features, table.target, threshold, training, outside)
    if not distributed.speaks():
        return
    path = checkpoint.save(args.checkpoints, description, fitted.model, parity.sample(some[0]))
    print(f"wrote {path}")


def run_export(args):
    """Export the named checkpoint and show what the new version answers to its recorded examples."""
    description, model = checkpoint.load(args.checkpoints, _name(args))
    manifest = export(description, model, checkpoint.rows(args.checkpoints, description.name), args.models)
    proof = manifest.certificate
    worst = {name: max(getattr(f, name) for f in proof.engines.values()) for name in Figures.__struct_fields__}
    print(
        f"proven on {sum(proof.rows.values())} rows, on {proof.exact} of them against exact arithmetic, in "
        f"{len(proof.engines)} engines ({', '.join(proof.engines)}): {worst['logit_differences']} logits differ; the "
        f"largest error is {worst['logit_error']:.2f} of its bound for a logit, {worst['probability_ulp']} units in "
        f"the last place for a probability; {worst['verdict_differences']} wrong verdicts"
    )
    print(f"wrote {Path(args.models) / manifest.name / str(manifest.version)}")
    for example in (manifest.examples[0], manifest.examples[4]):
        label = manifest.target.labels[example.logit > manifest.logit_threshold]
        print(f"predict {_say(example.instance)}: {label}")


def run_parity(args):
    """Prove a published version again, on this machine, and print its certificate as a table."""
    certificate, manifest = parity.again(args.models, _name(args), args.version)
    print(parity.table(certificate, manifest.link))


def run_conform(args):
    """Replay a published version's examples in other engines, from the same bytes."""
    for line in conform(args.models, _name(args), args.version):
        print(line)


def run_report(args):
    """Print where the newest export's report is; at a terminal, open it in the browser."""
    home = args.models / _name(args)
    page = home / str(newest(home)) / PAGE
    if not page.exists():
        raise ExportError(f"{home}: holds no export with a report; export it first (make export)")
    print(page)
    if sys.stdout.isatty() and "CI" not in os.environ:
        webbrowser.open(page.absolute().as_uri())


def run_lesson(args):
    """Walk the lecture through, on its own data."""
    lesson(read_table(LECTURE_DATA), LECTURE, args.picture)


def run_compare(args):
    """Cross-validate every combination asked for, print them sorted, and draw their loss curves."""
    picture.check(args.picture)
    given = {name: getattr(args, name) for name in ("lr", "epochs", "seed") if getattr(args, name) is not None}
    wanted = combinations(args.losses, args.optimizers, args.activations, args.links, hidden=args.hidden, **given)
    table = read_table(args.data, args.target, args.categorical, args.drop)
    columns = {"target": args.target, "categorical": args.categorical, "drop": args.drop}
    rows = compare(table, columns, wanted, args.folds, args.results)
    for line in compared(rows):
        print(line)
    draw(rows, args.picture)
    print(f"wrote {args.picture}")


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


def _threshold(args, scores, link):
    """The threshold on the probability that the options ask for."""
    costs = [args.cost_fp, args.cost_fn]
    asked = {"--cost-fp and --cost-fn": costs != [None, None], "--precision": args.precision, "--recall": args.recall}
    if sum(bool(given) for given in asked.values()) > 1:
        raise FitError(f"{', '.join(option for option, given in asked.items() if given)}: choose one of them")
    if costs != [None, None]:
        return cheapest(*(1.0 if cost is None else cost for cost in costs))
    for what in ("precision", "recall"):
        wanted = getattr(args, what)
        if wanted and scores is None:
            raise FitError(f"--{what} needs rows held out of the fit, and there are too few: choose by cost")
        if wanted:
            return reaching(what, wanted, scores, link)
    return 0.5


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
    return (
        f"log loss {m.log_loss:.4f}, accuracy {m.accuracy:.4f}, AUC {m.auc:.4f}, Brier {m.brier:.4f}, "
        f"calibration error {m.calibration_error:.4f} ({m.rows} rows)"
    )


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
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0, at most 1")
    return value


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
    commands = parser.add_subparsers(
        required=True, metavar="fit | export | parity | conform | report | lesson | compare"
    )
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

    judging = fits.add_argument_group("judging")
    judging.add_argument("--folds", type=_at_least(int, 2), default=5, help="of the cross-validation (default: 5)")
    cost = _at_least(float, 0, strictly=True)
    judging.add_argument("--cost-fp", type=cost, metavar="COST", help="of a yes that should be no: sets the threshold")
    judging.add_argument("--cost-fn", type=cost, metavar="COST", help="of a no that should be yes (each 1 by default)")
    judging.add_argument("--precision", type=_share, help="the threshold that reaches it on held-out rows")
    judging.add_argument("--recall", type=_share, help="the threshold that reaches it on held-out rows")

    exports = commands.add_parser("export", parents=[both], help="export the checkpoint, proven, to the repository")
    exports.set_defaults(run=run_export)
    exports.add_argument("--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)")
    proofs = commands.add_parser("parity", parents=[both], help="prove a published version again, and print the table")
    proofs.set_defaults(run=run_parity)
    conforms = commands.add_parser("conform", parents=[both], help="replay a version's examples in other engines")
    conforms.set_defaults(run=run_conform)
    for command in (proofs, conforms):
        command.add_argument("--version", type=_at_least(int, 1), help="default: the highest")
        command.add_argument(
            "--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)"
        )
    reports = commands.add_parser("report", parents=[both], help="say where the newest export's report is, and open it")
    reports.set_defaults(run=run_report)
    reports.add_argument("--models", type=Path, default=Path("models"), help="the repository (default: %(default)s)")

    lessons = commands.add_parser("lesson", help="walk through the lecture, and draw its model")
    lessons.set_defaults(run=run_lesson)
    lessons.add_argument("--picture", type=Path, default=Path("lesson.png"), help="the file (default: %(default)s)")

    compares = commands.add_parser("compare", help="cross-validate losses, optimizers, activations and links")
    compares.set_defaults(run=run_compare)
    compares.add_argument("--data", type=Path, default=Path("data/study_hours.csv"), help="default: %(default)s")
    compares.add_argument("--target", help="the yes/no column (default: the last)")
    compares.add_argument(
        "--categorical", action="append", default=[], metavar="COLUMN", help="its numbers name groups"
    )
    compares.add_argument("--drop", action="append", default=[], metavar="COLUMN", help="leave it out")
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
