"""The comparison of an export with its fit, before it is published."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from passfail.arrays import Floats
from passfail.codecs import Codecs, codecs
from passfail.errors import CertificateError, RequestError
from passfail.loading import replay
from passfail.manifest import Manifest, Parameters
from passfail.measurements import Bin, Metrics, Statistics
from passfail.proof import reference
from train.evaluation.drift_baseline import baseline
from train.evaluation.metrics import metrics
from train.export.checkpoint import Description, Kept, Raw
from train.solvers.fit import class_factors

ROUNDING = 1e-12  # of a sum: more than another order of its terms can change


def faults(manifest: Manifest, description: Description, kept: Kept) -> list[str]:
    """The differences between an export and its fit, in words; empty if there are none.

    Parameters
    ----------
    manifest : the export's, with its parameters and the fit's coefficient table.
    description, kept : the checkpoint's, with training rows and the fit's logits.
    """
    logit, training, evaluation = reference.logit(manifest, kept.x), manifest.training, description.evaluation
    different = int((logit != kept.logit).sum())
    found = [f"{different} of {len(logit)} logits are not the fit's"] if different else []
    if training.statistics is not None and manifest.parameters.hidden is None:
        found += _coefficients(manifest.parameters, training.statistics)
    every = len(logit) in (training.rows, training.metrics.rows)
    if description.kept is not None:
        now = metrics(logit, kept.y, manifest.link, manifest.threshold, kept.weight)
        found += _metrics("on the kept rows", description.kept, now)
        found += _metrics("on all rows", training.metrics, now) if every else ()
    found += _figures(manifest, kept) if every else ()
    if training.held_out is not None:
        found += _calibration(training.held_out, training.calibration, "weights" in manifest.arguments)
    if evaluation and (training.held_out, training.calibration) != (evaluation.metrics, evaluation.calibration):
        found.append("the report's held-out figures are not the manifest's")
    return found


def _coefficients(parameters: Parameters, statistics: Statistics) -> Iterator[str]:
    """The terms whose coefficient, in the table's own units, differs from the parameters'."""
    slopes = np.array([column.weight / column.scale for column in parameters.columns])
    centers = slopes * [column.center for column in parameters.columns]
    estimates, sizes = list(slopes), list(np.abs(slopes))
    if len(statistics.coefficients) > len(slopes):  # the intercept comes first, if there is one
        estimates.insert(0, parameters.intercept - centers.sum())
        sizes.insert(0, abs(parameters.intercept) + np.abs(centers).sum())
    for found, estimate, size in zip(statistics.coefficients, estimates, sizes, strict=True):
        if found.estimate is not None and abs(found.estimate - estimate) > ROUNDING * size:
            yield f"the coefficient of {found.term} is {estimate:.17g}, {found.estimate:.17g} in the fit's table"


def _metrics(rows: str, fit: Metrics, now: Metrics) -> Iterator[str]:
    for name, value in msgspec.structs.asdict(fit).items():
        if abs(getattr(now, name) - value) > ROUNDING * abs(value):
            yield f"{name} {rows} is {getattr(now, name):.17g}, {value:.17g} in the fit"


def _figures(manifest: Manifest, kept: Kept) -> Iterator[str]:
    """The figures of the training rows that differ; all rows are kept."""
    if (manifest.training.rows, manifest.training.positives) != (len(kept.y), kept.y.sum()):
        yield f"there are {len(kept.y)} rows, {kept.y.sum():.0f} of them positive"
    if manifest.training.baseline != baseline(manifest.features, kept.x, kept.logit, kept.weight):
        yield "the drift baseline is not that of the rows"
    for feature, values in zip(manifest.features, kept.x.T, strict=True):
        if feature.kind == "numeric" and feature.range != (np.nanmin(values), np.nanmax(values)):
            yield f"{feature.name}: the training range is not that of the rows"
    factors = class_factors(kept.y, kept.weight, str(manifest.training.options["class_weight"]))
    values, weight = reference.values(manifest, kept.x), kept.weight * np.where(kept.y > 0, factors[1], factors[0])
    means = weight @ values / weight.sum()
    for index, (column, mean) in enumerate(zip(manifest.parameters.columns, means, strict=True)):
        if abs(column.mean - mean) > ROUNDING * np.abs(values[:, index]).max():
            yield f"the mean of column {index} is {mean:.17g}, {column.mean:.17g} in the fit"


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


def word_faults(manifest: Manifest, raw: Sequence[Raw]) -> Iterator[str]:
    """The differences between the export's answers and the fit's, on rows as text.

    The rows pass through the service's own decoders, as CSV, JSON and tensors, and through its encoder. The closed form
    answers them, and the recorded examples; the certificate proves that the engines answer alike.
    """
    recorded = np.array([example.probability for example in manifest.examples])
    try:
        replay(manifest, lambda x: (reference.logit(manifest, x), recorded))
    except CertificateError as error:
        yield str(error)
    if not raw:
        return
    decoders, d = codecs(manifest, len(raw)), len(manifest.features)
    matrices = {}
    try:
        for kind, read in (("CSV", _from_csv), ("JSON", _from_json), ("tensors", _from_tensors)):
            matrices[kind] = read(decoders, [one.cells for one in raw])
    except RequestError as error:
        yield f"a row of the table can't be read as {kind}: {error.text}"
        return
    if not all(x.shape == (len(raw), d) and x.tobytes() == matrices["CSV"].tobytes() for x in matrices.values()):
        yield "CSV, JSON and tensors give different numbers for the same rows of the table"
    logit = reference.logit(manifest, matrices["CSV"])
    (text,) = decoders.json.pieces(logit > manifest.logit_threshold, logit, logit, None)
    answers = msgspec.json.decode(text)
    if different := sum(answer["logit"] != one.logit for answer, one in zip(answers, raw, strict=True)):
        yield f"{different} of {len(raw)} rows of the table have another logit than in the fit"
    if different := sum(answer["label"] != one.label for answer, one in zip(answers, raw, strict=True)):
        yield f"{different} of {len(raw)} rows of the table have another label than in the fit"
    if any(one.outcome != manifest.target.values[one.positive] for one in raw):
        yield "the target's values in the table are not the export's"


def _from_csv(decoders: Codecs, rows: Sequence[Mapping[str, str | None]]) -> Floats:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([rows[0], *(row.values() for row in rows)])  # None becomes an empty cell
    return decoders.csv.read(text.getvalue().encode())[0]


def _from_json(decoders: Codecs, rows: Sequence[Mapping[str, str | None]]) -> Floats:
    def value(name: str, cell: str | None) -> float | str | bool | None:
        column = decoders.columns.by_name.get(name)
        if cell is None or column is None:  # None: dates, whose parts are features
            return cell
        if column.codes is None:
            return float(cell)
        return cell.casefold() == "true" if column.boolean else cell

    records = [{name: value(name, cell) for name, cell in row.items()} for row in rows]
    return decoders.json.read_objects(msgspec.json.encode(records))


def _from_tensors(decoders: Codecs, rows: Sequence[Mapping[str, str | None]]) -> Floats:
    inputs = []
    for column in decoders.columns:  # tensors take the parts of a date as numbers
        cells, numeric = [row[column.source or column.name] for row in rows], column.codes is None
        data = [
            cell and (column.cell(cell) if numeric else cell.casefold() if column.boolean else cell) for cell in cells
        ]
        kind = "FP64" if numeric else "BYTES"
        inputs.append({"name": column.name, "shape": [len(rows)], "datatype": kind, "data": data})
    return decoders.tensors.read(decoders.tensors.decode(msgspec.json.encode({"inputs": inputs})).inputs)
