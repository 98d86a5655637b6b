"""Which columns separate the two outcomes, by linear programming.

Where columns separate them, of all rows or of some, the likelihood has no maximum (Albert & Anderson, Biometrika 71,
1984). The programs are Konis's (Linear programming algorithms for detecting separated data in binary logistic
regression models, 2007).
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.optimize import linprog

from passfail.arrays import Floats
from train import distributed
from train.solvers.fit import Blocks
from train.solvers.recession import TOLERANCE, Recession

SECONDS = 5  # of processor time, for all linear programs of one fit
BUSY = 5  # on a busy machine a program may take so many times its processor time
NAMED_CELLS = 20_000_000  # of the design matrix; programs over more take too much memory
SPARED = 20  # columns of which it is tried which can be done without, a program each
TAKEN = 2000  # rows in a program at first, and at most so many more each time


@dataclass(frozen=True)
class Separation:
    """How the outcomes are separated.

    kind: "complete" (all rows) or "quasi" (some). causes: the indices of the columns that are needed for it. direction
    float64 (P,): the direction in which beta grows without end.
    """

    kind: Literal["complete", "quasi"]
    causes: list[int]
    direction: torch.Tensor


def separation(matrix: Floats, y: Floats, complete: bool = False) -> Separation | None:
    """Find how a design matrix (n, P) of full rank separates outcomes y (n,); None if it doesn't, or takes too long.

    complete: whether it is known to separate all rows.
    """
    scale = np.abs(matrix).max(0)
    scale[scale == 0] = 1.0
    program = _Program(np.where(y == 1, 1.0, -1.0)[:, None] * (matrix / scale))
    rows, size = program.rows, matrix.shape[1]
    # The direction: as many rows as far on their own side as a box allows, none on the other.
    direction = program.solve(-rows.sum(0), np.zeros(len(rows)), (-1, 1))
    if direction is None or (margin := rows @ direction).max() <= 1e-7:
        return None
    # The columns it needs: those of the shortest beta that keeps every row (complete), or every row that can be
    # (quasi), at least 1 from the boundary, without each column that the others can do without.
    length = np.ones(2 * size)  # beta's positive and negative parts apart
    kind: Literal["complete", "quasi"] = "complete"
    least = np.ones(len(rows))
    if (shortest := program.solve(length, least, (0, None))) is None and not complete:
        kind, least = "quasi", (margin > 1e-7).astype(float)
        shortest = program.solve(length, least, (0, None))
    shortest = np.abs(direction) if shortest is None else np.abs(shortest[:size] - shortest[size:])
    causes = np.flatnonzero(shortest > 1e-7).tolist()
    for index in sorted(causes, key=shortest.__getitem__) if len(causes) <= SPARED else []:
        fewer = [(0, None if i % size in causes and i % size != index else 0) for i in range(2 * size)]
        if len(causes) > 1 and program.solve(length, least, fewer) is not None:
            causes.remove(index)
    return Separation(kind, causes, torch.from_numpy(direction / scale))


class _Program:
    """Linear programs over all rows (n, P), each outcome's on its own side.

    A program is solved over some rows, and again with the rows that its solution violates, until it violates none.
    """

    def __init__(self, rows: Floats) -> None:
        self.rows = rows
        self.taken = np.arange(0, len(rows), -(-len(rows) // TAKEN))
        self.until = time.process_time() + SECONDS

    def solve(
        self, cost: Floats, least: Floats, bounds: tuple[int, int | None] | list[tuple[int, int | None]]
    ) -> Floats | None:
        """The cheapest beta (its two parts, if cost is (2P,)) with rows @ beta >= least; None if there is none."""
        rows, size = self.rows, self.rows.shape[1]
        while (left := self.until - time.process_time()) > 0:
            above = -np.hstack([rows[self.taken], -rows[self.taken]])[:, : len(cost)]
            done = linprog(cost, above, -least[self.taken], bounds=bounds, options={"time_limit": BUSY * left})
            if done.status != 0:
                return None
            solution: Floats = done.x
            short = least - rows @ (solution if len(cost) == size else solution[:size] - solution[size:])
            short[self.taken] = 0
            if short.max() <= 1e-7:
                return solution
            worst = np.argpartition(-short, min(TAKEN, len(rows)) - 1)[:TAKEN]
            self.taken = np.concatenate([self.taken, worst[short[worst] > 1e-7]])
        return None


def model_separation(rows: Blocks, kept: list[int], proof: Recession | None) -> Separation | None:
    """Find which of a model's scaled columns separate its rows of a weight above 0; None if that is not known.

    kept: the columns to use, which are linearly independent; the intercept is column 0 if there is one. The fewest that
    do it are named, unless there are too many cells; then the proof's.
    """
    size = len(rows.model.beta)
    if distributed.ranks() == 1 and len(rows.y) * size <= NAMED_CELLS:
        matrix, y, weight = rows.block(rows.model.matrix, slice(None))
        used = weight > 0
        complete = proof is not None and proof.kind == "complete"
        if found := separation(matrix[used][:, kept].numpy(), y[used].numpy(), complete):
            direction = torch.zeros(size, dtype=torch.float64)
            direction[kept] = found.direction
            return Separation(found.kind, [kept[index] for index in found.causes], direction)
    if proof is None:
        return None
    moved = proof.direction.abs()
    return Separation(proof.kind, torch.nonzero(moved > TOLERANCE * moved.max()).flatten().tolist(), proof.direction)
