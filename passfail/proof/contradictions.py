"""The contradictions of a manifest's figures with one another, found without the table."""

from collections.abc import Iterator, Sequence

import numpy as np

from passfail.columns import row
from passfail.intervals import root
from passfail.manifest import Manifest
from passfail.measurements import Bin, Metrics, Spread
from passfail.proof import reference
from passfail.proof.samples import Draws, boundary

ROUNDING = 1e-12  # of a sum: more than another order of its terms can change
CLOSE = 1e-6  # of a figure that another processor rounds otherwise
EXAMPLES = 5  # recorded first: four across the training range, and one beyond it


def contradictions(manifest: Manifest) -> Iterator[str]:
    """Yield each contradiction as a sentence."""
    training, examples = manifest.training, manifest.examples
    second = np.array([row(manifest.features, one.instance) for one in examples[1:2]])
    known = EXAMPLES + sum(feature.nullable for feature in manifest.features)
    if len(examples) < EXAMPLES or len(examples) < known + len(boundary(manifest, second, Draws(0))[:2]):
        yield "recorded examples are missing"
        return
    for feature in manifest.features:
        if feature.kind != "numeric":
            continue
        ends = np.array([examples[index].instance[feature.name] for index in (0, 3)], np.float64)
        slack = ROUNDING * max(map(abs, feature.range))  # an example is the minimum plus a part of the width
        if not any(np.allclose(ends, at, CLOSE, slack) for at in (feature.range, np.round(feature.range))):
            yield f"{feature.name}: the training range is not that of the recorded examples"
    for column in manifest.parameters.columns:
        feature = manifest.features[column.feature]
        least, most = (0.0, 1.0) if column.missing or column.level is not None else feature.range
        slack = CLOSE * (abs(least) + abs(most))
        if not least - slack <= column.mean <= most + slack:
            yield f"{feature.name}: the mean of a column is outside its range"
    if len(training.baseline.features) != len(manifest.features):
        yield "the drift baseline and the model differ in their number of features"
    if not all(map(_adds_up, (*training.baseline.features, training.baseline.score))):
        yield "the drift baseline's shares do not add up to 1"
    if training.held_out is not None:
        yield from _calibration(training.held_out, training.calibration, "weights" in manifest.arguments)
    if manifest.parameters.hidden is None:
        yield from _coefficients(manifest)


def _adds_up(spread: Spread) -> bool:
    """Whether there is a share for each bin and for missing values, and they add up to 1."""
    shares, edges = np.array(spread.shares), np.array(spread.edges)
    return len(shares) == len(edges) + 2 and abs(shares.sum() - 1) < CLOSE and bool((np.diff(edges) > 0).all())


def _calibration(held_out: Metrics, bins: Sequence[Bin], weighted: bool) -> Iterator[str]:
    """The contradictions of calibration bins and held-out metrics; weighted bins are rounded."""
    rows = sum(found.rows for found in bins)
    if weighted and not rows:  # the weights add up to less than a row
        return
    slack = 20 / rows if weighted else ROUNDING
    error = sum(abs(found.probability * found.rows - found.positives) for found in bins) / max(rows, 1)
    if not weighted and rows != held_out.rows:
        yield f"the calibration bins have {rows} rows, the held-out metrics {held_out.rows}"
    if abs(error - held_out.calibration_error) > slack:
        yield f"the calibration error of the bins is {error:.17g}, {held_out.calibration_error:.17g} in the metrics"


def _coefficients(manifest: Manifest) -> Iterator[str]:
    """The terms whose coefficient, in the table's units, or error is not the parameters'."""
    if (found := manifest.training.statistics) is None:
        return
    intercept = len(found.coefficients) > len(manifest.parameters.columns)
    beta, to_raw = reference.raw_units(manifest.parameters, intercept)
    terms = len(beta)
    if len(found.coefficients) != terms or len(found.factor) not in (0, terms * (terms + 1) // 2):
        yield "the fit's table and the parameters differ in their number of terms"
        return
    errors = np.linalg.norm(to_raw @ root(found.factor), axis=1) if found.factor else np.full(len(beta), np.nan)
    figures = to_raw @ beta, np.abs(to_raw) @ np.abs(beta), errors
    for one, estimate, size, error in zip(found.coefficients, *(part.tolist() for part in figures), strict=True):
        if one.estimate is None:
            continue
        if abs(one.estimate - estimate) > ROUNDING * size:
            yield f"the coefficient of {one.term} is {estimate:.17g}, {one.estimate:.17g} in the fit's table"
        if found.factor and not abs((one.standard_error or 0.0) - error) <= CLOSE * error:
            yield f"the standard error of {one.term} is {error:.17g}, {one.standard_error} in the fit's table"
