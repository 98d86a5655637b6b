"""The model: from raw features to a logit and a probability.

Everything that a row goes through is inside the module (imputation, one-hot, scaling), so that it is inside both
exports and can't drift from training.
"""

import math
from types import SimpleNamespace

import torch
from torch import nn

from passfail.manifest import Column, Hidden, Parameters, Unit
from passfail.proof.activations import ACTIVATIONS, POWERS, PRELU_START
from train.model.links import LINKS

_POWERS = torch.tensor(POWERS, dtype=torch.float64)

# What the activations compute with. The ONNX exporter rounds a plain number to float32, hence `number`.
TORCH = SimpleNamespace(
    where=torch.where,
    floor=torch.floor,
    abs=torch.abs,
    amax=torch.amax,
    cumsum=torch.cumsum,
    number=lambda value: torch.tensor(value, dtype=torch.float64),
    power=lambda step: _POWERS.take(step.to(torch.int64)),
)


class LogisticModel(nn.Module):
    """Logistic regression on raw features, float64 throughout.

    Built for a list of d `passfail.manifest.Feature`; its design matrix has D columns: one a numeric feature, and
    K - 1 indicators a categorical feature of K levels (the first level is the reference); then, where the feature's
    `missing` says "indicator", one that is 1 where the value is missing.

    With hidden = H > 0, a layer of H units with an activation stands between the design matrix and the logit.

    Parameters: `weight` (D,), `bias` (1,); with a hidden layer `hidden_weight` (D, H), `hidden_bias` (H,), `weight`
    (H,), `bias` (1,) and, for PReLU alone, `slope` (1,). Buffers: `center` and `scale` (D,), see `standardize`; `mean`
    (D,), of the columns over the training rows, which explanations compare with.
    """

    def __init__(self, features, hidden=0, activation="ReLU", link="logit"):
        super().__init__()
        self.link = link
        source, level, flag = [], [], []
        for index, feature in enumerate(features):
            levels = [*range(1, len(feature.levels))] if feature.kind == "categorical" else [math.nan]
            flags = [True] if feature.missing == "indicator" else []
            source += [index] * len(levels + flags)
            level += [*map(float, levels), *(-1.0 for _ in flags)]  # a flag's column has none
            flag += [*(False for _ in levels), *flags]

        def constant(values):
            return torch.tensor(values, dtype=torch.float64)

        self.has_missing = any(feature.nullable for feature in features)
        self.has_categories = any(feature.kind == "categorical" for feature in features)
        self.register_buffer("fill", constant([math.nan if f.fill is None else f.fill for f in features]))
        self.register_buffer("source", torch.tensor(source))
        self.register_buffer("level", constant(level))
        self.has_flags = any(flag)
        self.register_buffer("flag", torch.tensor(flag))
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
        # (1,): a tensor () near 0, or a slope near 1, the ONNX exporter takes for 0 or 1 and leaves out.
        self.bias = nn.Parameter(constant([0.0]))

    def columns(self, x):
        """x (n, d) -> the D unscaled columns of the design matrix (n, D).

        A missing value becomes its feature's fill; where there is none, and where a level's index is not one of
        training, the result is NaN: the graph never guesses.

        Here and in what follows the work is done on the transpose, where a column lies together: an engine is several
        times faster where a constant goes with a whole column than where it changes from value to value. Of the
        transposes only the first gets into the export.
        """
        x = x.T
        if self.has_missing or self.has_flags:
            missing = torch.isnan(x)
            x = torch.where(missing, self.fill[:, None], x)
        if not (self.has_categories or self.has_flags):
            return x.T
        values = torch.index_select(x, 0, self.source)
        seen = values == torch.minimum(torch.clamp(torch.round(values), min=0.0), self.last_level[:, None])
        indicator = (values == self.level[:, None]).to(torch.float64)
        values = torch.where(torch.isnan(self.level)[:, None], values, torch.where(seen, indicator, math.nan))
        if self.has_flags:
            flags = torch.index_select(missing, 0, self.source).to(torch.float64)
            values = torch.where(self.flag[:, None], flags, values)
        return values.T

    def design(self, x):
        """x (n, d) -> the scaled design matrix (n, D), without the intercept's column."""
        return ((self.columns(x).T - self.center[:, None]) / self.scale[:, None]).T

    def standardize(self, mean, deviation, center=True):
        """Center and scale each numeric column by its mean and population standard deviation, (D,) each.

        A constant column keeps the scale 1, and indicators stay 0 and 1. Without an intercept nothing may be
        centered: that would be another model.
        """
        numeric = torch.isnan(self.level)
        self.center.copy_(torch.where(numeric & center, mean, 0.0))
        self.scale.copy_(torch.where(numeric & (deviation > 0), deviation, 1.0))

    def score(self, design, product=torch.matmul):
        """The design matrix (n, D) -> the logit (n,), with the matrix product given."""
        if self.activation:
            units = product(design, self.hidden_weight) + self.hidden_bias
            design = ACTIVATIONS[self.activation](TORCH, units, self.slope)
        return product(design, self.weight) + self.bias

    def forward(self, x):
        """x float64 (n, d), NaN for missing, a category as its index -> (logit, probability), float64 (n,) each."""
        logit = self.score(self.design(x), product_in_order)
        return logit, LINKS[self.link].probability(logit)


def product_in_order(a, b):
    """a @ b, added up column by column with cumsum: a (n, D) with b (D,) or (D, H) -> (n,) or (n, H).

    Its order is fixed: IEEE 754 then gives the same bits in every engine, on every machine, and for a row alone as for
    the same row in a batch. A matrix product, or a sum, may add in any order.
    """
    terms = a.T * b[:, None] if b.dim() == 1 else a.T[:, :, None] * b[:, None, :]
    return torch.cumsum(terms, dim=0)[-1]


def parameters(model):
    """The model's parameters as the manifest records them."""
    weights = torch.ones_like(model.level) if model.activation else model.weight
    columns = zip(model.source, model.level, model.flag, model.center, model.scale, weights, model.mean, strict=True)
    return Parameters(
        intercept=model.bias.item(),
        columns=tuple(
            Column(
                feature=source.item(),
                level=None if flag or math.isnan(level.item()) else int(level.item()),
                center=center.item(),
                scale=scale.item(),
                weight=weight.item(),
                mean=mean.item(),
                missing=flag.item(),
            )
            for source, level, flag, center, scale, weight, mean in columns
        ),
        hidden=_hidden(model) if model.activation else None,
    )


def _hidden(model):
    units = zip(model.hidden_bias.tolist(), model.hidden_weight.T.tolist(), model.weight.tolist(), strict=True)
    slope = None if model.slope is None else model.slope.item()
    return Hidden(model.activation, slope, tuple(Unit(bias, tuple(inputs), output) for bias, inputs, output in units))
