"""The proof that an engine answers as the parameters say, measured against exact arithmetic.

The trainer runs it at length before it publishes (train/export/parity.py); the service runs it in short, on the machine
and with the runtime that will answer, before it is ready.
"""

from dataclasses import dataclass

import numpy as np

from passfail.errors import CertificateError
from passfail.manifest import Figures
from passfail.proof import exact, reference, samples
from passfail.proof.rounding import Stability

# Of a probability, given the score that the link takes: the probit's tail multiplies the rounding of z^2.
PROBABILITY_ULP = {"logit": 4, "probit": 16, "cloglog": 4, "cauchit": 4}

# What each figure may be at most, and how to say that it is more; a probability's, above.
LIMITS = {
    "logit_differences": (0, "logits that are not the closed form's, to the bit"),
    "logit_error": (1.0, "times its rounding bound is the largest error of a logit"),
    "probability_ulp": (None, "units in the last place is the largest error of a probability"),
    "batch_differences": (0, "rows that answer differently alone, or in a batch of another size"),
    "out_of_range": (0, "probabilities outside [0, 1]"),
    "non_monotone": (0, "probabilities or logits that fall where they should rise"),
    "verdict_differences": (0, "verdicts that are wrong outside the certified band"),
}


@dataclass(frozen=True)
class Truth:
    """What is known about the rows that every engine answers.

    x (n, d); logit: of the closed form; sample: the indices of the rows measured exactly, of those with a finite
    logit; high, low: their exact logits; p, q: the exact probabilities, high and low, of the closed form's logits;
    band: how far a logit may be off; climbs, signs: `samples.ladders`; sizes: of the batches; alone: indices of the
    rows asked one by one. With a hidden layer the closed form's logits stand for the exact ones, and the band is 0; p
    is None where the link's exact probabilities can't be had (`exact.can`).
    """

    manifest: object
    x: np.ndarray
    logit: np.ndarray
    sample: np.ndarray
    high: np.ndarray
    low: np.ndarray
    p: np.ndarray | None
    q: np.ndarray | None
    band: np.ndarray
    climbs: np.ndarray
    signs: np.ndarray
    sizes: tuple[int, ...]
    alone: np.ndarray


