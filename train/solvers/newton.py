"""The default solver: Newton's method, for every link."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from train import distributed
from train.model.links import LINKS
from train.model.logistic import LogisticModel
from train.solvers.options import Options
from train.table.out_of_core import each, one_thread

MAX_STEPS = 100
MAX_HALVINGS = 50
ROUNDING = 8 * torch.finfo(torch.float64).eps
# Relative changes of the parameters. Below the first, the gradient's rounding error is not computed anew; below the
# second, the second derivative is not: it then moves by less than a standard error's last digits.
NEAR = 0.1
SAME = 1e-6

Rows = tuple[Tensor, Tensor, Tensor]  # (matrix (m, P), y (m,), weight (m,)), float64
Batches = Callable[[], Iterable[Callable[[], Rows]]]


@dataclass(frozen=True)
class Sums:
    """What one pass over all rows adds up, at parameters beta (P,).

    loss: the weighted log loss. rows: how many have a weight above 0. weight, positive: the sum of the weights, and of
    the positive rows' weights. gradient (P,): the loss's. rounding (P,): the sum of the gradient's terms in absolute
    value, to which its rounding error is proportional. information, curvature (P, P): the expected and the observed
    second derivative of the loss.
    """

    loss: float
    rows: float
    weight: float
    positive: float
    gradient: Tensor
    rounding: Tensor
    information: Tensor
    curvature: Tensor


@dataclass(frozen=True)
class Point:
    """Parameters beta (P,), the Sums there, and the objective and its gradient (P,), penalties included."""

    beta: Tensor
    sums: Sums
    objective: float
    gradient: Tensor


@dataclass(frozen=True)
class Solution:
    """How Newton's method ended.

    converged: the gradient is at rounding level; otherwise notes say why not. separated: no finite optimum exists.
    start, end: the Sums at the first and the last parameters, without penalties. losses: the mean log loss before each
    step.
    """

    converged: bool
    notes: tuple[str, ...]
    separated: bool
    start: Sums
    end: Sums
    losses: tuple[float, ...]


class NewtonSolver:
    """Maximum likelihood by Newton's method, from the model's parameters.

    Each step solves curvature * step = gradient (McCullagh & Nelder, Generalized Linear Models, 1989, section 2.5).
    Where the curvature is not positive, as the cauchit's may be, the information takes its place. A step that raises
    the objective is halved. options.l2 adds l2 / 2 * sum(weight^2), without the intercept; options.firth subtracts
    log(det(information)) / 2.

    Parameters
    ----------
    model : its parameters are the start; `solve` sets them.
    batches : yields, from the first row at every call, functions without argument that may run in any thread. Each
        returns the next Rows, whose matrix is `LogisticModel.matrix`. Each process (train/distributed.py) has its own
        rows; the sums are over all.
    options : link, l2, firth.
    log : takes one line of text a step.
    """

    def __init__(self, model: LogisticModel, batches: Batches, options: Options, log: Callable[[str], object]) -> None:
        self.model, self.batches, self.options, self.log = model, batches, options, log

    def solve(self) -> Solution:
        """Take steps until a check ends them."""
        with torch.no_grad():
            self.setup()
            for self.steps in range(1, MAX_STEPS + 1):
                if self.check_convergence():
                    break
                step = self.inner_solve()
                if not self.line_search(step) or self.check_progress():
                    break
            return self.finalize()

    def setup(self) -> None:
        """Evaluate the start, and fix the units that later steps are measured in."""
        beta = self.model.beta
        self.penalty = torch.full_like(beta, self.options.l2)
        if self.model.intercept:
            self.penalty[0] = 0.0
        self.start = total(self.options.link, self.batches, beta)
        variance = torch.diagonal(self.start.information)
        self.sizes = torch.sqrt(variance)
        self.units = torch.sqrt(variance / variance.max().clamp(min=1e-300))
        self.point = self.evaluate(beta, self.start)
        self.losses = [self.start.loss / self.start.weight]
        self.idle, self.collinear = 0, False
        self.converged = self.separated = False
        self.reason = "the limit on the number of steps is reached"

    def evaluate(self, beta: Tensor, sums: Sums) -> Point:
        """Add the penalties to the Sums at beta."""
        objective = sums.loss + (self.penalty * beta**2).sum().item() / 2
        gradient = sums.gradient + self.penalty * beta
        if self.options.firth:
            objective -= log_determinant(sums.information, self.sizes) / 2
            gradient = gradient - firth_gradient(self.batches, beta, inverse(sums.information)[0])
        return Point(beta, sums, objective, gradient)

    def check_convergence(self) -> bool:
        """Whether the gradient is no larger than its own rounding error."""
        beta, sums = self.point.beta, self.point.sums
        limit = ROUNDING * (sums.rounding + self.penalty * beta.abs())
        self.converged = bool((self.point.gradient.abs() <= limit).all())
        return self.converged

    def inner_solve(self) -> Tensor:
        """Solve for Newton's step (P,), the shortest one where the second derivative is singular.

        Sets `flat`: whether the objective falls in a direction without curvature. One that is flat at the first step is
        due to collinear columns; one that becomes flat later leads to infinity.
        """
        sums, gradient, penalty = self.point.sums, self.point.gradient, torch.diag(self.penalty)
        second = sums.curvature + penalty
        inverted, convex = inverse(second)
        if not convex:
            second = sums.information + penalty
            inverted, _ = inverse(second)
        step = inverted @ gradient
        self.flat = bool(((gradient - second @ step).abs() > 1e-13 * sums.rounding).any())
        if self.steps == 1:
            self.collinear = self.flat
        return step

    def line_search(self, step: Tensor) -> bool:
        """Move by the step, halved until the objective does not rise; False if it always does."""
        beta, sums, objective = self.point.beta, self.point.sums, self.point.objective
        slack = 1e-12 * max(abs(objective), 1.0)  # the rounding of a sum over all rows
        norm = torch.linalg.vector_norm
        for _ in range(MAX_HALVINGS):
            self.length = (norm(step * self.units) / (1 + norm(beta * self.units))).item()
            rounding = sums.rounding if self.length < NEAR else None
            same = self.length < SAME and not self.options.firth
            second = (sums.information, sums.curvature) if same else None
            trial = total(self.options.link, self.batches, beta - step, rounding, second)
            point = self.evaluate(beta - step, trial)
            if point.objective <= objective + slack:
                self.accept(point)
                return True
            step = step / 2
        self.reason = "no step lowers the loss, although its gradient is not zero"
        return False

    def accept(self, point: Point) -> None:
        """Make the point the present one, and log it."""
        self.gain, self.point = self.point.objective - point.objective, point
        self.losses.append(point.sums.loss / point.sums.weight)
        self.log(
            f"step {self.steps}: mean log loss {self.losses[-1]:.10f}, relative change of the parameters "
            f"{self.length:.1e}"
        )

    def check_progress(self) -> bool:
        """Whether long steps gain nothing any more, or a direction without curvature is left: no finite optimum."""
        self.idle = self.idle + 1 if self.gain < 1e-8 and self.length > 1e-3 else 0
        stalled = self.idle == 2 or (self.length < 1e-12 and self.flat and not self.collinear)
        if stalled:
            self.separated = not self.options.l2 and not self.options.firth
            self.reason = "further steps no longer reduce the loss"
        return stalled

    def finalize(self) -> Solution:
        """Set the model's parameters, and say in words why there is no optimum, if there is none."""
        self.model.beta = self.point.beta
        notes: tuple[str, ...] = ()
        if self.separated:
            remedy = "--firth or --l2 1" if self.options.link == "logit" else "--l2 1"
            notes = (
                "The columns separate the two outcomes, for all rows or for some, so no finite best fit exists. "
                f"Stopped after {self.steps} steps: one more would lower the summed log loss by less than 1e-8. "
                f"Use {remedy} for a finite fit.",
            )
        elif not self.converged:
            size = (self.point.gradient.abs() / self.point.sums.rounding.clamp(min=1e-300)).max().item()
            notes = (
                f"Not converged after {self.steps} steps: {self.reason}. The gradient is {size:.1e} of its terms' "
                "size.",
            )
        return Solution(self.converged, notes, self.separated, self.start, self.point.sums, tuple(self.losses))


