"""The command line of the trainer: python -m train COMMAND; train/arguments.py lists the commands."""

import io
import math
import os
import signal
import sys

if __name__ == "__main__":
    # The imports below take seconds; Ctrl-C in them must not print a traceback.
    signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))

import webbrowser
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from passfail import signing
from passfail.arrays import Floats
from passfail.errors import ConfigError
from passfail.links import score_at
from passfail.manifest import Feature, Figures, Metrics, Statistics, Training
from train import distributed
from train.arguments import LECTURE_DATA, model_name, parse
from train.compare import combinations, compare, draw
from train.compare import lines as compared
from train.errors import ExportError, FitError, LostError, TrainError
from train.evaluation.coefficients import lines, statistics
from train.evaluation.cross_validation import HELD_OUT_OF_EACH, HeldOut, gather, held_out, logits
from train.evaluation.cross_validation import sample as take_sample
from train.evaluation.drift_baseline import baseline
from train.evaluation.metrics import Evaluation, constant_log_loss, evaluate, metrics
from train.evaluation.thresholds import Threshold, at_threshold, least_cost, reaching
from train.export import checkpoint, parity, reproduce
from train.export.interop import conform
from train.export.publish import Sign, export, newest
from train.lesson import lesson
from train.report import plots
from train.report.report import PAGE
from train.solvers.fit import Fit, fit
from train.solvers.gradient_descent import OPTIMIZERS
from train.solvers.options import Options
from train.table.checks import warnings
from train.table.raw import raw_rows
from train.table.schema import Reading
from train.table.table import Table, read_rows, read_table

INTERRUPTED = "interrupted: nothing was written"
LECTURE = Options(solver="sgd", standardize=False, lr=0.01, epochs=1000)

