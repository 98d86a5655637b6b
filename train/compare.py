"""Every combination of a loss, an optimizer and an activation, cross-validated on one table."""

import json
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from multiprocessing import get_context

from tqdm import tqdm

from passfail.manifest import SCORES
from passfail.runtimes import load_runtime
from train.errors import FitError, TrainError
from train.evaluation.cross_validation import cross_validated
from train.evaluation.metrics import metrics
from train.export import formats, parity
from train.model.logistic import parameters
from train.report import plots
from train.solvers.fit import Options, fit
from train.solvers.gradient_descent import OPTIMIZERS

PROBED = 500  # rows of each parity check: a probe; the export proves on many more
POINTS = 100  # of each loss curve are kept
PROOFS = 100  # of one process: each leaves about half a megabyte in torch's exporters that nothing gives back
COLOURED = 8  # curves have a colour and a name, the best ones


def combinations(losses, optimizers, activations, links, **settings):
    """The Options asked for: each loss with each optimizer and activation; each link by newton, which alone fits it.

    settings: other fields of Options; a lr among them is every optimizer's. Activations get settings' hidden layer.
    """
    hidden = settings.pop("hidden")
    some = [
        Options(solver=solver, loss=loss, **{"lr": OPTIMIZERS[solver].lr, **settings}, **layer)
        for loss, solver, layer in product(
            losses, optimizers, [{"hidden": hidden, "activation": name} for name in activations] or [{}]
        )
    ]
    return some + [Options(solver="newton", link=link, **settings) for link in links]


def compare(table, columns, wanted, folds, kept):
    """Measure each of the wanted Options that the file `kept` doesn't hold yet; returns the results, the best first.

    table: a Table; columns: the choices it was read with, which are part of what a result is kept under. Each result
    is one line of JSON, written when it is there. Raises TrainError where `kept` can't be used; KeyboardInterrupt says
    what is kept.
    """
    if min(table.y.sum(), len(table.y) - table.y.sum()) < folds:
        raise TrainError(f"fewer rows of an outcome than the {folds} folds: give fewer with --folds")
    done = read(kept)
    place = {"data": table.sha256, "columns": columns, "folds": folds}
    keys = [json.dumps({**place, **vars(options)}, sort_keys=True) for options in wanted]
    missing = [(key, options) for key, options in zip(keys, wanted, strict=True) if key not in done]
    if len(missing) < len(wanted):
        print(f"{len(wanted) - len(missing)} of {len(wanted)} are in {kept} already")
    try:
        with open(kept, "a") as file, prover() as pool:
            for key, options in tqdm(missing, file=sys.stderr, disable=None, unit="fit"):
                done[key] = measure(table, options, folds, pool)
                file.write(json.dumps({"key": key, **done[key]}) + "\n")
                file.flush()
    except OSError as error:
        raise TrainError(f"{kept}: can't be written: {error.strerror}") from error
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"interrupted: {kept} keeps what is done, and the same command goes on") from None
    return sorted((done[key] for key in keys), key=lambda row: row.get("log_loss", float("inf")))


def read(kept):
    """The results in the file, {key: result}; half a line at its end, of a run that was killed, is cut off."""
    if not kept.exists():
        return {}
    data = kept.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    try:
        rows = [json.loads(line) for line in whole.splitlines()]
        done = {row.pop("key"): row for row in rows}
    except (ValueError, KeyError, AttributeError) as error:
        raise TrainError(f"{kept}: not a file of results; move it away, or name another with --results") from error
    if whole != data:
        with open(kept, "r+b") as file:
            file.truncate(len(whole))
    return done


def prover():
    """The process that makes the parity checks, a new one after PROOFS of them; Ctrl-C is the parent's to answer."""
    ignore = (signal.SIGINT, signal.SIG_IGN)
    return ProcessPoolExecutor(1, get_context("spawn"), signal.signal, ignore, max_tasks_per_child=PROOFS)


