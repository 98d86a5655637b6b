"""The columns that separate the two outcomes, found by linear programming.

If columns separate the outcomes of all rows or of some, the likelihood has no maximum (Albert & Anderson, Biometrika
71, 1984). The programs are Konis's (Linear programming algorithms for detecting separated data in binary logistic
regression models, 2007).
"""

from typing import Literal

import numpy as np
import torch

from passfail.arrays import Floats
from train import distributed
from train.solvers.fit import Blocks
from train.solvers.recession import TOLERANCE, Separation

PIVOTS = 5_000  # of all linear programs of one fit: a limit that is the same on every machine
NAMED_COLUMNS = 128  # programs over more columns take many seconds
NAMED_CELLS = 20_000_000  # of the design matrix; programs over more cells take too much memory
SPARED = 20  # columns at most for which a program each tests whether the others suffice
TAKEN = 2000  # rows in the first program; each further one adds at most as many

Bound = tuple[int, int | None]  # the least and the greatest value of an element


def separation(matrix: Floats, y: Floats, complete: bool = False) -> Separation | None:
    """Find the columns of a design matrix (n, P) of full rank that separate outcomes y (n,).

    Parameters
    ----------
    complete : whether the matrix is known to separate all rows.

    Returns
    -------
    None if the search takes too long.
    """
    scale = np.abs(matrix).max(0)
    scale[scale == 0] = 1.0
    program = _Program(np.where(y == 1, 1.0, -1.0)[:, None] * (matrix / scale))
    rows, size = program.rows, matrix.shape[1]
    # The direction maximises the rows' distances on their own side within a box, with no row on the other side.
    direction = program.solve(-rows.sum(0), np.zeros(len(rows)), (-1, 1))
    if direction is None:
        return None
    if (margin := rows @ direction).max() <= 1e-7:
        return Separation("none", torch.from_numpy(direction))
    # The causes are the columns of the shortest beta that keeps every row (complete), or every row that can be (quasi),
    # at least 1 from the boundary. A column is removed if the others suffice.
    length = np.ones(2 * size)  # beta's positive and negative parts, separately
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
    return Separation(kind, torch.from_numpy(direction / scale), causes)


class _Program:
    """Linear programs over all rows (n, P), signed so that each belongs on the positive side.

    Each program is solved over some rows, and again with the rows that its solution violates, until it violates none.
    """

    def __init__(self, rows: Floats) -> None:
        self.rows = rows
        self.taken = np.arange(0, len(rows), -(-len(rows) // TAKEN))
        self.pivots = PIVOTS

    def solve(self, cost: Floats, least: Floats, bounds: Bound | list[Bound]) -> Floats | None:
        """The beta of least cost with rows @ beta >= least; None if there is none.

        If cost is (2P,), the result holds beta's positive and negative parts.
        """
        from scipy.optimize import linprog  # takes a fifth of the imports' time, and few fits need it

        rows, size = self.rows, self.rows.shape[1]
        while self.pivots > 0:
            above = -np.hstack([rows[self.taken], -rows[self.taken]])[:, : len(cost)]
            done = linprog(cost, above, -least[self.taken], bounds=bounds, options={"maxiter": self.pivots})
            self.pivots -= done.nit + 1
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


def model_separation(rows: Blocks, kept: list[int], proof: Separation | None) -> Separation | None:
    """Find the scaled columns of a model that separate its rows of a weight above 0.

    Parameters
    ----------
    kept : the columns to use, which are linearly independent; the intercept, if any, is column 0.

    Returns
    -------
    The fewest such columns, or the proof's if there are too many cells; the kind "none" if no columns separate the
    outcomes. None if neither is proved.
    """
    size, complete, moved = len(rows.model.beta), proof is not None and proof.kind == "complete", kept
    if proof is not None:
        reach = TOLERANCE * proof.direction.abs().max()
        moved = torch.nonzero(proof.direction.abs() > reach).flatten().tolist()
    used = kept if len(kept) <= NAMED_COLUMNS else sorted({*kept}.intersection(moved))
    if distributed.ranks() == 1 and len(used) <= NAMED_COLUMNS and len(rows.y) * size <= NAMED_CELLS:
        matrix, y, weight = rows.block(slice(None))
        found = separation(matrix.dense()[weight > 0][:, used].numpy(), y[weight > 0].numpy(), complete)
        if found and not (proof and found.kind == "none"):
            direction = torch.zeros(size, dtype=torch.float64)
            direction[used] = found.direction
            return Separation(found.kind, direction, [used[index] for index in found.causes])
    if proof is None:
        return None
    alone = _alone(rows)[:1] if complete and rows.model.intercept and distributed.ranks() == 1 else []
    return Separation(proof.kind, proof.direction, alone or moved)


def _alone(rows: Blocks) -> list[int]:
    """The columns that each separate all rows of a weight above 0, with an intercept alone."""
    least, most = torch.full((2, 2, len(rows.model.beta)), torch.inf, dtype=torch.float64)  # of either outcome
    most.neg_()
    for block in rows.matrices():
        matrix, y, weight = block()
        for outcome in (0, 1):
            if len(some := matrix[(y == outcome) & (weight > 0)].dense()):
                low, high = torch.aminmax(some, dim=0)
                least[outcome], most[outcome] = torch.minimum(least[outcome], low), torch.maximum(most[outcome], high)
    return torch.nonzero((most[0] < least[1]) | (most[1] < least[0])).flatten().tolist()
