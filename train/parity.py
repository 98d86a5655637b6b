"""The proof that an export answers as the model does: both runtimes against each other and against a closed form.

Logits must be equal to the bit: the graph adds in a fixed order, and IEEE 754 leaves nothing else to choose.
Probabilities may differ by what two good implementations of exp differ by.
"""

import numpy as np
from scipy.special import erfcx

from serve.manifest import Certificate
from train.activations import ACTIVATIONS, NUMPY
from train.errors import ExportError

# Of the probit's 13, 8 are scipy's erfcx in the closed form; runtime against runtime it is 4 at most for every link.
PROBABILITY_ULP = {"logit": 4, "probit": 16, "cloglog": 4, "cauchit": 4}
BATCH_SIZES = (0, 1, 2, 7, 1000)
ROWS = 20_000


def closed_form(features, parameters, x):
    """The model written out in NumPy from the manifest's parameters: x (n, d) -> logit (n,), float64."""
    columns = []
    for column in parameters.columns:
        feature = features[column.feature]
        value = x[:, column.feature]
        if column.missing:
            value = np.isnan(value).astype(np.float64)
        elif feature.fill is not None:
            value = np.where(np.isnan(value), feature.fill, value)
        if column.level is not None:
            seen = np.isin(value, np.arange(len(feature.levels)))
            value = np.where(seen, value == column.level, np.nan)
        columns.append((value - column.center) / column.scale * column.weight)
    if parameters.hidden:
        columns = _units(parameters.hidden, columns)
    return sum(columns[1:], columns[0]) + parameters.intercept


def _units(hidden, columns):
    """What each unit of the hidden layer adds to the logit: H arrays (n,) from D."""
    weighted = [[weight * column for weight, column in zip(u.inputs, columns, strict=True)] for u in hidden.units]
    score = np.column_stack(
        [sum(terms[1:], terms[0]) + u.bias for terms, u in zip(weighted, hidden.units, strict=True)]
    )
    active = ACTIVATIONS[hidden.activation](NUMPY, score, hidden.slope)
    return [active[:, index] * unit.weight for index, unit in enumerate(hidden.units)]


def closed_probability(link, z):
    """The link's probability of scores z (n,), by other means than train/links.py has but with the same rounding of z.

    In the probit's tail an ulp of z moves the probability by z^2 ulp, hence the square in extended precision.
    """
    if link == "logit":
        return 1 / (1 + np.exp(-z))
    if link == "cloglog":
        return -np.expm1(-np.exp(np.round(np.clip(z, -745, 7) * 2.0**48) / 2.0**48))
    if link == "probit":
        x = np.round(np.clip(np.abs(z), 0, 40) * 2.0**48) / 2.0**48
        tail = (
            np.exp(-(np.longdouble(x) ** 2) / 2) * erfcx((x / np.sqrt(np.longdouble(2))).astype(np.float64)) / 2
        ).astype(np.float64)
    else:
        mantissa, exponent = np.frexp(np.clip(np.abs(z), 0, 1e300))
        x = np.ldexp(np.round(mantissa * 2.0**48), exponent - 48)
        tail = np.arctan2(1, x) / np.pi
    return np.where(z > 0, 1 - tail, tail)


def probe(features, parameters, logit_threshold, rows=ROWS, seed=0):
    """Rows to compare on, float64 (about `rows`, d), seeded.

    A third is drawn from the training range, a third far beyond it, a third lies on the decision boundary, up to
    three floats to either side of it; then each feature in turn at its extremes, missing, and at levels never seen.
    """
    generator = np.random.default_rng(seed)
    n = rows // 3
    typical = np.column_stack([_typical(feature, n, generator) for feature in features])
    far = np.column_stack([_far(feature, n, generator) for feature in features])
    edge = _boundary(features, parameters, logit_threshold, typical, generator)
    return np.ascontiguousarray(np.concatenate([typical, far, edge, *_extremes(features, typical)]))


