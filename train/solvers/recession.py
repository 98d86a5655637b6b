"""Directions in which the likelihood rises without end, as proof of separation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from train.model.design import Design
from train.model.links import LINKS
from train.solvers.sums import Batches, add_up
from train.table.out_of_core import one_thread

SETTLED = 0.01  # a row with a smaller log loss may be one whose loss falls to 0
ROUNDING = 1e-9  # of a direction's largest component; smaller ones count as 0
TOLERANCE = 1e-7  # of a row's length; a margin up to it counts as 0
MAX_ROUNDS = 8


@dataclass(frozen=True)
class Separation:
    """A direction along which no row's loss rises, and some rows' loss falls to 0.

    Attributes
    ----------
    kind : "complete" if the loss of every row falls, "quasi" if some rows keep their score (Albert & Anderson,
        Biometrika 71, 1984), "none" if it is proved that no direction is such.
    direction : float64 (P,), in which beta grows without end.
    causes : the indices of the columns that cause it, if they were sought.
    """

    kind: Literal["none", "complete", "quasi"]
    direction: Tensor
    causes: Sequence[int] = ()


def recession(link: str, batches: Batches, beta: Tensor, sizes: Tensor) -> Separation | None:
    """Find such a direction near beta (P,), and verify it on all rows; None if there is none.

    The direction is beta itself if no row is on the wrong side. Otherwise rows with a small loss may be separated, and
    all others must keep their score. The direction is then the part of beta that moves none of those others. A row on
    its wrong side joins them, and the direction is computed again.

    Parameters
    ----------
    sizes : (P,), the columns' sizes, which make the test independent of their units.
    """
    scale = torch.where(sizes > 0, sizes, 1.0)
    wrong: list[Tensor] = []
    direction = beta
    for _ in range(MAX_ROUNDS):
        against, along, neither = add_up(batches, lambda *rows: _sides(direction, *rows)).tolist()  # noqa: B023
        if not against:
            return Separation("quasi" if neither else "complete", direction) if along else None
        if direction is not beta:
            wrong.append(direction)
        basis = _null_space(add_up(batches, lambda *rows: _gram(link, beta, wrong, *rows)) / scale / scale[:, None])
        scaled = basis @ (basis.T @ (beta * scale))
        direction = torch.where(scaled.abs() > ROUNDING * scaled.abs().max(), scaled, 0.0) / scale
        if not direction.abs().max() > TOLERANCE * beta.abs().max():
            return None
    return None


def _gram(link: str, beta: Tensor, wrong: Sequence[Tensor], matrix: Design, y: Tensor, weight: Tensor) -> Tensor:
    """The sum (P, P) of row row' over the rows that can't be separated."""
    kept = ~(LINKS[link].terms(matrix @ beta, y)[0] < SETTLED)
    for direction in wrong:
        kept |= _margins(direction, matrix, y) < 0
    rows = matrix[kept & (weight > 0)]
    return rows.gram(torch.ones(len(rows.numbers), dtype=torch.float64))


def _sides(direction: Tensor, matrix: Design, y: Tensor, weight: Tensor) -> Tensor:
    """The number of rows that move to the wrong side, to their own side, and to neither."""
    sign = torch.sign(_margins(direction, matrix, y))[weight > 0]
    return torch.stack([(sign == side).sum() for side in (-1, 1, 0)])


def _margins(direction: Tensor, matrix: Design, y: Tensor) -> Tensor:
    """The distance that each row moves to its own side, (m,); 0 if it is within rounding."""
    margin = (2 * y - 1) * (matrix @ direction)
    length = matrix.abs() @ direction.abs()
    return torch.where(margin.abs() > TOLERANCE * length, margin, torch.zeros_like(margin))


@one_thread()
def _null_space(gram: Tensor) -> Tensor:
    """An orthonormal basis (P, k) of the directions that a Gram matrix (P, P) maps to 0."""
    values, vectors = torch.linalg.eigh(gram)
    basis: Tensor = vectors[:, values <= 1e-12 * values[-1].clamp(min=1e-300)]
    return basis
