"""What a missing cell becomes: the mean, median or most frequent of the cells that are there."""

import msgspec
import numpy as np
import torch

from train import distributed
from train.table.out_of_core import BLOCK, pieces


def filled(features, x, weight):
    """The features with what missing cells become, as the rows x (n, d), of all processes, have it.

    weight float64 (n,), >= 0: how many rows each row counts for. A feature whose known cells count for nothing stays as
    it is.
    """
    return tuple(
        _filled(feature, np.concatenate([x[rows, index] for rows in pieces(len(x), BLOCK, x)]), weight)
        if feature.nullable
        else feature
        for index, feature in enumerate(features)
    )


def _filled(feature, column, weight):
    there = ~np.isnan(column) & (weight > 0)
    value, counts = column[there], weight[there]
    mean = feature.kind == "numeric" and feature.missing in ("mean", "indicator")
    if mean:
        total, rows = distributed.total(torch.tensor([counts @ value, counts.sum()], dtype=torch.float64)).tolist()
        return msgspec.structs.replace(feature, fill=total / rows) if rows else feature
    value, counts = map(np.concatenate, zip(*distributed.gathered((value, counts)), strict=True))
    if len(value) == 0:
        return feature
    value, place = np.unique(value, return_inverse=True)
    counts = np.bincount(place, counts)
    middle = feature.missing == "median" and feature.kind == "numeric"
    return msgspec.structs.replace(feature, fill=float(_median(value, counts) if middle else value[counts.argmax()]))


def _median(value, counts):
    """The median of rising values, each so many times; halfway between two that share the middle."""
    below = np.cumsum(counts)
    low, high = (np.searchsorted(below, below[-1] / 2, side) for side in ("left", "right"))
    return (value[low] + value[min(high, len(value) - 1)]) / 2
