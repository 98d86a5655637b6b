"""From a table to a fitted LogisticModel."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import islice

import numpy as np
import torch

from train import distributed
from train.errors import FitError
from train.model.logistic import LogisticModel
from train.solvers.collinearity import nearly_collinear
from train.solvers.gradient_descent import OPTIMIZERS, descend
from train.solvers.newton import Solution, newton
from train.table.out_of_core import BLOCK, each, pieces

SOLVERS = ("newton", *OPTIMIZERS)
# Cells of the design matrix at a time, in at most BLOCK rows: a wide table's blocks stay in the processor's cache, too.
CELLS = 1 << 19
SAMPLE = 1 << 16  # rows that the fit to a table of many more starts from
RUN = 256  # of them that lie together
DROWNED = 1e-7  # of the distance of a column's farthest value: where half its values lie closer together, they are lost


@dataclass(frozen=True)
class Options:
    """How to fit.

    solver: "newton", which takes the log loss and no hidden layer, or one of gradient_descent.py's OPTIMIZERS. l2: the
    penalty's weight, >= 0; l2 / 2 * sum(weight^2) over the scaled columns is added to the log loss summed over the
    rows, the intercept is free. standardize: scale the numeric columns first.
    loss: a key of LOSSES. hidden: the units of a hidden layer, 0 for none; activation: theirs, a key of ACTIVATIONS.
    lr, epochs: of the optimizers, one step over all rows an epoch. seed: of their starting point and of the held-out
    rows.
    link: a key of LINKS. intercept: whether there is one. firth: Firth's penalty, log(det(information)) / 2
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


