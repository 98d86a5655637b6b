"""Whether a verdict would stand if the logit were computed without any rounding."""

import math
from sys import float_info

import numpy as np

from passfail.arrays import Bools, Floats, Row
from passfail.links import SCORE_ULP
from passfail.proof import reference
from passfail.proof.reference import Subject

U = float_info.epsilon / 2  # the most by which one operation rounds, relative to its result


class Stability:
    """The band around the threshold's logit in which a verdict may be due to rounding, for one model's rows.

    A column's term is rounded three times, and the sum of D terms and the intercept D times: together the logit is off
    by at most g * (sum |term| + |intercept|), g = k U / (1 - k U), k = D + 3 (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, section 3.1). Twice that is taken, which also covers the bound's own rounding. The
    threshold's logit is rounded too; that error is added.
    For a hidden layer there is no such bound here.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._threshold = subject.logit_threshold
        self._threshold_error = SCORE_ULP * U * (1 + abs(self._threshold))
        self._linear = subject.parameters.hidden is None
        columns = subject.parameters.columns
        self._fill = None
        if any(feature.nullable for feature in subject.features):
            self._fill = np.array([math.nan if f.fill is None else f.fill for f in subject.features])
        self._intercept = abs(subject.parameters.intercept) + float_info.min  # where products underflow
        k = len(columns) + 3
        self._g = 2 * k * U / (1 - k * U)
        # The coarse bound: sum |term| is at most the length of the weights times the row's, and a constant.
        steep = [abs(column.weight / column.scale) for column in columns]
        self._steepness = math.hypot(*steep) * (1 + 1e-9)
        self._constant = self._intercept + sum(
            w * (abs(column.center) + (1 if column.level is not None or column.missing else 1e-150))
            for w, column in zip(steep, columns, strict=True)
        )

    def stable(self, x: Floats, logit: Floats) -> Bools | None:
        """For rows x (n, d) and their logits (n,): whether each verdict stands (n,); None where it is not known."""
        if not self._linear:
            return None
        filled = x if self._fill is None else np.where(np.isnan(x), self._fill, x)
        # First one bound for all rows, from the length of all of x: enough for any but those close to the threshold.
        reach = math.sqrt(np.vdot(filled, filled))
        coarse = self._g * (self._steepness * reach + self._constant) + self._threshold_error
        distance = np.abs(logit - self._threshold)
        stable: Bools = distance > coarse
        if not stable.all():
            rows = np.flatnonzero(~stable)
            stable[rows] = distance[rows] > self.band(x[rows])
        return stable

    def one(self, row: Row, logit: float) -> bool | None:
        """`stable` of one row, d numbers or None for missing."""
        if not self._linear:
            return None
        if None not in row:
            coarse = self._g * (self._steepness * math.hypot(*row) + self._constant)  # type: ignore[arg-type]
            if abs(logit - self._threshold) > coarse + self._threshold_error:
                return True
        stable = self.stable(np.array([row], dtype=np.float64), np.array([logit]))
        return None if stable is None else bool(stable[0])

    def band(self, x: Floats) -> Floats:
        """How far the logits of rows x (n, d), less the threshold's, may be from exact, (n,)."""
        with np.errstate(over="ignore"):
            total: Floats = np.abs(reference.terms(self._subject, x)).sum(axis=1) + self._intercept
            return self._g * total + self._threshold_error
