"""Why a row is answered as it is: contributions to the logit, what would change the verdict, calibration evidence."""

from bisect import bisect_right

import numpy as np

from passfail.errors import BodyTooLarge
from passfail.proof import reference
from passfail.proof.reference import from_ordinal, ordinal

ROWS = 1000  # of one request: each is asked of the model some hundred times
CHUNK = 200  # rows at a time, so that memory stays small
STEPS = 65  # values across the training range at which a hidden layer is asked for another verdict
LARGEST = np.finfo(np.float64).max


def explain(model, x, logit):
    """A list of n explanations, plain values for JSON, in the manifest's names.

    model: a repository.Model. x float64 (n, d), NaN for missing. logit: its answers, finite (n,). Raises BodyTooLarge.
    """
    if len(x) > ROWS:
        raise BodyTooLarge(f"more than {ROWS} rows to explain; send them in several requests")
    explanations = []
    for start in range(0, len(x), CHUNK):
        rows, z = x[start : start + CHUNK], logit[start : start + CHUNK]
        with np.errstate(all="ignore"):
            parts = zip(_contributions(model.manifest, rows, z), _flips(model, rows, z), strict=True)
        explanations += [{"threshold": model.manifest.logit_threshold, **why, "flips": flips} for why, flips in parts]
    return explanations


def _contributions(manifest, x, logit):
    """For each row the parts that add up to its logit: baseline + contributions + residual.

    baseline: the logit at the mean of the training rows. A feature contributes, over its columns,
    weight * (value - mean) / scale. residual: what rounding leaves.
    """
    if manifest.parameters.hidden:
        reason = "a hidden layer's logit is no sum over the features"
        return [{"baseline": None, "contributions": None, "residual": None, "reason": reason}] * len(x)
    baseline = manifest.parameters.intercept
    parts = np.zeros(x.shape)
    for column, value in zip(manifest.parameters.columns, reference.values(manifest, x).T, strict=True):
        baseline += (column.mean - column.center) / column.scale * column.weight
        parts[:, column.feature] += (value - column.mean) / column.scale * column.weight
    residual = logit - (baseline + parts.sum(axis=1))
    names = [feature.name for feature in manifest.features]
    return [
        {"baseline": baseline, "contributions": dict(zip(names, row, strict=True)), "residual": rest}
        for row, rest in zip(parts.tolist(), residual.tolist(), strict=True)
    ]


def _flips(model, x, logit):
    """For each row {name: what flips its verdict}, each feature moved alone, as the served model itself answers."""
    verdict = model.verdict(logit)
    flips = [{} for _ in x]
    for index, feature in enumerate(model.manifest.features):
        if feature.kind == "categorical":
            found = _levels(model, x, verdict, index)
        else:
            found = _values(model, x, verdict, index)
        for row, flip in zip(flips, found, strict=True):
            row[feature.name] = flip
    return flips


def _levels(model, x, verdict, index):
    """For each row {"levels": those that flip the verdict}."""
    levels = model.manifest.features[index].levels
    logit = _ask(model, x, index, np.tile(np.arange(len(levels), dtype=np.float64), (len(x), 1)))
    flips = (model.verdict(logit) != verdict[:, None]) & np.isfinite(logit)
    return [{"levels": [level for level, flip in zip(levels, row, strict=True) if flip]} for row in flips]


def _values(model, x, verdict, index):
    """For each row {"value": the number that flips the verdict, "outside": whether training had none so far out}.

    Where none is found the value is None, and "reason" says why. A missing value is moved from its fill.

    Without a hidden layer the logit, rounding and all, never turns back as one value rises, so that bisection finds
    the flip that is nearest. With one it finds a flip, in the training range, where some of STEPS values has another
    verdict.
    """
    feature = model.manifest.features[index]
    here = x[:, index] if not feature.nullable else np.where(np.isnan(x[:, index]), feature.fill, x[:, index])
    if model.manifest.parameters.hidden:
        far = np.linspace(feature.minimum, feature.maximum, STEPS)
        reason = f"none of {STEPS} values across the range seen in training flips it"
    else:
        far = np.array([-LARGEST, LARGEST])
        columns = model.manifest.parameters.columns
        weight = next(column.weight for column in columns if column.feature == index and not column.missing)
        reason = "no finite number flips it" if weight else "its weight is 0"
    # The value itself is among them: with an indicator, giving a missing value may be enough.
    tried = np.column_stack([here, np.tile(far, (len(x), 1))])
    flips = model.verdict(_ask(model, x, index, tried)) != verdict[:, None]
    distance = np.where(
        flips, np.abs(tried / 2 - here[:, None] / 2), np.inf
    )  # halves: these differences don't overflow
    nearest = np.take_along_axis(tried, distance.argmin(axis=1)[:, None], axis=1)[:, 0]
    value = _bisect(model, x, verdict, index, here, np.where(flips.any(axis=1), nearest, here))
    logit = _ask(model, x, index, value[:, None])[:, 0]
    found = (model.verdict(logit) != verdict) & np.isfinite(logit)
    outside = (value < feature.minimum) | (value > feature.maximum)
    return [
        {"value": v, "outside": far_out} if flip else {"value": None, "outside": None, "reason": reason}
        for v, far_out, flip in zip(value.tolist(), outside.tolist(), found.tolist(), strict=True)
    ]


def _bisect(model, x, verdict, index, here, there):
    """The first float64 (n,) on the way from here to there, both (n,), at which each row's verdict is another."""
    here, there = ordinal(here), ordinal(there)
    while (np.maximum(here, there) - 1 > np.minimum(here, there)).any():
        middle = (here >> 1) + (there >> 1) + (here & there & 1)  # their sum would overflow
        same = model.verdict(_ask(model, x, index, from_ordinal(middle)[:, None])[:, 0]) == verdict
        here, there = np.where(same, middle, here), np.where(same, there, middle)
    return from_ordinal(there)


def _ask(model, x, index, values):
    """The served model's logits (n, k) of the rows x (n, d) with one feature set to each of values (n, k)."""
    rows = np.repeat(x, values.shape[1], axis=0)
    rows[:, index] = values.ravel()
    return model.runtime(rows)[0].reshape(values.shape)


def evidence(calibration, probability):
    """For each probability (n,) its bin as plain values: of `rows` rows `positives` were, `low` to `high` is 95 %.

    calibration: the manifest's bins, in order. None where no bin holds the probability: no held-out row came near.
    """
    lowers = [found.lower for found in calibration]
    return [_cited(calibration, bisect_right(lowers, p) - 1, p) for p in probability.tolist()]


def _cited(calibration, at, p):
    if at < 0 or not (p < calibration[at].upper or p == calibration[at].upper == 1):
        return None
    found = calibration[at]
    return {name: getattr(found, name) for name in ("lower", "upper", "rows", "positives", "low", "high")}
