"""The comparison of an export with its fit, before it is published."""

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import msgspec
import numpy as np

from passfail.arrays import Floats
from passfail.codecs import Codecs
from passfail.codecs.answers import Answers
from passfail.errors import CertificateError, RequestError
from passfail.loading import replay
from passfail.manifest import Manifest
from passfail.measurements import Coefficient, Metrics, Statistics
from passfail.proof import reference
from passfail.proof.contradictions import CLOSE, ROUNDING, contradictions
from train.arguments import chosen_by_folds, fit_arguments, options_of
from train.evaluation.coefficients import coefficient, statistics
from train.evaluation.cross_validation import held_out, logits
from train.evaluation.drift_baseline import baseline
from train.evaluation.metrics import constant_log_loss, evaluate, metrics, probabilities
from train.evaluation.profile import Profile
from train.export.checkpoint import Description, Kept, Raw
from train.model.terms import terms
from train.solvers.fit import class_factors, fit, silent
from train.solvers.options import Options
from train.table.data import Data, impute

SAME = 1e-10  # of a figure that the same bits give with another library of linear algebra, or another erfc
OTHER_ROWS = {"group", "time", "test"}  # arguments whose columns and rows the checkpoint does not keep
NAMED = 5  # differences at most that a message names


def faults(manifest: Manifest, description: Description, kept: Kept) -> list[str]:
    """The differences between an export and its fit, in words; empty if there are none.

    Parameters
    ----------
    manifest : the export's, with its parameters and the fit's coefficient table.
    description, kept : the checkpoint's, with training rows and the fit's logits.
    """
    if changed := [*_options(manifest)]:
        return changed
    logit, training, evaluation = reference.logit(manifest, kept.x), manifest.training, description.evaluation
    different = int((logit != kept.logit).sum())
    found = [f"{different} of {len(logit)} logits are not the fit's"] if different else []
    found += contradictions(manifest)
    if training.statistics is not None and manifest.parameters.hidden is None:
        options = msgspec.convert(training.options, Options)
        found += _coefficients(training.statistics, options)
        found += _goodness(manifest, training.statistics, options)
    every = len(logit) in (training.rows, training.metrics.rows)
    if description.kept is not None:
        now = metrics(logit, kept.y, manifest.link, manifest.threshold, kept.weight)
        found += _metrics("on the kept rows", description.kept, now)
        found += _metrics("on all rows", training.metrics, now) if every else ()
    found += _figures(manifest, kept) if every else ()
    found += islice(_refitted(manifest, description, kept), NAMED) if every and not different else ()
    if evaluation and (training.held_out, training.calibration) != (evaluation.metrics, evaluation.calibration):
        found.append("the report's held-out figures are not the manifest's")
    return found


class Difference(NamedTuple):
    """A field that differs: its path, the published value and the new value."""

    field: str
    published: object
    new: object

    @property
    def size(self) -> float:
        """The difference of two numbers, as a share of the larger one; NaN for anything else."""
        a, b = self.published, self.new
        if not (isinstance(a, (int, float)) and isinstance(b, (int, float)) and not isinstance(a, bool)):
            return math.nan
        return abs(a - b) / max(abs(a), abs(b))

    def __str__(self) -> str:
        size = "" if math.isnan(self.size) else f" (differs by {self.size:.1e} of it)"
        return f"{self.field}: {self.published} in the export, {self.new} now{size}"


