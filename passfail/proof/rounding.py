"""The certified band: whether rounding could change a verdict."""

import math
from collections.abc import Sequence
from sys import float_info

import numpy as np

from passfail.arrays import Bools, Floats
from passfail.links import SCORE_ULP
from passfail.proof import reference
from passfail.proof.reference import Subject

U = float_info.epsilon / 2  # the largest relative rounding error of one operation


class Stability:
    """The band around the threshold's logit in which rounding could decide a verdict.

    A column's term is rounded three times, and the sum of D terms and the intercept D times. The logit's error is thus
    at most g * (sum |term| + |intercept|), with g = k U / (1 - k U) and k = D + 3 (Higham, Accuracy and Stability of
    Numerical Algorithms, 2002, section 3.1). The band is twice that, which also covers the bound's own rounding. The
    rounding error of the threshold's logit is added. There is no bound for a hidden layer.
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
        """Whether each verdict is stable (n,), for rows x (n, d) and logits (n,); None: unknown."""
        if not self._linear:
            return None
        filled = x if self._fill is None else np.where(np.isnan(x), self._fill, x)
        # First one bound for all rows, from the norm of all of x: it suffices for rows far from the threshold.
        # einsum, not BLAS: OpenBLAS would share the sum among threads, which then spin as long as the rest takes.
        reach = math.sqrt(np.einsum("ij,ij->", filled, filled))
        coarse = self._g * (self._steepness * reach + self._constant) + self._threshold_error
        distance = np.abs(logit - self._threshold)
        stable: Bools = distance > coarse
        if not stable.all():
            rows = np.flatnonzero(~stable)
            stable[rows] = distance[rows] > self.band(x[rows])
        return stable

    def few(self, x: Floats, values: Sequence[float], logits: Sequence[float]) -> Sequence[bool | None]:
        """Whether each of a few rows x (n, d) has a stable verdict, in plain Python if possible.

        values: those of x, one row after the other.
        """
        if not self._linear:
            return [None] * len(logits)
        coarse = self._g * (self._steepness * math.hypot(*values) + self._constant) + self._threshold_error
        if min([abs(logit - self._threshold) for logit in logits]) > coarse:  # never, if a value is missing (NaN)
            return [True] * len(logits)
        stable: list[bool] = self.stable(x, np.array(logits)).tolist()  # type: ignore[union-attr]
        return stable

    def band(self, x: Floats) -> Floats:
        """The largest error (n,) of the logits of rows x (n, d), minus the threshold's logit."""
        with np.errstate(over="ignore"):
            total: Floats = np.abs(reference.terms(self._subject, x)).sum(axis=1) + self._intercept
            return self._g * total + self._threshold_error
