"""MODEL_CARD.md and report.html of an export, made from its manifest and Evaluation.

The report loads nothing. Its template draws the charts as SVG in units of the data, and its colours follow the reader's
light or dark setting. Its Content-Security-Policy allows one script, named by its digest: the model
(train/export/javascript.py) with the form and slider around it (report.js). Neither file has the version or the digest,
which are known only later: the folder's name is the version, and the manifest has the digest.
"""

import base64
import hashlib
import itertools
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from scipy.special import chdtrc

from passfail.manifest import Feature, Manifest
from passfail.measurements import Coefficient, Share, Training
from passfail.proof.certificate import FIGURES
from passfail.proof.reference import raw_units
from train.evaluation.metrics import Evaluation, constant_log_loss
from train.export.javascript import to_javascript
from train.model.terms import imputed, terms, values
from train.solvers.fit import class_factors

CARD = "MODEL_CARD.md"
PAGE = "report.html"
SCRIPT = Path(__file__).with_name("report.js")
EFFECTS = 20  # are drawn at most, the largest; the coefficient table has all
# Rows of the rarer outcome for each column; with fewer, estimates are unstable (Peduzzi et al., J Clin Epi 49, 1996).
EVENTS = 10
BAND = (
    "The certified band is the narrow range around the threshold in which rounding can decide a verdict. "
    "A verdict in it may be wrong; the service marks it with stable: false."
)

USES = {"owner": "Owner", "intended_use": "Intended use", "out_of_scope": "Out of scope"}  # options of the command fit


def card(manifest: Manifest, evaluation: Evaluation | None) -> str:
    """The text of MODEL_CARD.md; `evaluation` is None if too few rows were held out."""
    return _MARKDOWN.get_template("report.md.jinja").render(_context(manifest, evaluation))


def html(manifest: Manifest, evaluation: Evaluation | None) -> str:
    """The text of report.html; the arguments are those of `card`."""
    module = (to_javascript(manifest) or b"").decode()
    script = f"{module}\n{SCRIPT.read_text(encoding='utf-8')}"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    context = _context(manifest, evaluation) | {"live": bool(module), "script": script, "script_digest": digest}
    return _HTML.get_template("report.html.jinja").render(context)


def _context(manifest: Manifest, evaluation: Evaluation | None) -> dict[str, object]:
    coefficients = _coefficients(manifest)
    inferred = any(c.standard_error is not None for c in coefficients)
    effects, least, greatest = _effects(manifest, coefficients)
    training = manifest.training
    share = evaluation.share if evaluation else training.positives / training.rows  # by weight; else by number
    return {
        "manifest": manifest,
        "training": training,
        "evaluation": evaluation,
        "found": training.statistics,
        "inferred": inferred,
        "overall": _overall(training) if inferred else None,  # a penalised ratio is not chi-squared
        "share": share,
        "guess": constant_log_loss(share),
        "uses": [(words, manifest.arguments[name]) for name, words in USES.items() if name in manifest.arguments],
        "quoted": shlex.quote(json.dumps(manifest.examples[1].instance, ensure_ascii=False)),
        "literal": repr(manifest.examples[1].instance),
        "features": [(f, values(f, manifest.units.get(f.name)), _missing(f)) for f in manifest.features],
        "coefficients": coefficients,
        "effects": effects,
        "least": least,
        "greatest": greatest,
        "groups": [(name, list(some)) for name, some in itertools.groupby(manifest.groups, lambda one: one.column)],
        "rarer": min(training.positives, training.rows - training.positives),
        "supposed": _share_in_fit(share, str(training.options["class_weight"])),
        "few": EVENTS,
        "band": BAND,
        "figures": FIGURES,
        **(_charts(manifest.threshold, evaluation) if evaluation else {}),
    }


def _missing(feature: Feature) -> str:
    return f"becomes {imputed(feature)}" if feature.nullable else "refused"


def _coefficients(manifest: Manifest) -> tuple[Coefficient, ...]:
    """The coefficient table, else the slopes in the table's units; empty with a hidden layer."""
    fitted = manifest.parameters
    if manifest.training.statistics:
        return manifest.training.statistics.coefficients
    if fitted.hidden:
        return ()
    beta, matrix = raw_units(fitted, True)
    return tuple(map(Coefficient, terms(manifest.features, True), (matrix @ beta).tolist()))


Ends = tuple[float, float, float]  # the lower end of an interval, the estimate, and the upper end


