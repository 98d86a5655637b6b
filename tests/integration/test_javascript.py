"""model.js in Node meets the certificate's limits, and reads values as the service does."""

import msgspec
import numpy as np
import pytest

from passfail.columns import Column, Columns, InvalidValue
from passfail.loading import load
from passfail.manifest import Column as Term
from passfail.manifest import Dialect, Feature, Parameters, decode
from passfail.proof import certificate, reference, samples
from passfail.proof.engines import prove, wrong
from passfail.repository import read_verified
from tests.support.javascript import NODE, answers, node
from train.export.javascript import to_javascript

FEATURES = (
    Feature("hours", "numeric", (), 0.0, 10.0, None),
    Feature("age", "numeric", (), 18.0, 90.0, 40.5, "indicator"),
    Feature("rank", "categorical", ("1", "2", "10"), None, None, None),
    Feature("member", "categorical", ("false", "true"), None, None, 1.0),
    Feature("town <b>", "categorical", ("Köln", "NA", "a,b"), None, None, None),
    Feature("team", "categorical", ("red", "other", "blue"), None, None, 0.0),
)
TERMS = (
    Term(0, None, 5.1, 2.9, 0.3, 5.1), Term(1, None, 41.7, 13.3, -0.7, 41.7), Term(1, None, 0.0, 1.0, 0.1, 0.1, True),
    Term(2, 1, 0.0, 1.0, 0.21, 0.3), Term(2, 2, 0.0, 1.0, -0.37, 0.3), Term(3, 1, 0.0, 1.0, 1.1, 0.5),
    Term(4, 1, 0.0, 1.0, 0.9, 0.1), Term(4, 2, 0.0, 1.0, 0.7, 0.1), Term(5, 1, 0.0, 1.0, -0.3, 0.1),
    Term(5, 2, 0.0, 1.0, 0.5, 0.1),
)  # fmt: skip
ROW: dict[str, object] = {"hours": 3, "age": 30, "rank": "2", "member": True, "town <b>": "Köln", "team": "blue"}
VALUES = [None, 0, 1, 2.5, "1", "2", "x", "", True, False, [], {}, "true", "Köln", "NA"]
TEXTS = [
    "", " 1 ", "1.", ".5", "+1e3", "-2.5E-3", "1e999", "NA", "nan", "-", "true", "TRUE", "True", "tRUE", "10", "0x10",
    "1_000", "-99", "1,5", "Infinity", "Köln", "köln", "a,b",
]  # fmt: skip


@pytest.fixture(scope="module")
def manifest(models):
    """The admissions' manifest with a feature of every kind."""
    found = decode((models / "admissions/1/manifest.json").read_bytes())
    return msgspec.structs.replace(
        found,
        features=FEATURES,
        parameters=Parameters(-0.4, TERMS),
        dialect=Dialect(missing=("-99",)),
        pooled={"team": "other"},
    )


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_it_meets_the_limits_that_every_engine_must_meet(manifest, tmp_path, link):
    subject = msgspec.structs.replace(manifest, link=link)
    x, _ = samples.rows(subject, 2000, across=20_000)
    truth = certificate.Truth(subject, x, 500, steps=100, sizes=(1000,), alone=2)

    figures = certificate.measure(
        node(to_javascript(subject), tmp_path), lambda logit: logit > subject.logit_threshold, truth
    )

    assert certificate.faults(figures, link) == []


@pytest.mark.parametrize(
    ("function", "values", "read"), [("predict", VALUES, Column.number), ("predictTexts", TEXTS, Column.cell)]
)
def test_each_value_becomes_the_services_number_or_its_error(manifest, tmp_path, function, values, read):
    base = {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in ROW.items()}
    row = ROW if function == "predict" else base
    tried = [(feature, value) for feature in FEATURES for value in values]

    found = answers(
        to_javascript(manifest), tmp_path, function, [row | {feature.name: value} for feature, value in tried]
    )

    for (feature, value), answer in zip(tried, found, strict=True):
        if isinstance(answer, dict):
            answer = answer | {"probability": None}
        assert answer == expected(manifest, row | {feature.name: value}, read), (feature.name, value)


def expected(manifest, row, read):
    """The answer without its probability, or the errors."""
    x, errors, columns = [], [], Columns(manifest, 1)
    for column in columns:
        value = row[column.name]
        try:
            x.append(read(column, value.strip() if read is Column.cell else value))
        except InvalidValue as error:
            errors.append([column.name, str(error).partition(": no training row")[0]])  # and how to train otherwise
    if errors:
        return errors
    logit = float(reference.logit(manifest, columns.pooled(np.array([x])))[0])
    verdict = logit > manifest.logit_threshold
    numeric = [(f, value) for f, value in zip(FEATURES, x, strict=True) if f.kind == "numeric"]
    outside = [f.name for f, value in numeric if value < f.minimum or value > f.maximum]
    label = manifest.target.labels[verdict]
    return {"verdict": verdict, "label": label, "probability": None, "logit": logit, "outside": outside}


def test_names_that_are_no_feature_or_missing_are_errors(manifest, tmp_path):
    row = {name: value for name, value in ROW.items() if name != "age"} | {"constructor": 1, "__proto__": 2}

    [found] = answers(to_javascript(manifest), tmp_path, "predict", [row])

    assert sorted(found) == [
        ["__proto__", "not a feature of this model"],
        ["age", "missing"],
        ["constructor", "not a feature of this model"],
    ]


WORDS = {
    "labels": ('"labels": ["fail", "pass"]', '"labels": ["pass", "fail"]'),
    "threshold": ('"threshold": 0.0', '"threshold": 1.0'),
    "name": ('"name": "hours", "kind"', '"name": "minutes", "kind"'),
    "verdict": ("verdict: z > threshold", "verdict: z >= threshold"),
}


@pytest.mark.skipif(NODE is None, reason="needs node")
@pytest.mark.parametrize(("old", "new"), WORDS.values(), ids=WORDS)
def test_words_of_model_js_that_are_not_the_manifests_are_seen(models, old, new):
    manifest = load(models / "hours").manifest
    files = dict(read_verified(models / "hours" / "1", manifest))
    assert old in files["model.js"].decode()

    files["model.js"] = files["model.js"].replace(old.encode(), new.encode())
    assert wrong(prove(manifest, files, 50, 50), manifest.link) == ["javascript, node"]