def differences(field: str, old: Any, new: Any) -> Iterator[Difference]:
    """The differences of two values of msgspec.to_builtins, each with its path below `field`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from differences(f"{field}.{name}", old.get(name), new.get(name))
    elif isinstance(old, (list, tuple)) and isinstance(new, (list, tuple)) and len(old) == len(new):
        for index, (a, b) in enumerate(zip(old, new, strict=True)):
            yield from differences(f"{field}[{index}]", a, b)
    elif old != new:
        yield Difference(field, old, new)


def _unequal(field: str, old: object, new: object) -> Iterator[Difference]:
    """The differences of more than SAME."""
    found = differences(field, *map(msgspec.to_builtins, (old, new)))
    return (one for one in found if not one.size <= SAME)  # the size of two words is NaN


def _options(manifest: Manifest) -> Iterator[str]:
    """The options that are not those of the recorded arguments."""
    given = fit_arguments(manifest.arguments)
    recorded = {**manifest.training.options, "fold_case": manifest.fold_case}
    for name, value in {**vars(options_of(given)), "fold_case": given.fold_case}.items():
        if recorded[name] != value and name not in chosen_by_folds(given):
            yield f"the option {name} is {recorded[name]}, {value} by the arguments of the fit"


def _refitted(manifest: Manifest, description: Description, kept: Kept) -> Iterator[str]:
    """The figures that a new fit by newton gives differently; all rows are kept.

    Another processor may round differently. The logits then need only be close. The figures are not compared, because
    a row may be on the other side of a threshold.
    """
    training, given = description.training, description.arguments
    options = msgspec.convert(training.options, Options)
    if options.solver != "newton":
        return
    data = Data(manifest.features, kept.x, kept.y, kept.weight)
    fitted = fit(data, options, silent)
    off = np.abs(logits(fitted.model, kept.x) - kept.logit).max()
    if off > 0:
        if fitted.converged and off > CLOSE * max(1.0, np.abs(kept.logit).max()):
            yield f"a new fit to the rows gives logits that differ by up to {off:.2g}"
        return
    now: dict[str, object] = {"converged": fitted.converged}
    if not options.cluster:  # the groups are not kept
        now["statistics"] = statistics(manifest.features, fitted, options)
    scores = None if given.keys() & OTHER_ROWS else held_out(data, options, given.get("folds", 5))
    if scores is not None:
        now["report"] = evaluate(scores, options.link, manifest.threshold, fitted.losses, fitted.model, data)
    fields = {**msgspec.structs.asdict(training), "report": description.evaluation}
    for name, value in now.items():
        yield from map(str, _unequal(name, fields[name], value))


def _coefficients(found: Statistics, options: Options) -> Iterator[str]:
    """A sentence for each term whose z, p, interval or odds ratio contradicts its coefficient.

    The bounds of a profile interval do not follow from the coefficient and its error, so they are not compared.
    """
    for one in found.coefficients:
        if one.estimate is not None and any(_unequal("", one, _rebuilt(one, one.estimate, options))):
            yield f"z, p, the interval or the odds ratio of {one.term} is not that of its coefficient and error"


def _rebuilt(one: Coefficient, estimate: float, options: Options) -> Coefficient:
    """A line of the table, from its coefficient, error and profile."""
    low, high = -math.inf if one.lower is None else one.lower, math.inf if one.upper is None else one.upper
    tests = one.tests
    profiled = Profile(low, high, tests["likelihood ratio"], tests.get("score", 0.0)) if tests else None
    return coefficient(one.term, estimate, one.standard_error or 0.0, one.note, profiled, options)


def _goodness(manifest: Manifest, found: Statistics, options: Options) -> Iterator[str]:
    """The contradictions of the coefficient table's words and of the figures of the likelihood."""
    if [one.term for one in found.coefficients] != terms(manifest.features, options.intercept):
        yield "the terms of the coefficient table are not those of the columns"
    if found.references != {one.name: one.levels[0] for one in manifest.features if one.kind == "categorical"}:
        yield "the reference levels are not the first levels"
    if found.log_likelihood is None or found.deviance is None or found.aic is None:
        return
    training = manifest.training
    rank, rows = len(found.coefficients) - len(found.collinear), training.rows
    expected = {"deviance": -2 * found.log_likelihood, "aic": found.deviance + 2 * rank}
    if "weights" not in manifest.arguments:
        expected |= {"degrees_of_freedom": max(rows - rank, 0), "bic": found.deviance + rank * math.log(rows)}
        expected["log_likelihood"] = -rows * training.metrics.log_loss
        if options.intercept:
            expected["null_deviance"] = 2 * rows * constant_log_loss(training.positives / rows)
    for name, value in expected.items():
        if abs(getattr(found, name) - value) > 1e-9 * (abs(value) + rank):
            yield f"{name} is {getattr(found, name):.17g}, but {value:.17g} by the other figures of the fit"


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
    imputed = impute(manifest.features, kept.x, kept.weight)
    for feature, again, values in zip(manifest.features, imputed, kept.x.T, strict=True):
        ends = (np.nanmin(values), np.nanmax(values)) if feature.kind == "numeric" else (None, None)
        if (feature.minimum, feature.maximum) != ends:
            yield f"{feature.name}: the training range is not that of the rows"
        if abs((feature.fill or 0.0) - (again.fill or 0.0)) > ROUNDING * np.nanmax(np.abs(values)):
            yield f"{feature.name}: the imputed value is not that of the rows"
    factors = class_factors(kept.y, kept.weight, str(manifest.training.options["class_weight"]))
    values, weight = reference.values(manifest, kept.x), kept.weight * np.where(kept.y > 0, factors[1], factors[0])
    means = weight @ values / weight.sum()
    for index, (column, mean) in enumerate(zip(manifest.parameters.columns, means, strict=True)):
        if abs(column.mean - mean) > ROUNDING * np.abs(values[:, index]).max():
            yield f"the mean of column {index} is {mean:.17g}, {column.mean:.17g} in the fit"


def text_faults(manifest: Manifest, raw: Sequence[Raw]) -> Iterator[str]:
    """The differences between the export's answers and the fit's, on rows as text.

    The rows pass through the service's own decoders, as CSV, JSON and tensors, and through its encoder. The closed form
    answers them, and the recorded examples; the certificate proves that the engines answer alike.
    """

    def runtime(x: Floats) -> tuple[Floats, Floats]:
        logit = reference.logit(manifest, x)
        return logit, probabilities(manifest.link, logit)

    try:
        replay(manifest, runtime)
    except CertificateError as error:
        yield str(error)
    if not raw:
        return
    decoders, d = Codecs(manifest, len(raw)), len(manifest.features)
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
    (text,) = decoders.json.pieces(Answers(logit > manifest.logit_threshold, logit, logit, None))
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
        data = [one and (column.cell(one) if numeric else one.casefold() if column.boolean else one) for one in cells]
        kind = "FP64" if numeric else "BYTES"
        inputs.append({"name": column.name, "shape": [len(rows)], "datatype": kind, "data": data})
    return decoders.tensors.read(decoders.tensors.decode(msgspec.json.encode({"inputs": inputs})).inputs)
