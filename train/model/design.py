"""The design matrix of a block of rows, without the indicators of features of many levels."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor


class Levels(NamedTuple):
    """The levels of the block's rows in one feature.

    Attributes
    ----------
    columns : of the matrix, one for each level but the first.
    codes : int64 (m,), the index of each row's level.
    """

    columns: slice
    codes: Tensor

    def pairs(self, other: "Levels", weight: Tensor) -> Tensor:
        """The sum of the weights (m,) at each pair of levels, without the first levels."""
        size, others = (1 + one.columns.stop - one.columns.start for one in (self, other))
        sums = torch.bincount(self.codes * others + other.codes, weight, size * others)
        return sums.view(size, others)[1:, 1:]

    def sums(self, values: Tensor) -> Tensor:
        """The sums of values (m,) at each level but the first."""
        return torch.bincount(self.codes, values, 1 + self.columns.stop - self.columns.start)[1:]

    def chosen(self, beta: Tensor) -> Tensor:
        """Each row's part of the product with beta (P,) or (P, k): its level's entry or row, or 0."""
        own = torch.cat([torch.zeros_like(beta[:1]), beta[self.columns]])
        return torch.index_select(own, 0, self.codes)


class Design:
    """A matrix (m, P) that a model's `beta` multiplies.

    A row has one level of a feature, so all but one of the feature's indicators are 0. If there are many, a product
    with them takes the time of one column, not of one for each level.

    Attributes
    ----------
    numbers : float64 (m, q), the other columns.
    places : int64 (q,), their indices in the matrix; by default 0 to q - 1.
    levels : of each feature of many levels.
    """

    def __init__(self, numbers: Tensor, places: Tensor | None = None, levels: Sequence[Levels] = ()) -> None:
        self.numbers, self.levels = numbers, levels
        self.places = torch.arange(numbers.shape[1]) if places is None else places
        self.size = numbers.shape[1] + sum(one.columns.stop - one.columns.start for one in levels)

    def __getitem__(self, rows: Tensor) -> "Design":
        """The rows of a mask (m,)."""
        return Design(self.numbers[rows], self.places, [Levels(columns, codes[rows]) for columns, codes in self.levels])

    def __matmul__(self, beta: Tensor) -> Tensor:
        """The product with beta (P,) or (P, k)."""
        if not self.levels:
            return self.numbers @ beta
        product: Tensor = self.numbers @ beta[self.places]
        for one in self.levels:
            product += one.chosen(beta)
        return product

    def abs(self) -> "Design":
        """The absolute values; they are overwritten by `gram`."""
        return Design(torch.abs(self.numbers, out=self._scratch), self.places, self.levels)

    def sums(self, values: Tensor) -> Tensor:
        """The product (P,) of the transposed matrix and values (m,)."""
        product = self.numbers.T @ values
        if not self.levels:
            return product
        found = product.new_empty(self.size)
        found[self.places] = product
        for one in self.levels:
            found[one.columns] = one.sums(values)
        return found

    def gram(self, weight: Tensor) -> Tensor:
        """The sum (P, P) of weight * row row' over the rows; weight (m,)."""
        weighted = torch.mul(self.numbers, weight[:, None], out=self._scratch)
        product = self.numbers.T @ weighted
        if not self.levels:
            return product
        found = product.new_zeros(self.size, self.size)
        found[self.places[:, None], self.places] = product
        for index, one in enumerate(self.levels):
            for place, column in zip(self.places.tolist(), weighted.T, strict=True):
                found[one.columns, place] = found[place, one.columns] = one.sums(column)
            found.diagonal()[one.columns] = one.sums(weight)
            for other in self.levels[:index]:
                both = one.pairs(other, weight)
                found[one.columns, other.columns], found[other.columns, one.columns] = both, both.T
        return found

    def dense(self) -> Tensor:
        """The whole matrix."""
        return self @ torch.eye(self.size, dtype=torch.float64) if self.levels else self.numbers

    @cached_property
    def _scratch(self) -> Tensor:
        """Memory of the numbers' size, which stays in the cache."""
        return torch.empty_like(self.numbers)
