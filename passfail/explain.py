"""Why a row is answered as it is: contributions to the logit, what would change the verdict, calibration evidence."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict, final

import numpy as np

from passfail.arrays import Bools, Floats
from passfail.manifest import Bin, Manifest
from passfail.proof import reference
from passfail.proof.floats import LARGEST, bisect

if TYPE_CHECKING:
    from passfail.model import Model

CHUNK = 200  # rows at a time, so that memory stays small
NO_SUM = "a hidden layer's logit is no sum over the features"
STEPS = 65  # values across the training range at which a hidden layer is asked for another verdict


@final
class LevelFlip(TypedDict):
    """The levels of a categorical feature that flip the verdict."""

    levels: list[str]


@final
class ValueFlip(TypedDict):
    """The number that flips the verdict, and whether it is outside the training range; or None, and the reason."""

    value: float | None
    outside: bool | None
    reason: NotRequired[str]


class Contributions(TypedDict):
    """The parts that add up to a row's logit; None with a hidden layer, and the reason."""

    baseline: float | None
    contributions: dict[str, float] | None
    residual: float | None
    reason: NotRequired[str]


class Explanation(Contributions):
    """Why a row has its verdict: the parts of its logit, the threshold's logit, and each feature's flip."""

    threshold: float
    flips: dict[str, LevelFlip | ValueFlip]


class Evidence(TypedDict):
    """A calibration bin: of `rows` held-out rows `positives` were positive; `low` to `high` is the 95 % interval."""

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
    x : float64 (n, d), NaN where missing.
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
    """For each row the parts that add up to its logit: baseline + contributions + residual.

    baseline: the logit at the mean of the training rows. A feature contributes, over its columns,
    weight * (value - mean) / scale. residual: what rounding leaves.
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
    """The baseline, and what each feature adds to it in rows x (n, d): (n, d); for a model without a hidden layer."""
    baseline = manifest.parameters.intercept
    parts = np.zeros(x.shape)
    for column, value in zip(manifest.parameters.columns, reference.values(manifest, x).T, strict=True):
        baseline += (column.mean - column.center) / column.scale * column.weight
        parts[:, column.feature] += (value - column.mean) / column.scale * column.weight
    return baseline, parts


def _flips(model: "Model", x: Floats, logit: Floats) -> list[dict[str, LevelFlip | ValueFlip]]:
    """For each row {name: what flips its verdict}, each feature moved alone, as the served model itself answers."""
    verdict = model.verdict(logit)
    flips: list[dict[str, LevelFlip | ValueFlip]] = [{} for _ in x]
    for index, feature in enumerate(model.manifest.features):
        find = _levels if feature.kind == "categorical" else _values
        found: Sequence[LevelFlip | ValueFlip] = find(model, x, verdict, index)
        for row, flip in zip(flips, found, strict=True):
            row[feature.name] = flip
    return flips


def _levels(model: "Model", x: Floats, verdict: Bools, index: int) -> list[LevelFlip]:
    """For each row the levels that flip the verdict."""
    levels = model.manifest.features[index].levels
    logit = _ask(model, x, index, np.tile(np.arange(len(levels), dtype=np.float64), (len(x), 1)))
    flips = (model.verdict(logit) != verdict[:, None]) & np.isfinite(logit)
    return [{"levels": [level for level, flip in zip(levels, row, strict=True) if flip]} for row in flips]


def _values(model: "Model", x: Floats, verdict: Bools, index: int) -> list[ValueFlip]:
    """For each row the number that flips the verdict; a missing value is moved from its fill.

    Without a hidden layer the logit, rounding and all, never turns back as one value rises, so that bisection finds
    the flip that is nearest. With one it finds a flip, in the training range, where some of STEPS values has another
    verdict.
    """
    feature = model.manifest.features[index]
    here = x[:, index] if not feature.nullable else np.where(np.isnan(x[:, index]), feature.fill or 0.0, x[:, index])
    least, most = feature.range
    if model.manifest.parameters.hidden:
        far = np.linspace(least, most, STEPS)
        reason = f"none of {STEPS} values across the range seen in training flips it"
    else:
        far = np.array([-LARGEST, LARGEST])
        columns = model.manifest.parameters.columns
        weight = next(column.weight for column in columns if column.feature == index and not column.missing)
        reason = "no finite number flips it" if weight else "its weight is 0"
    # The value itself is among them: with an indicator, giving a missing value may be enough.
    tried = np.column_stack([here, np.tile(far, (len(x), 1))])
    flips = model.verdict(_ask(model, x, index, tried)) != verdict[:, None]
    halves = np.abs(tried / 2 - here[:, None] / 2)  # whose differences don't overflow
    distance = np.where(flips, halves, np.inf)
    nearest = np.take_along_axis(tried, distance.argmin(axis=1)[:, None], axis=1)[:, 0]

    def ask(value: Floats) -> Floats:
        return _ask(model, x, index, value[:, None])[:, 0]

    _, value = bisect(
        here, np.where(flips.any(axis=1), nearest, here), lambda value: model.verdict(ask(value)) == verdict
    )
    logit = ask(value)
    found = (model.verdict(logit) != verdict) & np.isfinite(logit)
    outside = (value < least) | (value > most)
    return [
        {"value": v, "outside": far_out} if flip else {"value": None, "outside": None, "reason": reason}
        for v, far_out, flip in zip(value.tolist(), outside.tolist(), found.tolist(), strict=True)
    ]


def _ask(model: "Model", x: Floats, index: int, values: Floats) -> Floats:
    """The served model's logits (n, k) of the rows x (n, d) with one feature set to each of values (n, k)."""
    rows = np.repeat(x, values.shape[1], axis=0)
    rows[:, index] = values.ravel()
    return model.runtime(rows)[0].reshape(values.shape)


def evidence(calibration: Sequence[Bin], probability: Floats) -> list[Evidence | None]:
    """Find the calibration bin of each probability (n,); None where no held-out row came near.

    calibration: the manifest's bins, in order.
    """
    lowers = [found.lower for found in calibration]
    return [_cited(calibration, bisect_right(lowers, p) - 1, p) for p in probability.tolist()]


def _cited(calibration: Sequence[Bin], at: int, p: float) -> Evidence | None:
    if at < 0 or not (p < calibration[at].upper or p == calibration[at].upper == 1):
        return None
    found = calibration[at]
    return {
        "lower": found.lower, "upper": found.upper, "rows": found.rows, "positives": found.positives,
        "low": found.low, "high": found.high,
    }  # fmt: skip