def measure(table, options, folds, pool):
    """One result: what it is, how it does on rows held out, and how it got there; or why there is none.

    pool: an executor, where the parity check is made.
    """
    activation = options.activation if options.hidden else "-"
    row = {"loss": options.loss, "optimizer": options.solver, "activation": activation, "link": options.link}
    began = time.perf_counter()
    try:
        fitted = fit(table.features, table.x, table.y, table.weight, options, log=lambda line: None)
        seconds = time.perf_counter() - began
        logit = cross_validated(table.features, table.x, table.y, table.weight, options, folds)
    except FitError as error:
        return {**row, "failed": str(error)}
    found = metrics(logit, table.y, options.link, 0.5, table.weight)
    steps = len(fitted.losses)
    shown = sorted({round(step * (steps - 1) / (POINTS - 1)) for step in range(POINTS)})
    return {
        **row,
        **{name: getattr(found, name) for name in ("log_loss", "accuracy", "auc", "brier", "calibration_error")},
        "steps": steps,
        "converged": fitted.converged,
        "seconds": seconds,
        "parity": pool.submit(agreement, table.features, fitted.model.eval(), options.link).result(),
        "curve": [(step, fitted.losses[step]) for step in shown],
    }


def agreement(features, model, link):
    """Whether both exports answer as the model does on a short probe: "equal", or what they differ in."""
    files = {"onnx": formats.to_onnx(model), "torchscript": formats.to_torchscript(model)}
    runtimes = {name: load_runtime(name, data) for name, data in files.items()}
    subject = parity.Subject(features, parameters(model), SCORES[link](0.5), link)
    return "; ".join(parity.short(runtimes, subject, PROBED)) or "equal"


def lines(rows):
    """The results as a table of text."""
    yield (
        f"{'loss':24} {'optimizer':9} {'activation':11} {'link':7} {'log loss':>8} {'accuracy':>8} {'AUC':>6} "
        f"{'Brier':>6} {'calib.':>6} {'steps':>5} {'seconds':>7} parity"
    )
    for row in rows:
        name = f"{row['loss']:24} {row['optimizer']:9} {row['activation']:11} {row['link']:7}"
        if "failed" in row:
            yield f"{name} {row['failed']}"
            continue
        loss = f"{row['log_loss']:8.4f}" if row["log_loss"] < 1000 else f"{row['log_loss']:8.1e}"  # still in its column
        yield (
            f"{name} {loss} {row['accuracy']:8.4f} {row['auc']:6.4f} {row['brier']:6.4f} "
            f"{row['calibration_error']:6.4f} {row['steps']:5} {row['seconds']:7.2f} {row['parity']}"
        )


def draw(rows, path):
    """The loss curves, each as its share of the way from its first loss to the lowest that any of its loss reached."""
    rows = [row for row in rows if "failed" not in row]
    lowest = {}
    for row in rows:
        kind = row["loss"], row["link"]
        lowest[kind] = min([lowest.get(kind, float("inf")), *(loss for _, loss in row["curve"])])
    ax = plots.axes(9.0, 5.0)
    for index, row in reversed(list(enumerate(rows))):
        low, first = lowest[row["loss"], row["link"]], row["curve"][0][1]
        share = [(loss - low) / ((first - low) or 1) for _, loss in row["curve"]]
        named = index < COLOURED
        ax.plot(
            [1 + step for step, _ in row["curve"]],
            share,
            color=f"C{index}" if named else "lightgray",
            label=" ".join(row[name] for name in ("loss", "optimizer", "activation", "link")) if named else None,
        )
    ax.set(
        xscale="log", xlabel="step", ylabel="training loss: 1 at the start, 0 at the lowest reached", ylim=(-0.03, 1.3)
    )
    ax.set_title("Loss curves; the best on held-out rows have names")
    if rows:
        handles, labels = ax.get_legend_handles_labels()
        ax.legend(handles[::-1], labels[::-1], fontsize="small")
    plots.save(ax, path)
