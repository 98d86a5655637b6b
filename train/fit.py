"""From a table to a fitted LogisticModel."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from train import distributed
from train.descent import OPTIMIZERS, descend
from train.errors import FitError
from train.model import LogisticModel
from train.newton import Solution, newton
from train.spool import BLOCK, each, pieces

SOLVERS = ("newton", *OPTIMIZERS)


@dataclass(frozen=True)
class Options:
    """How to fit.

    solver: "newton", which takes the log loss and no hidden layer, or one of train/descent.py's OPTIMIZERS. l2: the
    penalty's weight, >= 0; l2 / 2 * sum(weight^2) over the scaled columns is added to the log loss summed over the
    rows, the intercept is free. standardize: scale the numeric columns first.
    loss: a key of LOSSES. hidden: the units of a hidden layer, 0 for none; activation: theirs, a key of ACTIVATIONS.
    lr, epochs: of the optimizers, one step over all rows an epoch. seed: of their starting point and of the held-out
    rows.
    link: a key of train.links.LINKS. intercept: whether there is one. firth: Firth's penalty, log(det(information)) / 2
    taken off the log loss, for the logit link. class_weight: "" (none), "balanced" (rows / (2 * rows of that outcome)),
    or two numbers "NO,YES" that multiply the weights of the rows of each outcome.
    """

    solver: str = "newton"
    l2: float = 0.0
    standardize: bool = True
    loss: str = "log"
    hidden: int = 0
    activation: str = "ReLU"
    lr: float = 0.01
    epochs: int = 1000
    seed: int = 0
    link: str = "logit"
    intercept: bool = True
    firth: bool = False
    class_weight: str = ""


@dataclass(frozen=True)
class Fit:
    """A fitted model, whether its solver arrived, and what the user should know about it, in plain words.

    losses: the mean training loss before each step, of newton without penalties.
    """

    model: LogisticModel
    converged: bool
    notes: tuple[str, ...]
    losses: tuple[float, ...]
    solution: Solution | None = None


def fit(features, x, y, options, log, weight=None):
    """Fit a model, a block of rows in memory at a time.

    x float64 (n, d), y float64 (n,) of 0 and 1: arrays or tensors, of several processes each has its share; log takes
    one line of text. weight float64 (n,), >= 0, or None: how many rows each row counts for, before
    options.class_weight.

    The same arguments give the same parameters, bit for bit. Raises FitError where the solver diverges.
    """
    _check(options)
    model = LogisticModel(features, options.hidden, options.activation, options.link)
    x, y, weight = (None if values is None else np.asarray(values) for values in (x, y, weight))
    if options.class_weight:
        weight = row_weights(torch.from_numpy(y), weight, options.class_weight).numpy()

    def block(rows):
        outcome = torch.from_numpy(y[rows])
        counts = torch.ones_like(outcome) if weight is None else torch.from_numpy(weight[rows])
        return model.design(torch.from_numpy(x[rows])), outcome, counts

    def batches():
        return (partial(block, rows) for rows in pieces(len(y), BLOCK, x, y))

    solution = None
    with torch.no_grad():
        mean, deviation = _moments(batches)
        model.mean.copy_(mean)
        if options.standardize:
            model.standardize(mean, deviation, center=options.intercept)
    if options.solver == "newton":
        solution = newton(model, batches, options, log)
        converged, notes, losses = solution.converged, solution.notes, solution.losses
    else:
        design = model.design(torch.from_numpy(x))
        weight = None if weight is None else torch.from_numpy(weight)
        converged, notes, losses = descend(model, design, torch.from_numpy(y), options, log, weight=weight)
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise FitError("the fit ran out of float64's range: a column's values are too large; divide it or drop it")
    return Fit(model, converged, tuple(notes), tuple(losses), solution)


def row_weights(y, weight, class_weight):
    """The weights (n,) that the rows count with: weight, or 1, times that of the row's outcome."""
    weight = torch.ones_like(y) if weight is None else torch.as_tensor(weight)
    if not class_weight:
        return weight
    if class_weight == "balanced":
        positive, every = distributed.total(torch.stack([(weight * y).sum(), weight.sum()]))
        no, yes = (every / (2 * part) for part in (every - positive, positive))
    else:
        no, yes = map(float, class_weight.split(","))
    return weight * torch.where(y > 0, yes, no)


def _moments(batches):
    """(mean, population standard deviation), (D,) each, of the columns of the design over all rows of all processes.

    Each block's are taken about its first row, so that a constant column's deviation is exactly 0, and put together by
    their distance (Chan, Golub & LeVeque, The American Statistician 37, 1983). A weight counts as that many rows.
    """

    def moments(rows):
        columns, _, weight = rows()
        total, away = weight.sum(), columns - columns[0]
        mean = weight @ away / total if total else away[0]
        return total, columns[0] + mean, weight @ (away - mean) ** 2

    def together(parts):
        rows, mean, squares = next(parts)
        for more, other, theirs in parts:
            if more:
                share, distance = more / (rows + more), other - mean
                squares = squares + theirs + distance**2 * (rows * share)
                rows, mean = rows + more, mean + distance * share
        return rows, mean, squares

    mine = together(each(partial(moments, rows) for rows in batches()))
    rows, mean, squares = together(iter(distributed.gathered(mine)))
    return mean, torch.sqrt(squares / rows)


def _check(options):
    """Refuse what the chosen solver or link can't do."""
    if options.firth and (options.link != "logit" or options.l2):
        raise FitError("--firth is for the logit link without --l2: leave one of them out")
    if options.solver == "newton":
        if options.hidden or options.loss != "log":
            raise FitError("newton fits the log loss without a hidden layer; choose another --solver, such as lbfgs")
        return
    if distributed.ranks() > 1:
        raise FitError(f"only newton adds its sums up over processes: run --solver {options.solver} without torchrun")
    wanted = {
        "--link": options.link != "logit",
        "--no-intercept": not options.intercept,
        "--firth": options.firth,
    }
    for option in (option for option, given in wanted.items() if given):
        raise FitError(f"{option} needs the solver newton, not {options.solver}: say --solver newton")
