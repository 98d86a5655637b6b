"""The rows of a table as numbers, which a model is fitted to."""

from typing import NamedTuple

from passfail.arrays import Bools, Floats
from passfail.manifest import Feature
from train.table.imputation import impute
from train.table.out_of_core import taken


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
        x, weight = taken(self.x, keep), self.weight[keep]
        return Data(impute(self.features, x, weight), x, self.y[keep], weight)