def _effects(manifest: Manifest, coefficients: tuple[Coefficient, ...]) -> tuple[list[tuple[str, Ends]], float, float]:
    """The rows of the coefficient plot, the largest effect first, and its two ends.

    An effect is the change of the score from a column's smallest to its largest value, so that columns of different
    units share an axis. An indicator goes from 0 to 1.
    """
    slopes = coefficients[len(coefficients) - len(manifest.parameters.columns) :] if coefficients else ()
    rows = []
    for c, column in zip(slopes, manifest.parameters.columns, strict=bool(slopes)):
        if c.estimate is not None:
            indicator = column.level is not None or column.missing
            least, most = (0.0, 1.0) if indicator else manifest.features[column.feature].range
            ends = (c.estimate, c.estimate) if c.lower is None or c.upper is None else (c.lower, c.upper)
            low, at, high = ((most - least) * value for value in (ends[0], c.estimate, ends[1]))
            rows.append((c.term, (low, at, high)))
    rows = sorted(rows, key=lambda row: -abs(row[1][1]))[:EFFECTS]
    low = min([0.0, *(v[0] for _, v in rows)])
    return rows, low, max([0.0, *(v[2] for _, v in rows)]) or (1.0 if low == 0 else 0.0)


def _overall(training: Training) -> dict[str, float] | None:
    """The likelihood-ratio test against the intercept alone, and McFadden's pseudo-R2.

    The ratio is chi-squared (Wilks, Ann. Math. Stat. 9, 1938; McFadden, Frontiers in Econometrics, 1974). None without
    a likelihood.
    """
    found = training.statistics
    if found is None or found.deviance is None or not found.null_deviance:
        return None
    ratio, freedom = found.null_deviance - found.deviance, found.null_degrees_of_freedom - found.degrees_of_freedom
    p, share = chdtrc(freedom, ratio), ratio / found.null_deviance
    return {"ratio": ratio, "freedom": freedom, "p": float(p), "share": share} if freedom else None


def _share_in_fit(share: float, class_weight: str) -> float:
    """The share of positive rows in the fit, with each outcome's class weight."""
    no, yes = class_factors(np.array([0.0, 1.0]), np.array([1 - share, share]), class_weight)
    return yes * share / (yes * share + no * (1 - share))


def _charts(threshold: float, evaluation: Evaluation) -> dict[str, object]:
    losses, rows = evaluation.losses, evaluation.thresholds
    low, high = min(losses, default=0.0), max(losses, default=1.0)
    chosen = min(rows, key=lambda row: abs(row.threshold - threshold), default=None)
    shares = [[n / max(1, sum(some)) for n in some] for some in (evaluation.negatives, evaluation.positives)]
    no, yes = sum(evaluation.negatives), sum(evaluation.positives)
    answered = [(false * no + true * yes, true) for false, true in evaluation.roc if false * no + true * yes]
    lift = [(n / (no + yes), true * (no + yes) / n) for n, true in answered]
    most_lift = max((height for _, height in lift), default=1.0)
    return {
        "precision_recall": [(true, true * yes / n) for n, true in answered],
        "lift": [(depth, height / most_lift) for depth, height in lift],
        "most_lift": most_lift,
        "low": low,
        "high": high,
        "curve": [(i / max(1, len(losses) - 1), (loss - low) / ((high - low) or 1)) for i, loss in enumerate(losses)],
        "bins": list(zip(evaluation.negatives, evaluation.positives, *shares, strict=True)),
        "most": max(map(max, shares)) or 1.0,
        "chosen": chosen,
        "some_thresholds": [row for at, row in enumerate(rows) if at % max(1, len(rows) // 10) == 0 or row == chosen],
    }


def _escape_markdown(value: object) -> str:
    """Escape text for Markdown, on one line; Jinja calls this for each value of the template."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~&$!@]|:(?=//)|(?<=www)\.)", r"\\\1", " ".join(str(value).split()))


def _number(value: float | None, digits: str = ".6g") -> str:
    return "" if value is None else format(value, digits)


def _p(value: float | None) -> str:
    return _number(value, ".4f") if value is None or value >= 0.0001 else "< 0.0001"


def _interval(share: Share | None) -> str:
    return "none" if share is None else f"{share.value:.3f}\n({share.low:.3f} to {share.high:.3f})"


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:.4g},{y:.4g}" for x, y in points)


def _environment(**settings: Any) -> Environment:
    loader = FileSystemLoader(Path(__file__).parent)
    found = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **settings)
    found.filters |= {"number": _number, "p": _p, "points": _points, "interval": _interval}
    return found


_HTML = _environment(autoescape=True)
_MARKDOWN = _environment(finalize=_escape_markdown, keep_trailing_newline=True)