Log = Callable[..., object]
ELSEWHERE = ("command", "data", "checkpoints", "name")  # arguments that a fit elsewhere has of its own
Goal = tuple[
    Literal["cost", "precision", "recall"], float
]  # what the threshold must do: ("cost", itself), or ("precision" or "recall", a share)


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Run one command; returns the exit status.

    0; 2 with one line on standard error; 130 after Ctrl-C; 141 when the reader of the output (head) has gone.
    """
    args = parse(arguments)
    args.environ, args.rank = environ, int(environ.get("RANK", "0"))
    try:
        with distributed.joined(launched="TORCHELASTIC_RUN_ID" in environ):
            COMMANDS[args.command](args)
        print(end="", flush=True)
    except TrainError as error:
        if args.rank == 0 or isinstance(error, LostError):
            print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupted:
        print(str(interrupted) or INTERRUPTED, file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it again when it exits
        return 141
    except Exception as error:
        if not _caused_by_interrupt(error):
            raise
        print(INTERRUPTED, file=sys.stderr)
        return 130
    return 0


def run_fit(args: Namespace) -> None:
    """Read the table, fit to all its rows, measure on held-out rows, and write the checkpoint."""
    options, name, goal = _options(args), model_name(args), _goal(args)
    _sign(args.environ)  # a key that can't sign must not cost a fit
    log = print if args.rank == 0 else lambda *words: None
    table = read_table(args.data or LECTURE_DATA, _reading(args), log)
    units = _units(args, table)
    _print_table(table, args.data or LECTURE_DATA, units, log)
    fitted = fit(table.features, table.x, table.y, table.weight, options, log)
    found = _print_coefficients(table, fitted, options, log)
    scores = _held_out(args, table, fitted, options, log)
    judged = _judge(table, fitted, options, goal, scores)
    _print_figures(judged, table, args.folds, log)
    if args.rank == 0:
        training = _training(table, fitted, options, found, judged)
        kept = checkpoint.Kept(*(parity.sample(part) for part in (*judged.sample, judged.score)))
        both = 0 < kept.y.sum() < len(kept.y)
        measured = metrics(kept.logit, kept.y, options.link, judged.threshold, kept.weight) if both else None
        description = checkpoint.Description(
            name,
            table.features,
            table.target,
            judged.threshold,
            training,
            judged.evaluation,
            units,
            measured,
            _raw(args.data or LECTURE_DATA, _reading(args), table, fitted, judged.threshold),
            _arguments(args),
        )
        path = checkpoint.save(args.checkpoints, description, fitted.model, kept)
        print(f"wrote {path}")


def _raw(path: Path, reading: Reading, table: Table, fitted: Fit, threshold: float) -> tuple[checkpoint.Raw, ...]:
    """Some rows as they stand in the table, and what the fit makes of them."""
    rows = raw_rows(path, reading, table)
    logit = logits(fitted.model, np.array(table.x[[one.row for one in rows]]))
    positive = logit > score_at(fitted.model.link, threshold)
    return tuple(
        checkpoint.Raw(one.cells, one.outcome, z, table.target.labels[yes])
        for one, z, yes in zip(rows, logit.tolist(), positive.tolist(), strict=True)
    )


class Judgement(NamedTuple):
    """How a fit does.

    sample: at most some 100,000 rows of all processes, (x, y, weight). metrics: on all rows; evaluation: on held-out
    rows, None where there are too few. score: the sample's logits. chosen: what the
    threshold does to the held-out rows.
    """

    threshold: float
    metrics: Metrics
    evaluation: Evaluation | None
    chosen: Threshold | None
    sample: list[Floats]
    score: Floats
    warnings: tuple[str, ...]


def _held_out(args: Namespace, table: Table, fitted: Fit, options: Options, log: Log) -> HeldOut | None:
    """The scores of the rows of --test, or, without it, of rows held out of the fit if there are enough."""
    if args.test is None:
        return held_out(table.features, table.x, table.y, table.weight, options, args.folds, table.parts)
    x, y, weight = read_rows(args.test, table, _reading(args), log)
    logit, y, weight = gather(logits(fitted.model, x), y, weight)
    return HeldOut(f"the rows of {args.test.name}", logit, y, weight, 0.0)


def _judge(table: Table, fitted: Fit, options: Options, goal: Goal, scores: HeldOut | None) -> Judgement:
    """Choose the threshold, and measure the fit on all rows and on held-out rows."""
    threshold = _threshold(goal, scores, options.link)
    logit, y, weight = gather(logits(fitted.model, table.x), table.y, table.weight)
    sample = take_sample(table.x, table.y, table.weight)
    outside = chosen = None
    if scores is not None:
        chosen = at_threshold(options.link, threshold, scores.logit, scores.y, scores.weight)
        outside = evaluate(scores, options.link, threshold, fitted.losses, table.features, fitted.model, *sample)
    return Judgement(
        threshold=threshold,
        metrics=metrics(logit, y, options.link, threshold, weight),
        evaluation=outside,
        chosen=chosen,
        sample=sample,
        score=logits(fitted.model, sample[0]),
        warnings=(*table.warnings, *warnings(table.features, sample[0], len(sample[0]) == table.rows, outside)),
    )


def _training(table: Table, fitted: Fit, options: Options, found: Statistics | None, judged: Judgement) -> Training:
    """What the manifest records of the fit."""
    x, _, weight = judged.sample
    outside = judged.evaluation
    return Training(
        data=table.source,
        data_sha256=table.sha256,
        rows=table.rows,
        positives=table.positives,
        options=vars(options),
        converged=fitted.converged,
        notes=fitted.notes,
        metrics=judged.metrics,
        held_out=outside.metrics if outside else None,
        versions={"python": sys.version.split()[0], **{p: version(p) for p in ("torch", "onnx", "onnxruntime")}},
        baseline=baseline(table.features, x, judged.score, weight),
        statistics=found,
        calibration=outside.calibration if outside else (),
        warnings=judged.warnings,
    )


def _print_table(table: Table, data: object, units: Mapping[str, str], log: Log) -> None:
    for note in table.notes:
        log(note)
    log(f"{data}: {table.rows} rows, {table.positives} with {table.target.name} = {table.target.values[1]}")
    for feature in table.features:
        missing = table.missing.get(feature.name, 0)
        log(
            f"  {feature.name}: {_describe(feature, units.get(feature.name))}{f' ({missing} cells)' if missing else ''}"
        )


def _print_coefficients(table: Table, fitted: Fit, options: Options, log: Log) -> Statistics | None:
    """Print the fit's notes and its coefficient table, if it has one."""
    for note in fitted.notes:
        log(note)
    found = statistics(table.features, fitted, options, table.cluster)
    for line in lines(found, options) if found else []:
        log(line)
    return found


def _print_figures(judged: Judgement, table: Table, folds: int, log: Log) -> None:
    log("all rows:", _figures(judged.metrics))
    threshold = f"threshold: {judged.threshold:.6g} on the probability"
    if (outside := judged.evaluation) and (chosen := judged.chosen):
        log("held-out rows:", f"{_figures(outside.metrics)}, {outside.how}")
        log(f"constant prediction: log loss {constant_log_loss(outside.share):.4f}")
        log(
            f"{threshold}; on held-out rows precision {chosen.precision:.4f}, recall {chosen.recall:.4f}, "
            f"{chosen.false_positives} false positives, {chosen.false_negatives} false negatives"
        )
    else:
        count, value = min(zip((table.rows - table.positives, table.positives), table.target.values, strict=True))
        least = max(HELD_OUT_OF_EACH, folds)
        log(f"held-out rows: none, since only {count} have {table.target.name} = {value}; {least} are needed")
        log(threshold)
    for warning in judged.warnings:
        log("warning:", warning)


