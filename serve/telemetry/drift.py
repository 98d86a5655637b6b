"""Drift: the distance between the rows answered and the training rows.

The service counts each feature and the score in the bins of its training baseline (`passfail.manifest.Spread`). A
count halves every HALF_LIFE, so that the last hours dominate and the memory is bounded. The population stability index
(PSI) measures the distance of two distributions. Below 0.1 they hardly differ; above 0.25 the model should be reviewed
(Siddiqi, Credit Risk Scorecards, 2006, chapter 8).
"""

import logging
import math
import threading
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from passfail.arrays import Floats
from passfail.manifest import Manifest
from passfail.measurements import Spread
from serve.telemetry.shared_counters import COUNTING, SERVED, SharedCounters

LOG = logging.getLogger(__name__)
HALF_LIFE = 3600.0  # seconds
COUNT_SECONDS = 1.0  # between two counts of the stored rows, unless a report asks for one
REPLY_SECONDS = 0.25  # that a report waits for the other workers to count
FEWEST = 100  # rows below which no index is computed
REVIEW = 0.25  # the index above which a model should be reviewed
Z999 = 3.090232306167813  # the normal distribution's 99.9 % point
FROM = 2048  # the first cell of drift in a worker's row: the model's key, the time of the counts, then the counts
ROOM = SERVED - FROM - 2  # counts; in a model with more bins the last features are not measured
WAITING = 2**18  # values (2 MiB) that wait to be counted; further rows are left out until then
SAMPLE = 1000  # rows of one request, evenly taken


class Column(TypedDict):
    """The drift of the score or of one feature; shares and edges are those of the bins."""

    psi: float | None
    psi_limit: float | None
    missing_share: float
    missing_share_trained: float
    edges: list[float]
    shares: list[float] | None
    shares_trained: list[float]
    unseen_share: NotRequired[float]


class Report(TypedDict):
    """The body of GET /drift."""

    model: str
    version: int
    half_life_seconds: float
    rows: float
    score: Column
    features: dict[str, Column]


