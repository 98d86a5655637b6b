"""The objective of newton: the log loss with the penalties of the options."""

from dataclasses import dataclass

import torch
from torch import Tensor

from train.model.design import Design
from train.model.logistic import LogisticModel
from train.solvers.options import Options
from train.solvers.sums import Batches, Sums, add_up, total
from train.table.out_of_core import one_thread


@dataclass(frozen=True)
class Point:
    """Parameters beta (P,), with the Sums and the objective there.

    The objective, its gradient (P,) and its curvature (P, P) include the penalties.
    """

    beta: Tensor
    sums: Sums
    objective: float
    gradient: Tensor
    curvature: Tensor


class Objective:
    """The log loss over all rows plus the penalties.

    The penalties are l1 * sum(|weight|) + l2 / 2 * sum(weight^2), without the intercept, and with options.firth
    -log(det(information)) / 2. The gradient of a Point is without l1 (train.solvers.lasso).

    Attributes
    ----------
    lasso, penalty : (P,), l1 and l2 of each parameter.
    start : the Sums at the model's parameters.
    sizes : (P,), the sizes of the columns at the start.
    """

    def __init__(self, model: LogisticModel, batches: Batches, options: Options) -> None:
        self.options, self.batches = options, batches
        units = torch.ones_like(model.beta)
        if not options.standardize:  # the penalties are of the weights of raw columns, though beta is of scaled ones
            units[-len(model.scale) :] /= model.scale
        self.lasso, self.penalty = options.l1 * units, options.l2 * units**2
        if model.intercept:
            self.lasso[0] = self.penalty[0] = 0.0
        self.start = total(options.link, batches, model.beta)
        self.sizes = torch.sqrt(torch.diagonal(self.start.information))

    def at(self, beta: Tensor, rounding: Tensor | None = None, second: tuple[Tensor, Tensor] | None = None) -> Point:
        """Evaluate the objective at beta (P,), in one pass, or two with options.firth.

        rounding, second : as in `total`.
        """
        return self.point(beta, total(self.options.link, self.batches, beta, rounding, second))

    def point(self, beta: Tensor, sums: Sums) -> Point:
        """Add the penalties to the Sums at beta."""
        value = sums.loss + (self.lasso * beta.abs() + self.penalty * beta**2 / 2).sum().item()
        gradient = sums.gradient + self.penalty * beta
        curvature = sums.curvature + torch.diag(self.penalty)
        if self.options.firth:
            value -= log_determinant(sums.information, self.sizes) / 2
            pull, bend = firth_terms(self.batches, beta, inverse(sums.information)[0])
            gradient, curvature = gradient - pull, curvature + bend
        return Point(beta, sums, value, gradient, curvature)


def firth_terms(batches: Batches, beta: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient (P,) and a curvature (P, P) of Firth's penalty, for the logit link.

    The gradient of log(det(information)) / 2 is the sum of h (1 / 2 - p) row, with h a row's leverage (Firth,
    Biometrika 80, 1993; Heinze & Schemper, Statistics in Medicine 21, 2002). For fixed leverages, it equals that of h
    further rows, half of them positive, so the curvature is the sum of h p (1 - p) row row'. Without this curvature,
    steps would be up to twice too long for few rows. inverse (P, P) is that of the information.
    """
    size = len(beta)

    def share(matrix: Design, y: Tensor, weight: Tensor) -> Tensor:
        p = torch.sigmoid(matrix @ beta)
        variance = p * (1 - p)
        leverage = ((matrix @ inverse) * matrix.dense()).sum(1) * weight * variance
        return torch.cat([matrix.sums(leverage * (0.5 - p)), matrix.gram(leverage * variance).flatten()])

    parts = add_up(batches, share)
    return parts[:size], parts[size:].view(size, size)


@one_thread()
def inverse(second: Tensor) -> tuple[Tensor, bool]:
    """Invert a symmetric matrix (P, P); if it is singular, return the pseudoinverse.

    The matrix is first scaled to a unit diagonal, so that a direction's flatness does not depend on the columns' units.

    Returns
    -------
    (the inverse, whether the matrix is positive semidefinite).
    """
    scale = torch.sqrt(torch.diagonal(second).abs())
    scale = torch.where(scale > 0, scale, 1.0)
    shape = second / scale / scale[:, None]
    lower, singular = torch.linalg.cholesky_ex(shape)  # takes a tenth of the eigenvectors' time
    if not singular:
        inverted = torch.cholesky_inverse(lower)
        if torch.linalg.norm(inverted) * torch.linalg.norm(shape) < 1e10:
            return inverted / scale / scale[:, None], True
    values, vectors = torch.linalg.eigh(shape)
    flat = values[-1] * 1e-12
    inverted = torch.where(values > flat, 1 / values, 0.0)
    return vectors * inverted @ vectors.T / scale / scale[:, None], bool(values[0] >= -flat)


@one_thread()
def log_determinant(information: Tensor, sizes: Tensor) -> float:
    """log(det(information)) up to a constant, over the directions that are not flat.

    The columns are divided by sizes (P,). If some directions are flat, the slope is Firth's only if the sizes are the
    same at every beta.
    """
    scale = torch.where(sizes > 0, sizes, 1.0)
    values = torch.linalg.eigvalsh(information / scale / scale[:, None])
    return float(torch.log(values[values > values[-1] * 1e-12]).sum())
