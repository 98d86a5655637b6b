"""Scores of held-out rows: cross-validation, or a fifth of the rows held out."""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from passfail.arrays import Bools, Floats
from train import distributed
from train.errors import FitError
from train.model.logistic import LogisticModel
from train.solvers.fit import PROGRESS, Log, fit, silent
from train.solvers.options import Options
from train.table.data import Data
from train.table.out_of_core import BLOCK, blockwise, pieces, selected, throttled

# Above this number of rows, one fit with a fifth held out measures as well as a fit for each fold.
MOST_CROSS_VALIDATED = 100_000
MIXER = np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 / the golden ratio (Knuth, TAOCP 3, section 6.4)
Folds = npt.NDArray[np.integer]  # (n,), the fold of each row
Parts = Sequence[tuple[int, int]]  # (number, rows) of each part of the table that this process has; by default one
SAMPLE = 100_000  # rows, or a few more, of the sample of a longer table


class HeldOut(NamedTuple):
    """The held-out rows of all processes, and their scores.

    Attributes
    ----------
    how : the method in words.
    logit, y, weight : float64 (n,) each; the logit is on the link's scale.
    repeated : the share of these rows with an exact duplicate, outcome included, in the training folds.
    rows : selects the held-out rows among this process's rows.
    """

    how: str
    logit: Floats
    y: Floats
    weight: Floats
    repeated: float
    rows: Bools | slice = slice(None)


def held_out(
    data: Data,
    options: Options,
    folds: int = 5,
    parts: Parts = (),
    group: Floats | None = None,
    time: Floats | None = None,
    log: Log = silent,
) -> HeldOut | None:
    """Score held-out rows: all of them by cross-validation, or a fifth of a very long table.

    The split is seeded and keeps the share of positive rows; missing cells are imputed from the rows of the fit.

    Parameters
    ----------
    folds : the number of folds, >= 2.
    group : float64 (n,); the rows of one group are in one fold.
    time : float64 (n,); a fit to earlier rows scores each fold.

    Returns
    -------
    The scores, or None if an outcome has too few rows to hold some out.
    """
    _, x, y, weight = data
    counted = y[weight > 0]
    negative, positive = distributed.total(torch.tensor([len(counted) - counted.sum(), counted.sum()])).tolist()
    if min(negative, positive) < folds:  # a fold without an outcome measures nothing
        return None
    crossed = negative + positive <= MOST_CROSS_VALIDATED
    count = folds if crossed else 5
    how = f"{folds}-fold cross-validation" if crossed else "a fifth of the rows held out"
    if time is not None:
        fold, wanted = later_folds(time, count), list(range(1, count + 1)) if crossed else [count]
        how = f"{len(wanted)} folds in the order of time, each scored by a fit to the rows before it"
    else:
        fold = assign_folds(y, count, options.seed, parts) if group is None else group_folds(y, group, count)
        how += ", groups kept together" if group is not None else ""
        wanted = list(range(count if crossed else 1))
    logit = out_of_fold(data, options, fold, wanted, time is not None, log)
    rows = ~np.isnan(logit)
    duplicates, out = _duplicates(x, y, fold, rows), distributed.total(torch.tensor(rows.sum())).item()
    logit, outcome, counts = gather(logit[rows], y[rows], weight[rows])
    return HeldOut(how, logit, outcome, counts, duplicates / out, rows)


def cross_validated(data: Data, options: Options, folds: int) -> Floats:
    """The logit (n,) of every row, from a fit to the other folds; stratified and seeded."""
    return out_of_fold(data, options, assign_folds(data.y, folds, options.seed), range(folds))


def out_of_fold(
    data: Data, options: Options, fold: Folds, wanted: Iterable[int], later: bool = False, log: Log = silent
) -> Floats:
    """The logits (n,) of the rows in the wanted folds, from fits to the other folds; else NaN.

    Parameters
    ----------
    fold : (n,), the fold of each row.
    later : whether to fit to the earlier folds only.
    log : takes a line of progress now and then.
    """
    logit, say = np.full(len(data.y), np.nan), throttled(log, PROGRESS)
    for one in wanted:
        out = fold == one
        used = fold < one if later else ~out
        if later and len(set(chain(*distributed.gathered(np.unique(data.y[used]).tolist())))) < 2:
            raise FitError(f"--time: the rows before fold {one} all have one outcome; use fewer --folds")
        fitted = fit(data.rows(used), options, lambda line, one=one: say(f"held-out fold {one + 1}: {line}"))  # type: ignore[misc]
        logit[out] = logits(fitted.model, selected(data.x, out))
    return logit