class Drift:
    """Counts the rows that the model in service answers.

    A request only stores its rows; `count_stored` counts them later, in a thread.

    Parameters
    ----------
    now : returns seconds, on a clock that all workers of the machine share.
    """

    def __init__(self, counters: SharedCounters, now: Callable[[], float] = time.monotonic) -> None:
        self._counters, self._now = counters, now
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        # The model's digest -> (values of x, logits). They are copied: ten thousand small arrays take megabytes.
        self._waiting: dict[str, tuple[array[float], array[float]]] = defaultdict(lambda: (array("d"), array("d")))
        self._values = 0
        self._unseen: list[str] = []

    def note(self, manifest: Manifest, x: Floats, logit: Floats | Sequence[float]) -> None:
        """Store rows x (n, d) and their logits (n,), an array, or a sequence if the rows are few.

        It takes no lock: a count at the same moment may lose some rows.
        """
        step = -(-len(x) // SAMPLE)
        if step > 1:
            x, logit = x[::step], logit[::step]
        if self._values < WAITING:
            self._values += x.size
            values, logits = self._waiting[manifest.digest]
            values.frombytes(x.tobytes())
            if isinstance(logit, np.ndarray):
                logits.frombytes(logit.tobytes())
            else:
                logits.extend(logit)

    def note_unseen(self, feature: str) -> None:
        """Store that a row was refused because that feature has no such level."""
        if len(self._unseen) < SAMPLE:
            self._unseen.append(feature)

    def count_stored(self, manifest: Manifest) -> None:
        """Count the stored rows of that model, the one in service, and forget the others."""
        with self._lock:
            counts = self._mine(manifest)  # first, because it notes the time: all rows before that are counted
            waiting, unseen = self._waiting[manifest.digest], self._unseen
            self._reset()
            # Copy: an array can't grow while NumPy reads it, and `note` may add to it at the same moment.
            x, logit = (np.frombuffer(values.tobytes()) for values in waiting)
            x = x.reshape(-1, len(manifest.features))
            names = ["", *(feature.name for feature in manifest.features)]
            for (first, last, spread), name, values in zip(_layout(manifest), names, [logit, *x.T], strict=False):
                counts[first:last] += counted(spread, values)
                counts[last] += unseen.count(name)

    def keep_counting(self, manifest: Callable[[], Manifest]) -> None:
        """Count every second, and whenever a worker makes a report; a daemon thread runs this."""
        calls = self._counters.calls()
        self._counters.mine[COUNTING] = 1.0
        while True:
            try:
                self.count_stored(manifest())
            except Exception:  # the requests were answered; the thread must go on
                LOG.exception("counting rows for drift failed")
            calls.poll(COUNT_SECONDS)

    def report(self, manifest: Manifest) -> Report:
        """Compute the index, shares and bins of the score and of each feature, over all workers.

        The other workers count first, so that all rows answered before are counted. The report waits
        at most REPLY_SECONDS for them.
        """
        self.count_stored(manifest)
        self._call_the_others()
        counts, trained = self._all(manifest), manifest.training.baseline.rows
        (first, last, spread), *layout = _layout(manifest)
        score, rows = _column(spread, counts[first:last], trained), float(counts[first:last].sum())
        features: dict[str, Column] = {}
        for feature, (first, last, spread) in zip(manifest.features, layout, strict=False):
            features[feature.name] = _column(spread, counts[first:last], trained)
            if feature.kind == "categorical":
                unseen = float(counts[last])
                features[feature.name]["unseen_share"] = unseen / (rows + unseen) if unseen else 0.0
        return {
            "model": manifest.name, "version": manifest.version, "half_life_seconds": HALF_LIFE, "rows": rows,
            "score": score, "features": features,
        }  # fmt: skip

    def _call_the_others(self) -> None:
        called = self._now()
        self._counters.call()
        deadline = time.monotonic() + REPLY_SECONDS
        rows = [row for row in self._counters.rows() if row[COUNTING]]
        while any(self._split(row)[0][1] < called for row in rows) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _mine(self, manifest: Manifest) -> Floats:
        """This worker's counts (ROOM,), decayed to now."""
        head, counts = self._split(self._counters.mine)
        key, now = _key(manifest), self._now()
        if head[0] != key:
            counts[:] = 0.0
        elif now > head[1]:
            counts *= 0.5 ** ((now - head[1]) / HALF_LIFE)
        head[:] = key, now
        return counts

    def _all(self, manifest: Manifest) -> Floats:
        """The sum (ROOM,), decayed to now, over all workers that count the same model."""
        key, now, total = _key(manifest), self._now(), np.zeros(ROOM)
        for row in self._counters.rows():
            head, counts = self._split(row)
            if head[0] == key:
                total += counts * 0.5 ** (max(now - head[1], 0.0) / HALF_LIFE)
        return total

    def _split(self, row: "memoryview[float]") -> tuple[Floats, Floats]:
        cells = np.asarray(row, dtype=np.float64)[FROM:SERVED]  # not a copy
        return cells[:2], cells[2:]


def counted(spread: Spread, values: Floats) -> npt.NDArray[np.int64]:
    """Count values (n,), NaN for missing, in each bin, int (k,); the last bin is for missing."""
    values = np.sort(values)  # NaN last; sorting is vectorised, bisecting for each value is not
    below, known = values.searchsorted(spread.edges), values.searchsorted(np.inf, side="right")
    return np.diff([0, *below, known, len(values)])


def stability_index(shares: Sequence[float], counts: npt.NDArray[np.float64 | np.int64]) -> float:
    """Compute the population stability index of counts (k,) against the baseline's shares (k,).

    The sum of (a - e) ln(a / e) over the bins, a and e the shares of the traffic's and the training rows (Siddiqi,
    2006). Half a row is added to each bin of both, so that an empty bin gives a finite number.
    """
    half = 0.5 / counts.sum()
    expected, actual = np.asarray(shares) + half, counts / counts.sum() + half
    expected, actual = expected / expected.sum(), actual / actual.sum()
    return float(((actual - expected) * np.log(actual / expected)).sum())


def limit(shares: Sequence[float], trained: float, rows: float) -> float:
    """Compute the index above which a feature has drifted.

    It is 0.25, or the level that chance exceeds once in 1,000 at this row count, if that is higher. The level is
    (1/n + 1/m) times the 99.9 % point of chi-square with b - 1 degrees of freedom, for n rows of the traffic, m
    training rows and b bins that may have rows (Yurdakul, Statistical Properties of the Population Stability Index,
    Western Michigan University, 2018). The point is by Wilson and Hilferty's cube (PNAS 17, 1931).
    """
    degrees = max(sum(share > 0 for share in shares) - 1, 1)
    chi_square = degrees * (1 - 2 / (9 * degrees) + Z999 * math.sqrt(2 / (9 * degrees))) ** 3
    return max(REVIEW, (1 / rows + 1 / trained) * chi_square)


def _column(spread: Spread, counts: Floats, trained: int) -> Column:
    rows = float(counts.sum())
    enough = rows >= FEWEST
    return {
        "psi": stability_index(spread.shares, counts) if enough else None,
        "psi_limit": limit(spread.shares, trained, rows) if enough else None,
        "missing_share": float(counts[-1]) / rows if rows else 0.0,
        "missing_share_trained": spread.shares[-1],
        "edges": list(spread.edges),
        "shares": (counts / rows).tolist() if rows else None,
        "shares_trained": list(spread.shares),
    }


def _layout(manifest: Manifest) -> list[tuple[int, int, Spread]]:
    """(first, last, spread) of the score, then of each feature, as far as there is room.

    The counts first:last are the bins'; the count at `last` is of rows refused for an unseen level.
    """
    found, first = [], 0
    for spread in (manifest.training.baseline.score, *manifest.training.baseline.features):
        last = first + len(spread.shares)
        if last < ROOM:
            found.append((first, last, spread))
        first = last + 1
    return found


def _key(manifest: Manifest) -> float:
    """A number that identifies the counted model; 0 means no model."""
    return float(int(manifest.digest[:12], 16) + 1)
