"""An export as one SELECT, which adds logit, verdict, label and probability to a table.

The expression adds in the order of the columns, as the graph does. IEEE 754 then defines each result: the logits and
the verdicts have the export's bits (tests/engines/test_sql.py, in four engines).
"""

import math
from collections.abc import Callable, Sequence
from functools import reduce
from types import SimpleNamespace
from typing import Any

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
    writer = _Writer(exact=dialect == "sqlite")
    scored = exp.select("*", exp.alias_(writer.logit(manifest), "logit")).from_(exp.to_table(table)).subquery("scored")
    finite = exp.LTE(this=exp.func("ABS", exp.column("logit")), expression=writer.number(LARGEST))
    answers = writer.answers(manifest).items()
    columns = [exp.alias_(exp.Case().when(finite.copy(), answer), name) for name, answer in answers]
    return exp.select("*", *columns).from_(scored).sql(dialect=dialect, pretty=True)


def _operator(kind: type[exp.Binary]) -> Callable[["_Term", Any], "_Term"]:
    return lambda term, other: term.of(exp.paren(kind(this=term.sql.copy(), expression=term.lifted(other))))


class _Term:
    """A number in SQL, which Python's operators extend; parentheses keep their order."""

    def __init__(self, sql: exp.Expression, number: Callable[[float], exp.Expression]) -> None:
        self.sql, self._number = sql, number

    def of(self, sql: exp.Expression) -> "_Term":
        """Another number."""
        return _Term(sql, self._number)

    def lifted(self, value: "float | _Term") -> exp.Expression:
        """The expression of a number of SQL or of Python."""
        return value.sql.copy() if isinstance(value, _Term) else self._number(value)

    def where(self, condition: "_Term", a: "float | _Term", b: "float | _Term") -> "_Term":
        """a if the condition is true, else b, also if the condition is NULL."""
        return self.of(exp.paren(exp.Case().when(condition.sql.copy(), self.lifted(a)).else_(self.lifted(b))))

    __add__, __sub__, __mul__, __truediv__ = map(_operator, (exp.Add, exp.Sub, exp.Mul, exp.Div))
    __lt__, __le__, __gt__ = map(_operator, (exp.LT, exp.LTE, exp.GT))
    __radd__, __rmul__ = __add__, __mul__


def _total(terms: Sequence[_Term], last: float) -> _Term:
    """Add the terms from the left, then `last`.

    SQL adds in this order without parentheses, and SQLite allows only a hundred of them.
    """
    parts = [*(term.sql for term in terms), terms[0].lifted(last)]
    return terms[0].of(exp.paren(reduce(lambda total, part: exp.Add(this=total, expression=part), parts)))


class _Writer:
    """Writes numbers, terms and answers as SQL expressions."""

    def __init__(self, exact: bool) -> None:
        """exact: write integers and powers of two, for an engine that may misread a decimal."""
        self._exact = exact

    def number(self, value: float) -> exp.Expression:
        """A float64, as a text or a quotient that every engine reads as the same float64."""
        if not self._exact or (value == int(value) and abs(value) < 2**53):
            return exp.cast(exp.Literal.string(repr(value)), "double")
        mantissa, exponent = math.frexp(value)
        factors = [2.0 ** math.copysign(min(62, abs(exponent - 53) - done), exponent - 53)
                   for done in range(0, abs(exponent - 53), 62)]  # fmt: skip
        whole = exp.cast(exp.Literal.string(str(int(mantissa * 2**53))), "bigint")
        product: exp.Expression = exp.cast(whole, "double")
        for factor in factors:
            by = exp.cast(exp.Literal.string(str(int(max(factor, 1 / factor)))), "bigint")
            kind = exp.Mul if factor > 1 else exp.Div
            product = exp.paren(kind(this=product, expression=exp.cast(by, "double")))
        return product

    def logit(self, manifest: Manifest) -> exp.Expression:
        """The sum of the columns' terms, or of the hidden units, in their order, the intercept last."""
        fitted = manifest.parameters
        terms = [self._term(manifest, column) for column in fitted.columns]
        if fitted.hidden:
            terms = self._units(fitted.hidden, terms)
        return _total(terms, fitted.intercept).sql

    def _units(self, hidden: Hidden, terms: Sequence[_Term]) -> list[_Term]:
        """The hidden units' contributions to the logit, as in `passfail.proof.reference`."""
        term = terms[0]
        arithmetic: Arithmetic = SimpleNamespace(
            where=term.where, abs=lambda v: term.of(exp.Abs(this=v.sql.copy())), number=lambda value: value
        )  # EXACT needs no more
        activate = ACTIVATIONS[hidden.activation]
        scores = [_total([t * by for t, by in zip(terms, unit.inputs, strict=True)], unit.bias)
                  for unit in hidden.units]  # fmt: skip
        answers = [activate(arithmetic, score, hidden.slope) for score in scores]
        return [answer * unit.weight for answer, unit in zip(answers, hidden.units, strict=True)]

    def _term(self, manifest: Manifest, column: Column) -> _Term:
        """(value - center) / scale * weight, as `passfail.proof.reference.terms` computes it."""
        feature = manifest.features[column.feature]
        value = _Term(self._value(feature, column, manifest.pooled.get(feature.name)), self.number)
        return (value - column.center) / column.scale * column.weight

    def _value(self, feature: Feature, column: Column, pooled: str | None) -> exp.Expression:
        """The value of one column of the design matrix; NULL if the service would refuse the row.

        Parameters
        ----------
        pooled : the level that replaces unseen levels.
        """
        cell = exp.column(feature.name, quoted=True)
        zero, one = self.number(0.0), self.number(1.0)
        if column.missing:
            return exp.Case().when(exp.Is(this=cell, expression=exp.null()), one).else_(zero)
        if column.level is None:
            value = exp.cast(cell, "double")
            return value if feature.fill is None else exp.Coalesce(this=value, expressions=[self.number(feature.fill)])
        text: exp.Expression = exp.cast(cell, "text")
        if feature.fill is not None:
            text = exp.Coalesce(this=text, expressions=[exp.Literal.string(feature.levels[int(feature.fill)])])
        level = feature.levels[column.level]
        here = exp.EQ(this=text, expression=exp.Literal.string(level))
        known = exp.In(this=text.copy(), expressions=[exp.Literal.string(level) for level in feature.levels])
        case = exp.Case().when(here, one).when(known, zero)
        if pooled is None:
            return case
        unseen = exp.Not(this=exp.Is(this=text.copy(), expression=exp.null()))
        return case.when(unseen, self.number(float(level == pooled)))

    def answers(self, manifest: Manifest) -> dict[str, exp.Expression]:
        """The answer's columns as {name: expression}, computed from the column `logit`."""
        logit = exp.column("logit")
        verdict = exp.GT(this=logit, expression=self.number(manifest.logit_threshold))
        negative, positive = map(exp.Literal.string, manifest.target.labels)
        answers: dict[str, exp.Expression] = {
            "verdict": verdict,
            "label": exp.Case().when(verdict.copy(), positive).else_(negative),
        }
        if manifest.link == "logit":
            one, far = self.number(1.0), self.number(-FAR)
            power = exp.func("EXP", exp.Neg(this=logit.copy()))
            share = exp.Div(this=one, expression=exp.paren(exp.Add(this=one.copy(), expression=power)))
            beyond = exp.LT(this=logit.copy(), expression=far)
            near = exp.GT(this=logit.copy(), expression=self.number(FAR))
            answers["probability"] = exp.Case().when(beyond, self.number(0.0)).when(near, one.copy()).else_(share)
        return answers
