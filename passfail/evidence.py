"""What the held-out rows say of a probability: the calibration bin it falls in."""

from bisect import bisect_right


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
