"""The command compare: cross-validate combinations of losses, optimizers and links."""

import json
import math
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from passfail.intervals import Z95
from passfail.links import score_at
from passfail.manifest import Feature
from passfail.proof.reference import Unpublished
from passfail.runtimes import load_runtime
from train.arguments import reading_of
from train.errors import FitError, TrainError
from train.evaluation.cross_validation import cross_validated
from train.evaluation.metrics import metrics
from train.export import formats, parity
from train.model.links import LINKS
from train.model.logistic import LogisticModel, parameters
from train.report import plots
from train.solvers.fit import fit, silent
from train.solvers.options import RATES, Options
from train.table.table import Table, read_table

PROBED = 500  # rows of each kind in a parity check; the proof of an export uses many more
PROOFS = 100  # parity checks of one process: torch's exporters leak about half a megabyte in each
DRAWN, FAR = 20, 3  # combinations in the picture at most, and their largest loss as a multiple of the least

Result = dict[str, Any]  # one line of JSON: the combination, with its figures or the reason of its failure


def run(args: Namespace) -> None:
    """Cross-validate every requested combination, print them sorted, and draw their loss."""
    plots.check(args.picture)
    reading = reading_of(args)
    rows = compare(read_table(args.data, reading), reading.given(), combinations(args), args.folds, args.results)
    for line in lines(rows):
        print(line)
    draw(rows, args.picture)
    print(f"wrote {args.picture}")


def combinations(args: Namespace) -> list[Options]:
    """The Options of each loss with each optimizer and activation, and of each link by newton."""
    settings = {name: getattr(args, name) for name in ("lr", "epochs", "seed") if getattr(args, name) is not None}
    layers: list[dict[str, Any]] = [{"hidden": args.hidden, "activation": name} for name in args.activations] or [{}]
    some = [
        Options(solver=solver, loss=loss, **{"lr": RATES[solver], **settings, **layer})
        for loss, solver, layer in product(args.losses, args.optimizers, layers)
    ]
    return some + [Options(solver="newton", link=link, **settings) for link in args.links]


def compare(table: Table, columns: Mapping[str, Any], wanted: list[Options], folds: int, kept: Path) -> list[Result]:
    """Measure each wanted Options that the file `kept` lacks; return all results, best first.

    Each result is one line of JSON, written at once.

    Parameters
    ----------
    columns : the Reading of the table, which is part of a result's key.

    Raises
    ------
    TrainError : `kept` can't be used.
    KeyboardInterrupt : its message names the file.
    """
    if min(table.y.sum(), len(table.y) - table.y.sum()) < folds:
        raise TrainError(f"an outcome has fewer rows than the {folds} folds: choose fewer with --folds")
    done = read(kept)
    place = {"data": table.sha256, "columns": columns, "folds": folds}
    keys = [json.dumps({**place, **vars(options)}, sort_keys=True) for options in wanted]
    missing = [(key, options) for key, options in zip(keys, wanted, strict=True) if key not in done]
    if len(missing) < len(wanted):
        print(f"{kept} already holds {len(wanted) - len(missing)} of {len(wanted)} results")
    try:
        with open(kept, "a") as file, prover() as pool:
            for key, options in tqdm(missing, file=sys.stderr, disable=None, unit="fit"):
                done[key] = measure(table, options, folds, pool)
                file.write(json.dumps({"key": key, **done[key]}) + "\n")
                file.flush()
    except OSError as error:
        raise TrainError(f"{kept}: can't be written: {error.strerror}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {kept} keeps the results; the same command continues") from None
    return sorted((done[key] for key in keys), key=lambda row: float(row.get("log_loss", "inf")))


def read(kept: Path) -> dict[str, Result]:
    """Read the results in the file, {key: result}, and cut off an incomplete last line."""
    if not kept.exists():
        return {}
    data = kept.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
        done = {row.pop("key"): row for row in rows}
    except (ValueError, KeyError, AttributeError) as error:
        raise TrainError(f"{kept}: not a file of results; move it away, or choose another with --results") from error
    if whole != data:
        with open(kept, "r+b") as file:
            file.truncate(len(whole))
    return done


