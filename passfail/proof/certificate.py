"""The proof that an engine computes the model, measured against exact arithmetic.

The trainer runs the long form before it publishes (train/export/parity.py). The service runs the short form before it
is ready, on the machine and with the runtime that will answer.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from passfail.arrays import Bools, Floats
from passfail.errors import CertificateError
from passfail.links import LINKS
from passfail.measurements import Figures
from passfail.proof import exact, reference, samples
from passfail.proof.reference import Subject
from passfail.proof.rounding import Stability
from passfail.runtimes import Runtime

Verdict = Callable[[Floats], Bools]
Claim = Callable[[Floats, Floats], Bools | None]

LONG_ROWS, LONG_VALUES = 100_000, 2**19  # limits of the longest batch at the start, so that it takes few milliseconds

# {figure: its description}, for every message and page that shows it.
FIGURES = {
    "logit_differences": "logits whose bits differ from the closed form's",
    "logit_error": "largest error of a logit, as a share of its rounding bound",
    "probability_ulp": "largest error of a probability, in units in the last place",
    "probability_error": "largest error of a probability",
    "batch_differences": "rows whose answer changes when alone, or in a batch of another size",
    "out_of_range": "probabilities outside [0, 1]",
    "non_monotone": "probabilities or logits that decrease where they must increase",
    "verdict_differences": "wrong verdicts outside the certified band",
    "unstable_verdicts": "wrong verdicts inside the certified band",
    "false_stable": "verdicts reported as stable inside the certified band",
}
UNLIMITED = ("probability_error", "unstable_verdicts")  # these are only reported


def limits(link: str) -> dict[str, float]:
    """The largest allowed value of each figure that a certificate requires."""
    errors = {"logit_error": 1.0, "probability_ulp": LINKS[link].ulp}
    return {name: errors.get(name, 0) for name in FIGURES if name not in UNLIMITED}


class Truth:
    """The exact answers to the rows that every engine answers.

    With a hidden layer the closed form's logits stand for the exact ones, and the band is 0.

    Parameters
    ----------
    x : the rows (n, d).
    exact_rows : the largest number of exact logits; probabilities are exact for all rows.
    steps : the number of rows for each feature in `rising`.
    sizes : the sizes of the batches that are compared with single rows.
    alone : the largest number of rows to ask one by one.

    Attributes
    ----------
    logit : of the closed form (n,).
    sample : the indices (m,) of rows with a finite logit, for which the exact logit is computed.
    high, low : their exact logits (m,), as a pair of passfail/proof/exact.py.
    band : the rounding bound of each (m,).
    finite : the indices (k,) of all rows with a finite logit.
    exact : their exact probabilities (k,), high and low, from the closed form's logits; None if this machine can't
        compute them.
    rising, signs : as from `samples.rising`.
    alone : the indices of the rows asked one by one.
    """

    def __init__(
        self, subject: Subject, x: Floats, exact_rows: int, steps: int, sizes: tuple[int, ...], alone: int
    ) -> None:
        self.subject, self.x, self.sizes = subject, x, sizes
        self.logit = reference.logit(subject, x)
        self.finite = np.flatnonzero(np.isfinite(self.logit))
        self.sample = self.finite[:: -(-len(self.finite) // exact_rows) or 1]
        if subject.parameters.hidden:
            self.high = self.logit[self.sample]
            self.low = self.band = np.zeros(len(self.sample))
        else:
            self.high, self.low = exact.logits(subject, reference.values(subject, x[self.sample]))
            self.band = Stability(subject).band(x[self.sample])
        self.exact = exact.probabilities(subject.link, self.logit[self.finite])
        self.rising, self.signs = samples.rising(subject, steps)
        self.alone = np.linspace(0, len(x) - 1, min(alone, len(x))).astype(np.int64)


def certify(name: str, runtime: Runtime, verdict: Verdict, subject: Subject, stable: Claim | None = None) -> None:
    """Run the short form, well under 0.1 s. Raises CertificateError with the failed limits."""
    x, _ = samples.rows(subject, 60)
    sizes = (*batch_sizes(1024), min(LONG_ROWS, LONG_VALUES // len(subject.features)))
    figures = measure(runtime, verdict, Truth(subject, x, exact_rows=200, steps=32, sizes=sizes, alone=7), stable)
    if found := faults(figures, subject.link):
        raise CertificateError(f"{name} doesn't answer on this machine as it was certified: {'; '.join(found)}")


def batch_sizes(most: int) -> tuple[int, ...]:
    """The sizes up to `most` around each power of two, and some between them.

    Engines switch their code path at such sizes and at vector widths. All sizes up to 64 are there; then each is at
    most a tenth larger than the one before, and half above 4,096.
    """
    around = {2**k + d for k in range(most.bit_length()) for d in (-1, 0, 1)}
    between = {*range(65), *(round(2 ** (k / 8)) for k in range(97)), *(3 * 2**k for k in range(most.bit_length()))}
    return tuple(sorted(size for size in around | between | {most} if size <= most))


def faults(figures: Figures, link: str) -> list[str]:
    """The limits that the figures exceed, each with the measured value and the limit."""
    measured = ((FIGURES[name], getattr(figures, name), limit) for name, limit in limits(link).items())
    return [f"{words}: {value:.6g} (at most {limit:g})" for words, value, limit in measured if not value <= limit]


def measure(runtime: Runtime, verdict: Verdict, truth: Truth, stable: Claim | None = None) -> Figures:
    """Measure the Figures of a runtime and of the verdicts from its logits.

    Parameters
    ----------
    verdict : logits (n,) -> bool (n,).
    stable : rows (n, d) and their logits (n,) -> whether each verdict is reported as stable, bool (n,), or None.

    Raises CertificateError if the runtime can't answer.
    """
    z, p = _answer(runtime, truth.x)
    at, threshold = truth.sample, truth.subject.logit_threshold
    with np.errstate(all="ignore"):
        off = np.abs((z[at] - truth.high) - truth.low)
        missed = np.abs((p[truth.finite] - truth.exact[0]) - truth.exact[1]) if truth.exact else np.zeros(0)
        error = np.where(off == 0, 0.0, off / truth.band)
    right = (truth.high > threshold) | ((truth.high == threshold) & (truth.low > 0))
    distance = np.abs((truth.high - threshold) + truth.low)
    sure = distance > truth.band
    wrong = verdict(z[at]) != right
    claimed = None if stable is None else stable(truth.x[at], z[at])
    # The band is twice the rounding bound: if a computed logit is outside it, the exact one is outside half of it.
    false_stable = 0 if claimed is None else int((claimed & ~(distance > truth.band / 2)).sum())
    edge = np.array([np.nextafter(threshold, -np.inf), threshold, np.nextafter(threshold, np.inf)])
    wrong_at_edge = verdict(edge) != [False, False, True]  # positive where the logit exceeds the threshold's
    return Figures(
        logit_differences=int((~_same(z, truth.logit)).sum()),
        logit_error=_largest(error),
        probability_ulp=ulp(p[truth.finite], truth.exact[0]) if truth.exact else 0,
        probability_error=_largest(missed),
        batch_differences=_batch_differences(runtime, z, p, truth),
        out_of_range=int((((p <= 0) & np.signbit(p)) | (p > 1)).sum()),  # -0 too
        non_monotone=non_monotone(z, p) + _falls(runtime, truth),
        verdict_differences=int((wrong & sure).sum() + wrong_at_edge.sum()),
        unstable_verdicts=int((wrong & ~sure).sum()),
        false_stable=false_stable,
    )


def ulp(p: Floats | float, q: Floats | float) -> int:
    """The largest distance between probabilities p and q, in units in the last place.

    NaN equals NaN. All values below 1e-300 are equal, because 1 / (1 + exp(-z)) underflows there.
    """
    p, q = np.atleast_1d(p), np.atleast_1d(q)
    if (np.isnan(p) != np.isnan(q)).any():
        return 2**63 - 1
    first, second = (np.maximum(np.nan_to_num(a), 1e-300).view(np.int64) for a in (p, q))
    return int(np.abs(first - second).max(initial=0))


def non_monotone(logit: Floats, probability: Floats) -> int:
    """The number of rows with a lower probability than a row with a lower logit."""
    known = ~np.isnan(logit)
    order = np.lexsort((probability[known], logit[known]))
    z, p = logit[known][order], probability[known][order]
    first = np.flatnonzero(np.r_[True, z[1:] > z[:-1]]) if len(z) else np.array([], dtype=np.int64)
    highest_before = np.r_[-np.inf, np.maximum.accumulate(p)][first]
    return int((p[first] < highest_before).sum())


def _answer(runtime: Runtime, x: Floats) -> tuple[Floats, Floats]:
    """The runtime's answer, with its shape and type checked. Raises CertificateError."""
    try:
        answer: list[npt.NDArray[np.generic]] = [np.asarray(part) for part in runtime(x)]
    except Exception as error:
        raise CertificateError(f"fails on a batch of {len(x)}: {str(error).splitlines()[0]}") from error
    if len(answer) != 2 or any(part.dtype != np.float64 or part.shape != (len(x),) for part in answer):
        got = ", ".join(f"{part.dtype} {list(part.shape)}" for part in answer)
        raise CertificateError(f"answers {len(x)} rows with {got}; it must return two arrays float64 [{len(x)}]")
    logit, probability = answer
    return logit.astype(np.float64, copy=False), probability.astype(np.float64, copy=False)


