"""Directions in which the likelihood rises without end: the proof that outcomes are separated."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from train.model.links import LINKS
from train.solvers.sums import Batches, add_up
from train.table.out_of_core import one_thread

SETTLED = 0.01  # a row with a smaller log loss may be one whose loss falls to 0
ROUNDING = 1e-9  # of a direction's largest component: smaller ones count as 0
TOLERANCE = 1e-7  # of a row's length: a margin that is no larger counts as 0
MAX_ROUNDS = 8


@dataclass(frozen=True)
class Recession:
    """A direction (P,) along which no row's loss rises, and that of some rows falls to 0.

    kind: "complete" if that holds for every row, "quasi" if some rows' scores stay as they are (Albert & Anderson,
    Biometrika 71, 1984).
    """

    kind: Literal["complete", "quasi"]
    direction: Tensor


def recession(link: str, batches: Batches, beta: Tensor, sizes: Tensor) -> Recession | None:
    """Find such a direction near beta (P,), and verify it on all rows; None if it is none.

    It is beta itself where no row is on the wrong side. Else, rows that are fitted well may be separated, all others
    keep their score. So the direction is the part of beta that moves none of those others. A row on the wrong side of
    it joins them, and the direction is computed anew.

    sizes (P,): the columns' sizes, for a test that does not depend on their units.
    """
    scale = torch.where(sizes > 0, sizes, 1.0)
    wrong: list[Tensor] = []
    direction = beta
    for _ in range(MAX_ROUNDS):
        against, along, neither = add_up(batches, lambda *rows: _sides(direction, *rows)).tolist()  # noqa: B023
        if not against:
            return Recession("quasi" if neither else "complete", direction) if along else None
        if direction is not beta:
            wrong.append(direction)
        basis = _null_space(add_up(batches, lambda *rows: _gram(link, beta, wrong, *rows)) / scale / scale[:, None])
        scaled = basis @ (basis.T @ (beta * scale))
        direction = torch.where(scaled.abs() > ROUNDING * scaled.abs().max(), scaled, 0.0) / scale
        if not direction.abs().max() > TOLERANCE * beta.abs().max():
            return None
    return None


def _gram(link: str, beta: Tensor, wrong: Sequence[Tensor], matrix: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """The sum (P, P) of row row' over the rows that can't be separated."""
    loss = LINKS[link].terms(matrix @ beta, y)[0]
    kept = ~(loss < SETTLED)
    for direction in wrong:
        kept |= _margins(direction, matrix, y) < 0
    rows = matrix[kept & (weight > 0)]
    return rows.T @ rows


def _sides(direction: Tensor, matrix: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """How many rows move to the wrong side, to their own, and to neither."""
    sign = torch.sign(_margins(direction, matrix, y))[weight > 0]
    return torch.stack([(sign == side).sum() for side in (-1, 1, 0)])


def _margins(direction: Tensor, matrix: Tensor, y: Tensor) -> Tensor:
    """How far each row moves to its own side, (m,); 0 if that is within rounding."""
    margin = (2 * y - 1) * (matrix @ direction)
    length = matrix.abs() @ direction.abs()
    return torch.where(margin.abs() > TOLERANCE * length, margin, torch.zeros_like(margin))


@one_thread()
def _null_space(gram: Tensor) -> Tensor:
    """An orthonormal basis (P, k) of the directions that a Gram matrix (P, P) maps to 0."""
    values, vectors = torch.linalg.eigh(gram)
    basis: Tensor = vectors[:, values <= 1e-12 * values[-1].clamp(min=1e-300)]
    return basis
