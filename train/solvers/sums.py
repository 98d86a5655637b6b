"""The sums of the solvers over all rows of all processes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from train import distributed
from train.model.design import Design
from train.model.links import LINKS
from train.table.out_of_core import each

Rows = tuple[Design, Tensor, Tensor]  # (matrix (m, P), y (m,), weight (m,)), float64
Batches = Callable[[], Iterable[Callable[[], Rows]]]


@dataclass(frozen=True)
class Sums:
    """The sums of one pass over all rows, at parameters beta (P,).

    Attributes
    ----------
    loss : the weighted log loss.
    rows : the number of rows with a weight above 0.
    weight, positive : the sum of all weights, and of the positive rows' weights.
    gradient : (P,), the loss's.
    rounding : (P,), the sum of the gradient's absolute terms, to which its rounding error is proportional.
    information, curvature : (P, P), the expected and the observed second derivative of the loss.
    """

    loss: float
    rows: float
    weight: float
    positive: float
    gradient: Tensor
    rounding: Tensor
    information: Tensor
    curvature: Tensor


def total(
    link: str,
    batches: Batches,
    beta: Tensor,
    rounding: Tensor | None = None,
    second: tuple[Tensor, Tensor] | None = None,
) -> Sums:
    """Compute the Sums at beta (P,), in one pass over the rows of all processes.

    rounding and second, (information, curvature), may be given from a nearby beta: computing them takes most of the
    time of a pass.
    """
    terms = LINKS[link].terms
    size = len(beta)

    def share(matrix: Design, y: Tensor, weight: Tensor) -> Tensor:
        loss, slope, curvature, information = (term * weight for term in terms(matrix @ beta, y))
        parts = [loss.sum(), (weight > 0).sum(), weight.sum(), (weight * y).sum(), matrix.sums(slope)]
        if rounding is None:
            sizes = matrix.abs()
            parts.append(sizes.sums(slope.abs() + curvature.abs() * (sizes @ beta.abs())))
        if second is None:  # the logit's curvature is its information: one product
            parts += [matrix.gram(row) for row in ([information] if link == "logit" else [information, curvature])]
        return torch.cat([part.flatten() for part in parts])

    counts, gradient, numbers = torch.tensor_split(add_up(batches, share), [4, 4 + size])
    if rounding is None:
        rounding, numbers = numbers[:size], numbers[size:]
    if second is None:
        matrices = numbers.view(-1, size, size)
        second = matrices[0], matrices[-1]
    loss, rows, weight, positive = counts.tolist()
    return Sums(loss, rows, weight, positive, gradient, rounding, *second)


def add_up(batches: Batches, share: Callable[[Design, Tensor, Tensor], Tensor]) -> Tensor:
    """Sum share(matrix, y, weight) over all rows of all processes, in their order."""

    def block(rows: Callable[[], Rows]) -> Tensor:
        with torch.inference_mode():
            return share(*rows())

    blocks = each(partial(block, rows) for rows in batches())
    return distributed.total(reduce(torch.add, blocks, torch.zeros((), dtype=torch.float64)))