def _batch_differences(runtime: Runtime, z: Floats, p: Floats, truth: Truth) -> int:
    """The number of rows whose answer alone or in another batch differs from z, p (n,)."""
    n, count = len(truth.x), 0
    batches = [slice(size) if size <= n else np.resize(np.arange(n), size) for size in truth.sizes]
    for which in [*batches, *truth.alone.reshape(-1, 1)]:
        logit, probability = _answer(runtime, np.ascontiguousarray(truth.x[which]))
        if logit.tobytes() != z[which].tobytes() or probability.tobytes() != p[which].tobytes():
            count += int((~(_same(logit, z[which]) & _same(probability, p[which]))).sum())
    return count


def _falls(runtime: Runtime, truth: Truth) -> int:
    """The number of steps of rising rows in which logit or probability goes the wrong way."""
    features, steps, d = truth.rising.shape
    if features == 0:
        return 0
    rises = truth.signs[:, None]
    answers = _answer(runtime, truth.rising.reshape(features * steps, d))
    with np.errstate(invalid="ignore"):
        return sum(int((np.diff(a.reshape(features, steps)) * rises < 0).sum()) for a in answers)


def _same(a: Floats, b: Floats) -> Bools:
    """Whether each pair has the same bits; 0 is not -0, but NaN equals NaN."""
    return np.asarray((a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b)))


def _largest(values: Floats) -> float:
    """The largest value; NaN if one is NaN."""
    return float(values.max(initial=0.0))