def assign_folds(y: Floats, folds: int, seed: int, parts: Parts = ()) -> Folds:
    """The fold (n,) of each row, 0 to folds - 1; each outcome's rows are spread evenly.

    The fold depends on the row's place in the whole table, not on the number of processes.
    """
    generator = np.random.default_rng(seed)
    fold = np.empty(len(y), dtype=np.min_scalar_type(folds))
    parts = parts or [(0, len(y))]
    starts = np.cumsum([0, *(rows for _, rows in parts)])
    for outcome in (0, 1):
        own = [np.flatnonzero(y[a:b] == outcome) + a for a, b in pairwise(starts)]
        sizes = [(part, len(rows)) for (part, _), rows in zip(parts, own, strict=True)]
        counts = sorted(chain(*distributed.gathered(sizes)))
        *places, total = accumulate((count for _, count in counts), initial=0)
        first = dict(zip((part for part, _ in counts), places, strict=True))
        order = np.empty(total, dtype=fold.dtype)
        order[generator.permutation(total)] = np.arange(total) % folds
        for (part, _), rows in zip(parts, own, strict=True):
            fold[rows] = order[first[part] : first[part] + len(rows)]
    return fold


def group_folds(y: Floats, group: Floats, folds: int) -> Folds:
    """The fold (n,) of each row: groups stay together, and both outcomes are spread evenly.

    The assignment follows scikit-learn's StratifiedGroupKFold. Groups with the most unequal outcomes come first; each
    goes to the fold that leaves the shares of the outcomes most even.
    """
    outcome, groups = gather(y, group)
    names, place = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise FitError(f"--group: {len(names)} groups can't make {folds} folds; use fewer --folds")
    rows = np.stack([np.bincount(place, outcome == value, len(names)) for value in (0, 1)], axis=1)
    totals, dealt, found = rows.sum(0), np.zeros((folds, 2)), np.empty(len(names), dtype=np.min_scalar_type(folds))
    for one in np.argsort(-rows.std(axis=1), kind="mergesort"):
        tried = np.repeat(dealt[None], folds, axis=0)  # (fold to which the group is added, fold, outcome)
        tried[np.arange(folds), np.arange(folds)] += rows[one]
        uneven, size, best = (tried / totals).std(axis=1).mean(axis=1).tolist(), dealt.sum(1).tolist(), 0
        for fold in range(1, folds):
            close = abs(uneven[fold] - uneven[best]) <= 1e-8 + 1e-5 * uneven[best]
            best = fold if uneven[fold] < uneven[best] or (close and size[fold] < size[best]) else best
        found[one] = best
        dealt[best] += rows[one]
    return found[np.searchsorted(names, group)]


def later_folds(time: Floats, folds: int) -> Folds:
    """The fold (n,) of each row in the order of time; fold 0 is never tested.

    The folds are those of scikit-learn's TimeSeriesSplit: 1 to `folds` have n // (folds + 1) rows each, and fold 0 has
    the rest. Rows of one time stay in the table's order.
    """
    lengths = distributed.gathered(len(time))
    (every,) = gather(time)
    size = len(every) // (folds + 1)
    fold = np.empty(len(every), dtype=np.min_scalar_type(folds))
    fold[np.argsort(every, kind="stable")] = np.maximum(0, folds - (len(every) - 1 - np.arange(len(every))) // size)
    start = sum(lengths[: distributed.rank()])
    return fold[start : start + len(time)]


def _duplicates(x: Floats, y: Floats, fold: Folds, rows: Bools) -> float:
    """The number of rows (n,), over all processes, that equal a row of another fold in x and y."""
    key = y.astype(np.uint64)  # a hash of the row's bits, so that a large column doesn't hide the others
    for part in pieces(len(x), BLOCK, x):
        for column in x[part].T:
            bits = np.where(np.isnan(column), np.nan, column + 0.0).view(np.uint64)  # one NaN, and no -0
            key[part] = (key[part] ^ bits) * MIXER
            key[part] ^= key[part] >> np.uint64(32)
    key, fold, rows = gather(key, fold, rows)
    _, group = np.unique(key, return_inverse=True)
    least, most = np.full(group.max() + 1, fold.max()), np.zeros(group.max() + 1, fold.dtype)
    np.minimum.at(least, group, fold)
    np.maximum.at(most, group, fold)
    return float((least != most)[group[rows]].sum())


def logits(model: LogisticModel, x: Floats) -> Floats:
    """The model's logits (n,) for x (n, d), computed a block of rows at a time."""
    return blockwise(len(x), lambda rows: model.logit(torch.from_numpy(x[rows])), x)


def gather(*arrays: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The arrays of all processes, concatenated in the processes' order."""
    if distributed.ranks() == 1:
        return list(arrays)
    return [np.concatenate(distributed.gathered(array)) for array in arrays]


def sampled(data: Data) -> Data:
    """Evenly spaced rows of all processes, about SAMPLE at most."""
    features, x, y, weight = data
    total = int(distributed.total(torch.tensor([len(y)])).item())
    step = -(-total // SAMPLE)
    chosen = np.concatenate([x[rows][::step].copy() for rows in pieces(len(x), step * BLOCK, x)])
    return Data(features, *gather(chosen, y[::step], weight[::step]))