def run_export(args: Namespace) -> None:
    """Export the named checkpoint, and print what the new version answers to two of its recorded examples."""
    sign = _sign(args.environ)
    manifest = export(*checkpoint.load(args.checkpoints, model_name(args)), args.models, sign)
    proof = manifest.certificate
    worst = {name: max(getattr(f, name) for f in proof.engines.values()) for name in Figures.__struct_fields__}
    print(
        f"proven on {sum(proof.rows.values())} rows, {proof.exact} of them against exact arithmetic, in "
        f"{len(proof.engines)} engines ({', '.join(proof.engines)}): {worst['logit_differences']} logits differ; the "
        f"largest error of a logit is {worst['logit_error']:.2f} of its bound, that of a probability is "
        f"{worst['probability_ulp']} units in the last place; {worst['verdict_differences']} wrong verdicts"
    )
    print(f"wrote {args.models / manifest.name / str(manifest.version)}{', signed' if sign else ''}")
    for example in (manifest.examples[0], manifest.examples[4]):
        label = manifest.target.labels[example.logit > manifest.logit_threshold]
        print(f"predict {_format(example.instance)}: {label}")


def run_reproduce(args: Namespace) -> None:
    """Fit to the table again as a published version was fitted, and print what is the same, and what differs.

    Raises ExportError if the table and this code don't give the parameters and figures again.
    """
    _, manifest, files = parity.published(args.models, model_name(args), args.version)
    if not manifest.arguments:
        raise ExportError(f"version {manifest.version} doesn't record its fit's arguments; export it again")
    again = parse(["fit"])
    vars(again).update({name: _tuples(value) for name, value in manifest.arguments.items()})
    lecture = vars(again).pop("lecture")
    again.data = None if lecture else args.data
    again.environ, again.rank, again.name = {}, 0, manifest.name
    with TemporaryDirectory() as folder:
        again.checkpoints = Path(folder)
        with redirect_stdout(io.StringIO()):
            run_fit(again)
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


def _arguments(args: Namespace) -> dict[str, Any]:
    """The arguments of the fit that `run_reproduce` needs, as plain values."""
    default = vars(parse(["fit"]))
    ours = {name: value for name, value in vars(args).items() if name in default and name not in ELSEWHERE}
    given = {name: value for name, value in ours.items() if value != default[name]}
    return {"lecture": args.data is None, **msgspec.to_builtins(given, enc_hook=str)}


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def run_parity(args: Namespace) -> None:
    """Prove a published version again, on this machine, and print its certificate as a table."""
    certificate, manifest = parity.again(args.models, model_name(args), args.version)
    print(parity.table(certificate, manifest.link))


def run_conform(args: Namespace) -> None:
    """Replay a published version's examples in other engines, from the same bytes."""
    for line in conform(args.models, model_name(args), args.version):
        print(line)


def run_report(args: Namespace) -> None:
    """Print where the newest export's report is; at a terminal, open it in the browser."""
    home = args.models / model_name(args)
    page = home / str(newest(home)) / PAGE
    if not page.exists():
        raise ExportError(f"{home}: there is no export with a report; export it first (make export)")
    print(page)
    if sys.stdout.isatty() and "CI" not in args.environ:
        webbrowser.open(page.absolute().as_uri())


def run_lesson(args: Namespace) -> None:
    """Walk through the lecture, on its own data."""
    lesson(read_table(LECTURE_DATA), LECTURE, args.picture)


def run_compare(args: Namespace) -> None:
    """Cross-validate every combination asked for, print them sorted, and draw their loss curves."""
    plots.check(args.picture)
    given = {name: getattr(args, name) for name in ("lr", "epochs", "seed") if getattr(args, name) is not None}
    wanted = combinations(args.losses, args.optimizers, args.activations, args.links, args.hidden, **given)
    reading = _reading(args)
    rows = compare(read_table(args.data, reading), reading.given(), wanted, args.folds, args.results)
    for line in compared(rows):
        print(line)
    draw(rows, args.picture)
    print(f"wrote {args.picture}")


