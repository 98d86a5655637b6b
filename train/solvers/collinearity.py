"""Columns of a design matrix that others determine, and the sentences that name them."""

from collections.abc import Sequence

import torch

from passfail.manifest import Feature
from train.model.terms import INTERCEPT, terms
from train.table.out_of_core import one_thread


@one_thread()
def collinear(information: torch.Tensor) -> tuple[dict[int, list[int]], list[torch.Tensor]]:
    """Find the columns of a design matrix that are linear combinations of earlier columns.

    A column counts as such if the others leave less than 1e-5 of its length.

    Parameters
    ----------
    information : float64 (P, P), Fisher's information at beta = 0.

    Returns
    -------
    ({index of such a column: the indices of the columns in the combination}, directions (P,) of beta that change no
    score).
    """
    scale = torch.sqrt(torch.diagonal(information))
    scale = torch.where(scale > 0, scale, 1.0)
    shape = information / scale / scale[:, None]
    root = torch.zeros_like(shape)  # Cholesky's, of the kept columns
    kept: list[int] = []
    relations: dict[int, list[int]] = {}
    directions: list[torch.Tensor] = []
    for index in range(len(shape)):
        size = len(kept)
        lower = root[:size, :size]
        row = torch.linalg.solve_triangular(lower, shape[kept, index][:, None], upper=False)
        left = shape[index, index] - (row * row).sum()
        if left > 1e-10:
            root[size, :size], root[size, size] = row.flatten(), torch.sqrt(left)
            kept.append(index)
            continue
        share = torch.linalg.solve_triangular(lower.T, row, upper=True).flatten()
        share = torch.where(share.abs() > 1e-5, share, 0.0)
        relations[index] = [kept[i] for i in torch.nonzero(share).flatten().tolist()]
        direction = shape.new_zeros(len(shape))
        direction[index] = 1
        direction[kept] = -share
        directions.append(direction / scale)
    return relations, directions


def relations_in_words(relations: dict[int, list[int]], names: Sequence[str]) -> tuple[str, ...]:
    """One clause for each relation from `collinear`; `names` are those of the design's columns."""
    others = {names[i]: ", ".join(names[j] for j in rest if names[j] != INTERCEPT) for i, rest in relations.items()}
    words = {name: f"a linear combination of {some}" if some else "constant" for name, some in others.items()}
    return tuple(f"{name} is {what}" for name, what in words.items())


def nearly_collinear(features: Sequence[Feature], intercept: bool, information: torch.Tensor) -> tuple[str, ...]:
    """One sentence for each column that is a linear combination of others, within 1e-5."""
    clauses = relations_in_words(collinear(information)[0], terms(features, intercept))
    return tuple(f"{clause}, up to 1e-5 of its length: leave it out with --drop." for clause in clauses)
