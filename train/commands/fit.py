"""The command fit: read the table, fit, measure on held-out rows, and write the checkpoint."""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from passfail.links import score_at
from passfail.measurements import Metrics, Statistics, Training
from train.arguments import LECTURE_DATA, chosen_by_folds, model_name, options_of, parse, reading_of, signer_of
from train.errors import FitError
from train.evaluation import coefficients, groups, penalty, thresholds
from train.evaluation.cross_validation import HeldOut, gather, held_out, logits, sampled
from train.evaluation.drift_baseline import baseline
from train.evaluation.metrics import Evaluation, constant_log_loss, evaluate, metrics
from train.export import checkpoint
from train.export.examples import examples
from train.fitted import Fitted
from train.model.terms import imputed, values
from train.solvers.fit import Fit, fit
from train.table import checks
from train.table.data import Data
from train.table.raw import raw_rows
from train.table.reading import Reading
from train.table.share import Groups
from train.table.table import Table, read_rows, read_table

Log = Callable[..., object]
ELSEWHERE = ("command", "data", "checkpoints", "name")  # arguments that a repeated fit sets itself
# The goal of the threshold: ("cost", the threshold itself), or ("precision" or "recall", a share).
Goal = tuple[Literal["cost", "precision", "recall"], float]
By = Mapping[str, Groups]  # {column of --by: the groups of the rows}


def run(args: Namespace) -> None:
    """Read the table, fit to all its rows, measure on held-out rows, and write the checkpoint."""
    signer_of(args)  # check the key first: a wrong key must not waste a fit
    made = fitted_model(args, print if args.rank == 0 else lambda *words: None)
    if args.rank == 0:
        print(f"wrote {checkpoint.save(args.checkpoints, *made)}")


def fitted_model(args: Namespace, log: Log) -> Fitted:
    """Read the table, fit to all its rows, and measure on held-out rows. Raises TrainError."""
    options, name, goal = options_of(args), model_name(args), _goal(args)
    path, reading = args.data or LECTURE_DATA, reading_of(args)
    table = read_table(path, reading, log)
    units, too_few = _units(args, table), _too_few(table, args.folds)
    _print_table(table, path, units, log)
    chosen = ""
    if names := chosen_by_folds(args):
        options.check()
        options, chosen = penalty.choose_penalty(table.data, options, names, args.folds, table.group)
    fitted = fit(table.data, options, log)
    fitted = replace(fitted, notes=tuple(filter(None, (*fitted.notes, chosen))))
    found = _print_coefficients(table, fitted, log)
    scores, by = _held_out(args, table, fitted, log)
    threshold = _threshold(goal, scores, options.link, too_few)
    sample = sampled(table.data)
    kept = checkpoint.Kept(*map(checkpoint.sample, (*sample[1:], logits(fitted.model, sample.x))))
    outside = evaluate(scores, options.link, threshold, fitted.losses, fitted.model, sample) if scores else None
    training = _training(table, fitted, threshold, found, outside, sample)
    by_group = groups.by_group(scores, options.link, threshold, by)
    _print_figures(training, outside, threshold, too_few, log)
    for line in chain(groups.lines(by_group), (f"warning: {warning}" for warning in training.warnings)):
        log(line)
    both = 0 < kept.y.sum() < len(kept.y)
    measured = metrics(kept.logit, kept.y, options.link, threshold, kept.weight) if both else None
    recorded = examples(table.features, table.target, threshold, fitted.model, sample.x)
    raw = _raw(path, reading, table, fitted, threshold)
    description = checkpoint.Description(
        name, table.features, table.target, threshold, training, recorded, outside, units, measured, raw,
        _arguments(args), table.dialect, dict(table.dates), dict(table.pooled), args.fold_case, by_group,
    )  # fmt: skip
    return Fitted(description, fitted.model.eval(), kept)


def _raw(path: Path, reading: Reading, table: Table, fitted: Fit, threshold: float) -> tuple[checkpoint.Raw, ...]:
    """Some rows as text from the table, with the fit's answers."""
    rows = raw_rows(path, reading, table)
    logit = logits(fitted.model, np.array(table.x[[one.row for one in rows]]))
    positive = logit > score_at(fitted.model.link, threshold)
    return tuple(
        checkpoint.Raw(one.cells, one.outcome, bool(table.y[one.row]), z, table.target.labels[yes])
        for one, z, yes in zip(rows, logit.tolist(), positive.tolist(), strict=True)
    )


def _held_out(args: Namespace, table: Table, fitted: Fit, log: Log) -> tuple[HeldOut | None, By]:
    """The scores of the rows of --test or, without it, of held-out rows, if there are enough.

    The second value has the groups of --by of the same rows.
    """
    if args.test is None:
        return held_out(table.data, fitted.options, args.folds, table.parts, table.group, table.time, log), table.by
    x, y, weight, by = read_rows(args.test, table, reading_of(args), log)
    logit, y, weight = gather(logits(fitted.model, x), y, weight)
    return HeldOut(f"the rows of {args.test.name}", logit, y, weight, 0.0), by


