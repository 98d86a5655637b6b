"""The rows of the proof, drawn with a seed from the manifest alone."""

import random
from collections.abc import Iterator, Sequence

import numpy as np

from passfail.arrays import Floats, Ints
from passfail.links import score_at
from passfail.manifest import Feature
from passfail.proof import reference
from passfail.proof.floats import TINY, bisect
from passfail.proof.reference import Subject

LEAST = 5e-324
RANGE = (-11.5, 11.5)  # log-odds: probabilities from 1e-5 to 1 - 1e-5
NUMBERS = [0.0, -0.0, LEAST, -LEAST, TINY / 2, TINY, -TINY, 1e300, -1e300, 1e308, -1e308, np.nan]


class Draws:
    """Random numbers with the method names of NumPy's generator.

    NumPy's own would take 3.5 MiB of each worker, for a few draws.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def random(self, n: int) -> Floats:
        """float64 (n,), at least 0 and below 1."""
        bits = np.frombuffer(self._random.randbytes(8 * n), dtype="<u8") >> np.uint64(11)
        return bits.astype(np.float64) * 2.0**-53

    def uniform(self, low: float, high: float, n: int) -> Floats:
        """float64 (n,), from low to high."""
        return low + (high - low) * self.random(n)

    def integers(self, high: int, n: int) -> Ints:
        """int64 (n,), at least 0 and below high."""
        return (self.random(n) * high).astype(np.int64)

    def choice(self, values: Sequence[int], n: int) -> Ints:
        """n of the values, drawn with replacement."""
        return np.array(values)[self.integers(len(values), n)]


def rows(subject: Subject, n: int, seed: int = 0, across: int = 0) -> tuple[Floats, dict[str, int]]:
    """Draw rows x, float64 (rows, d), and count them by kind: {kind: count}, in their order.

    There are n rows in the training range, n beyond it by up to 12 orders of magnitude, n on the decision boundary, and
    `across` over the range of probabilities. Then each feature takes its extremes, a missing value, each of its levels
    and unknown levels.
    """
    generator = Draws(seed)
    typical = np.column_stack([_typical(feature, n, generator) for feature in subject.features])
    far = np.column_stack([_far(feature, n, generator) for feature in subject.features])
    kinds = {
        "in the training range": typical,
        "beyond it": far,
        "on the boundary": boundary(subject, typical[: n // 6], generator),
        "across the probabilities": _across(subject, typical[np.arange(across) % n], generator),
        "extreme, missing, unseen": np.concatenate(list(_extremes(subject.features, typical))),
    }
    return np.ascontiguousarray(np.concatenate(list(kinds.values()))), {kind: len(x) for kind, x in kinds.items()}


def boundary(subject: Subject, x: Floats, generator: Draws) -> Floats:
    """Make six rows from each row of x (n, d): one numeric feature moves to the boundary.

    The feature takes the two neighbouring floats between which the verdict changes, the next float on each side, and
    one farther value on each side, from the last bit to a tenth away. A row is left out if no numeric feature changes
    its verdict. A hidden layer's logit need not be monotone: `_bisected` then makes the rows.
    """
    if subject.parameters.hidden:
        return _bisected(subject, x, generator)
    if not (movable := _movable(subject)):
        return x[:0]
    column = generator.choice(movable, len(x))
    before, after = reference.flip(subject, x, column)
    found = np.isfinite(after)
    x, column, before, after = x[found], column[found], before[found], after[found]
    onward = np.where(after > before, 1, -1)
    away = np.maximum(np.abs(after), TINY) * 10 ** generator.uniform(-16, -1, len(x))
    moved = [before, after, *(np.nextafter(v, s * np.inf) for v, s in ((before, -onward), (after, onward)))]
    moved += [before - onward * away, after + onward * away]
    feature = np.array([c.feature for c in subject.parameters.columns])[column]
    out = np.repeat(x[None], len(moved), axis=0)
    out[:, np.arange(len(x)), feature] = moved
    return out.reshape(-1, x.shape[1])


def _across(subject: Subject, x: Floats, generator: Draws) -> Floats:
    """Move one numeric feature of rows x (n, d) so that their log-odds cover RANGE evenly.

    Each of n equal parts of RANGE gets one row at a random place. The rows miss a fault in an interval of width w of
    the log-odds with a probability of at most (1 - w / (2 parts))^2, and never if w is two parts. There are no rows for
    a hidden layer, or without a numeric feature that moves the logit.
    """
    if not (movable := _movable(subject)):
        return x[:0]
    n = len(x)
    odds = RANGE[0] + (RANGE[1] - RANGE[0]) * (np.arange(n) + generator.random(n)) / n
    score = odds
    if subject.link != "logit":
        score = np.array([score_at(subject.link, p) for p in (1 / (1 + np.exp(-odds))).tolist()])
    column = generator.choice(movable, n)
    each = np.arange(n)
    center, scale, weight = (part[column] for part in reference.scaling(subject))
    terms = reference.terms(subject, x)
    rest = reference.total(subject, terms) - terms[each, column]
    feature = np.array([c.feature for c in subject.parameters.columns])[column]
    x[each, feature] = (score - rest) / weight * scale + center
    return x


def _movable(subject: Subject) -> list[int]:
    """The columns in whose feature the logit is strictly monotone; none with a hidden layer."""
    columns = [] if subject.parameters.hidden else subject.parameters.columns
    return [i for i, c in enumerate(columns) if c.level is None and not c.missing and c.weight != 0]


def _bisected(subject: Subject, x: Floats, generator: Draws) -> Floats:
    """Bisect between pairs of rows with different verdicts, down to neighbouring floats.

    Only numeric features move. A pair with equal verdicts or with a missing value is left out.
    """
    moves = np.array([feature.kind == "numeric" for feature in subject.features])
    ends = np.where(moves, x[generator.random(len(x)).argsort()], x)
    now = reference.verdict(subject, x)
    crosses = (now != reference.verdict(subject, ends)) & ~np.isnan(x + ends).any(axis=1)
    x, ends, now = x[crosses], ends[crosses], now[crosses]

    def at(share: Floats) -> Floats:
        return np.asarray(x + share[:, None] * (ends - x))

    shares = bisect(np.zeros(len(x)), np.ones(len(x)), lambda share: reference.verdict(subject, at(share)) == now)
    return np.concatenate([at(share) for share in shares])


def rising(subject: Subject, n: int, seed: int = 0) -> tuple[Floats, Floats]:
    """For each numeric feature, make n rows in which only that feature rises.

    Returns
    -------
    x (features, n, d), and +1 or -1 for each feature: whether the logit rises or falls. Both are empty for a hidden
    layer, whose logit need not be monotone.
    """
    generator = Draws(seed)
    climbs, signs = [], []
    for at in _movable(subject):
        column = subject.parameters.columns[at]
        feature = subject.features[column.feature]
        x = np.column_stack([np.repeat(_typical(f, 1, generator), n) for f in subject.features])
        some = _typical(feature, n // 4, generator)
        near = [some, np.nextafter(some, np.inf), _typical(feature, n // 4, generator)]
        steps = np.concatenate([*near, _far(feature, n - 3 * (n // 4), generator)])
        x[:, column.feature] = np.sort(np.where(np.isnan(steps), feature.range[0], steps))
        climbs.append(x)
        signs.append(np.sign(column.weight))
    return np.array(climbs).reshape(len(climbs), n, len(subject.features)), np.array(signs)


def _typical(feature: Feature, n: int, generator: Draws) -> Floats:
    if feature.kind == "categorical":
        value = generator.integers(len(feature.levels), n).astype(np.float64)
    else:
        value = generator.uniform(*feature.range, n)
    if feature.nullable:
        value[generator.random(n) < 0.1] = np.nan
    return value


def _far(feature: Feature, n: int, generator: Draws) -> Floats:
    if feature.kind == "categorical":
        return _typical(feature, n, generator)
    least, most = feature.range
    reach: Floats = 10 ** generator.uniform(0, 12, n) * generator.choice([-1, 1], n)
    return (least + most) / 2 + max(most - least, 1.0) * reach


def _extremes(features: Sequence[Feature], typical: Floats) -> Iterator[Floats]:
    for index, feature in enumerate(features):
        count = len(feature.levels)
        values = NUMBERS if feature.kind == "numeric" else [*range(count), count, -1.0, 0.5, 1e308, np.nan]
        some = typical[np.arange(len(values)) % len(typical)].copy()
        some[:, index] = values
        yield some
