"""The L1 penalty: newton's step with it, and the subgradient that is 0 at its optimum."""

import numpy as np
import torch
from torch import Tensor

from train.solvers.objective import inverse
from train.table.out_of_core import one_thread

MAX_SWEEPS = 100  # an exact solution follows each, so that few are needed


def subgradient(beta: Tensor, gradient: Tensor, l1: Tensor) -> Tensor:
    """The smallest subgradient (P,) of the objective plus sum(l1 * |beta|).

    gradient : (P,), the objective's.
    """
    at_zero = torch.sign(gradient) * (gradient.abs() - l1).clamp(min=0.0)
    return torch.where(beta == 0, at_zero, gradient + l1 * torch.sign(beta))


@one_thread()
def lasso_step(beta: Tensor, gradient: Tensor, curvature: Tensor, l1: Tensor) -> Tensor:
    """Minimise the quadratic model at beta (P,) plus sum(l1 * |b|) over b; return beta - b.

    Coordinate descent (Friedman, Hastie & Tibshirani, Journal of Statistical Software 33, 2010) finds which elements
    are 0 and the signs of the others. Linear equations then give the minimum among such b exactly. If they change a
    sign, b moves no farther than to where its first element becomes 0.
    """
    b, before = beta.clone(), None
    for _ in range(MAX_SWEEPS):
        swept = _sweep(b, gradient + curvature @ (b - beta), curvature, l1)
        signs = torch.sign(swept)
        if before is not None and torch.equal(signs, before):
            break
        b = swept
        while True:
            kept = torch.nonzero((b != 0) | (l1 == 0)).flatten()
            rest = (gradient + curvature @ (b - beta) + l1 * torch.sign(b))[kept]
            to = b[kept] - _solved(curvature[kept][:, kept], rest)
            crossed = (l1[kept] > 0) & (to * b[kept] <= 0)
            if not crossed.any():
                b[kept] = to
                break
            share = torch.where(crossed, b[kept] / (b[kept] - to), torch.inf)
            b[kept] += share.min() * (to - b[kept])
            b[kept[share.argmin()]] = 0.0
        before = torch.sign(b)
    return beta - b


def _sweep(b: Tensor, slope: Tensor, curvature: Tensor, l1: Tensor) -> Tensor:
    """Minimise over each element of b (P,) in order; slope (P,) is the model's gradient at b."""
    new, rest, rows, penalty = b.clone().numpy(), slope.numpy().copy(), curvature.numpy(), l1.numpy()
    for index, size in enumerate(np.diagonal(rows).tolist()):
        if size <= 0:  # a constant column
            continue
        pull = size * new[index] - rest[index]
        moved = np.sign(pull) * max(abs(pull) - penalty[index], 0.0) / size - new[index]
        if moved:
            rest += rows[index] * moved
            new[index] += moved
    return torch.from_numpy(new)


def _solved(matrix: Tensor, right: Tensor) -> Tensor:
    """Solve a positive definite system; for a singular system, return the shortest solution."""
    lower, fault = torch.linalg.cholesky_ex(matrix)
    if fault:
        return inverse(matrix)[0] @ right
    return torch.cholesky_solve(right[:, None], lower).flatten()
