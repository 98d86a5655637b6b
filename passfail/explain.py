"""The explanation of an answer: contributions to the logit, flips, calibration evidence.

A flip is a change of one feature that changes the verdict.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict, cast, final

import numpy as np

from passfail.arrays import Bools, Floats, Ints
from passfail.manifest import Manifest
from passfail.measurements import Bin
from passfail.proof import reference
from passfail.proof.floats import LARGEST, bisect

if TYPE_CHECKING:
    from passfail.model import Model

CHUNK = 200  # rows at a time, so that memory stays small
NO_SUM = "a hidden layer's logit is not a sum over the features"
STEPS = 65  # values across the training range at which a hidden layer is searched for another verdict


@final
class LevelFlip(TypedDict):
    """The levels of a categorical feature that flip the verdict."""

    levels: list[str]


@final
class ValueFlip(TypedDict):
    """The number that flips the verdict, and whether it lies outside the training range.

    If no number flips it, both are None, and `reason` tells why.
    """

    value: float | None
    outside: bool | None
    reason: NotRequired[str]


class Contributions(TypedDict):
    """The parts that add up to a row's logit; with a hidden layer, None and the reason."""

    baseline: float | None
    contributions: dict[str, float] | None
    residual: float | None
    reason: NotRequired[str]


class Explanation(Contributions):
    """The explanation of one verdict: the logit's parts, the threshold's logit, and the flips."""

    threshold: float
    flips: dict[str, LevelFlip | ValueFlip]


class Evidence(TypedDict):
    """A calibration bin: `positives` of its `rows` held-out rows were positive.

    `low` and `high` bound the 95 % interval of their share.
    """

    lower: float
    upper: float
    rows: int
    positives: int
    low: float
    high: float


def explain(model: "Model", x: Floats, logit: Floats) -> list[Explanation]:
    """Explain the answers to rows, in the manifest's names.

    Parameters
    ----------
    x : float64 (n, d), NaN if missing.
    logit : the model's answers (n,), finite.
    """
    explanations: list[Explanation] = []
    for start in range(0, len(x), CHUNK):
        rows, z = x[start : start + CHUNK], logit[start : start + CHUNK]
        with np.errstate(all="ignore"):
            parts = zip(_contributions(model.manifest, rows, z), _flips(model, rows, z), strict=True)
        explanations += [{"threshold": model.manifest.logit_threshold, **why, "flips": flips} for why, flips in parts]
    return explanations


def _contributions(manifest: Manifest, x: Floats, logit: Floats) -> list[Contributions]:
    """The parts that add up to each row's logit: baseline + contributions + residual.

    The baseline is the logit at the mean of the training rows. A feature contributes the sum over its columns of
    weight * (value - mean) / scale. The residual is the rounding error.
    """
    if manifest.parameters.hidden:
        return [{"baseline": None, "contributions": None, "residual": None, "reason": NO_SUM}] * len(x)
    baseline, parts = contributions(manifest, x)
    residual: Floats = logit - (baseline + parts.sum(axis=1))
    names, rows = [feature.name for feature in manifest.features], list(parts)
    return [
        {"baseline": baseline, "contributions": dict(zip(names, row.tolist(), strict=True)), "residual": rest}
        for row, rest in zip(rows, residual.tolist(), strict=True)
    ]


def contributions(manifest: Manifest, x: Floats) -> tuple[float, Floats]:
    """The baseline, and each feature's contribution (n, d) in rows x (n, d).

    The model must not have a hidden layer.
    """
    baseline = manifest.parameters.intercept
    parts = np.zeros(x.shape)
    for column, value in zip(manifest.parameters.columns, reference.values(manifest, x).T, strict=True):
        baseline += (column.mean - column.center) / column.scale * column.weight
        parts[:, column.feature] += (value - column.mean) / column.scale * column.weight
    return baseline, parts


def _flips(model: "Model", x: Floats, logit: Floats) -> list[dict[str, LevelFlip | ValueFlip]]:
    """For each row, {feature: its flip}; the served model answers with each feature moved alone."""
    features, verdict = model.manifest.features, model.verdict(logit)
    numeric = [index for index, feature in enumerate(features) if feature.kind == "numeric"]
    # All numeric features of a row are searched at once: a run of the model costs more than its rows.
    row, index = np.repeat(np.arange(len(x)), len(numeric)), np.tile(np.array(numeric, dtype=np.intp), len(x))
    values: list[ValueFlip] = []
    for start in range(0, len(row), CHUNK):
        some = row[start : start + CHUNK]
        values += _values(model, x[some], verdict[some], index[start : start + CHUNK])
    found: dict[str, Sequence[LevelFlip | ValueFlip]] = {}
    for at, feature in enumerate(features):
        is_number = feature.kind == "numeric"
        found[feature.name] = values[numeric.index(at) :: len(numeric)] if is_number else _levels(model, x, verdict, at)
    return [dict(zip(found, flips, strict=True)) for flips in zip(*found.values(), strict=True)]


