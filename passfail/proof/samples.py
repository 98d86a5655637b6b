"""The rows on which a model is put to the proof: seeded, made from the manifest alone."""

import random

import numpy as np

from passfail.proof import reference

LEAST, TINY = 5e-324, np.finfo(np.float64).tiny
NUMBERS = [0.0, -0.0, LEAST, -LEAST, TINY / 2, TINY, -TINY, 1e300, -1e300, 1e308, -1e308, np.nan]


class Draws:
    """Random numbers, called as NumPy's generator calls them; that is 3.5 MiB of each worker, for a few draws."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def random(self, n):
        """float64 (n,), at least 0 and below 1."""
        return (np.frombuffer(self._random.randbytes(8 * n), dtype="<u8") >> 11) * 2.0**-53

    def uniform(self, low, high, n):
        return low + (high - low) * self.random(n)

    def integers(self, high, size):
        """int (size,), at least 0 and below high."""
        return (self.random(size) * high).astype(int)

    def choice(self, values, n):
        return np.array(values)[self.integers(len(values), n)]

    def permutation(self, n):
        return self.random(n).argsort()


def rows(manifest, n, seed=0):
    """About 3 n rows (float64, (rows, d)) and what they are: {kind: count}, in their order.

    n over the training range; n beyond it, by up to 12 orders of magnitude; n on the decision boundary; then each
    feature in turn at its extremes, missing, at each of its levels, and at levels never seen.
    """
    generator = Draws(seed)
    typical = np.column_stack([_typical(feature, n, generator) for feature in manifest.features])
    far = np.column_stack([_far(feature, n, generator) for feature in manifest.features])
    kinds = {
        "in the training range": typical,
        "beyond it": far,
        "on the boundary": boundary(manifest, typical[: n // 6], generator),
        "extreme, missing, unseen": np.concatenate(list(_extremes(manifest.features, typical))),
    }
    return np.ascontiguousarray(np.concatenate(list(kinds.values()))), {kind: len(x) for kind, x in kinds.items()}


def boundary(manifest, x, generator):
    """Six rows for each of x (n, d), one numeric feature moved to where the verdict changes.

    The two neighbouring floats between which it does, the next one on each side, and one at any distance from
    there, from the last bit to a tenth, on each side. No rows where no numeric feature can change the verdict.
    With a hidden layer, whose logit may turn back: two rows of different verdicts brought together.
    """
    if manifest.parameters.hidden:
        return _bisected(manifest, x, generator)
    movable = [i for i, c in enumerate(manifest.parameters.columns) if _rises(c)]
    if not movable:
        return x[:0]
    column = generator.choice(movable, len(x))
    before, after = reference.flip(manifest, x, column)
    found = np.isfinite(after)
    x, column, before, after = x[found], column[found], before[found], after[found]
    onward = np.where(after > before, 1, -1)
    away = np.maximum(np.abs(after), TINY) * 10 ** generator.uniform(-16, -1, len(x))
    moved = [before, after, *(np.nextafter(v, s * np.inf) for v, s in ((before, -onward), (after, onward)))]
    moved += [before - onward * away, after + onward * away]
    feature = np.array([c.feature for c in manifest.parameters.columns])[column]
    out = np.repeat(x[None], len(moved), axis=0)
    out[:, np.arange(len(x)), feature] = moved
    return out.reshape(-1, x.shape[1])


def _rises(column):
    """Whether the logit rises or falls with the column's feature throughout."""
    return column.level is None and not column.missing and column.weight != 0


def _bisected(manifest, x, generator):
    """Pairs of rows of different verdicts, brought together until no float is between.

    Only numeric features move; a row whose pair has the same verdict, or a missing value, is left out.
    """
    moves = np.array([feature.kind == "numeric" for feature in manifest.features])
    ends = np.where(moves, x[generator.permutation(len(x))], x)

    def verdict(x):
        return reference.logit(manifest, x) > manifest.logit_threshold

    crosses = (verdict(x) != verdict(ends)) & ~np.isnan(x + ends).any(axis=1)
    before, after = x[crosses], ends[crosses]
    now = verdict(before)
    for _ in range(70):  # halves a distance of 1 to below the last bit of any number that counts
        middle = before + (after - before) / 2
        stays = (verdict(middle) == now)[:, None]
        before, after = np.where(stays, middle, before), np.where(stays, after, middle)
    return np.concatenate([before, after])


def ladders(manifest, n, seed=0):
    """For each numeric feature, n rows in which it alone rises: (x (features, n, d), whether the logit rises: +-1).

    None with a hidden layer, whose logit may turn back.
    """
    generator = Draws(seed)
    climbs, signs = [], []
    for column in manifest.parameters.columns:
        feature = manifest.features[column.feature]
        if manifest.parameters.hidden or not _rises(column):
            continue
        x = np.column_stack([np.repeat(_typical(f, 1, generator), n) for f in manifest.features])
        some = _typical(feature, n // 4, generator)
        near = [some, np.nextafter(some, np.inf), _typical(feature, n // 4, generator)]
        steps = np.concatenate([*near, _far(feature, n - 3 * (n // 4), generator)])
        x[:, column.feature] = np.sort(np.where(np.isnan(steps), feature.minimum, steps))
        climbs.append(x)
        signs.append(np.sign(column.weight))
    return np.array(climbs).reshape(len(climbs), n, len(manifest.features)), np.array(signs)


def _typical(feature, n, generator):
    if feature.kind == "categorical":
        value = generator.integers(len(feature.levels), size=n).astype(np.float64)
    else:
        value = generator.uniform(feature.minimum, feature.maximum, n)
    if feature.nullable:
        value[generator.random(n) < 0.1] = np.nan
    return value


def _far(feature, n, generator):
    if feature.kind == "categorical":
        return _typical(feature, n, generator)
    spread = max(feature.maximum - feature.minimum, 1.0)
    reach = 10 ** generator.uniform(0, 12, n) * generator.choice([-1, 1], n)
    return (feature.minimum + feature.maximum) / 2 + spread * reach


def _extremes(features, typical):
    for index, feature in enumerate(features):
        count = len(feature.levels)
        values = NUMBERS if feature.kind == "numeric" else [*range(count), count, -1.0, 0.5, 1e308, np.nan]
        some = typical[np.arange(len(values)) % len(typical)].copy()
        some[:, index] = values
        yield some
