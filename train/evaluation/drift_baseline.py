"""How the training rows are spread, for the service to compare the rows it is asked about with (telemetry/drift.py)."""

import numpy as np

from passfail.manifest import Baseline, Spread

BINS = 10
LEVELS = 20  # of a categorical feature with more, neighbours share a bin


def baseline(features, x, score, weight):
    """The Baseline of training rows x (n, d) and their scores (n,), NumPy float64; weight (n,): of the rows."""
    return Baseline(
        rows=len(x),
        features=tuple(_spread(column, weight, feature.levels) for feature, column in zip(features, x.T, strict=True)),
        score=_spread(score, weight),
    )


def _spread(values, weight, levels=()):
    missing = np.isnan(values)
    known, counted = values[~missing], weight[~missing]
    if levels and len(levels) <= LEVELS:
        edges = np.arange(1, len(levels)) - 0.5
    else:
        edges = np.unique(np.quantile(known, np.arange(1, BINS) / BINS)) if len(known) else np.empty(0)
    shares = np.bincount(np.searchsorted(edges, known, side="right"), counted, minlength=len(edges) + 2)
    shares[-1] = weight[missing].sum()
    return Spread(edges=tuple(edges.tolist()), shares=tuple((shares / weight.sum()).tolist()))
