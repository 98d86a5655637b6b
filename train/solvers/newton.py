"""The default solver: Newton's method, for every link."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from train.model.logistic import LogisticModel
from train.solvers.lasso import lasso_step, subgradient
from train.solvers.objective import Objective, Point, inverse
from train.solvers.options import Options
from train.solvers.recession import Separation, recession
from train.solvers.sums import Batches, Sums

MAX_STEPS = 100
MAX_HALVINGS = 50
ROUNDING = 8 * torch.finfo(torch.float64).eps
# Relative changes of the parameters. Below NEAR, the gradient's rounding error is not recomputed; below SAME, the
# second derivative is not; below STILL, the parameters no longer change.
NEAR = 0.1
SAME = 1e-6
STILL = 1e-14
LONGEST = {"cauchit": 0.7}  # of a step: cauchit's loss is not convex, so far away no quadratic resembles it
# Steps after which separation is tested; a fit that exists rarely takes more steps than the first.
TESTED = (8, 12, 16, 24, 32, 48, 64)
MORE_STEPS = 12  # at most, once separation is proved
LEAP = 20  # the length of the first of them in steps: one step moves the separated rows' logits by about 1


@dataclass(frozen=True)
class Solution:
    """The result of Newton's method.

    Attributes
    ----------
    converged : whether the gradient is at rounding level.
    notes : the reasons if it is not.
    doubtful : whether columns may separate the outcomes, so that no finite optimum exists.
    recession : the proof that they do, if there is one.
    start : the Sums at the first parameters, without penalties.
    losses : the mean log loss before each step.
    """

    converged: bool
    notes: tuple[str, ...]
    doubtful: bool
    recession: Separation | None
    start: Sums
    losses: tuple[float, ...]


class NewtonSolver:
    """Maximum likelihood by Newton's method, from the model's parameters.

    Each step solves curvature * step = gradient (McCullagh & Nelder, Generalized Linear Models, 1989, section 2.5).
    If the curvature is not positive, which the cauchit allows, the information replaces it. A step that raises the
    objective is halved. With an L1 penalty, the step leads to the minimum of the quadratic model with that penalty
    (proximal Newton: Lee, Sun & Saunders, SIAM Journal on Optimization 24, 2014).

    If the outcomes are separated, there is no optimum, and each step makes the model steeper. After some steps the
    solver tests whether that goes on without end (`recession`).

    Parameters
    ----------
    model : its parameters are the start; `solve` sets them.
    batches : yields, from the first row at every call, functions without arguments that may run in any thread. Each
        returns the next Rows, whose matrix is `LogisticModel.matrix`. Each process (train/distributed.py) has its own
        rows; the sums are over all.
    options : link, l1, l2, firth.
    log : called with one line of text for each step.
    """

    def __init__(self, model: LogisticModel, batches: Batches, options: Options, log: Callable[[str], object]) -> None:
        self.model, self.batches, self.options, self.log = model, batches, options, log

    def solve(self) -> Solution:
        """Iterate until a check ends the iteration."""
        with torch.no_grad():
            self.setup()
            for self.steps in range(1, MAX_STEPS + 1):
                if self.check_convergence():
                    break
                step = self.inner_solve()
                if self.recession and self.steps == self.proved + 1:
                    step = step * LEAP
                if not self.line_search(step) or self.check_progress():
                    break
            return self.finalize()

    def setup(self) -> None:
        """Evaluate the start, and fix the units in which later steps are measured."""
        self.objective = Objective(self.model, self.batches, self.options)
        self.start, self.penalty, self.lasso = self.objective.start, self.objective.penalty, self.objective.lasso
        self.unit = self.start.weight / self.start.rows  # a row's mean weight, the unit of losses
        variance = torch.diagonal(self.start.information)
        self.units = torch.sqrt(variance / variance.max().clamp(min=1e-300))
        self.point = self.objective.point(self.model.beta, self.start)
        self.losses = [self.start.loss / self.start.weight]
        self.idle, self.still, self.collinear, self.proved = 0, 0, False, MAX_STEPS
        self.converged = False
        self.recession: Separation | None = None
        self.reason = "the limit on the number of steps is reached"

    def check_convergence(self) -> bool:
        """Whether the gradient is no larger than its own rounding error.

        The gradient of separated outcomes also falls to 0.
        """
        beta, sums = self.point.beta, self.point.sums
        limit = ROUNDING * (sums.rounding + self.penalty * beta.abs() + self.lasso)
        self.gradient = subgradient(beta, self.point.gradient, self.lasso)
        flat = bool((self.gradient.abs() <= limit).all())
        self.converged = flat and self.recession is None
        return flat

    def inner_solve(self) -> Tensor:
        """Solve for Newton's step (P,), the shortest one if the second derivative is singular.

        It sets `flat`: whether the objective falls in a direction without curvature. Such a direction at the first step
        is due to collinear columns; one that appears later leads to infinity.
        """
        sums, gradient, second = self.point.sums, self.point.gradient, self.point.curvature
        inverted, convex = inverse(second)
        if not convex:
            second = sums.information + torch.diag(self.penalty)
            inverted, _ = inverse(second)
        if self.options.l1:
            self.flat = False
            return lasso_step(self.point.beta, gradient, second, self.lasso)
        step = inverted @ gradient
        self.flat = bool(((gradient - second @ step).abs() > 1e-13 * sums.rounding).any())
        if self.steps == 1:
            self.collinear = self.flat
        return step

    def line_search(self, step: Tensor) -> bool:
        """Halve the step until the objective does not rise, and move; False if it always rises."""
        beta, sums, objective = self.point.beta, self.point.sums, self.point.objective
        slack = 1e-12 * max(abs(objective), self.unit)  # the rounding of a sum over all rows
        norm = torch.linalg.vector_norm
        for _ in range(MAX_HALVINGS):
            self.length = (norm(step * self.units) / (1 + norm(beta * self.units))).item()
            if self.recession or self.length <= LONGEST.get(self.options.link, math.inf):
                rounding = sums.rounding if self.length < NEAR else None
                same = self.length < SAME and not self.options.firth
                second = (sums.information, sums.curvature) if same else None
                point = self.objective.at(beta - step, rounding, second)
                if point.objective <= objective + slack:
                    self.accept(point)
                    return True
            step = step / 2
        self.reason = "no step lowers the loss, although its gradient is not zero"
        return False

    def accept(self, point: Point) -> None:
        """Make the point the current one, and log it."""
        self.gain, self.point = self.point.objective - point.objective, point
        self.losses.append(point.sums.loss / point.sums.weight)
        self.log(
            f"step {self.steps}: mean log loss {self.losses[-1]:.10f}, relative change of the parameters "
            f"{self.length:.1e}"
        )

    def check_progress(self) -> bool:
        """Whether the iteration has stalled.

        It has if long steps no longer reduce the objective, if only a direction without curvature is left, or if the
        parameters no longer move. If separation is proved, it ends when the separated rows' loss is nearly 0.
        """
        self.idle = self.idle + 1 if self.gain <= 1e-8 * self.point.sums.loss and self.length > 1e-3 else 0
        self.still = self.still + 1 if self.length < STILL else 0
        flat = self.length < 1e-12 and self.flat and not self.collinear
        stalled = self.idle == 2 or self.still == 3 or flat
        if not (self.options.penalty or self.options.firth):
            if self.recession is None and (stalled or self.steps in TESTED):
                self.recession = recession(self.options.link, self.batches, self.point.beta, self.objective.sizes)
                self.proved = self.steps
            if self.recession:
                fitted = self.recession.kind == "complete" and self.losses[-1] < 1e-6
                stalled |= fitted or self.gain < 1e-5 * self.unit or self.steps == self.proved + MORE_STEPS
        if stalled:
            self.reason = "further steps no longer reduce the loss"
        return stalled

    def finalize(self) -> Solution:
        """Set the model's parameters; if there is no optimum, add a note with the reason."""
        self.model.beta = self.point.beta
        notes: tuple[str, ...] = ()
        if self.recession:
            remedy = "--firth or --l2 1" if self.options.link == "logit" else "--l2 1"
            notes = (
                "The columns separate the two outcomes, for all rows or for some, so no finite best fit exists. "
                f"Stopped after {self.steps} steps, the last of which lowered the summed log loss by {self.gain:.1e}. "
                f"Use {remedy} for a finite fit.",
            )
        elif not self.converged:
            size = (self.gradient.abs() / self.point.sums.rounding.clamp(min=1e-300)).max().item()
            notes = (
                f"Not converged after {self.steps} steps: {self.reason}. The gradient is {size:.1e} of its terms' "
                "size. A larger --l2 helps.",
            )
        doubtful = not (self.converged or self.options.penalty or self.options.firth)
        return Solution(self.converged, notes, doubtful, self.recession, self.start, tuple(self.losses))
