"""The command line of the trainer: python -m train fit | export | parity | conform | report | lesson | compare."""

import os
import signal
import sys

if __name__ == "__main__":
    # The imports below take seconds, and Ctrl-C in them would be a traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

import webbrowser
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from passfail import manifest as contract
from passfail import signing
from passfail.errors import ConfigError
from passfail.manifest import Figures, Training
from train import distributed
from train.arguments import parse
from train.compare import combinations, compare, draw
from train.compare import lines as compared
from train.errors import ExportError, FitError, LostError, TrainError
from train.evaluation.coefficients import lines, statistics
from train.evaluation.cross_validation import gather, held_out, logits, sample
from train.evaluation.drift_baseline import baseline
from train.evaluation.metrics import evaluate, metrics
from train.evaluation.thresholds import least_cost, reaching
from train.export import checkpoint, parity
from train.export.interop import conform
from train.export.publish import export, newest
from train.lesson import lesson
from train.report import plots
from train.report.report import PAGE
from train.solvers.fit import Options, fit
from train.solvers.gradient_descent import OPTIMIZERS
from train.table.checks import warnings
from train.table.table import read_table

NAMED_CELLS = 20_000_000  # of the design matrix; more take too much memory to name the columns that separate
INTERRUPTED = "interrupted: nothing was written"
LECTURE_DATA = Path("data/hours.csv")
LECTURE = Options(solver="sgd", standardize=False, lr=0.01, epochs=1000)


