"""What is counted, and GET /metrics: its text for Prometheus. No value of a row is in it.

Names follow Prometheus's guidelines: base units, `_total` for counters. The format is version 0.0.4 of
https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

import threading
import time
from bisect import bisect_left
from itertools import pairwise

import numpy as np

from serve.telemetry.shared_counters import IN_FLIGHT

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STATUSES = (200, 206, 304, 308, 400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 416, 422, 429, 500, 503, "other")
SECONDS = (5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
TENTHS = tuple(tenth / 10 for tenth in range(1, 10))

# Cells of a worker's row; tally.IN_FLIGHT is the first. A histogram: a cell for each bucket, one for +Inf, the sum.
ROWS, CHECKED_ROWS, FLIPS, ULP_MAX, VERDICTS, PROBABILITY = 1, 2, 3, 4, 5, 7
ENDPOINTS = PROBABILITY + len(TENTHS) + 2
EACH = len(STATUSES) + len(SECONDS) + 2
OTHER = "other"


class Metrics:
    """Counts into a tally. rules: of the endpoints, in an order that is every worker's."""

    def __init__(self, rules, tally):
        self._tally = tally
        self._endpoints = {rule: ENDPOINTS + index * EACH for index, rule in enumerate([*rules, OTHER])}
        self._statuses = {status: index for index, status in enumerate(STATUSES)}
        self._lock = threading.Lock()  # adding to a cell is not atomic, and several threads answer

    def begin(self):
        """A request has come: what `end` is to be given."""
        with self._lock:
            self._tally.mine[IN_FLIGHT] += 1
        return time.perf_counter()

    def end(self, began, rule, status):
        """It is answered: by the endpoint of that rule (None: by none), with that status. Returns its seconds."""
        seconds = time.perf_counter() - began
        first = self._endpoints.get(rule) or self._endpoints[OTHER]
        histogram = first + len(STATUSES)
        mine = self._tally.mine
        with self._lock:
            mine[IN_FLIGHT] -= 1
            mine[first + self._statuses.get(status, len(STATUSES) - 1)] += 1
            mine[histogram + bisect_left(SECONDS, seconds)] += 1
            mine[histogram + len(SECONDS) + 1] += seconds
        return seconds

    def predicted(self, verdict, probability):
        """Rows were answered: verdict bool (n,), probability float64 (n,), both lists (of a few) or both NumPy's."""
        n = len(probability)
        if isinstance(probability, list):
            counts = [(bisect_left(TENTHS, p), 1) for p in probability]
            positive, total = sum(verdict), sum(probability)
        else:
            # Sorting is vectorised, bisecting for each value isn't.
            below = np.sort(probability).searchsorted(TENTHS, side="right").tolist()
            counts = enumerate(more - less for less, more in pairwise([0, *below, n]))
            positive, total = np.count_nonzero(verdict), float(probability.sum())
        mine = self._tally.mine
        with self._lock:
            mine[ROWS] += n
            mine[VERDICTS] += n - positive
            mine[VERDICTS + 1] += positive
            for bucket, count in counts:
                mine[PROBABILITY + bucket] += count
            mine[PROBABILITY + len(TENTHS) + 1] += total

    def compared(self, rows, ulp, flips):
        """The shadow answered so many rows, too; ulp: the largest distance of two probabilities."""
        mine = self._tally.mine
        with self._lock:
            mine[CHECKED_ROWS] += rows
            mine[FLIPS] += flips
            mine[ULP_MAX] = max(mine[ULP_MAX], ulp)

    def text(self, manifest, runtime, refused, drift):
        """What GET /metrics answers, str: the sums over all workers.

        refused: how many versions can't be served. drift: what `serve.telemetry.drift.Drift.found` says.
        """
        used = ENDPOINTS + len(self._endpoints) * EACH
        rows = [cells[:used].tolist() for cells in self._tally.rows()]
        total = [sum(cells) for cells in zip(*rows, strict=True)]
        info = {"model": manifest.name, "version": str(manifest.version), "digest": manifest.digest, "runtime": runtime}
        verdicts = [({"verdict": name}, total[VERDICTS + at]) for at, name in enumerate(("negative", "positive"))]
        lines = [
            *self._requests(total),
            *_family("requests_in_flight", "gauge", "Requests that are being answered.", [({}, total[IN_FLIGHT])]),
            *_family("rows_total", "counter", "Rows answered.", [({}, total[ROWS])]),
            *_family("verdicts_total", "counter", "Rows by their verdict.", verdicts),
            *_histogram("probability", "Probabilities answered.", [({}, TENTHS, total[PROBABILITY:ENDPOINTS])]),
            *_family("model_info", "gauge", "The model that answers in this worker.", [(info, 1)]),
            *_family("refused_versions", "gauge", "Versions that can't be served, in this worker.", [({}, refused)]),
            *_family("parity_checked_rows_total", "counter", "Rows the shadow answered.", [({}, total[CHECKED_ROWS])]),
            *_family("parity_verdict_flips_total", "counter", "Verdicts it does not share.", [({}, total[FLIPS])]),
            *_family("parity_ulp_max", "gauge", "Largest distance of two probabilities, in units in the last place.",
                     [({}, max(cells[ULP_MAX] for cells in rows))]),
            *_drift(drift),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _requests(self, total):
        counts, seconds = [], []
        for rule, first in self._endpoints.items():
            histogram = first + len(STATUSES)
            found = [(status, total[first + at]) for at, status in enumerate(STATUSES) if total[first + at]]
            counts += [({"endpoint": rule, "status": str(status)}, count) for status, count in found]
            if found:
                seconds.append(({"endpoint": rule}, SECONDS, total[histogram : histogram + len(SECONDS) + 2]))
        yield from _family("requests_total", "counter", "Answered requests.", counts)
        yield from _histogram("request_duration_seconds", "What answering took.", seconds)


def _drift(found):
    score, features = found["score"], found["features"]

    def each(key):
        return [({"feature": name}, one[key]) for name, one in features.items() if one.get(key) is not None]

    index = "Population stability index"
    yield from _family("drift_rows", "gauge", "Rows that drift is told from.", [({}, found["rows"])])
    yield from _family("drift_psi", "gauge", f"{index} of each feature.", each("psi"))
    yield from _family("drift_psi_limit", "gauge", "Where that begins to mean drift.", each("psi_limit"))
    yield from _family("drift_missing_share", "gauge", "Share of rows without a value.", each("missing_share"))
    yield from _family("drift_unseen_share", "gauge", "Share refused for an unseen level.", each("unseen_share"))
    for key in ("psi", "psi_limit"):
        about = f"{index} of the score." if key == "psi" else "Where that begins to mean drift."
        yield from _family(f"drift_score_{key}", "gauge", about, [({}, score[key])] if score[key] is not None else [])


def _family(name, kind, about, samples):
    yield f"# HELP passfail_{name} {about}"
    yield f"# TYPE passfail_{name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _histogram(name, about, series):
    """series: (labels, upper bounds (k,), [counts of the k + 1 buckets, sum of the values])."""
    yield f"# HELP passfail_{name} {about}"
    yield f"# TYPE passfail_{name} histogram"
    for labels, bounds, (*counts, values) in series:
        below = 0
        for bound, count in zip([*(f"{bound:g}" for bound in bounds), "+Inf"], counts, strict=True):
            below += count
            yield _sample(f"{name}_bucket", {**labels, "le": bound}, below)
        yield _sample(f"{name}_sum", labels, values)
        yield _sample(f"{name}_count", labels, below)


def _sample(name, labels, value):
    said = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"passfail_{name}{{{said}}} {float(value)!r}" if said else f"passfail_{name} {float(value)!r}"


def _escaped(text):
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