def _levels(model: "Model", x: Floats, verdict: Bools, index: int) -> list[LevelFlip]:
    """For each row, the levels that flip the verdict."""
    levels = model.manifest.features[index].levels
    every = np.tile(np.arange(len(levels), dtype=np.float64), (len(x), 1))
    logit = _ask(model, x, np.full(len(x), index), every)
    flips = (model.verdict(logit) != verdict[:, None]) & np.isfinite(logit)
    return [{"levels": [level for level, flip in zip(levels, row, strict=True) if flip]} for row in flips]


def _values(model: "Model", x: Floats, verdict: Bools, index: Ints) -> list[ValueFlip]:
    """For each row, the number that flips the verdict in the feature at its index.

    A missing value starts at its fill. Without a hidden layer, the computed logit is monotone in each value, so
    bisection finds the nearest flip. With a hidden layer, it finds a flip in the training range if one of STEPS values
    has another verdict.
    """
    features = [model.manifest.features[at] for at in index]
    here = x[np.arange(len(x)), index]
    here = np.where(np.isnan(here), [feature.fill or 0.0 for feature in features], here)
    least, most = np.array([feature.range for feature in features]).T
    if model.manifest.parameters.hidden:
        far = np.linspace(least, most, STEPS, axis=1)
        reasons = [f"none of {STEPS} values across the training range flips the verdict"] * len(x)
    else:
        far = np.tile([-LARGEST, LARGEST], (len(x), 1))
        weights = {column.feature: column.weight for column in model.manifest.parameters.columns if not column.missing}
        reasons = ["no finite value flips the verdict" if weights[at] else "its weight is 0" for at in index.tolist()]
    # The starting value is among them: with an indicator, replacing a missing value may suffice.
    tried = np.column_stack([here, far])
    flips = model.verdict(_ask(model, x, index, tried)) != verdict[:, None]
    halves = np.abs(tried / 2 - here[:, None] / 2)  # halved, so that differences don't overflow
    distance = np.where(flips, halves, np.inf)
    nearest = np.take_along_axis(tried, distance.argmin(axis=1)[:, None], axis=1)[:, 0]

    def ask(value: Floats) -> Floats:
        return _ask(model, x, index, value[:, None])[:, 0]

    there = np.where(flips.any(axis=1), nearest, here)
    _, value = bisect(here, there, lambda value: model.verdict(ask(value)) == verdict)
    logit = ask(value)
    found = (model.verdict(logit) != verdict) & np.isfinite(logit)
    outside = (value < least) | (value > most)
    return [
        {"value": v, "outside": far_out} if flip else {"value": None, "outside": None, "reason": reason}
        for v, far_out, flip, reason in zip(value.tolist(), outside.tolist(), found.tolist(), reasons, strict=True)
    ]


def _ask(model: "Model", x: Floats, index: Ints, values: Floats) -> Floats:
    """The served logits (n, k) of rows x (n, d) whose feature at `index` has each of values.

    Parameters
    ----------
    index : the feature of each row (n,).
    values : (n, k).
    """
    rows = np.repeat(x, values.shape[1], axis=0)
    rows[np.arange(len(rows)), np.repeat(index, values.shape[1])] = values.ravel()
    return model.runtime(rows)[0].reshape(values.shape)


def evidence(calibration: Sequence[Bin], probability: Floats) -> list[Evidence | None]:
    """Find the calibration bin of each probability (n,); None if no held-out row is near.

    calibration: the manifest's bins, in order.
    """
    lowers = [found.lower for found in calibration]
    found: list[Evidence | None] = []
    for p in probability.tolist():
        at = bisect_right(lowers, p) - 1
        near = at >= 0 and (p < calibration[at].upper or p == calibration[at].upper == 1)
        cited = {name: getattr(calibration[at], name) for name in Evidence.__annotations__} if near else None
        found.append(cast(Evidence | None, cited))
    return found
