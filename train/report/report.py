"""What people read beside an export: MODEL_CARD.md and report.html, made of the manifest and the Evaluation alone.

The page needs nothing else: its charts are drawn in the template as SVG in units of the data, its colours follow the
reader's light or dark setting, and its own policy forbids the browser to load or run anything. Neither says the
version or the digest, which come after them: the folder says the one, the manifest the other.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple

import jinja2

from passfail.manifest import Coefficient

CARD = "MODEL_CARD.md"
PAGE = "report.html"
LEVELS = 12  # of a categorical feature are named; the manifest has all
EVENTS = 10  # rows of the rarer outcome for each column: with fewer, estimates wobble (Peduzzi et al., J Clin Epi 1996)

MISSING = {
    "mean": "becomes the mean, {}",
    "median": "becomes the median, {}",
    "most-frequent": "becomes the most frequent, {}",
    "indicator": "becomes {}, and a column says that it was missing",
}
MEASURED = {
    "logit_differences": "logits that are not the closed form's, to the bit",
    "logit_error": "largest error of a logit, of its rounding bound",
    "probability_ulp": "largest error of a probability, in units in the last place",
    "probability_error": "largest error of a probability",
    "batch_differences": "rows that answer differently alone, or in another batch",
    "out_of_range": "probabilities outside [0, 1]",
    "non_monotone": "probabilities or logits that fall where they should rise",
    "verdict_differences": "wrong verdicts outside the certified band",
    "unstable_verdicts": "wrong verdicts inside it",
}


def card(manifest, evaluation):
    """The text of MODEL_CARD.md, for a Manifest and its Evaluation, or None where there were too few rows for one."""
    return _MARKDOWN.get_template("report.md.jinja").render(_context(manifest, evaluation))


def html(manifest, evaluation):
    """The text of report.html; of what `card` is."""
    return _HTML.get_template("report.html.jinja").render(_context(manifest, evaluation))


class Effect(NamedTuple):
    """A row of the coefficient plot: places in [0, 1] across it, and the three numbers at them."""

    term: str
    places: tuple[float, float, float]
    values: tuple[float, float, float]


def _context(manifest, evaluation):
    training = manifest.training
    share = _share(training, evaluation)
    effects, low, high = _effects(manifest)
    return {
        "manifest": manifest,
        "training": training,
        "evaluation": evaluation,
        "found": training.statistics,
        "share": share,
        "guess": -share * math.log(share) - (1 - share) * math.log1p(-share),
        "features": [(f, _values(f, manifest.units.get(f.name)), _missing(f)) for f in manifest.features],
        "coefficients": _coefficients(manifest),
        "effects": effects,
        "reach": (low, high, -low / (high - low)),
        "warnings": _warnings(training),
        "limits": _limits(manifest, evaluation),
        "proof": [
            (words, [f"{getattr(figures, name):.3g}" for figures in manifest.certificate.engines.values()])
            for name, words in MEASURED.items()
        ],
        **(_charts(manifest.threshold, evaluation) if evaluation else {}),
    }


def _values(feature, unit=None):
    if feature.kind == "numeric":
        return f"{feature.minimum:g} to {feature.maximum:g}{f' {unit}' if unit else ''}"
    more = len(feature.levels) - LEVELS
    return ", ".join(feature.levels[:LEVELS]) + (f" and {more} more" if more > 0 else "")


def _missing(feature):
    if not feature.nullable:
        return "refused"
    fill = f"{feature.fill:g}" if feature.kind == "numeric" else feature.levels[int(feature.fill)]
    usual = "mean" if feature.kind == "numeric" else "most-frequent"
    return MISSING[usual if feature.missing == "error" else feature.missing].format(fill)


def _coefficients(manifest):
    """The coefficient table; of a fit without one, the slopes in the table's own units. Empty for a hidden layer."""
    fitted = manifest.parameters
    if manifest.training.statistics:
        return manifest.training.statistics.coefficients
    if fitted.hidden:
        return ()
    slopes = [(_term(manifest.features[c.feature], c), c.weight / c.scale) for c in fitted.columns]
    base = fitted.intercept - sum(c.weight * c.center / c.scale for c in fitted.columns)
    none = dict.fromkeys(("standard_error", "z", "p", "lower", "upper", "odds_ratio"))
    return tuple(Coefficient(term=term, estimate=b, note="", **none) for term, b in [("(intercept)", base), *slopes])


def _term(feature, column):
    if column.missing:
        return f"{feature.name} missing"
    return feature.name if column.level is None else f"{feature.name}={feature.levels[column.level]}"