def fit(features, x, y, weight, options, log):
    """Fit a model, a block of rows in memory at a time.

    x float64 (n, d), y float64 (n,) of 0 and 1, weight float64 (n,), >= 0: arrays or tensors, of several processes each
    has its share; log takes one line of text. A weight is how many rows the row counts for, before
    options.class_weight.

    The same arguments give the same parameters, bit for bit. Raises FitError where the solver diverges.
    """
    _check(options)
    _check_spread(features)
    model = LogisticModel(features, options.hidden, options.activation, options.link)
    x, y, weight = map(np.asarray, (x, y, weight))
    if options.class_weight:
        weight = row_weights(torch.from_numpy(y), torch.from_numpy(weight), options.class_weight).numpy()

    free = int(options.intercept)

    def columns(x, y, weight):
        return model.columns(torch.from_numpy(x)), torch.from_numpy(y), torch.from_numpy(weight).contiguous()

    def design(*rows):
        unscaled, outcome, counts = columns(*rows)
        matrix = torch.empty(len(outcome), free + len(model.level), dtype=torch.float64)
        matrix[:, :free] = 1
        # model.design, where it is wanted
        torch.sub(unscaled, model.center, out=matrix[:, free:]).mul_(1 / model.scale)
        return matrix, outcome, counts

    def batches(what, x=x, y=y, weight=weight):
        most = max(500, min(BLOCK, CELLS // (free + len(model.level))))
        for rows in pieces(len(y), most, x, y):
            yield partial(what, x[rows], y[rows], weight[rows])

    solution = None
    with torch.no_grad():
        mean, deviation = _moments(partial(batches, columns))
        _check_range(deviation)
        model.mean.copy_(mean)
        if options.standardize:
            model.standardize(mean, deviation, center=options.intercept)
    if options.solver == "newton":
        _start(model, partial(batches, design), (x, y, weight), options, log)
        solution = newton(model, partial(batches, design), options, log)
        if solution.separated and (why := _drowned(features, x)):
            solution = replace(solution, separated=False, notes=(why,))
        elif not (solution.converged or solution.separated):
            alike = nearly_collinear(features, options.intercept, solution.start.information)
            solution = replace(solution, notes=solution.notes + alike)
        converged, notes, losses = solution.converged, solution.notes, solution.losses
    else:
        design = model.design(torch.from_numpy(x))
        rows = torch.from_numpy(y), torch.from_numpy(weight)
        converged, notes, losses = descend(model, design, *rows, options, log)
    _check_range(*model.parameters())
    return Fit(model, converged, tuple(notes), tuple(losses), solution)


def row_weights(y, weight, class_weight):
    """The weights (n,) that the rows count with: weight times that of the row's outcome."""
    if not class_weight:
        return weight
    if class_weight == "balanced":
        positive, every = distributed.total(torch.stack([(weight * y).sum(), weight.sum()]))
        no, yes = (every / (2 * part) for part in (every - positive, positive))
    else:
        no, yes = map(float, class_weight.split(","))
    return weight * torch.where(y > 0, yes, no)


def _start(model, batches, arrays, options, log):
    """Set the model's weight and bias to the best fit to some rows of a long table, if there is one.

    It is as near to that to all rows as chance allows, and saves two of the six passes over them that Newton's method
    would take from 0. arrays: what batches take; each process takes the same share of its rows.
    """
    rows = distributed.total(torch.tensor([len(arrays[0])])).item()
    step = rows // SAMPLE
    if step < 5:
        return
    some = [_runs(values, step) for values in arrays]
    softer = replace(options, l2=options.l2 / step)  # the penalty is as one over all rows
    if newton(model, partial(batches, *some), softer, log=lambda line: None).converged:
        log(f"starts from the best fit to {rows // step} of the rows")
    else:
        with torch.no_grad():
            model.weight.zero_(), model.bias.zero_()


def _runs(values, step):
    """Every step-th run of an array's rows, in memory."""
    # Copied one by one, so that the pages of a spool are handed back on the way.
    return np.concatenate([values[run].copy() for run in islice(pieces(len(values), RUN, values), 0, None, step)])


def _drowned(features, x):
    """What to say of the first column with a value so far from the others that they are lost beside it, or None.

    Newton's method ends there as at separated outcomes: its steps fit that value's row, whose curvature is beyond the
    others' by more digits than float64 has.
    """
    some = np.concatenate(distributed.gathered(_runs(x, max(1, len(x) // SAMPLE))))
    for feature, column in zip(features, some.T, strict=True):
        if feature.kind == "numeric":
            low, high = np.nanpercentile(column, (25, 75))
            farthest = max(feature.minimum, feature.maximum, key=lambda value: abs(value - low))
            if 0 < high - low < DROWNED * abs(farthest - low):
                return (
                    f"Not converged: {feature.name} has the value {farthest:g}, beside which its others, half of them "
                    f"from {low:g} to {high:g}, can't be told apart. Correct it or take its row out, or leave the "
                    f"column out with --drop '{feature.name}'."
                )
    return None


def _moments(batches):
    """(mean, population standard deviation), (D,) each, of the model's columns over all rows of all processes.

    Each block's are taken about its first row, so that a constant column's deviation is exactly 0, and put together by
    their distance (Chan, Golub & LeVeque, The American Statistician 37, 1983). A weight counts as that many rows.
    """

    def moments(rows):
        columns, _, weight = rows()
        first, total = columns[0], weight.sum()
        away = columns - first
        mean = weight @ away / total if total else away[0].clone()
        return total, first + mean, weight @ away.sub_(mean).square_()

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


def _check_spread(features):
    for feature in features:
        if feature.kind == "numeric" and 0 < feature.maximum - feature.minimum < 1e-150:
            raise FitError(
                f"{feature.name}: its values lie within {feature.maximum - feature.minimum:.1e} of one another, whose "
                f"square is below float64's range; multiply the column, or leave it out with --drop '{feature.name}'"
            )


def _check_range(*tensors):
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise FitError("the fit ran out of float64's range: a column's values are too large; divide it or drop it")


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
    linear = not options.hidden and options.loss == "log"
    remedy = "say --solver newton" if linear else "leave it out, for newton takes the log loss and no hidden layer"
    for option in (option for option, given in wanted.items() if given):
        raise FitError(f"{option} needs the solver newton, not {options.solver}: {remedy}")