def certify(runtimes, features, parameters, logit_threshold, x, link="logit"):
    """Compare runtimes ({name: callable}) with each other and with the closed form on x (n, d).

    Raises ExportError naming each thing that is not met; returns the figures otherwise.
    """
    with np.errstate(all="ignore"):
        logit = closed_form(features, parameters, x)
        answers = {"closed form": (logit, closed_probability(link, logit))}
    for name, run in runtimes.items():
        answers[name] = run(x)
        for size in BATCH_SIZES:
            part = run(x[:size])
            if not _same(part[0], answers[name][0][:size]).all():
                raise ExportError(f"{name}: a batch of {size} rows doesn't answer as the same rows among others do")
    verdict = logit > logit_threshold
    certificate = Certificate(
        rows=len(x),
        logit_differences=max(int((~_same(z, logit)).sum()) for z, _ in answers.values()),
        probability_ulp=max(ulp(p, q) for _, p in answers.values() for _, q in answers.values()),
        out_of_range=sum(int(((p < 0) | (p > 1)).sum()) for _, p in answers.values()),
        non_monotone=sum(non_monotone(z, p) for z, p in answers.values()),
        verdict_differences=max(int(((z > logit_threshold) != verdict).sum()) for z, _ in answers.values()),
    )
    faults = [
        f"{count} {what}"
        for what, count, most in [
            ("logits differ", certificate.logit_differences, 0),
            ("units in the last place between probabilities", certificate.probability_ulp, PROBABILITY_ULP[link]),
            ("probabilities outside [0, 1]", certificate.out_of_range, 0),
            ("probabilities fall where the logit rises", certificate.non_monotone, 0),
            ("verdicts differ", certificate.verdict_differences, 0),
        ]
        if count > most
    ]
    if faults:
        raise ExportError(f"the runtimes ({', '.join(runtimes)}) disagree on {len(x)} rows: {'; '.join(faults)}")
    return certificate


def ulp(p, q):
    """The largest distance of two arrays of probabilities in units in the last place; NaN equals NaN.

    Below 1e-300 all count as equal, since there 1 / (1 + exp(-z)) runs out of exponents.
    """
    known = ~(np.isnan(p) & np.isnan(q))
    if not known.any():
        return 0
    if np.isnan(p[known]).any() or np.isnan(q[known]).any():
        return 2**63 - 1
    p, q = (np.maximum(a[known], 1e-300).view(np.int64) for a in (p, q))
    return int(np.abs(p - q).max())


def non_monotone(logit, probability):
    """How many rows have a lower probability than some row of a lower logit."""
    known = ~np.isnan(logit)
    order = np.lexsort((probability[known], logit[known]))
    z, p = logit[known][order], probability[known][order]
    first = np.flatnonzero(np.r_[True, z[1:] > z[:-1]]) if len(z) else np.array([], dtype=int)
    highest_before = np.r_[-np.inf, np.maximum.accumulate(p)][first]
    return int((p[first] < highest_before).sum())


def _same(a, b):
    return (a == b) | (np.isnan(a) & np.isnan(b))


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


def _boundary(features, parameters, logit_threshold, rows, generator):
    """rows with one numeric feature moved to where the logit meets its threshold, and up to 3 floats off it."""
    if parameters.hidden:
        return _bisected(features, parameters, logit_threshold, rows, generator)
    movable = [
        column for column in parameters.columns if column.level is None and not column.missing and column.weight != 0
    ]
    if not movable:
        return rows[:0]
    rows = rows.copy()
    column = np.array([c.feature for c in movable])[choice := generator.integers(len(movable), size=len(rows))]
    center, scale, weight = (np.array([getattr(c, k) for c in movable])[choice] for k in ("center", "scale", "weight"))
    each = np.arange(len(rows))
    rows[each, column] = center
    rest = closed_form(features, parameters, rows)
    with np.errstate(over="ignore"):
        value = center + scale * (logit_threshold - rest) / weight
    steps = generator.integers(-3, 4, len(rows))
    rows[each, column] = value + steps * np.spacing(value)
    return rows


def _bisected(features, parameters, logit_threshold, rows, generator):
    """Where the logit is not linear: pairs of rows of different verdicts, brought together until no float is between.

    Only numeric features move; a row whose pair has the same verdict, or a missing value, is left out.
    """
    moves = np.array([feature.kind == "numeric" for feature in features])
    ends = np.where(moves, rows[generator.permutation(len(rows))], rows)

    def verdict(x):
        with np.errstate(all="ignore"):
            return closed_form(features, parameters, x) > logit_threshold

    crosses = (verdict(rows) != verdict(ends)) & ~np.isnan(rows + ends).any(axis=1)
    before, after = rows[crosses], ends[crosses]
    now = verdict(before)
    for _ in range(70):  # halves a distance of 1 to below the last bit of any number that counts
        middle = before + (after - before) / 2
        stays = (verdict(middle) == now)[:, None]
        before, after = np.where(stays, middle, before), np.where(stays, after, middle)
    return np.concatenate([before, after])


def _extremes(features, rows):
    """For each feature, a row for each value at which arithmetic or a lookup could break."""
    tiny, least = np.finfo(np.float64).tiny, 5e-324
    numbers = [0.0, -0.0, least, -least, tiny, -tiny, 1e300, -1e300, 1e308, -1e308, np.nan]
    for index, feature in enumerate(features):
        count = len(feature.levels)
        values = numbers if feature.kind == "numeric" else [*range(count), count, -1.0, 0.5, 1e308, np.nan]
        some = rows[np.arange(len(values)) % len(rows)].copy()
        some[:, index] = values
        yield some