def main(arguments=None):
    """Run one command; returns the exit status.

    0, or 2 with one line on standard error, or 130 for Ctrl-C, or 141 where who read the output (head) has gone.
    """
    args = parse(arguments)
    try:
        with distributed.joined():
            COMMANDS[args.command](args)
        print(end="", flush=True)
    except TrainError as error:
        if distributed.speaks() or isinstance(error, LostError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupted:
        print(str(interrupted) or INTERRUPTED, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python says it again at its end
        return 141
    except Exception as error:
        if not _of_an_interrupt(error):
            raise
        print(INTERRUPTED, file=sys.stderr)
        return 130
    return 0


def run_fit(args):
    """Read the table, fit on all its rows, measure, and write the checkpoint."""
    data = args.data or LECTURE_DATA
    options = _options(args)
    name = _name(args)
    goal = _goal(args)
    _sign_with()  # a key that can't sign is to cost no training
    say = print if distributed.speaks() else lambda *words: None
    table = read_table(data, **_columns(args), labels=args.labels, log=say)
    units = _units(args, table.features)
    n, positives = table.rows, table.positives
    say(f"{data}: {n} rows; {table.target.name} is {table.target.values[1]} in {positives} of them")
    for feature in table.features:
        say(f"  {feature.name}: {_describe(feature, units.get(feature.name))}")

    fitted = fit(table.features, table.x, table.y, table.weight, options, log=say)
    for note in fitted.notes:
        say(note)
    named = n * len(fitted.model.level) <= NAMED_CELLS and distributed.ranks() == 1
    found = statistics(table.features, fitted, options, (table.x, table.y, table.weight) if named else None)
    for line in lines(found, options) if found else []:
        say(line)
    scores = held_out(table.features, table.x, table.y, table.weight, options, args.folds)
    threshold = _threshold(goal, scores, options.link)
    logit, y, weight = gather(logits(fitted.model, table.x), table.y, table.weight)
    fitted_metrics = metrics(logit, y, options.link, threshold, weight)
    some = sample(table.x, table.y, table.weight)
    outside = scores and evaluate(scores, options.link, threshold, fitted.losses, table.features, *some)
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
        baseline=baseline(table.features, some[0], logits(fitted.model, some[0]), some[2]),
        statistics=found,
        calibration=outside.calibration if outside else (),
        warnings=suspicions,
    )
    description = checkpoint.Description(name, table.features, table.target, threshold, training, outside, units)
    if not distributed.speaks():
        return
    path = checkpoint.save(args.checkpoints, description, fitted.model, parity.sample(some[0]))
    print(f"wrote {path}")


def run_export(args):
    """Export the named checkpoint and show what the new version answers to its recorded examples."""
    sign_with = _sign_with()
    description, model = checkpoint.load(args.checkpoints, _name(args))
    rows = checkpoint.rows(args.checkpoints, description.name)
    manifest = export(description, model, rows, args.models, sign_with)
    proof = manifest.certificate
    worst = {name: max(getattr(f, name) for f in proof.engines.values()) for name in Figures.__struct_fields__}
    print(
        f"proven on {sum(proof.rows.values())} rows, on {proof.exact} of them against exact arithmetic, in "
        f"{len(proof.engines)} engines ({', '.join(proof.engines)}): {worst['logit_differences']} logits differ; the "
        f"largest error is {worst['logit_error']:.2f} of its bound for a logit, {worst['probability_ulp']} units in "
        f"the last place for a probability; {worst['verdict_differences']} wrong verdicts"
    )
    signed = ", signed" if sign_with else ""
    print(f"wrote {Path(args.models) / manifest.name / str(manifest.version)}{signed}")
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
    plots.check(args.picture)
    given = {name: getattr(args, name) for name in ("lr", "epochs", "seed") if getattr(args, name) is not None}
    wanted = combinations(args.losses, args.optimizers, args.activations, args.links, hidden=args.hidden, **given)
    columns = _columns(args)
    rows = compare(read_table(args.data, **columns), columns, wanted, args.folds, args.results)
    for line in compared(rows):
        print(line)
    draw(rows, args.picture)
    print(f"wrote {args.picture}")


def _columns(args):
    """How the table's columns are read, as read_table takes it."""
    names = ("target", "positive", "categorical", "drop", "weights")
    return {**{name: getattr(args, name) for name in names}, "missing": dict(args.missing)}


def _units(args, features):
    """{feature: unit}. Raises FitError for what is no column of numbers."""
    units, numeric = dict(args.unit), [feature.name for feature in features if feature.kind == "numeric"]
    if strange := [name for name in units if name not in numeric]:
        raise FitError(f"--unit: '{strange[0]}' is none of the columns of numbers: {', '.join(numeric)}")
    return units


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


def _sign_with():
    """The private key that SIGN_WITH names, or None. Raises ExportError."""
    try:
        return signing.private_key(os.environ["SIGN_WITH"], "SIGN_WITH") if os.environ.get("SIGN_WITH") else None
    except ConfigError as error:
        raise ExportError(str(error)) from error


def _goal(args):
    """What the threshold shall do, asked before there is a fit: ("cost", itself), ("precision" or "recall", share)."""
    costs = [args.cost_fp, args.cost_fn]
    asked = {"--cost-fp and --cost-fn": costs != [None, None], "--precision": args.precision, "--recall": args.recall}
    if sum(bool(given) for given in asked.values()) > 1:
        raise FitError(f"{', '.join(option for option, given in asked.items() if given)}: choose one of them")
    if args.precision or args.recall:
        return ("precision", args.precision) if args.precision else ("recall", args.recall)
    return "cost", least_cost(*(1.0 if cost is None else cost for cost in costs))


def _threshold(goal, scores, link):
    """The threshold on the probability that reaches the goal."""
    what, wanted = goal
    if what == "cost":
        return wanted
    if scores is None:
        raise FitError(f"--{what} needs rows held out of the fit, and there are too few: choose by cost")
    return reaching(what, wanted, scores, link)


def _describe(feature, unit):
    missing = ""
    flagged = ", and is told apart by a column of its own" if feature.missing == "indicator" else ""
    if feature.kind == "categorical":
        if feature.nullable:
            missing = f"; missing becomes {feature.levels[int(feature.fill)]}, the most frequent{flagged}"
        return f"categorical, {len(feature.levels)} levels: {', '.join(feature.levels)}{missing}"
    if feature.nullable:
        way = feature.missing if feature.missing != "indicator" else "mean"
        missing = f"; missing becomes {feature.fill:g}, the {way.replace('-', ' ')}{flagged}"
    return f"numeric, {feature.minimum:g} to {feature.maximum:g}{f' {unit}' if unit else ''}{missing}"


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


def _of_an_interrupt(error):
    """Whether an error came of Ctrl-C: torch's exporter makes one of its own of whatever ends it."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


COMMANDS = {
    "fit": run_fit,
    "export": run_export,
    "parity": run_parity,
    "conform": run_conform,
    "report": run_report,
    "lesson": run_lesson,
    "compare": run_compare,
}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
