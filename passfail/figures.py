"""The metrics of rows whose outcome is known, counted block by block, in constant memory."""

import math
from typing import Any

import numpy as np
from msgspec import structs

from passfail.arrays import Bools, Floats
from passfail.intervals import Z95
from passfail.measurements import Bin

BINS = 2**20  # of the logit, for the AUC


class Figures:
    """Counts of scored rows, and the metrics computed from them.

    The AUC counts pairs of rows whose logits share one of BINS bins as ties. `auc_error` is the largest error of that.
    """

    def __init__(self, link: str) -> None:
        self._link = link
        self.rows = 0
        self._loss = self._brier = 0.0
        self._confusion = np.zeros((2, 2), dtype=np.int64)  # [outcome, verdict]
        self._tenths = np.zeros((3, 10))  # rows, positives, sum of probabilities
        self._bins = np.zeros((2, BINS))  # rows of each outcome

    def add(self, y: Floats, verdict: Bools, logit: Floats, probability: Floats) -> None:
        """Count rows: y (n,) is 1 or 0, or NaN if the outcome is not known."""
        known = ~np.isnan(y)
        y, z, p = y[known], logit[known], probability[known]
        if self._link == "logit":
            loss = np.logaddexp(0.0, np.where(y == 1, -z, z))
        else:
            loss = -np.log(np.clip(np.where(y == 1, p, 1 - p), 1e-300, 1.0))
        self.rows += len(y)
        self._loss += float(loss.sum())
        self._brier += float(((p - y) ** 2).sum())
        outcome = y.astype(np.int64)
        self._confusion += np.bincount(2 * outcome + verdict[known], minlength=4).reshape(2, 2)
        tenth = np.minimum((p * 10).astype(np.int64), 9)
        self._tenths += [np.bincount(tenth, weight, 10) for weight in (np.ones(len(y)), y, p)]
        # The logit is squashed, so that bins are narrow if probabilities are not extreme, for each link.
        at = np.minimum((0.5 + z / (1 + np.abs(z)) / 2) * BINS, BINS - 1).astype(np.int64)  # 2 z may overflow
        np.add.at(self._bins, (outcome, at), 1.0)

    def measured(self) -> dict[str, Any]:
        """The metrics by name, for rows > 0; the AUC is None if only one outcome occurs."""
        (true_negatives, false_positives), (false_negatives, true_positives) = self._confusion.tolist()
        negative, positive = self._bins
        pairs = positive.sum() * negative.sum()
        ties = (positive * negative).sum() / 2
        below = np.cumsum(negative) - negative
        return {
            "rows": self.rows,
            "log_loss": self._loss / self.rows,
            "brier": self._brier / self.rows,
            "accuracy": (true_negatives + true_positives) / self.rows,
            "auc": float(((positive * below).sum() + ties) / pairs) if pairs else None,
            "auc_error": float(ties / pairs) if pairs else None,
            "true_positives": true_positives,
            "false_positives": false_positives,
            "true_negatives": true_negatives,
            "false_negatives": false_negatives,
            "calibration": [structs.asdict(found) for found in bins(*self._tenths)],
        }


def bins(rows: Floats, positives: Floats, probability: Floats) -> tuple[Bin, ...]:
    """The calibration curve: ten Bins of equal width, unless empty.

    rows, positives : (10,), the number of rows and of positive rows in each bin.
    probability : (10,), the sum of their probabilities.
    """
    return tuple(
        Bin(i / 10, (i + 1) / 10, round(n), round(k), p / n, *wilson(n, k / n))
        for i, (n, k, p) in enumerate(zip(rows.tolist(), positives.tolist(), probability.tolist(), strict=True))
        if round(n) > 0
    )


def wilson(n: float, share: float) -> tuple[float, float]:
    """The 95 % interval of a share observed in n > 0 rows (Wilson, JASA 22, 1927)."""
    middle = share + Z95**2 / (2 * n)
    reach = Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    low, high = ((middle + side * reach) / (1 + Z95**2 / n) for side in (-1, 1))
    return max(0.0, float(low)), min(1.0, float(high))
