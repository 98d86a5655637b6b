"""An export as one SELECT, which adds logit, verdict, label and probability to a table.

The expression adds in the order of the columns, as the graph does. IEEE 754 then defines each result: the logits and
the verdicts have the export's bits (tests/engines/test_sql.py, in four engines).
"""

import math
import re
from types import SimpleNamespace

from sqlglot import exp
from sqlglot.errors import SqlglotError

from passfail.codecs.answers import added
from passfail.errors import ConfigError
from passfail.manifest import Column, Hidden, Manifest
from passfail.proof.activations import ACTIVATIONS, Arithmetic
from passfail.proof.floats import LARGEST
from passfail.spelling import EXACT

DIALECTS = ("bigquery", "duckdb", "postgres", "snowflake", "spark", "sqlite")
BIGQUERY_LACKS = re.compile(r"[!\"$()*,./;?@\[\\\]^`{}~\x00-\x1f]")  # a column of BigQuery has "_" instead
POSTGRES_BYTES = 63  # PostgreSQL cuts longer names
TELL_CASE = ("postgres", "snowflake")  # dialects in which the columns "x" and "X" differ
FAR = 709.0  # exp(-z) neither overflows nor underflows up to here; either fails the query in PostgreSQL and BigQuery
MOST_TERMS = 900  # terms; DuckDB and SQLite take no expression that is deeper than 1,000
# The others need a table of powers, or the largest of a row's units.
IN_SQL = ("Hardtanh", "LeakyReLU", "PReLU", "ReLU", "ReLU6", "Softshrink", "Softsign", "Threshold")


def select(manifest: Manifest, dialect: str, table: str, view: str | None = None) -> str:
    """Write the SELECT that answers every row of a table, or a view of it.

    The answer's columns are NULL in a row that the service would refuse: a value is missing that training always had, a
    level is unknown, or the logit overflows float64. Only the logit link has the column `probability`.

    Parameters
    ----------
    manifest : the export's manifest.
    dialect : one of DIALECTS.
    table, view : a name, `schema.name` if it needs one.

    Raises
    ------
    ConfigError : the dialect is unknown, or the model can't be written as SQL.
    """
    if dialect not in DIALECTS:
        raise ConfigError(f"--dialect must be one of {', '.join(DIALECTS)}")
    if (hidden := manifest.parameters.hidden) and hidden.activation not in IN_SQL:
        raise ConfigError(f"SQL can't express the activation {hidden.activation} exactly, only {', '.join(IN_SQL)}")
    terms = len(manifest.parameters.columns) * (len(hidden.units) if hidden else 1)
    if terms > MOST_TERMS:
        raise ConfigError(f"the model has {terms} terms; SQL engines accept about {MOST_TERMS} in one expression")
    if manifest.fold_case:
        raise ConfigError("SQL can't ignore the case of letters as the service does: train without --fold-case")
    known: dict[str, str] = {}
    for name in (feature.name for feature in manifest.features):
        spelt = _spelt(name, dialect)
        if (other := known.setdefault(spelt if dialect in TELL_CASE else spelt.casefold(), name)) != name:
            raise ConfigError(f"{dialect} can't tell the columns {other} and {name} apart: rename one and train again")
    try:
        source, created = (exp.to_table(name, dialect=dialect) for name in (table, "scored" if view is None else view))
    except SqlglotError as error:
        raise ConfigError("--table and --view must be names in SQL, such as public.applicants") from error
    first, *others = names(manifest)
    # The logit is the first column: DuckDB and SQLite take it even if the table has a column of that name.
    scored = exp.select(exp.alias_(_logit(manifest, dialect), first), "*").from_(source).subquery("scored")
    logit = exp.column(first)
    finite = exp.func("ABS", logit) <= LARGEST
    answers = zip(others, _answers(manifest, logit), strict=True)
    columns = [exp.alias_(exp.case().when(finite, answer), name) for name, answer in answers]
    query: exp.Expression = exp.select("*", *columns).from_(scored)
    if view is not None:
        query = exp.Create(this=created, kind="VIEW", expression=query)

    def written(node: exp.Expression) -> exp.Expression:
        number = isinstance(node, exp.Literal) and not node.is_string
        return _number(float(node.name), exact=dialect == "sqlite") if number else node

    return query.transform(written, copy=False).sql(dialect=dialect, pretty=True)


def names(manifest: Manifest) -> list[str]:
    """The names of the answer's columns; none is a training column's, in any case."""
    known = [name.casefold() for name in (*(feature.name for feature in manifest.features), manifest.target.name)]
    return added(known, ["logit", "verdict", "label", *["probability"] * (manifest.link == "logit")])