def truth(manifest, x, exact_rows, steps, sizes, alone):
    """The Truth about x (n, d): at most `exact_rows` of its rows exactly, `steps` rungs to each feature's ladder."""
    logit = reference.logit(manifest, x)
    finite = np.flatnonzero(np.isfinite(logit))
    sample = finite[:: -(-len(finite) // exact_rows) or 1]
    if manifest.parameters.hidden:
        high = logit[sample]
        low = band = np.zeros(len(sample))
    else:
        high, low = exact.logits(manifest, reference.values(manifest, x[sample]))
        band = Stability(manifest).band(x[sample])
    p, q = None, None
    if exact.can(manifest.link):
        p, q = exact.probabilities(manifest.link, exact.rounded(manifest.link, logit[sample]))
    climbs, signs = samples.ladders(manifest, steps)
    singles = np.linspace(0, len(x) - 1, min(alone, len(x))).astype(int)
    return Truth(manifest, x, logit, sample, high, low, p, q, band, climbs, signs, sizes, singles)


def certify(name, runtime, verdict, manifest):
    """The short form, well under 0.1 s: raises CertificateError saying by how much the runtime misses."""
    x, _ = samples.rows(manifest, 60)
    figures = measure(runtime, verdict, truth(manifest, x, exact_rows=200, steps=32, sizes=(0, 1, 2, 7), alone=7))
    found = faults(figures, manifest.link)
    if found:
        raise CertificateError(f"{name} doesn't answer on this machine as it was certified: {'; '.join(found)}")


def most(name, link):
    """What the figure may be at most, for a model of this link."""
    return PROBABILITY_ULP[link] if name == "probability_ulp" else LIMITS[name][0]


def faults(figures, link):
    """What the figures miss, each in words with what is measured and what is allowed; empty where all is met."""
    measured = ((getattr(figures, name), most(name, link), words) for name, (_, words) in LIMITS.items())
    return [f"{value:.6g} {words} (at most {limit:g})" for value, limit, words in measured if not value <= limit]


def measure(runtime, verdict, truth):
    """The Figures of a runtime, with verdict: logits (n,) -> bool (n,).

    Raises CertificateError where it can't answer at all.
    """
    z, p = _answer(runtime, truth.x)
    at, threshold = truth.sample, truth.manifest.logit_threshold
    with np.errstate(all="ignore"):
        off = np.abs((z[at] - truth.high) - truth.low)
        error = np.where(off == 0, 0.0, off / truth.band)
        absolute = 0.0 if truth.p is None else np.abs((p[at] - truth.p) - truth.q)
    right = (truth.high > threshold) | ((truth.high == threshold) & (truth.low > 0))
    stable = np.abs((truth.high - threshold) + truth.low) > truth.band
    wrong = verdict(z[at]) != right
    return Figures(
        logit_differences=int((~_same(z, truth.logit)).sum()),
        logit_error=_largest(error),
        probability_ulp=0 if truth.p is None else ulp(p[at], truth.p),
        probability_error=_largest(np.asarray(absolute)),
        batch_differences=_batch_differences(runtime, z, p, truth),
        out_of_range=int(((p < 0) | (p > 1)).sum()),
        non_monotone=non_monotone(z, p) + _falls(runtime, truth),
        verdict_differences=int((wrong & stable).sum()),
        unstable_verdicts=int((wrong & ~stable).sum()),
    )


def ulp(p, q):
    """The largest distance of two probabilities, or arrays of them, in units in the last place; NaN equals NaN.

    Below 1e-300 all count as equal, since there 1 / (1 + exp(-z)) runs out of exponents.
    """
    p, q = np.atleast_1d(p), np.atleast_1d(q)
    if (np.isnan(p) != np.isnan(q)).any():
        return 2**63 - 1
    p, q = (np.maximum(np.nan_to_num(a), 1e-300).view(np.int64) for a in (p, q))
    return int(np.abs(p - q).max(initial=0))


def non_monotone(logit, probability):
    """How many rows have a lower probability than some row of a lower logit."""
    known = ~np.isnan(logit)
    order = np.lexsort((probability[known], logit[known]))
    z, p = logit[known][order], probability[known][order]
    first = np.flatnonzero(np.r_[True, z[1:] > z[:-1]]) if len(z) else np.array([], dtype=int)
    highest_before = np.r_[-np.inf, np.maximum.accumulate(p)][first]
    return int((p[first] < highest_before).sum())


def _answer(runtime, x):
    """The runtime's answer, checked for its shape and type: engines fail in as many ways as there are engines."""
    try:
        answer = [np.asarray(part) for part in runtime(x)]
    except Exception as error:
        raise CertificateError(f"can't answer a batch of {len(x)}: {str(error).splitlines()[0]}") from error
    if [(a.dtype, a.shape) for a in answer] != [(np.float64, (len(x),))] * 2:
        got = ", ".join(f"{a.dtype} {list(a.shape)}" for a in answer)
        raise CertificateError(f"answers {len(x)} rows with {got}, not with twice float64 [{len(x)}]")
    return answer


def _batch_differences(runtime, z, p, truth):
    count = 0
    for size in truth.sizes:
        which = np.resize(np.arange(len(truth.x)), size)
        logit, probability = _answer(runtime, np.ascontiguousarray(truth.x[which]))
        count += int((~(_same(logit, z[which]) & _same(probability, p[which]))).sum())
    for row in truth.alone:
        logit, probability = _answer(runtime, truth.x[row : row + 1])
        count += int((~(_same(logit, z[row]) & _same(probability, p[row]))).sum())
    return count


def _falls(runtime, truth):
    """How many steps of the ladders lead the wrong way, of the logit or the probability."""
    features, steps, d = truth.climbs.shape
    if features == 0:
        return 0
    rises = truth.signs[:, None]
    answers = _answer(runtime, truth.climbs.reshape(features * steps, d))
    with np.errstate(invalid="ignore"):
        return sum(int((np.diff(a.reshape(features, steps)) * rises < 0).sum()) for a in answers)


def _same(a, b):
    return (a == b) | (np.isnan(a) & np.isnan(b))


def _largest(values):
    """The largest of them, NaN where one is."""
    return float(values.max(initial=0.0))
