"""The 95 % interval of a row's probability, from the covariance of the parameters."""

from collections.abc import Sequence

import numpy as np

from passfail.arrays import Floats
from passfail.errors import NoInterval
from passfail.links import LINKS
from passfail.manifest import Manifest
from passfail.proof import reference

MOST_PARAMETERS = 128  # parameters; for a larger model the manifest has no covariance
Z95 = 1.959963984540054  # the standard normal's quantile of 97.5 %
CHUNK = 8192  # rows at a time


class Intervals:
    """The intervals of one model's probabilities.

    The score is linear in the parameters, so its variance follows from their covariance (McCullagh & Nelder,
    Generalized Linear Models, 1989, section 4.4). The inverse link is monotone, so it maps the ends of the score's
    interval to probabilities.

    Raises NoInterval if the fit has no covariance.
    """

    def __init__(self, manifest: Manifest) -> None:
        if reason := _none(manifest):
            raise NoInterval(f"the model has no intervals: {reason}")
        assert manifest.training.statistics is not None
        self._manifest = manifest
        self._factor = root(manifest.training.statistics.factor)
        self._ones = len(self._factor) - len(manifest.parameters.columns)  # the intercept's column, if there is one

    def at(self, x: Floats, logit: Floats) -> Floats:
        """The intervals (n, 2), low and high, of rows x (n, d) with these logits (n,)."""
        center, scale, _ = reference.scaling(self._manifest)
        reach = np.empty(len(x))
        with np.errstate(over="ignore"):
            for start in range(0, len(x), CHUNK):
                rows = slice(start, start + CHUNK)
                columns = (reference.values(self._manifest, x[rows]) - center) / scale
                design = np.column_stack([np.ones((len(columns), self._ones)), columns])
                reach[rows] = Z95 * np.linalg.norm(design @ self._factor, axis=1)
        ends = np.stack([logit - reach, logit + reach], axis=1)
        probability = LINKS[self._manifest.link].probability
        return np.array([probability(score) for score in ends.ravel().tolist()]).reshape(ends.shape)


def root(factor: Sequence[float]) -> Floats:
    """The matrix L (P, P) of `Statistics.factor`."""
    size = round((2 * len(factor)) ** 0.5 - 0.5)
    lower = np.zeros((size, size))
    lower[np.tril_indices(size)] = factor
    return lower


def _none(manifest: Manifest) -> str | None:
    """The reason why the model has no intervals; None if it has them."""
    training = manifest.training
    found = training.statistics
    if found is None:
        return "only a converged fit by --solver newton has a covariance"
    if found.factor:
        return None
    if penalties := [f"--{name}" for name in ("l1", "l2") if training.options.get(name)]:
        return f"the penalty {' and '.join(penalties)} shrinks the estimates towards 0"
    if found.separation != "none":
        return "its columns separate the outcomes, so its estimates are infinite"
    if found.collinear:
        return "its columns are collinear, so its estimates are not unique"
    return f"it has more than {MOST_PARAMETERS} parameters"
