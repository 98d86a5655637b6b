"""Drift: whether the rows asked about still look like the rows trained on.

Each feature, and the score, is counted in the bins of its training baseline (`manifest.Spread`). A count halves every
HALF_LIFE, so that the last hours are what is seen, in memory that doesn't grow. The population stability index says
how far two distributions are apart: below 0.1 hardly, above 0.25 the model should be looked at (Siddiqi, Credit Risk
Scorecards, 2006, chapter 8).
"""

import math
import threading
import time
from array import array
from collections import defaultdict

import numpy as np

from serve.telemetry.shared_counters import CELLS

HALF_LIFE = 3600.0  # seconds
FEWEST = 100  # rows with fewer of which nothing is said
LOOK_AT = 0.25  # the index above which a model should be looked at
Z999 = 3.090232306167813  # the normal distribution's 99.9 % point
FROM = 2048  # the first cell of a worker's row that is ours: whose counts, as of when, and the counts
ROOM = CELLS - FROM - 2  # counts; of a model with more bins the last features are not watched
WAITING = 2**18  # values (2 MiB) that wait to be counted; further rows of that second are left out
SAMPLE = 1000  # rows of one request, evenly taken


class Drift:
    """Counts the rows of the model in service into a tally; the request's path only puts them aside."""

    def __init__(self, tally, now=time.monotonic):
        """now: seconds, the same clock for all workers of a machine."""
        self._tally, self._now = tally, now
        self._lock = threading.Lock()
        self._unseen = []
        self._wait()

    def _wait(self):
        # The model's digest -> (values of x, logits). Not the arrays that came: ten thousand small ones take megabytes.
        self._waiting, self._values = defaultdict(lambda: (array("d"), array("d"))), 0

    def note(self, manifest, x, logit):
        """Put rows x (n, d) and their logits aside, those (n,) or, of a few rows, a list.

        Without a lock: a fold of the same moment may lose some.
        """
        step = -(-len(x) // SAMPLE)
        if step > 1:
            x, logit = x[::step], logit[::step]
        if self._values < WAITING:
            self._values += x.size
            values, logits = self._waiting[manifest.digest]
            values.frombytes(x.tobytes())
            if isinstance(logit, list):
                logits.fromlist(logit)
            else:
                logits.frombytes(logit.tobytes())

    def note_unseen(self, feature):
        """A row was refused, because of a level that the feature of that name doesn't have."""
        if len(self._unseen) < SAMPLE:
            self._unseen.append(feature)

    def fold(self, manifest):
        """Count what was put aside of that model, the one in service, and forget the rest."""
        with self._lock:
            waiting = self._waiting[manifest.digest]
            self._wait()
            unseen, self._unseen = self._unseen, []
            counts = self._mine(manifest)
            # Copied: an array can't grow while it is looked into, and a note of the same moment makes it grow.
            x, logit = (np.frombuffer(values.tobytes()) for values in waiting)
            x = x.reshape(-1, len(manifest.features))
            for at, name, spread, column in _places(manifest):
                end = at + len(spread.shares)
                counts[at:end] += counted(spread, logit if column is None else x[:, column])
                if unseen:
                    counts[end] += unseen.count(name)

    def found(self, manifest):
        """What GET /drift answers, of plain values: the index, shares and bins of the score and of each feature."""
        self.fold(manifest)
        counts = self._all(manifest)
        score, features = None, {}
        for at, name, spread, column in _places(manifest):
            end = at + len(spread.shares)
            one = _said(spread, counts[at:end], manifest.training.baseline.rows)
            if column is None:
                score, rows = one, float(counts[at:end].sum())
                continue
            feature, unseen = manifest.features[column], float(counts[end])
            if feature.kind == "categorical":
                one["unseen_share"] = unseen / (rows + unseen) if unseen else 0.0
            features[name] = one
        return {
            "model": manifest.name, "version": manifest.version, "half_life_seconds": HALF_LIFE, "rows": rows,
            "score": score, "features": features,
        }  # fmt: skip

    def _mine(self, manifest):
        """This worker's counts (ROOM,), decayed to now."""
        head, counts = self._split(self._tally.mine)
        whose, now = _key(manifest), self._now()
        if head[0] != whose:
            counts[:] = 0.0
        elif now > head[1]:
            counts *= 0.5 ** ((now - head[1]) / HALF_LIFE)
        head[:] = whose, now
        return counts

    def _all(self, manifest):
        """The sum (ROOM,) over all workers, of those that count the same model, as of now."""
        whose, now, total = _key(manifest), self._now(), np.zeros(ROOM)
        for row in self._tally.rows():
            head, counts = self._split(row)
            if head[0] == whose:
                total += counts * 0.5 ** (max(now - head[1], 0.0) / HALF_LIFE)
        return total

    def _split(self, row):
        ours = np.frombuffer(row, dtype=np.float64)[FROM:]
        return ours[:2], ours[2:]


def counted(spread, values):
    """How many of values (n,), NaN for missing, lie in each bin, int (k,); the last is the missing ones."""
    values = np.sort(values)  # NaN last; sorting is vectorised, bisecting for each value isn't
    below, known = values.searchsorted(spread.edges), values.searchsorted(np.inf, side="right")
    return np.diff([0, *below, known, len(values)])


def stability_index(shares, counts):
    """The population stability index of counts (k,) against the baseline's shares (k,).

    sum of (a - e) ln(a / e) over the bins, a and e the shares of rows asked about and trained on (Siddiqi, 2006). Half
    a row is added to each bin of both, so that an empty one gives a finite number.
    """
    half = 0.5 / counts.sum()
    expected, actual = np.asarray(shares) + half, counts / counts.sum() + half
    expected, actual = expected / expected.sum(), actual / actual.sum()
    return float(((actual - expected) * np.log(actual / expected)).sum())


def limit(shares, trained, asked):
    """The index above which there is drift: 0.25, or with few rows what chance alone exceeds once in 1000 times.

    Chance: (1/n + 1/m) times chi-square's point with b - 1 degrees of freedom, of n rows asked about, m trained on and
    b bins that may have rows (Yurdakul, Statistical Properties of the Population Stability Index, Western Michigan
    University, 2018); that point by Wilson and Hilferty's cube (PNAS 17, 1931).
    """
    free = max(sum(share > 0 for share in shares) - 1, 1)
    chi_square = free * (1 - 2 / (9 * free) + Z999 * math.sqrt(2 / (9 * free))) ** 3
    return max(LOOK_AT, (1 / asked + 1 / trained) * chi_square)


def _said(spread, counts, trained):
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


def _places(manifest):
    """(first count, name, spread, column of x) of the score, whose column is None, and of each feature.

    One more count follows a spread's: the rows refused for an unseen level.
    """
    baseline = manifest.training.baseline
    named = zip((feature.name for feature in manifest.features), baseline.features, strict=True)
    at = 0
    for name, spread, column in [(None, baseline.score, None), *((*one, j) for j, one in enumerate(named))]:
        if at + len(spread.shares) + 1 > ROOM:
            return
        yield at, name, spread, column
        at += len(spread.shares) + 1


def _key(manifest):
    """A number that says which model the counts are of; 0 is none."""
    return float(int(manifest.digest[:12], 16) + 1)