def total(
    link: str,
    batches: Batches,
    beta: Tensor,
    rounding: Tensor | None = None,
    second: tuple[Tensor, Tensor] | None = None,
) -> Sums:
    """Pass once over the rows of all processes: the Sums at beta (P,).

    rounding and second, which is (information, curvature), may be those at a beta close by. To add them up takes most
    of the time of a pass.
    """
    terms = LINKS[link].terms
    size = len(beta)

    def share(matrix: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        loss, slope, curvature, information = (term * weight for term in terms(matrix @ beta, y))
        parts = [loss.sum(), (weight > 0).sum(), weight.sum(), (weight * y).sum(), matrix.T @ slope]
        scratch = torch.abs(matrix) if rounding is None else torch.empty_like(matrix)
        if rounding is None:
            parts.append(scratch.T @ (slope.abs() + information * (scratch @ beta.abs())))
        if second is None:
            # The logit's curvature is its information: one product. The scratch memory stays in the cache.
            weights = [information] if link == "logit" else [information, curvature]
            parts += [matrix.T @ torch.mul(matrix, row[:, None], out=scratch) for row in weights]
        return torch.cat([part.flatten() for part in parts])

    counts, gradient, numbers = torch.tensor_split(_sum(batches, share), [4, 4 + size])
    if rounding is None:
        rounding, numbers = numbers[:size], numbers[size:]
    if second is None:
        matrices = numbers.view(-1, size, size)
        second = matrices[0], matrices[-1]
    loss, rows, weight, positive = counts.tolist()
    return Sums(loss, rows, weight, positive, gradient, rounding, *second)


def firth_gradient(batches: Batches, beta: Tensor, inverse: Tensor) -> Tensor:
    """The gradient (P,) of log(det(information)) / 2 for the logit link.

    It is the sum of h (1 / 2 - p) row, where h is a row's leverage (Firth, Biometrika 80, 1993; Heinze & Schemper,
    Statistics in Medicine 21, 2002). inverse (P, P): the information's.
    """

    def share(matrix: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        p = torch.sigmoid(matrix @ beta)
        leverage = ((matrix @ inverse) * matrix).sum(1) * weight * p * (1 - p)
        return matrix.T @ (leverage * (0.5 - p))

    return _sum(batches, share)


def _sum(batches: Batches, share: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """Add share(matrix, y, weight) up over all rows of all processes, in their order."""

    def block(rows: Callable[[], Rows]) -> Tensor:
        with torch.inference_mode():
            return share(*rows())

    blocks = each(partial(block, rows) for rows in batches())
    return distributed.total(reduce(torch.add, blocks, torch.zeros((), dtype=torch.float64)))


@one_thread()
def inverse(second: Tensor) -> tuple[Tensor, bool]:
    """Invert a symmetric matrix (P, P); collinear columns make it singular, then the pseudoinverse is taken.

    The matrix is scaled to a unit diagonal first, so that a direction's flatness does not depend on the columns' units.
    Returns (the inverse, whether the matrix is positive or zero in every direction).
    """
    scale = torch.sqrt(torch.diagonal(second).abs())
    scale = torch.where(scale > 0, scale, 1.0)
    values, vectors = torch.linalg.eigh(second / scale / scale[:, None])
    flat = values[-1] * 1e-12
    inverted = torch.where(values > flat, 1 / values, 0.0)
    return vectors * inverted @ vectors.T / scale / scale[:, None], bool(values[0] >= -flat)


@one_thread()
def log_determinant(information: Tensor, sizes: Tensor) -> float:
    """log(det(information)), up to a constant, over the directions that are not flat; columns divided by sizes (P,).

    Where some directions are flat, its slope is Firth's only if the sizes are the same at every beta.
    """
    scale = torch.where(sizes > 0, sizes, 1.0)
    values = torch.linalg.eigvalsh(information / scale / scale[:, None])
    return float(torch.log(values[values > values[-1] * 1e-12]).sum())