def _spelt(name: str, dialect: str) -> str:
    """The name that a table of an engine has for a column."""
    if dialect == "bigquery":
        return BIGQUERY_LACKS.sub("_", name)
    return name.encode()[:POSTGRES_BYTES].decode(errors="ignore") if dialect == "postgres" else name


def _number(value: float, exact: bool) -> exp.Expression:
    """A float64, as a text or a quotient that every engine reads as the same float64.

    exact : write integers and powers of two, for an engine that may misread a decimal.
    """
    if exact and value == math.inf:
        return exp.Literal.number("9e999")
    if not exact or (value == int(value) and abs(value) < EXACT):
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


def _logit(manifest: Manifest, dialect: str) -> exp.Expression:
    """The sum of the columns' terms, or of the hidden units, in their order, the intercept last."""
    fitted = manifest.parameters
    terms = [_term(manifest, column, dialect) for column in fitted.columns]
    return _total(_units(fitted.hidden, terms) if fitted.hidden else terms, fitted.intercept)


def _total(terms: list[exp.Expression], last: float) -> exp.Expression:
    """Add the terms from the left, then `last`.

    SQL adds in this order without parentheses, and SQLite allows only a hundred of them.
    """
    total, *more = terms
    for part in (*more, last):
        total = exp.Add(this=total, expression=exp.convert(part))  # `+` would copy all that is added so far
    return exp.paren(total)


def _units(hidden: Hidden, terms: list[exp.Expression]) -> list[exp.Expression]:
    """The hidden units' contributions to the logit, as in `passfail.proof.reference`."""
    arithmetic: Arithmetic = SimpleNamespace(
        where=lambda condition, a, b: exp.paren(exp.case().when(condition, exp.convert(a)).else_(exp.convert(b))),
        abs=lambda v: exp.func("ABS", v),
        number=lambda value: value,
    )  # IN_SQL needs no more
    scores = [_total([t * by for t, by in zip(terms, unit.inputs, strict=True)], unit.bias) for unit in hidden.units]
    answers = [ACTIVATIONS[hidden.activation](arithmetic, score, hidden.slope) for score in scores]
    return [exp.paren(answer) * unit.weight for answer, unit in zip(answers, hidden.units, strict=True)]


def _term(manifest: Manifest, column: Column, dialect: str) -> exp.Expression:
    """(value - center) / scale * weight, as `passfail.proof.reference.terms` computes it."""
    return (_value(manifest, column, dialect) - column.center) / column.scale * column.weight


def _value(manifest: Manifest, column: Column, dialect: str) -> exp.Expression:
    """The value of one column of the design matrix; not finite if the service would refuse it."""
    feature = manifest.features[column.feature]
    pooled = manifest.pooled.get(feature.name)
    cell = exp.column(_spelt(feature.name, dialect), quoted=True)
    zero, one = exp.convert(0.0), exp.convert(1.0)
    number: exp.Expression = exp.cast(cell, "double")
    lacks: exp.Condition = cell.is_(exp.null())
    if feature.kind == "numeric":  # NaN is not <= infinity: it is the largest number, or no comparison with it holds
        lacks = exp.or_(lacks, exp.not_(number <= math.inf))
    if column.missing:
        return exp.case().when(lacks, one).else_(zero)
    if column.level is None:
        if manifest.parameters.hidden:  # an activation may turn infinity into a finite number
            number = exp.case().when(exp.func("ABS", number) <= LARGEST, number)
        return number if feature.fill is None else exp.case().when(lacks, exp.convert(feature.fill)).else_(number)
    text: exp.Expression = exp.cast(cell, "text")
    if feature.fill is not None:
        text = exp.Coalesce(this=text, expressions=[exp.convert(feature.levels[int(feature.fill)])])
    level = feature.levels[column.level]
    case = exp.case().when(text.eq(level), one).when(text.isin(*feature.levels), zero)
    return case if pooled is None else case.when(text.is_(exp.null()).not_(), exp.convert(float(level == pooled)))


def _answers(manifest: Manifest, logit: exp.Column) -> list[exp.Expression]:
    """The answer's columns after the logit, in the order of `names`."""
    verdict = logit > manifest.logit_threshold
    negative, positive = map(exp.convert, manifest.target.labels)
    answers: list[exp.Expression] = [verdict, exp.case().when(verdict, positive).else_(negative)]
    if manifest.link == "logit":
        zero, one = exp.convert(0.0), exp.convert(1.0)
        share = 1.0 / (1.0 + exp.func("EXP", -logit))
        answers.append(exp.case().when(logit < -FAR, zero).when(logit > FAR, one).else_(share))
    return answers
