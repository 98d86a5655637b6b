"""Fits a LogisticModel to the rows of a table, by the chosen solver."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from passfail.arrays import Floats
from passfail.commandline import option
from passfail.manifest import Feature
from train import distributed
from train.errors import FitError
from train.model.logistic import LogisticModel
from train.model.losses import LOSSES
from train.model.terms import terms
from train.solvers.collinearity import nearly_collinear
from train.solvers.gradient_descent import descend, initialize
from train.solvers.newton import NewtonSolver, Solution
from train.solvers.options import Options
from train.solvers.sums import Rows
from train.table.data import Data
from train.table.out_of_core import BLOCK, each, one_thread, pieces, throttled

Log = Callable[[str], object]
Moments = tuple[Tensor, Tensor, Tensor]  # the weights' sum, the columns' means and squared deviations

# Cells of a Design at a time, in at most BLOCK rows: 1 MiB, and as much scratch memory, fit a core's cache.
CELLS = 1 << 17
PROGRESS = 10.0  # seconds between two lines of progress
SAMPLE = 1 << 16  # rows in the sample of a much longer table, for the first fit
RUN = 256  # adjacent rows of that sample
# If half of a column's values lie within this share of the farthest value's distance, float64 can't resolve them.
UNRESOLVED = 1e-7
MANY = 20  # columns that a note names
LARGE = 1e4  # values of an unstandardised column that are too large beside the intercept's 1


def silent(line: str) -> None:
    """Ignore a line of progress."""


@dataclass(frozen=True)
class Fit:
    """A fitted model, and the rows of the fit.

    Attributes
    ----------
    options : those of the fit.
    converged : whether the solver reached the optimum.
    notes : sentences about the fit for the user; the first says why it did not converge, if so.
    losses : the mean training loss before each step; for newton without penalties.
    solution : newton's Solution, else None.
    """

    model: LogisticModel
    rows: "Blocks"
    options: Options
    converged: bool
    notes: tuple[str, ...]
    losses: tuple[float, ...]
    solution: Solution | None = None


def fit(data: Data, options: Options, log: Log) -> Fit:
    """Fit a model, with one block of rows in memory at a time.

    The same arguments give the same parameters, bit for bit. With several processes, each has its own share of the
    rows.

    Parameters
    ----------
    data : the rows; their weights are those before options.class_weight.
    options : the options of the solver.
    log : called with one line of text at a time.

    Raises
    ------
    FitError : options that don't go together, values beyond float64's range, or a solver that diverges.
    """
    options.check()
    features, x, y, weight = data
    _check_spread(features)
    model = LogisticModel(features, options.hidden, options.activation, options.link, options.intercept)
    table = Blocks(model, x, y, weight, class_factors(y, weight, options.class_weight), log)
    with torch.no_grad():
        mean, deviation = (part[int(options.intercept) :] for part in _moments(table.matrices()))
        _check_range(deviation)
        model.mean.copy_(mean)
        if options.standardize or options.solver == "newton":
            model.standardize(mean, deviation)
    solution = None
    if options.solver == "newton":
        solution = _newton(features, model, table, options, log)
        converged, losses = solution.converged, solution.losses
        notes = (*solution.notes, *_left_out(features, model, options))
    else:
        initialize(model, options.seed)
        design, (outcome, counts) = model.design(torch.from_numpy(x)), table.outcomes(slice(None))
        with one_thread() if len(y) <= BLOCK else nullcontext():
            converged, note, losses = descend(model, design, outcome, counts, options, log)
            proper = LOSSES[options.loss].proper
            notes = (note,) if proper else (note, _calibrate(model, design, outcome, counts, options.loss))
    _check_range(*model.parameters())
    unscaled = () if converged or options.standardize or solution else _unscaled(features)
    return Fit(model, table, options, converged, (*notes, *unscaled, *_reweighted(table, options)), losses, solution)


@dataclass(frozen=True)
class Blocks:
    """The rows of this process, in blocks.

    Attributes
    ----------
    model : the model that computes their columns.
    x, y, counts : (n, d), (n,), (n,), float64.
    factors : of the (negative, positive) outcome; a row's weight is its count times the factor of its outcome.
    log : takes a line of progress in a pass that takes long.
    """

    model: LogisticModel
    x: Floats
    y: Floats
    counts: Floats
    factors: tuple[float, float]
    log: Log = silent

    def matrices(self) -> Iterator[Callable[[], Rows]]:
        """Yield functions that compute a block's matrix (m, P), y (m,) and weight (m,)."""
        cells = CELLS * 8 if self.model.many else CELLS  # their sums (P, P) are large
        most = max(500, min(BLOCK, cells // (len(self.model.stored) + self.model.intercept or 1)))
        say = throttled(self.log, PROGRESS)
        for rows in pieces(len(self.y), most, self.x, self.y, self.counts):
            yield partial(self.block, rows)
            say(f"this step has read {rows.stop} of {len(self.y)} rows")

    def sample(self, step: int) -> "Blocks":
        """Every step-th run of the rows, in memory."""
        x, y, counts = (_runs(values, step) for values in (self.x, self.y, self.counts))
        return Blocks(self.model, x, y, counts, self.factors)

    def block(self, rows: slice) -> Rows:
        """A block's matrix (m, P), y (m,) and weight (m,)."""
        return self.model.matrix(torch.from_numpy(self.x[rows])), *self.outcomes(rows)

    def outcomes(self, rows: slice) -> tuple[Tensor, Tensor]:
        """A block's y (m,) and weight (m,)."""
        y, weight = (torch.from_numpy(values[rows]) for values in (self.y, self.counts))
        return y, weight.contiguous() if self.factors == (1.0, 1.0) else weight * self.factor(y)

    def factor(self, y: Tensor) -> Tensor:
        """The factor of each row's outcome (m,)."""
        no, yes = torch.tensor(self.factors, dtype=torch.float64)
        return torch.where(y > 0, yes, no)


def _calibrate(model: LogisticModel, design: Tensor, y: Tensor, weight: Tensor, loss: str) -> str:
    """Calibrate the score of an improper loss to a logit, in the model's parameters.

    Returns a note about it.
    """
    slope, intercept = platt(model.score(design).detach(), y, weight)
    with torch.no_grad():
        model.weight.mul_(slope)
        model.bias.mul_(slope).add_(intercept)
    return (
        f"The loss {loss} gives a score s, not a probability. Platt scaling on the training rows turned it into the "
        f"logit {slope:.6g} s + {intercept:.6g}. The weights include this."
    )


def platt(z: Tensor, y: Tensor, weight: Tensor) -> tuple[float, float]:
    """Platt scaling: the (slope, intercept) so that sigmoid(slope * z + intercept) predicts y.

    It is a fit to z with the targets (n1 + 1) / (n1 + 2) for the n1 rows with y = 1 and 1 / (n0 + 2) for the others.
    These targets keep it finite if z separates the outcomes (Platt, Probabilistic Outputs for Support Vector Machines,
    1999; Lin, Lin & Weng, Machine Learning 68, 2007). Each row counts as a positive and a negative one by its target.

    Parameters
    ----------
    z, y, weight : float64 (n,); a weight counts as that many rows.
    """
    rows, positives = weight.sum(), weight @ y
    target = torch.where(y == 1, (positives + 1) / (positives + 2), 1 / (rows - positives + 2))
    low, high = z.aminmax()
    if high - low <= 1e-12 * (1 + z.abs().max()):  # all rows have the same score: only the share of positives counts
        return 1.0, (torch.logit(weight @ target / rows) - low).item()
    score = Feature("score", "numeric", (), low.item(), high.item(), None)
    outcome, counts = torch.ones_like(y), torch.cat([weight * target, weight * (1 - target)])
    data = Data((score,), z.repeat(2)[:, None].numpy(), torch.cat([outcome, 0 * outcome]).numpy(), counts.numpy())
    model = fit(data, Options(), silent).model
    slope = (model.weight / model.scale).item()
    return slope, model.bias.item() - slope * model.center.item()


def class_factors(y: Floats, counts: Floats, class_weight: str) -> tuple[float, float]:
    """The (negative, positive) factors of the rows' weights for options.class_weight."""
    if not class_weight:
        return 1.0, 1.0
    if class_weight == "balanced":
        own = torch.from_numpy(counts)
        positive, every = distributed.total(torch.stack([(own * torch.from_numpy(y)).sum(), own.sum()])).tolist()
        return every / (2 * (every - positive)), every / (2 * positive)
    no, yes = map(float, class_weight.split(","))
    return no, yes


def _reweighted(table: Blocks, options: Options) -> tuple[str, ...]:
    """A warning that class weights change the probabilities, in a tuple; empty without them."""
    no, yes = table.factors
    if no == yes:
        return ()
    remedy = "choose the threshold by cost instead (--cost-fp, --cost-fn)"
    if options.link == "logit" and options.linear:
        remedy += f", or subtract {math.log(yes / no):.6g} from the intercept"
    return (
        "warning: --class-weight changes the probabilities to those of reweighted rows. For probabilities of the table "
        f"as it is, {remedy}. The order of the rows hardly changes.",
    )


def _newton(features: Sequence[Feature], model: LogisticModel, table: Blocks, options: Options, log: Log) -> Solution:
    """Run newton from a good start; if it fails, add notes about the cause."""
    _start(model, table, options, log)
    solution = NewtonSolver(model, table.matrices, options, log).solve()
    if not solution.converged and (note := _unresolved(features, table.x)):
        return replace(solution, doubtful=False, notes=(note,))
    if not (solution.converged or solution.recession):
        alike = nearly_collinear(features, options.intercept, solution.start.information)
        return replace(solution, notes=solution.notes + alike)
    return solution


def _left_out(features: Sequence[Feature], model: LogisticModel, options: Options) -> Iterator[str]:
    """Say which columns the L1 penalty leaves out, at most MANY of them by name."""
    if options.l1:
        names = [name for name, weight in zip(terms(features, False), model.weight.tolist(), strict=True) if not weight]
        listed = f": {', '.join(names[:MANY])}{', ...' if len(names) > MANY else ''}" if names else ""
        yield f"--l1 {options.l1:g} leaves out {len(names)} of {len(model.weight)} columns{listed}."


def _start(model: LogisticModel, table: Blocks, options: Options, log: Log) -> None:
    """Start a long table at the best fit to a sample of its rows, if that fit converges.

    That start is close to the best fit to all rows, and saves two of the six passes that newton needs from 0. Each
    process samples the same share of its rows.
    """
    rows = int(distributed.total(torch.tensor([len(table.y)])).item())
    step = rows // SAMPLE
    if step < 5:
        return
    softer = replace(options, l1=options.l1 / step, l2=options.l2 / step)  # relative to the sum over all rows
    if NewtonSolver(model, table.sample(step).matrices, softer, silent).solve().converged:
        log(f"starts from the best fit to {rows // step} of the rows")
    else:
        model.beta = torch.zeros_like(model.beta)


def _runs(values: Floats, step: int) -> Floats:
    """Every step-th run of an array's rows, in memory."""
    # Copy the runs one by one, so that the pages of a temporary file are released meanwhile.
    return np.concatenate([values[run].copy() for run in islice(pieces(len(values), RUN, values), 0, None, step)])


def _unresolved(features: Sequence[Feature], x: Floats) -> str | None:
    """Name the first column with a value so far away that float64 can't resolve the others.

    newton then ends as if the outcomes were separated: it fits the row of that value, whose curvature exceeds that of
    all others by more digits than float64 has.
    """
    some = np.concatenate(distributed.gathered(_runs(x, max(1, len(x) // 4096))))  # enough for quartiles
    for feature, column in zip(features, some.T, strict=True):
        if feature.kind == "categorical":
            continue
        low, high = np.nanpercentile(column, (25, 75))
        farthest = max(feature.range, key=lambda value: abs(value - low))
        if 0 < high - low < UNRESOLVED * abs(farthest - low):
            return (
                f"Not converged: {feature.name} has the value {farthest:g}, so far from its other values that "
                f"float64 can't resolve these; half of them lie between {low:g} and {high:g}. Correct the value, "
                f"remove its row, or leave the column out with {option('--drop', feature.name)}."
            )
    return None


def _unscaled(features: Sequence[Feature]) -> tuple[str, ...]:
    """A note on the unstandardised column with the largest values, if it prevents convergence."""
    sizes = {f.name: max(map(abs, f.range)) for f in features if f.kind == "numeric"}
    name = max(sizes, key=sizes.__getitem__, default="")
    if sizes.get(name, 0.0) < LARGE:
        return ()
    return (
        f"The values of {name} reach {sizes[name]:g}, so the solver hardly moves the other terms. "
        "Fit again without --no-standardize: the coefficients are printed in the table's own units in either case.",
    )


def _moments(blocks: Iterable[Callable[[], Rows]]) -> tuple[Tensor, Tensor]:
    """The columns' mean and population standard deviation, (P,) each, over all rows.

    The rows are those of all processes. Each block is centred on its first row, so that a constant column's deviation
    is exactly 0. Two blocks are combined by the distance of their means (Chan, Golub & LeVeque, The American
    Statistician 37, 1983).
    """

    def moments(block: Callable[[], Rows]) -> Moments:
        matrix, _, weight = block()
        first, total = matrix.numbers[0], weight.sum()
        away = matrix.numbers - first
        mean = weight @ away / total if total else away[0].clone()
        means = matrix.sums(weight) / total if total else torch.zeros(matrix.size, dtype=torch.float64)
        squares = total * means * (1 - means)  # of indicators
        means[matrix.places], squares[matrix.places] = first + mean, weight @ away.sub_(mean).square_()
        return total, means, squares

    def combine(one: Moments, other: Moments) -> Moments:
        (rows, mean, squares), (more, other_mean, other_squares) = one, other
        if not more:
            return one
        share, distance = more / (rows + more), other_mean - mean
        return rows + more, mean + distance * share, squares + other_squares + distance**2 * (rows * share)

    own = reduce(combine, each(partial(moments, block) for block in blocks))
    rows, mean, squares = reduce(combine, distributed.gathered(own))
    return mean, torch.sqrt(squares / rows)


def _check_spread(features: Sequence[Feature]) -> None:
    for feature in (one for one in features if one.kind == "numeric"):
        low, high = feature.range
        if 0 < (spread := high - low) < 1e-150:
            raise FitError(
                f"{feature.name}: its values lie within {spread:.1e} of one another, whose square is below float64's "
                f"range; multiply the column, or leave it out with {option('--drop', feature.name)}"
            )


def _check_range(*tensors: Tensor) -> None:
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise FitError("the fit exceeds float64's range: a column's values are too large; divide it or leave it out")
