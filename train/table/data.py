"""The rows of a table as numbers, to fit a model to, and the imputation of missing ones."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from passfail.arrays import Bools, Floats
from passfail.manifest import Feature
from train import distributed
from train.table.out_of_core import BLOCK, pieces, selected


class Data(NamedTuple):
    """The features of n rows, their outcomes and their weights.

    Attributes
    ----------
    features : the d features, in the order of x's columns.
    x : float64 (n, d), raw values; the level's index for a category, NaN for missing.
    y : float64 (n,), 1 for the target's positive value, else 0.
    weight : float64 (n,), >= 0, the number of rows for which each row counts.
    """

    features: tuple[Feature, ...]
    x: Floats
    y: Floats
    weight: Floats

    def rows(self, keep: Bools) -> "Data":
        """The rows `keep` (n,), with missing values imputed from these rows alone."""
        x, weight = selected(self.x, keep), self.weight[keep]
        return Data(impute(self.features, x, weight), x, self.y[keep], weight)


def impute(features: Sequence[Feature], x: Floats, weight: Floats) -> tuple[Feature, ...]:
    """The features with the imputed value (`fill`), computed from the rows of all processes.

    A feature stays unchanged if its known cells have no weight.

    Parameters
    ----------
    x : float64 (n, d).
    weight : float64 (n,), >= 0, the number of rows for which each row counts.
    """

    def column(index: int) -> Floats:
        return np.concatenate([x[rows, index] for rows in pieces(len(x), BLOCK, x)])

    return tuple(_impute(f, column(index), weight) if f.nullable else f for index, f in enumerate(features))


def _impute(feature: Feature, column: Floats, weight: Floats) -> Feature:
    known = ~np.isnan(column) & (weight > 0)
    value, counts = column[known], weight[known]
    if feature.kind == "numeric" and feature.missing in ("mean", "indicator"):
        total, rows = distributed.total(torch.tensor([counts @ value, counts.sum()], dtype=torch.float64)).tolist()
        return msgspec.structs.replace(feature, fill=total / rows) if rows else feature
    value, counts = map(np.concatenate, zip(*distributed.gathered((value, counts)), strict=True))  # of all processes
    if len(value) == 0:
        return feature
    value, place = np.unique(value, return_inverse=True)
    counts = np.asarray(np.bincount(place, counts), dtype=np.float64)
    middle = feature.missing == "median" and feature.kind == "numeric"
    return msgspec.structs.replace(feature, fill=_median(value, counts) if middle else float(value[counts.argmax()]))


def _median(value: Floats, counts: Floats) -> float:
    """The weighted median of ascending values; the mean of two values that share the middle."""
    below = np.cumsum(counts)
    low, high = (np.searchsorted(below, below[-1] / 2, side) for side in ("left", "right"))
    return float((value[low] + value[min(int(high), len(value) - 1)]) / 2)
