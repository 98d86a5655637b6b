"""An export as one SELECT, which adds logit, verdict, label and probability to a table.

The expression adds in the order of the columns, as the graph does. IEEE 754 then defines each result: the logits and
the verdicts have the export's bits (tests/engines/test_sql.py, in four engines).
"""

import math
from types import SimpleNamespace

from sqlglot import exp

from passfail.errors import ConfigError
from passfail.manifest import Column, Feature, Hidden, Manifest
from passfail.proof.activations import ACTIVATIONS, Arithmetic

DIALECTS = ("bigquery", "duckdb", "postgres", "snowflake", "spark", "sqlite")
LARGEST = math.nextafter(math.inf, 0.0)
FAR = 709.0  # exp(-z) neither overflows nor underflows up to here; either fails the query in PostgreSQL and BigQuery
MOST = 900  # terms; DuckDB and SQLite take no expression that is deeper than 1,000
# The others need a table of powers, or the largest of a row's units.
EXACT = ("Hardtanh", "LeakyReLU", "PReLU", "ReLU", "ReLU6", "Softshrink", "Softsign", "Threshold")


def select(manifest: Manifest, dialect: str, table: str) -> str:
    """Write the SELECT that answers every row of a table.

    The answer's columns are NULL in a row that the service would refuse: a value is missing that training always had, a
    level is unknown, or the logit overflows float64. Only the logit link has the column `probability`.

    Parameters
    ----------
    manifest : the export's manifest.
    dialect : one of DIALECTS.
    table : the table's name, `schema.table` if it needs one.

    Raises
    ------
    ConfigError : the dialect is unknown, or the model can't be written as SQL.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f"--dialect must be one of {', '.join(DIALECTS)}")
    if (hidden := manifest.parameters.hidden) and hidden.activation not in EXACT:
        raise ConfigError(f"SQL can't express the activation {hidden.activation} exactly, only {', '.join(EXACT)}")
    terms = len(manifest.parameters.columns) * (len(hidden.units) if hidden else 1)
    if terms > MOST:
        raise ConfigError(f"the model has {terms} terms; SQL engines take some {MOST} in one expression")
    if manifest.fold_case:
        raise ConfigError("SQL can't compare levels in any case as the service does: train without --fold-case")
    scored = exp.select("*", exp.alias_(_logit(manifest), "logit")).from_(exp.to_table(table)).subquery("scored")
    finite = exp.func("ABS", exp.column("logit")) <= LARGEST
    columns = [exp.alias_(exp.case().when(finite, answer), name) for name, answer in _answers(manifest).items()]
    query = exp.select("*", *columns).from_(scored)

    def written(node: exp.Expression) -> exp.Expression:
        number = isinstance(node, exp.Literal) and not node.is_string
        return _number(float(node.name), exact=dialect == "sqlite") if number else node

    return query.transform(written).sql(dialect=dialect, pretty=True)


def _number(value: float, exact: bool) -> exp.Expression:
    """A float64, as a text or a quotient that every engine reads as the same float64.

    exact : write integers and powers of two, for an engine that may misread a decimal.
    """
    if not exact or (value == int(value) and abs(value) < 2**53):
        return exp.cast(exp.Literal.string(repr(value)), "double")
    mantissa, exponent = math.frexp(value)
    product, left = _whole(int(mantissa * 2**53)), exponent - 53
    while left:
        step = max(-62, min(62, left))
        product = exp.paren(product * _whole(2**step) if left > 0 else product / _whole(2**-step))
        left -= step
    return product


def _whole(value: int) -> exp.Expression:
    return exp.cast(exp.cast(exp.Literal.string(str(value)), "bigint"), "double")


def _logit(manifest: Manifest) -> exp.Expression:
    """The sum of the columns' terms, or of the hidden units, in their order, the intercept last."""
    fitted = manifest.parameters
    terms = [_term(manifest, column) for column in fitted.columns]
    return _total(_units(fitted.hidden, terms) if fitted.hidden else terms, fitted.intercept)


def _total(terms: list[exp.Expression], last: float) -> exp.Expression:
    """Add the terms from the left, then `last`.

    SQL adds in this order without parentheses, and SQLite allows only a hundred of them.
    """
    total, *more = terms
    for part in (*more, last):
        total += part
    return exp.paren(total)


def _units(hidden: Hidden, terms: list[exp.Expression]) -> list[exp.Expression]:
    """The hidden units' contributions to the logit, as in `passfail.proof.reference`."""
    arithmetic: Arithmetic = SimpleNamespace(
        where=lambda condition, a, b: exp.paren(exp.case().when(condition, exp.convert(a)).else_(exp.convert(b))),
        abs=lambda v: exp.func("ABS", v),
        number=lambda value: value,
    )  # EXACT needs no more
    scores = [_total([t * by for t, by in zip(terms, unit.inputs, strict=True)], unit.bias) for unit in hidden.units]
    answers = [ACTIVATIONS[hidden.activation](arithmetic, score, hidden.slope) for score in scores]
    return [exp.paren(answer) * unit.weight for answer, unit in zip(answers, hidden.units, strict=True)]


def _term(manifest: Manifest, column: Column) -> exp.Expression:
    """(value - center) / scale * weight, as `passfail.proof.reference.terms` computes it."""
    feature = manifest.features[column.feature]
    value = _value(feature, column, manifest.pooled.get(feature.name))
    return (value - column.center) / column.scale * column.weight


def _value(feature: Feature, column: Column, pooled: str | None) -> exp.Expression:
    """The value of one column of the design matrix; NULL if the service would refuse the row.

    pooled : the level that replaces unseen levels.
    """
    cell = exp.column(feature.name, quoted=True)
    zero, one = exp.convert(0.0), exp.convert(1.0)
    if column.missing:
        return exp.case().when(cell.is_(exp.null()), one).else_(zero)
    if column.level is None:
        value = exp.cast(cell, "double")
        return value if feature.fill is None else exp.Coalesce(this=value, expressions=[exp.convert(feature.fill)])
    text: exp.Expression = exp.cast(cell, "text")
    if feature.fill is not None:
        text = exp.Coalesce(this=text, expressions=[exp.convert(feature.levels[int(feature.fill)])])
    level = feature.levels[column.level]
    case = exp.case().when(text.eq(level), one).when(text.isin(*feature.levels), zero)
    return case if pooled is None else case.when(text.is_(exp.null()).not_(), exp.convert(float(level == pooled)))


def _answers(manifest: Manifest) -> dict[str, exp.Expression]:
    """The answer's columns as {name: expression}, computed from the column `logit`."""
    logit = exp.column("logit")
    verdict = logit > manifest.logit_threshold
    negative, positive = map(exp.convert, manifest.target.labels)
    answers: dict[str, exp.Expression] = {
        "verdict": verdict,
        "label": exp.case().when(verdict, positive).else_(negative),
    }
    if manifest.link == "logit":
        zero, one = exp.convert(0.0), exp.convert(1.0)
        share = 1.0 / (1.0 + exp.func("EXP", -logit))
        answers["probability"] = exp.case().when(logit < -FAR, zero).when(logit > FAR, one).else_(share)
    return answers
