"""The chain from the fit to the export: what is about to be published is compared with what the fit computed."""

from collections.abc import Iterator

import msgspec
import numpy as np

from passfail.manifest import Manifest, Metrics, Parameters, Statistics
from passfail.proof import reference
from train.evaluation.metrics import metrics
from train.export.checkpoint import Kept

ROUNDING = 1e-12  # of a sum: what adding its terms in another order may change, with room to spare


def faults(manifest: Manifest, kept: Kept, measured: Metrics | None) -> list[str]:
    """How an export differs from its fit, in words; empty where it doesn't.

    Parameters
    ----------
    manifest : the export's, with its parameters and the fit's coefficient table.
    kept : rows, and the logits that the fit computed for them.
    measured : the fit's metrics on these rows, if both outcomes are among them.
    """
    logit = reference.logit(manifest, kept.x)
    different = int((logit != kept.logit).sum())
    found = [f"{different} of {len(logit)} logits are not the fit's"] if different else []
    if manifest.training.statistics is not None and manifest.parameters.hidden is None:
        found += _coefficients(manifest.parameters, manifest.training.statistics)
    if measured is not None:
        found += _metrics(measured, metrics(logit, kept.y, manifest.link, manifest.threshold, kept.weight))
    return found


def _coefficients(parameters: Parameters, statistics: Statistics) -> Iterator[str]:
    """The terms of the coefficient table that the parameters don't give, in the table's own units."""
    slopes = np.array([column.weight / column.scale for column in parameters.columns])
    centers = slopes * [column.center for column in parameters.columns]
    estimates, sizes = list(slopes), list(np.abs(slopes))
    if len(statistics.coefficients) > len(slopes):  # the intercept comes first, if there is one
        estimates.insert(0, parameters.intercept - centers.sum())
        sizes.insert(0, abs(parameters.intercept) + np.abs(centers).sum())
    for found, estimate, size in zip(statistics.coefficients, estimates, sizes, strict=True):
        if found.estimate is not None and abs(found.estimate - estimate) > ROUNDING * size:
            yield f"the coefficient of {found.term} is {estimate:.17g}, {found.estimate:.17g} in the fit's table"


def _metrics(fit: Metrics, now: Metrics) -> Iterator[str]:
    for name, value in msgspec.structs.asdict(fit).items():
        if abs(getattr(now, name) - value) > ROUNDING * abs(value):
            yield f"{name} on the kept rows is {getattr(now, name):.17g}, {value:.17g} in the fit"