def _effects(manifest):
    """The coefficient plot, and its two ends: what each column adds to the score from its least value to its greatest.

    So columns of different units can share an axis. A category or a missing cell goes from 0 to 1.
    """
    coefficients = _coefficients(manifest)
    slopes = coefficients[len(coefficients) - len(manifest.parameters.columns) :] if coefficients else ()
    rows = []
    for c, column in zip(slopes, manifest.parameters.columns, strict=bool(slopes)):
        if c.estimate is not None:
            feature = manifest.features[column.feature]
            own = column.level is None and not column.missing
            span = feature.maximum - feature.minimum if own else 1
            ends = (c.estimate, c.estimate) if c.lower is None else (c.lower, c.upper)
            rows.append((c.term, (ends[0] * span, c.estimate * span, ends[1] * span)))
    low = min([0.0, *(v[0] for _, v in rows)])
    high = max([0.0, *(v[2] for _, v in rows)]) or (1.0 if low == 0 else 0.0)
    return [Effect(term, tuple((v - low) / (high - low) for v in values), values) for term, values in rows], low, high


def _warnings(training):
    found = training.statistics
    sentences = [*training.warnings]
    if not training.converged:
        sentences.append("The fit did not converge: another run may give other coefficients.")
    if found and found.separation != "none":
        columns = ", ".join(found.separating) or "columns that a fit to fewer rows, in one process, would name"
        rows = "all rows" if found.separation == "complete" else "some rows"
        sentences.append(f"Separation: {columns} tell {rows} apart without error; those slopes have no finite size.")
    if found:
        sentences += [
            f"Collinear: {relation}; the columns share their effect in no unique way." for relation in found.collinear
        ]
    return sentences


def _share(training, evaluation):
    """The share of positive rows, by weight; as they are where none were held out."""
    return evaluation.share if evaluation else training.positives / training.rows


def _supposed(share, class_weight):
    """That share as the fit saw it, the rows of each outcome counting `class_weight` times (train/solvers/fit.py)."""
    if class_weight == "balanced":
        return 0.5
    no, yes = map(float, class_weight.split(",")) if class_weight else (1.0, 1.0)
    return yes * share / (yes * share + no * (1 - share))


def _limits(manifest, evaluation):
    training, target = manifest.training, manifest.target
    rarer = min(training.positives, training.rows - training.positives)
    columns = len(manifest.parameters.columns)
    yield f"It tells apart two outcomes of {target.name}, {target.values[1]} from {target.values[0]}, and nothing else."
    if evaluation is None:
        yield f"There were too few rows ({training.rows}) to hold some out: how it does on new ones is not known."
    else:
        yield "Its quality was measured on other rows of the same table; of another time or place it may be worse."
    if rarer < EVENTS * columns:
        yield (
            f"The rarer outcome has {rarer} rows for {columns} columns, fewer than {EVENTS} each: "
            "with another sample the coefficients could be quite different."
        )
    supposed = _supposed(_share(training, evaluation), training.options["class_weight"])
    yield (
        f"Its probabilities suppose that about {100 * supposed:.3g}% of the cases are {target.values[1]}, as among the "
        "rows fitted on, by what each counts for. Where the share is another, they are off."
    )
    yield "Beyond the ranges seen it still answers, by extending the curve; nothing in the table supports that."
    if manifest.parameters.hidden:
        yield "It has a hidden layer: no single number says what a feature does."
    else:
        yield "Each number moves the score along a straight line; a U-shaped effect can't be seen by it."
        yield "A coefficient says what goes together in this table, not what causes what."
    yield "Whether its errors fall evenly on groups of people was not examined. Do that before it decides about people."


def _charts(threshold, evaluation):
    losses, rows = evaluation.losses, evaluation.thresholds
    low, high = min(losses, default=0.0), max(losses, default=1.0)
    shares = [[n / max(1, sum(some)) for n in some] for some in (evaluation.negatives, evaluation.positives)]
    return {
        "low": low,
        "high": high,
        "curve": [(i / max(1, len(losses) - 1), (loss - low) / ((high - low) or 1)) for i, loss in enumerate(losses)],
        "bins": list(zip(evaluation.negatives, evaluation.positives, *shares, strict=True)),
        "most": max(map(max, shares)) or 1.0,
        "chosen": min(rows, key=lambda row: abs(row.threshold - threshold), default=None),
        "some_thresholds": rows[:: max(1, len(rows) // 10)],
    }


def _escape_markdown(value):
    """Text as Markdown shows it, on one line; what the templates themselves mark up doesn't come this way."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&$!@]|:(?=//)|(?<=www)\.)", r"\\\1", " ".join(str(value).split()))


def _number(value, digits=".6g"):
    return "" if value is None else format(value, digits)


def _p(value):
    return _number(value, ".4f") if value is None or value >= 0.0001 else "< 0.0001"


def _points(points):
    return " ".join(f"{x:.4g},{y:.4g}" for x, y in points)


def _environment(**settings):
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    found = jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, **settings
    )
    found.filters |= {"number": _number, "p": _p, "points": _points}
    return found


_HTML = _environment(autoescape=True)
_MARKDOWN = _environment(finalize=_escape_markdown, keep_trailing_newline=True)