def prover() -> ProcessPoolExecutor:
    """A process for parity checks, replaced after PROOFS of them; it ignores Ctrl-C."""
    ignore = (signal.SIGINT, signal.SIG_IGN)
    return ProcessPoolExecutor(1, get_context("spawn"), signal.signal, ignore, max_tasks_per_child=PROOFS)


def measure(table: Table, options: Options, folds: int, pool: Executor) -> Result:
    """Fit and cross-validate one combination; the pool runs the parity check."""
    activation = options.activation if options.hidden else "-"
    row: Result = {"loss": options.loss, "optimizer": options.solver, "activation": activation, "link": options.link}
    began = time.perf_counter()
    try:
        fitted = fit(table.data, options, silent)
        seconds = time.perf_counter() - began
        logit = cross_validated(table.data, options, folds)
    except FitError as error:
        return {**row, "failed": str(error)}
    found = metrics(logit, table.y, options.link, 0.5, table.weight)
    each = LINKS[options.link].terms(*map(torch.from_numpy, (logit, table.y)))[0].numpy()
    spread = np.average((each - found.log_loss) ** 2, weights=table.weight)
    return {
        **row,
        **{name: getattr(found, name) for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error")},
        "reach": Z95 * math.sqrt(spread / table.weight.sum()),
        "steps": len(fitted.losses),
        "converged": fitted.converged,
        "seconds": seconds,
        "parity": pool.submit(agreement, table.features, fitted.model.eval(), options.link).result(),
    }


def agreement(features: Sequence[Feature], model: LogisticModel, link: str) -> str:
    """Compare both exports with the model on a few rows: "equal", or the differences in words."""
    files = {"onnx": formats.to_onnx(model), "torchscript": formats.to_torchscript(model)}
    runtimes = {name: load_runtime(name, data) for name, data in files.items()}
    subject = Unpublished(tuple(features), parameters(model), score_at(link, 0.5), link)
    return "; ".join(parity.prove_briefly(runtimes, subject, PROBED)) or "equal"


def lines(rows: Sequence[Result]) -> Iterator[str]:
    """The results as a table in plain text."""
    heads = f"{'loss':24} {'optimizer':9} {'activation':11} {'link':7} {'log loss':>8} {'accuracy':>8} {'AUC':>6} "
    yield f"{heads}{'Brier':>6} {'calib.':>6} {'steps':>5} {'seconds':>7} parity"
    for row in rows:
        name = f"{row['loss']:24} {row['optimizer']:9} {row['activation']:11} {row['link']:7}"
        if "failed" in row:
            yield f"{name} {row['failed']}"
            continue
        loss = f"{row['log_loss']:8.4f}" if row["log_loss"] < 1000 else f"{row['log_loss']:8.1e}"  # in its column
        scores = f"{row['accuracy']:8.4f} {row['auc']:6.4f} {row['brier']:6.4f} {row['calibration_error']:6.4f}"
        yield f"{name} {loss} {scores} {row['steps']:5} {row['seconds']:7.2f} {row['parity']}"


def draw(rows: Sequence[Result], path: Path) -> None:
    """Draw the log loss on held-out rows of the best combinations, each with its 95 % interval."""
    worked = [row for row in rows if "failed" not in row][:DRAWN]
    best = [row for row in worked if row["log_loss"] <= FAR * worked[0]["log_loss"]]
    names = [" ".join(row[name] for name in ("loss", "optimizer", "activation", "link")) for row in best]
    ax = plots.axes(9.0, 1.5 + 0.25 * len(best))
    reach = [row.get("reach", 0.0) for row in best]
    ax.errorbar([row["log_loss"] for row in best], names, xerr=reach, fmt="o", capsize=3)
    ax.invert_yaxis()
    ax.set(xlabel="log loss on held-out rows, with its 95 % interval; lower is better")
    plots.save(ax, path)