def _reading(args: Namespace) -> Reading:
    """How the options say that the table is read."""
    given = {name: getattr(args, name) for name in vars(Reading()) if hasattr(args, name)}
    given |= {name: tuple(given[name]) for name in ("categorical", "drop", "na")}
    return Reading(**given | {name: dict(given[name]) for name in ("missing", "reference", "order")})


def _units(args: Namespace, table: Table) -> dict[str, str]:
    """{feature: unit}, as --unit or the cells name it. Raises FitError if one is not a numeric column."""
    units, numeric = {**table.units, **dict(args.unit)}, [f.name for f in table.features if f.kind == "numeric"]
    if unknown := [name for name in units if name not in numeric]:
        raise FitError(f"--unit: '{unknown[0]}' is not a numeric column; these are: {', '.join(numeric)}")
    return units


def _options(args: Namespace) -> Options:
    """The options given, over the lecture's for the lecture's data, over the solver's own."""
    given = {name: getattr(args, name) for name in vars(Options()) if getattr(args, name) is not None}
    if args.data is None and args.solver in (None, "sgd"):
        return replace(LECTURE, **given)
    solver = given.setdefault("solver", "newton" if Options(**given).linear else "lbfgs")
    if solver in OPTIMIZERS:
        given.setdefault("lr", OPTIMIZERS[solver].lr)
    return Options(**given)


def _sign(environ: Mapping[str, str]) -> Sign | None:
    """Sign with the private key that SIGN_WITH names, if it is set. Raises ExportError."""
    try:
        return signing.private_key(environ["SIGN_WITH"], "SIGN_WITH").sign if environ.get("SIGN_WITH") else None
    except ConfigError as error:
        raise ExportError(str(error)) from error


def _goal(args: Namespace) -> Goal:
    """What the threshold must do, checked before the fit."""
    costs = [args.cost_fp, args.cost_fn]
    asked = {"--cost-fp and --cost-fn": costs != [None, None], "--precision": args.precision, "--recall": args.recall}
    if sum(bool(given) for given in asked.values()) > 1:
        raise FitError(f"{', '.join(option for option, given in asked.items() if given)}: choose one of them")
    if args.precision or args.recall:
        return ("precision", args.precision) if args.precision else ("recall", args.recall)
    return "cost", least_cost(*(1.0 if cost is None else cost for cost in costs))


def _threshold(goal: Goal, scores: HeldOut | None, link: str) -> float:
    """The threshold on the probability that reaches the goal."""
    what, wanted = goal
    if what == "cost":
        return wanted
    if scores is None:
        raise FitError(f"--{what} needs held-out rows, and there are too few: choose the threshold by cost")
    threshold: float = reaching(what, wanted, scores, link)
    return threshold


def _describe(feature: Feature, unit: str | None) -> str:
    flagged = ", with a missing-value indicator column" if feature.missing == "indicator" else ""
    missing = ""
    if feature.kind == "categorical":
        if feature.fill is not None:
            missing = f"; missing becomes {feature.levels[int(feature.fill)]}, the most frequent{flagged}"
        return f"categorical, {len(feature.levels)} levels: {', '.join(feature.levels)}{missing}"
    if feature.fill is not None:
        way = feature.missing if feature.missing != "indicator" else "mean"
        missing = f"; missing becomes {feature.fill:g}, the {way.replace('-', ' ')}{flagged}"
    return f"numeric, {feature.minimum:g} to {feature.maximum:g}{f' {unit}' if unit else ''}{missing}"


def _figures(m: Metrics) -> str:
    return (
        f"log loss {m.log_loss:.4f}, accuracy {m.accuracy:.4f}, AUC {m.auc:.4f}, Brier {m.brier:.4f}, "
        f"calibration error {m.calibration_error:.4f} ({m.rows} rows)"
    )


def _format(instance: Mapping[str, float | str | None]) -> str:
    """`7 hours` if that is the whole instance, else `gre=220, rank=1`."""
    name, value = next(iter(instance.items()))
    if len(instance) == 1 and isinstance(value, (int, float)):
        return f"{value:g} {name.removesuffix('s') if value == 1 else name}"
    return ", ".join(f"{name}={value if isinstance(value, str) else f'{value:g}'}" for name, value in instance.items())


def _caused_by_interrupt(error: BaseException | None) -> bool:
    """Whether an error was caused by Ctrl-C: torch's exporter turns it into an error of its own."""
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


COMMANDS: dict[str, Callable[[Namespace], None]] = {
    "fit": run_fit,
    "export": run_export,
    "parity": run_parity,
    "reproduce": run_reproduce,
    "conform": run_conform,
    "report": run_report,
    "lesson": run_lesson,
    "compare": run_compare,
}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(main())
