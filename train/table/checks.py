"""What in a table may ship tomorrow's trouble, named today."""

import re
from collections import Counter

import numpy as np

ENOUGH = 20  # rows; in fewer, all of this happens by chance
TELLS = 0.99  # the area under the ROC curve of one column from which on it seems to know the outcome
SURPRISING = 5  # repeated numbers that chance would make; that it makes none has then less than 1 in 100
IDENTIFIER = re.compile(r"(?i:(^|[\W_])id$)|[a-z]I[Dd]$")  # id, customer_id, customerId
REPEATED = 0.01  # the share of twins across the split from which on held-out figures are flattered


def warnings(features, x, whole, evaluation):
    """A sentence for each suspicion about a table, with its remedy.

    x (n, d): its rows, or, where not whole, some of them. evaluation: the Evaluation, or None.
    """
    found = []
    if _headless(features):
        names = ", ".join(feature.name for feature in features)
        found.append(f"the columns are called {names}; if that is a row, write a line of names above it")
    n = len(x)
    for feature, column in zip(features, x.T, strict=True):
        name, drop = feature.name, f"--drop '{feature.name}'"
        if feature.kind == "categorical":
            rows = np.bincount(column[~np.isnan(column)].astype(int), minlength=len(feature.levels))
            rare = [level for level, count in zip(feature.levels, rows, strict=True) if count == 1]
            if n >= ENOUGH and whole and rare:
                found.append(f"{name}: only one row says {', '.join(rare)}; a guess rests on it: merge it into another")
            spelt = Counter(level.casefold() for level in feature.levels)
            if alike := [level for level in feature.levels if spelt[level.casefold()] > 1]:
                found.append(f"{name}: {', '.join(alike)} differ only in case; if they mean the same, write only one")
        elif feature.minimum == feature.maximum:
            found.append(f"{name}: every row says {feature.minimum:g}; it tells nothing: {drop}")
        elif n >= ENOUGH and _identifies(name, column):
            found.append(f"{name}: every row has another whole number, as an identifier has; if it is one, {drop}")
    for name, area in (evaluation.auc if evaluation else {}).items():
        if n >= ENOUGH and area >= TELLS:
            found.append(
                f"{name}: alone it tells the outcome (AUC {area:.4f}); if it is only known afterwards, --drop '{name}'"
            )
    if evaluation and evaluation.repeated >= REPEATED:
        found.append(
            f"{evaluation.repeated:.1%} of the held-out rows have a twin, outcome and all, among the rows fitted to; "
            "if they are copies, take them out, for they flatter the held-out figures"
        )
    return tuple(found)


def _headless(features):
    """Whether the columns of numbers have numbers for names, and some that could be their own: not years, say."""
    numeric = [feature for feature in features if feature.kind == "numeric"]
    try:
        named = [feature.minimum <= float(feature.name) <= feature.maximum for feature in numeric]
    except ValueError:
        return False
    return any(named)


def _identifies(name, column):
    """Whether the values (n,) are whole numbers, each once, as an identifier's are and a quantity's hardly ever.

    That is so where they rise with the rows, where the name says it, and where they lie so close that numbers drawn
    at random would repeat: n (n - 1) / 2 pairs of rows, each equal with a chance of at least 1 / the numbers between
    the least and the largest.
    """
    if np.isnan(column).any() or (column != np.floor(column)).any() or len(np.unique(column)) < len(column):
        return False
    repeats = len(column) * (len(column) - 1) / 2 / (column.max() - column.min() + 1)
    return bool((np.diff(column) > 0).all() or IDENTIFIER.search(name) or repeats >= SURPRISING)
