"""The service's counters: requests, rows, verdicts, probabilities, shadow comparisons.

They hold no value of a feature. serve/telemetry/prometheus.py writes them as text.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from passfail.arrays import Bools, Floats
from serve.telemetry.shared_counters import DROPPED_LINES, IN_FLIGHT, SharedCounters

STATUSES = (200, 206, 304, 308, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 416, 422, 429, 500, 503, "other")
SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
TENTHS = tuple(tenth / 10 for tenth in range(1, 10))

# Cells of a worker's row, after those that shared_counters.py names.
# A histogram takes a cell for each bucket, one for +Inf and one for the sum.
ROWS, CHECKED_ROWS, FLIPS, ULP_MAX, VERDICTS, PROBABILITY = 3, 4, 5, 6, 7, 9
ENDPOINTS = PROBABILITY + len(TENTHS) + 2
OTHER_STATUS, BUCKETS, SUM = len(STATUSES) - 1, len(STATUSES), len(STATUSES) + len(SECONDS) + 1  # of an endpoint
PER_ENDPOINT = SUM + 1
OTHER = "other"  # the label of requests that no endpoint answered, and of statuses that STATUSES doesn't list


class Histogram(NamedTuple):
    """A histogram: upper bounds (k,), counts (k + 1,), and the sum of the values.

    The last bucket has no upper bound.
    """

    bounds: tuple[float, ...]
    counts: list[float]
    sum: float


@dataclass(frozen=True)
class Totals:
    """The sums over all workers.

    Attributes
    ----------
    requests : endpoint -> {status: requests answered}, for the statuses that occurred.
    seconds : endpoint -> the duration of its requests, in seconds.
    verdicts : rows answered negative and positive.
    ulp_max : the largest distance of two runtimes' probabilities, in units in the last place.
    dropped_lines : lines of the log that were dropped.
    """

    in_flight: float
    rows: float
    verdicts: tuple[float, float]
    probability: Histogram
    requests: dict[str, dict[str, float]]
    seconds: dict[str, Histogram]
    checked_rows: float
    flips: float
    ulp_max: float
    dropped_lines: float


class Metrics:
    """Adds to this worker's shared counters.

    Parameters
    ----------
    rules : the rules of the endpoints, in the same order in every worker.
    """

    def __init__(self, rules: Iterable[str], counters: SharedCounters) -> None:
        self._counters = counters
        self._endpoints = {rule: ENDPOINTS + index * PER_ENDPOINT for index, rule in enumerate([*rules, OTHER])}
        self._statuses = {status: index for index, status in enumerate(STATUSES)}
        self._lock = threading.Lock()  # adding to a cell is not atomic, and several threads answer

    def begin(self, requests: int = 1) -> float:
        """Count requests as in flight; return the time that `end` takes."""
        with self._lock:
            self._counters.mine[IN_FLIGHT] += requests
        return time.perf_counter()

    def end(self, ended: Sequence[tuple[float, str | None, int]]) -> list[float]:
        """Count requests as answered, and return the duration of each in seconds.

        Parameters
        ----------
        ended : for each request, what `begin` returned, its endpoint's rule (None: no endpoint), and its status.
        """
        now, mine = time.perf_counter(), self._counters.mine
        durations = []
        with self._lock:
            mine[IN_FLIGHT] -= len(ended)
            for began, rule, status in ended:
                seconds = now - began
                durations.append(seconds)
                first = self._endpoints.get(rule or OTHER) or self._endpoints[OTHER]
                mine[first + self._statuses.get(status, OTHER_STATUS)] += 1
                mine[first + BUCKETS + bisect_left(SECONDS, seconds)] += 1
                mine[first + SUM] += seconds
        return durations

    def predicted(self, verdict: Bools | Sequence[bool], probability: Floats | Sequence[float]) -> None:
        """Count answered rows: verdict and probability (n,), both arrays or, if few, both sequences."""
        n = len(probability)
        counts: Iterable[tuple[int, int]]
        if isinstance(probability, np.ndarray):
            # Sorting is vectorised; bisecting for each value is not.
            below = np.sort(probability).searchsorted(TENTHS, side="right").tolist()
            counts = enumerate(more - less for less, more in pairwise([0, *below, n]))
            positive, total = int(np.count_nonzero(verdict)), float(probability.sum())
        else:
            counts = [(bisect_left(TENTHS, p), 1) for p in probability]
            positive, total = sum(verdict), sum(probability)
        mine = self._counters.mine
        with self._lock:
            mine[ROWS] += n
            mine[VERDICTS] += n - positive
            mine[VERDICTS + 1] += positive
            for bucket, count in counts:
                mine[PROBABILITY + bucket] += count
            mine[PROBABILITY + len(TENTHS) + 1] += total

    def compared(self, rows: int, ulp: int, flips: int) -> None:
        """Count rows that the shadow compared.

        ulp: the largest distance of two probabilities. flips: the rows whose verdict differs.
        """
        mine = self._counters.mine
        with self._lock:
            mine[CHECKED_ROWS] += rows
            mine[FLIPS] += flips
            mine[ULP_MAX] = max(mine[ULP_MAX], ulp)

    def totals(self) -> Totals:
        """Sum the counts over all workers."""
        used = ENDPOINTS + len(self._endpoints) * PER_ENDPOINT
        rows = [cells[:used].tolist() for cells in self._counters.rows()]
        total = [sum(cells) for cells in zip(*rows, strict=True)]

        def histogram(first: int, bounds: tuple[float, ...]) -> Histogram:
            last = first + len(bounds) + 1
            return Histogram(bounds, total[first:last], total[last])

        requests: dict[str, dict[str, float]] = {}
        for rule, first in self._endpoints.items():
            counts = zip(map(str, STATUSES), total[first : first + len(STATUSES)], strict=True)
            if found := {status: count for status, count in counts if count}:
                requests[rule] = found
        return Totals(
            in_flight=total[IN_FLIGHT],
            rows=total[ROWS],
            verdicts=(total[VERDICTS], total[VERDICTS + 1]),
            probability=histogram(PROBABILITY, TENTHS),
            requests=requests,
            seconds={rule: histogram(self._endpoints[rule] + len(STATUSES), SECONDS) for rule in requests},
            checked_rows=total[CHECKED_ROWS],
            flips=total[FLIPS],
            ulp_max=max(cells[ULP_MAX] for cells in rows),
            dropped_lines=total[DROPPED_LINES],
        )
