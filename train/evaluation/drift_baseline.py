"""The distributions of the training rows, with which the service compares its rows."""

from collections.abc import Sequence

import numpy as np

from passfail.arrays import Floats
from passfail.manifest import Feature
from passfail.measurements import Baseline, Spread

BINS = 10
LEVELS = 20  # of a categorical feature with more, neighbours share a bin


def baseline(features: Sequence[Feature], x: Floats, score: Floats, weight: Floats) -> Baseline:
    """The Baseline of training rows x (n, d), their scores (n,) and weights (n,), NumPy float64."""
    spreads = (_spread(column, weight, feature.levels) for feature, column in zip(features, x.T, strict=True))
    return Baseline(len(x), tuple(spreads), _spread(score, weight))


def _spread(values: Floats, weight: Floats, levels: tuple[str, ...] = ()) -> Spread:
    missing = np.isnan(values)
    known, counted = values[~missing], weight[~missing]
    if levels and len(levels) <= LEVELS:
        edges = np.arange(1, len(levels)) - 0.5
    else:
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.empty(0)
    shares = np.bincount(np.searchsorted(edges, known, side="right"), counted, minlength=len(edges) + 2)
    shares[-1] = weight[missing].sum()
    return Spread(edges=tuple(edges.tolist()), shares=tuple((shares / weight.sum()).tolist()))
