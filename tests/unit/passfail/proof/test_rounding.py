"""`stable` is true only if exact arithmetic gives the verdict, and false on the boundary."""

import csv
import io
import math
from fractions import Fraction

import mpmath
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passfail import columns
from passfail.links import LINKS, SCORE_ULP, score_at
from passfail.manifest import decode
from passfail.proof.rounding import Stability
from tests.support.cases import cases


def exact(manifest, row):
    """The logit of a row, as a Fraction, by arithmetic that never rounds."""
    total = Fraction(manifest.parameters.intercept)
    for column in manifest.parameters.columns:
        value = row[column.feature]
        if column.missing:
            value = math.isnan(value)
        elif math.isnan(value):
            value = manifest.features[column.feature].fill
        if column.level is not None:
            value = value == column.level
        total += (Fraction(float(value)) - Fraction(column.center)) / Fraction(column.scale) * Fraction(column.weight)
    return total


@given(cases(), st.data())
@settings(max_examples=150)
def test_a_stable_verdict_is_the_exact_one(case, data):
    """The rows are random, or moved to within a few floats of the threshold."""
    model, x, _ = case
    manifest = model.manifest
    columns = [c for c in manifest.parameters.columns if c.level is None and not c.missing and c.weight]
    for row in x if columns else ():
        column = data.draw(st.sampled_from(columns))
        rest = exact(manifest, [column.center if i == column.feature else v for i, v in enumerate(row)])
        edge = Fraction(manifest.logit_threshold) - rest
        edge = Fraction(column.center) + edge * Fraction(column.scale) / Fraction(column.weight)
        if abs(edge) < 10**300:
            row[column.feature] = float(edge)
            for _ in range(data.draw(st.integers(0, 8))):
                row[column.feature] = math.nextafter(row[column.feature], data.draw(st.sampled_from([-1e308, 1e308])))
    logit, _ = model.runtime(x)
    x, logit = x[np.isfinite(logit)], logit[np.isfinite(logit)]
    band = Stability(manifest).band(x)
    together = model.stable(x, logit)
    assert Stability(manifest).few(x, x.ravel().tolist(), logit.tolist()) == together.tolist()
    for row, z, width, stable in zip(x, logit, band, together, strict=True):
        truth = exact(manifest, row)
        assert math.isinf(width) or abs(Fraction(z) - truth) <= Fraction(width)
        assert stable == (abs(z - manifest.logit_threshold) > width)
        assert model.stable(row[None], np.array([z])) == [stable]
        assert Stability(manifest).few(row[None], row.tolist(), [z]) == [stable]
        if stable:
            assert bool(model.verdict(z)) == (truth > Fraction(manifest.logit_threshold))


BOUNDARY = {
    "hours": ({"hours": 7}, "hours"),
    "study_hours": ({"hours": 7}, "hours"),
    "admissions": ({"gre": 500, "gpa": 3.2, "rank": "2"}, "gpa"),
}


@pytest.mark.parametrize("name", BOUNDARY)
def test_only_the_boundary_can_be_unstable(client, models, name):
    """The flip itself, and rows a millionth off it and far from it, in JSON and CSV.

    Between two neighbouring values the logit may jump over the whole band: then the flip itself is stable.
    """
    served = client(name)
    manifest = decode((models / name / "1" / "manifest.json").read_bytes())
    row, feature = BOUNDARY[name]
    flip = served.post("/explain", json=row).json["explanation"]["flips"][feature]["value"]
    rows = [{**row, feature: value} for value in [flip, flip * (1 + 1e-6), flip * (1 - 1e-6), row[feature]]]

    answers = served.post("/predict", json=rows).json
    text = "\n".join([",".join(row), *(",".join(map(str, one.values())) for one in rows), ""])
    cells = list(csv.DictReader(io.StringIO(served.post("/predict", data=text, content_type="text/csv").text)))

    band = Stability(manifest).band(np.array([columns.row(manifest.features, rows[0])]))[0]
    boundary = abs(answers[0]["logit"] - manifest.logit_threshold) > band
    assert [answer["stable"] for answer in answers] == [boundary, True, True, True]
    assert [cell["stable"] for cell in cells] == [str(boundary).lower(), "true", "true", "true"]
    assert abs(answers[0]["logit"] - manifest.logit_threshold) < 1e-12


def test_the_band_is_a_few_roundings_wide(models):
    """The bound is some ten units in the last place of the terms.

    A bound that is always met could be of any width.
    """
    for name in ("hours", "study_hours", "admissions"):
        manifest = decode((models / name / "1" / "manifest.json").read_bytes())
        x = np.array([columns.row(manifest.features, example.instance) for example in manifest.examples])

        assert (Stability(manifest).band(x) < 1e-13).all()


@given(cases(hidden=True))
@settings(max_examples=5)
def test_for_a_hidden_layer_it_is_not_known(case):
    model, x, logit = case

    assert model.stable(x, logit) is None


@pytest.mark.parametrize("link", LINKS)
@settings(max_examples=150)
@given(st.one_of(st.floats(1e-12, 1 - 1e-12), st.floats(0.99, 0.9999), st.floats(0.4999, 0.5001)))
def test_a_thresholds_score_is_as_exact_as_the_band_says(link, threshold):
    with mpmath.workdps(40):
        p = mpmath.mpf(threshold)
        exact_score = {
            "logit": lambda: mpmath.log(p / (1 - p)),
            "probit": lambda: mpmath.sqrt(2) * mpmath.erfinv(2 * p - 1),
            "cloglog": lambda: mpmath.log(-mpmath.log(1 - p)),
            "cauchit": lambda: mpmath.tan(mpmath.pi * (p - mpmath.mpf("0.5"))),
        }[link]()
        score = score_at(link, threshold)
        assert abs(score - exact_score) <= SCORE_ULP * 2.0**-53 * (1 + abs(score))


def test_the_bands_width_contains_the_rounding_of_the_threshold(models):
    """The cauchit's score at 0.999 rounds more than a short sum."""
    manifest = decode((models / "study_hours" / "1" / "manifest.json").read_bytes())
    narrow, wide = (
        Stability(msgspec.structs.replace(manifest, link="cauchit", threshold=threshold)).band(np.zeros((1, 1)))
        for threshold in (0.5, 0.999)
    )

    assert wide - narrow >= SCORE_ULP * 2.0**-53 * 318
