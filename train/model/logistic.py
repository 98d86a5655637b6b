"""The PyTorch module: from raw features to a logit and a probability.

Imputation, one-hot columns and scaling are inside the module. Both exports therefore contain them, and the service
computes them as training did.
"""

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from passfail.manifest import Column, Feature, Hidden, Parameters, Unit
from passfail.proof.activations import ACTIVATIONS, OPERATIONS, POWERS, PRELU_START
from train.model.design import Design, Levels
from train.model.links import LINKS

MANY = 32  # levels of a feature above which a Design does not store its indicators
_POWERS = torch.tensor(POWERS, dtype=torch.float64)

# The library for the activations. The ONNX exporter rounds a plain number to float32, hence `number`.
TORCH = SimpleNamespace(
    **{name: getattr(torch, name) for name in OPERATIONS},
    number=lambda value: torch.tensor(value, dtype=torch.float64),
    power=lambda step: _POWERS.take(step.to(torch.int64)),
)

Product = Callable[[Tensor, Tensor], Tensor]
Features = Sequence[Feature]


class LogisticModel(nn.Module):
    """Logistic regression on raw features, float64 throughout.

    The design matrix has D columns. A numeric feature has one column. A categorical feature of K levels has K - 1
    indicators; its first level is the reference. A feature whose `missing` is "indicator" has one more column, which is
    1 where the value is missing.

    With hidden = H > 0, a layer of H units with an activation is between the design matrix and the logit.

    Its parameters are `weight` (D,) and `bias` (1,), which stays 0 without an intercept. A hidden layer has
    `hidden_weight` (D, H), `hidden_bias` (H,), `weight` (H,), `bias` (1,) and, only for PReLU, `slope` (1,). Its
    buffers are `center` and `scale` (D,), see `standardize`, and `mean` (D,), the columns' means over the training
    rows.

    Parameters
    ----------
    features : the d features, in the order of x's columns.
    hidden : the number of hidden units, 0 for none.
    activation : a key of ACTIVATIONS.
    link : a key of LINKS.
    intercept : whether the linear model has an intercept.
    """

    fill: Tensor  # (d,), the replacement of a missing value; NaN: none
    source: Tensor  # (D,), the index of each column's feature
    level: Tensor  # (D,), the level of an indicator; NaN: a numeric column; -1: a missing-value indicator
    flag: Tensor  # (D,), whether a column is a missing-value indicator
    last_level: Tensor  # (D,), the highest level index of each column's feature
    center: Tensor
    scale: Tensor
    mean: Tensor

    def __init__(
        self, features: Features, hidden: int = 0, activation: str = "ReLU", link: str = "logit", intercept: bool = True
    ) -> None:
        super().__init__()
        self.link, self.intercept = link, intercept
        source: list[int] = []
        level: list[float] = []
        stored: list[int] = []  # the columns that a Design stores
        self.many: list[tuple[int, slice]] = []  # the index and the columns of `beta` of each feature of many levels
        for index, feature in enumerate(features):
            start = len(level)
            level += map(float, range(1, len(feature.levels))) if feature.kind == "categorical" else [math.nan]
            if len(feature.levels) >= MANY:
                self.many.append((index, slice(intercept + start, intercept + len(level))))
                start = len(level)
            level += [-1.0] if feature.missing == "indicator" else []
            stored += range(start, len(level))
            source += [index] * (len(level) - len(source))

        def constant(values: list[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float64)

        self.stored = torch.tensor(stored, dtype=torch.int64)
        self.places = torch.cat([torch.arange(int(intercept)), intercept + self.stored])  # in `beta`
        self.has_missing = any(feature.nullable for feature in features)
        self.has_categories = any(feature.kind == "categorical" for feature in features)
        self.has_flags = -1.0 in level
        self.register_buffer("fill", constant([math.nan if f.fill is None else f.fill for f in features]))
        self.register_buffer("source", torch.tensor(source))
        self.register_buffer("level", constant(level))
        self.register_buffer("flag", self.level == -1)
        self.register_buffer("last_level", constant([len(features[i].levels) - 1.0 for i in source]))
        self.register_buffer("center", torch.zeros_like(self.level))
        self.register_buffer("scale", torch.ones_like(self.level))
        self.register_buffer("mean", torch.zeros_like(self.level))
        self.activation = activation if hidden else None
        self.slope = nn.Parameter(constant([PRELU_START])) if self.activation == "PReLU" else None
        if hidden:
            self.hidden_weight = nn.Parameter(torch.zeros(len(level), hidden, dtype=torch.float64))
            self.hidden_bias = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))
        self.weight = nn.Parameter(torch.zeros(hidden or len(level), dtype=torch.float64))
        # (1,), because the ONNX exporter takes a tensor () near 0, or a slope near 1, for 0 or 1 and omits it.
        self.bias = nn.Parameter(constant([0.0]))

    @property
    def beta(self) -> Tensor:
        """The linear model's parameters as one vector (P,): the intercept, if any, then the weights."""
        return torch.cat([self.bias, self.weight] if self.intercept else [self.weight]).detach()

    @beta.setter
    def beta(self, beta: Tensor) -> None:
        with torch.no_grad():
            self.bias.fill_(beta[0] if self.intercept else 0.0)
            self.weight.copy_(beta[int(self.intercept) :])

    def columns(self, x: Tensor, some: Tensor | None = None) -> Tensor:
        """Compute the unscaled columns of the design matrix, or some: x (n, d) -> (n, D).

        some : the indices of those columns; None: all.

        A missing value becomes its feature's fill. The result is NaN without a fill, and for a level's index that
        training did not see.

        This method and `design` work on the transpose, in which a column's values are adjacent. Engines are several
        times faster if a constant applies to a whole column. Only the first transpose gets into the export.
        """
        x = x.T
        if self.has_missing or self.has_flags:
            missing = torch.isnan(x)
            x = torch.where(missing, self.fill[:, None], x)
        if not (self.has_categories or self.has_flags):
            return x.T
        parts = self.source, self.level, self.last_level, self.flag
        source, level, last_level, flag = parts if some is None else (part[some] for part in parts)
        values = torch.index_select(x, 0, source)
        seen = values == torch.minimum(torch.clamp(torch.round(values), min=0.0), last_level[:, None])
        indicator = (values == level[:, None]).to(torch.float64)
        values = torch.where(torch.isnan(level)[:, None], values, torch.where(seen, indicator, math.nan))
        if self.has_flags:
            flags = torch.index_select(missing, 0, source).to(torch.float64)
            values = torch.where(flag[:, None], flags, values)
        return values.T

    def design(self, x: Tensor) -> Tensor:
        """Compute the scaled design matrix without the intercept's column: x (n, d) -> (n, D)."""
        return ((self.columns(x).T - self.center[:, None]) / self.scale[:, None]).T

    def matrix(self, x: Tensor) -> Design:
        """Compute the matrix that `beta` multiplies: x (n, d) -> (n, P).

        It is a column of ones, if there is an intercept, followed by `design`. The solvers read it row by row, so it is
        scaled in place, by a product, which is faster than a quotient.
        """
        first, stored = int(self.intercept), self.stored
        numbers = torch.empty(len(x), first + len(stored), dtype=torch.float64)
        numbers[:, :first] = 1
        torch.sub(self.columns(x, stored), self.center[stored], out=numbers[:, first:]).mul_(1 / self.scale[stored])
        return Design(numbers, self.places, self._levels(x))

    def _levels(self, x: Tensor) -> list[Levels]:
        """The rows' levels in each feature of many levels."""
        filled = ((own, torch.where(torch.isnan(x[:, at]), self.fill[at], x[:, at])) for at, own in self.many)
        return [Levels(own, codes.to(torch.int64)) for own, codes in filled]

    def standardize(self, mean: Tensor, deviation: Tensor) -> None:
        """Center and scale each numeric column by its mean and population deviation, (D,) each.

        A constant column keeps the scale 1, and indicators stay 0 and 1. Without an intercept nothing is centered,
        because centering would change the model.
        """
        numeric = torch.isnan(self.level)
        self.center.copy_(torch.where(numeric & self.intercept, mean, 0.0))
        self.scale.copy_(torch.where(numeric & (deviation > 0), deviation, 1.0))

    def score(self, design: Tensor, product: Product = torch.matmul) -> Tensor:
        """Compute the logit (n,) from the design matrix (n, D), with the given matrix product."""
        if self.activation:
            units = product(design, self.hidden_weight) + self.hidden_bias
            design = ACTIVATIONS[self.activation](TORCH, units, self.slope)
        return product(design, self.weight) + self.bias

    def logit(self, x: Tensor) -> Tensor:
        """Compute the logit (n,) with the bits of `forward`.

        A feature of many levels adds one term: the terms of its other levels are 0, and change no sum.
        """
        if self.activation or not self.many:
            return self(x)[0]  # type: ignore[no-any-return]
        columns = (self.columns(x, self.stored).T - self.center[self.stored, None]) / self.scale[self.stored, None]
        chosen = [one.chosen(self.beta) for one in self._levels(x)]
        first = torch.tensor([own.start for _, own in self.many]) - int(self.intercept)
        order = torch.argsort(torch.cat([self.stored, first]))
        terms = torch.cat([columns * self.weight[self.stored, None], torch.stack(chosen)])[order]
        return torch.cumsum(terms, dim=0)[-1] + self.bias

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute each row's (logit, probability), float64 (n,) each.

        x : float64 (n, d), NaN for missing, a category as the index of its level.
        """
        logit = self.score(self.design(x), product_in_order)
        return logit, LINKS[self.link].probability(logit)


def product_in_order(a: Tensor, b: Tensor) -> Tensor:
    """Compute a @ b by cumsum: a (n, D) with b (D,) or (D, H) -> (n,) or (n, H).

    The order of the additions is fixed. IEEE 754 therefore gives the same bits in every engine, on every machine, alone
    or in a batch. A matrix product, or a sum, may add in any order.
    """
    terms = a.T * b[:, None] if b.dim() == 1 else a.T[:, :, None] * b[:, None, :]
    return torch.cumsum(terms, dim=0)[-1]


def parameters(model: LogisticModel) -> Parameters:
    """The model's parameters in the manifest's form."""
    weights = torch.ones_like(model.level) if model.activation else model.weight
    parts = model.source, model.level, model.center, model.scale, weights, model.mean, model.flag
    columns = tuple(
        Column(source, None if flag or math.isnan(level) else int(level), center, scale, weight, mean, flag)
        for source, level, center, scale, weight, mean, flag in zip(*(part.tolist() for part in parts), strict=True)
    )
    hidden = _hidden(model, model.activation) if model.activation else None
    return Parameters(model.bias.item(), columns, hidden)


def _hidden(model: LogisticModel, activation: str) -> Hidden:
    units = zip(model.hidden_bias.tolist(), model.hidden_weight.T.tolist(), model.weight.tolist(), strict=True)
    slope = None if model.slope is None else model.slope.item()
    return Hidden(activation, slope, tuple(Unit(bias, tuple(inputs), output) for bias, inputs, output in units))
