"""An export as one SELECT, which adds logit, verdict, label and probability to a table.

The expression adds in the order of the columns, as the graph does. IEEE 754 then defines each result: the logits and
the verdicts have the export's bits (tests/engines/test_sql.py, in three engines).
"""

import math
from functools import reduce

from sqlglot import exp

from passfail.errors import ConfigError
from passfail.manifest import Column, Feature, Manifest

DIALECTS = ("bigquery", "duckdb", "postgres", "snowflake", "spark", "sqlite")
LARGEST = math.nextafter(math.inf, 0.0)
FAR = 709.0  # exp(-z) neither overflows nor underflows up to here; either fails the query in PostgreSQL and BigQuery


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
    if manifest.parameters.hidden is not None:
        raise ConfigError("SQL can't express a hidden layer: train without --hidden")
    writer = _Writer(exact=dialect == "sqlite")
    scored = exp.select("*", exp.alias_(writer.logit(manifest), "logit")).from_(exp.to_table(table)).subquery("scored")
    finite = exp.LTE(this=exp.func("ABS", exp.column("logit")), expression=writer.number(LARGEST))
    answers = writer.answers(manifest).items()
    columns = [exp.alias_(exp.Case().when(finite.copy(), answer), name) for name, answer in answers]
    return exp.select("*", *columns).from_(scored).sql(dialect=dialect, pretty=True)


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
        """The sum of the columns' terms, the intercept last; parentheses fix the order."""
        terms = [self._term(manifest.features[column.feature], column) for column in manifest.parameters.columns]
        total = reduce(lambda total, term: exp.paren(exp.Add(this=total, expression=term)), terms)
        return exp.Add(this=total, expression=self.number(manifest.parameters.intercept))

    def _term(self, feature: Feature, column: Column) -> exp.Expression:
        """(value - center) / scale * weight, as `passfail.proof.reference.terms` computes it."""
        term = exp.paren(exp.Sub(this=self._value(feature, column), expression=self.number(column.center)))
        term = exp.paren(exp.Div(this=term, expression=self.number(column.scale)))
        return exp.paren(exp.Mul(this=term, expression=self.number(column.weight)))

    def _value(self, feature: Feature, column: Column) -> exp.Expression:
        """The value of one column of the design matrix; NULL if the service would refuse the row."""
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
        here = exp.EQ(this=text, expression=exp.Literal.string(feature.levels[column.level]))
        known = exp.In(this=text.copy(), expressions=[exp.Literal.string(level) for level in feature.levels])
        return exp.Case().when(here, one).when(known, zero)

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