def _training(
    table: Table, fitted: Fit, threshold: float, found: Statistics | None, outside: Evaluation | None, sample: Data
) -> Training:
    """The manifest's record of the fit, with the metrics on all rows.

    Parameters
    ----------
    outside : the metrics on held-out rows, if there are enough.
    sample : about 100,000 rows of all processes at most.
    """
    logit, y, weight = gather(logits(fitted.model, table.x), table.y, table.weight)
    link = fitted.model.link
    measured, stopped = metrics(logit, y, link, threshold, weight), "" if fitted.converged else fitted.notes[0]
    doubts = [*table.warnings, *checks.warnings(sample.features, sample.x, len(sample.x) == table.rows, outside)]
    if outside and outside.metrics.log_loss > max(1.5 * measured.log_loss, measured.log_loss + 0.1):
        above = f"{outside.metrics.log_loss:.4f} is far above that of all rows, {measured.log_loss:.4f}"
        doubts.append(f"held-out log loss {above}; the model overfits; use --l2 auto")
    return Training(
        data=table.source,
        data_sha256=table.sha256,
        rows=table.rows,
        positives=table.positives,
        options=vars(fitted.options),
        converged=fitted.converged,
        notes=fitted.notes,
        metrics=measured,
        held_out=outside.metrics if outside else None,
        versions={"python": sys.version.split()[0], **{p: version(p) for p in ("torch", "onnx", "onnxruntime")}},
        baseline=baseline(table.features, sample.x, logits(fitted.model, sample.x), sample.weight),
        statistics=found,
        calibration=outside.calibration if outside else (),
        warnings=(*doubts, *coefficients.fit_warnings(stopped, found, link)),
    )


def _print_table(table: Table, data: object, units: Mapping[str, str], log: Log) -> None:
    for note in table.notes:
        log(note)
    log(f"{data}: {table.rows} rows, {table.positives} with {table.target.name} = {table.target.values[1]}")
    for feature in table.features:
        kind = "numeric," if feature.kind == "numeric" else f"categorical, {len(feature.levels)} levels:"
        missing = f"; missing becomes {imputed(feature)}" if feature.nullable else ""
        cells = f" ({table.missing[feature.name]} cells)" if table.missing.get(feature.name) else ""
        log(f"  {feature.name}: {kind} {values(feature, units.get(feature.name))}{missing}{cells}")


def _print_coefficients(table: Table, fitted: Fit, log: Log) -> Statistics | None:
    """Print the fit's notes, except one that is a warning, and its coefficient table."""
    for note in fitted.notes[not fitted.converged :]:
        log(note)
    found = coefficients.statistics(table.features, fitted, fitted.options, table.cluster)
    for line in coefficients.lines(found, fitted.options) if found else []:
        log(line)
    return found


def _print_figures(training: Training, outside: Evaluation | None, threshold: float, too_few: str, log: Log) -> None:
    log("all rows:", _figures(training.metrics))
    stated = f"threshold: {threshold:.6g} on the probability"
    if outside is None:
        log(f"held-out rows: none, since {too_few}")
        log(stated)
        return
    log("held-out rows:", f"{_figures(outside.metrics)}, {outside.how}")
    chosen = next(one for one in outside.thresholds if one.threshold == threshold)
    share = outside.share
    log(f"constant prediction: log loss {constant_log_loss(share):.4f}, accuracy {max(share, 1 - share):.4f}")
    wrong = f"{chosen.false_positives} false positives, {chosen.false_negatives} false negatives"
    log(f"{stated}; on held-out rows precision {chosen.precision_shown}, recall {chosen.recall:.4f}, {wrong}")


def _arguments(args: Namespace) -> dict[str, Any]:
    """The fit's arguments for the command reproduce, as plain values."""
    default = vars(parse(["fit"]))
    ours = {name: value for name, value in vars(args).items() if name in default and name not in ELSEWHERE}
    given = {name: value for name, value in ours.items() if value != default[name]}
    return {"lecture": args.data is None, **msgspec.to_builtins(given, enc_hook=str)}


def _units(args: Namespace, table: Table) -> dict[str, str]:
    """The units {feature: unit} from --unit or the cells. Raises FitError for other columns."""
    units, numeric = {**table.units, **dict(args.unit)}, [f.name for f in table.features if f.kind == "numeric"]
    if unknown := [name for name in units if name not in numeric]:
        raise FitError(f"--unit: '{unknown[0]}' is not a numeric column; these are: {', '.join(numeric)}")
    return units


def _goal(args: Namespace) -> Goal:
    """The goal of the threshold, checked before the fit. Raises FitError."""
    cost, precision, recall = args.cost_fp or args.cost_fn, args.precision, args.recall
    asked = {"--cost-fp and --cost-fn": cost, "--precision": precision, "--recall": recall}
    if len(given := [option for option, value in asked.items() if value]) > 1:
        raise FitError(f"the threshold can have one goal: choose {', or '.join(given)}")
    if precision or recall:
        return ("precision", precision) if precision else ("recall", recall)
    return "cost", thresholds.least_cost(args.cost_fp or 1.0, args.cost_fn or 1.0)


def _too_few(table: Table, folds: int) -> str:
    """The reason why no rows are held out: the rarer outcome has too few rows."""
    count, value = min(zip((table.rows - table.positives, table.positives), table.target.values, strict=True))
    return f"only {count} have {table.target.name} = {value}, and {folds} folds need {folds}"


def _threshold(goal: Goal, scores: HeldOut | None, link: str, too_few: str) -> float:
    """The threshold on the probability that reaches the goal."""
    what, wanted = goal
    if what == "cost":
        return wanted
    if scores is None:
        raise FitError(f"--{what} needs held-out rows: {too_few}; choose the threshold by cost")
    return thresholds.reaching(what, wanted, scores, link)


def _figures(m: Metrics) -> str:
    scores = f"log loss {m.log_loss:.4f}, accuracy {m.accuracy:.4f}, AUC {m.auc:.4f}, Brier {m.brier:.4f}"
    return f"{scores}, calibration error {m.calibration_error:.4f} ({m.rows} rows)"
