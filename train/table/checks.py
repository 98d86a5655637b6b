"""Warnings about a table from which a model can be fitted.

Each has the form `the fault; its consequence; the remedy`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from passfail.arrays import Floats
from passfail.codecs.csv_rows import csv_line
from passfail.commandline import option
from passfail.manifest import Feature
from train.evaluation.metrics import Evaluation

ENOUGH = 20  # rows; with fewer, all of this happens by chance
LEAKS = 0.99  # the area under the ROC curve of a column that may be known only after the outcome
SURPRISING = 5  # expected repeats of random numbers; no repeat at all then has a probability below 1 in 100
IDENTIFIER = re.compile(r"(?i:(^|[\W_])id$)|[a-z]I[Dd]$")  # id, customer_id, customerId
REPEATED = 0.01  # the share of duplicates across the folds above which held-out figures look too good

SCALES = [text.split(", ") for text in (
    "low, medium, high", "small, medium, large", "never, rarely, sometimes, often, always",
    "poor, fair, good, excellent", "none, mild, moderate, severe",
    "strongly disagree, disagree, neutral, agree, strongly agree",
)]  # fmt: skip


def warnings(features: Sequence[Feature], x: Floats, whole: bool, evaluation: Evaluation | None) -> Iterator[str]:
    """A sentence for each warning about a table.

    Parameters
    ----------
    x : float64 (n, d), the table's rows, or a sample of them.
    whole : whether x has all rows.
    evaluation : of held-out rows, if there were enough.
    """
    if _header_is_a_row(features):
        names = f"the columns are called {', '.join(feature.name for feature in features)}"
        yield f"{names}; line 1 may be a row, which is then lost; use --no-header if it is one"
    for feature, column in zip(features, x.T, strict=True):
        yield from _of_levels(feature, column, whole) if feature.levels else _of_numbers(feature, column)
    for name, area in (evaluation.auc if evaluation else {}).items():
        if len(x) >= ENOUGH and area >= LEAKS:
            then = f"leave it out with {option('--drop', name)} if it is known only after the outcome"
            yield f"{name}: alone it predicts the outcome (AUC {area:.4f}); {then}"
    if evaluation and evaluation.repeated >= REPEATED:
        then = "held-out figures look better than they are; take duplicates out of the table if they are copies"
        share = f"{evaluation.repeated:.1%} of the held-out rows"
        yield f"{share} have an exact duplicate in the training folds; {then}"


def _of_levels(feature: Feature, column: Floats, whole: bool) -> Iterator[str]:
    rows = np.bincount(column[~np.isnan(column)].astype(int), minlength=len(feature.levels))
    rare = [level for level, count in zip(feature.levels, rows, strict=True) if count == 1]
    if len(column) >= ENOUGH and whole and rare:
        then = "its coefficient rests on that row; --rare 2 pools such levels, or merge it into another"
        yield f"{feature.name}: only one row has {', '.join(rare)}; {then}"
    own = [sorted(feature.levels, key=lambda level: scale.index(level.casefold())) for scale in SCALES
           if {level.casefold() for level in feature.levels} <= set(scale)]  # fmt: skip
    if own and own[0] != list(feature.levels) and list(feature.levels) == sorted(feature.levels):
        way = option("--order", csv_line([f"{feature.name}={own[0][0]}", *own[0][1:]]))
        found = f"its levels are in alphabetical order, {', '.join(feature.levels)}"
        yield f"{feature.name}: {found}; the first is the reference; {way} sets their order"
    spelt = Counter(level.casefold() for level in feature.levels)
    if alike := [level for level in feature.levels if spelt[level.casefold()] > 1]:
        then = "each has a coefficient of its own; use --fold-case if they mean the same"
        yield f"{feature.name}: {', '.join(alike)} differ only in case; {then}"


def _of_numbers(feature: Feature, column: Floats) -> Iterator[str]:
    drop = option("--drop", feature.name)
    if feature.minimum == feature.maximum:
        yield f"{feature.name}: every row has {feature.minimum:g}; it predicts nothing; leave it out with {drop}"
    elif _are_dates(column[~np.isnan(column)]):
        found = "its numbers look like dates in the form 20240531; 20240131 and 20240201 are 70 apart"
        yield f"{feature.name}: {found}; {option('--date', f'{feature.name}=year,month')} makes numbers of dates"
    elif len(column) >= ENOUGH and _identifies(feature.name, column):
        found = "every row has a different whole number, like an identifier; the model would memorise rows"
        yield f"{feature.name}: {found}; use {drop} if it is one"


def _header_is_a_row(features: Sequence[Feature]) -> bool:
    """Whether the header looks like a row.

    All numeric columns then have numbers as names, and one of these is in its column's range, as a year would not be.
    """
    ranges = [(f.name, f.minimum, f.maximum) for f in features if f.minimum is not None and f.maximum is not None]
    try:
        inside = [low <= float(name) <= high for name, low, high in ranges]
    except ValueError:
        return False
    return any(inside)


def _are_dates(column: Floats) -> bool:
    """Whether the values (n,) are whole numbers such as 20240531."""
    year, month, day = column // 10_000, column // 100 % 100, column % 100
    whole = (year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1) & (day == np.floor(day))
    return bool((whole & (day <= 31)).all())


def _identifies(name: str, column: Floats) -> bool:
    """Whether the values (n,) look like an identifier: integers that never repeat.

    They do if the values also rise with the rows, if the name says so, or if random numbers in that range would repeat:
    n (n - 1) / 2 pairs of rows are each equal with a probability of at least 1 / the range.
    """
    if np.isnan(column).any() or (column != np.floor(column)).any() or len(np.unique(column)) < len(column):
        return False
    repeats = len(column) * (len(column) - 1) / 2 / (column.max() - column.min() + 1)
    return bool((np.diff(column) > 0).all() or IDENTIFIER.search(name) or repeats >= SURPRISING)
