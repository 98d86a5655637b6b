"""Explanations: the parts add up, and each flip flips the verdict, for random models."""

import json
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings

from passfail.explain import STEPS, evidence, explain
from passfail.manifest import decode
from passfail.measurements import Bin
from serve.protocols.predict import MOST_EXPLAINED
from tests.support.cases import cases

PARAMETERS = "explain, evidence, interval, errors, extra and watch"


def moved(model, row, index, value):
    """(verdict, logit) of the row with one value set, after a journey through JSON."""
    row = row.copy()
    row[index] = json.loads(json.dumps(value))
    logit, _ = model.runtime(row[None])
    return bool(model.verdict(logit)[0]), logit[0]


@given(cases())
@settings(max_examples=60)
def test_what_flips_a_verdict_flips_it_and_the_number_before_does_not(case):
    model, x, logit = case
    for row, verdict, found in zip(x, model.verdict(logit), explain(model, x, logit), strict=True):
        for index, feature in enumerate(model.manifest.features):
            flip = found["flips"][feature.name]
            if feature.kind == "categorical":
                flipping = [
                    level for level in range(len(feature.levels)) if moved(model, row, index, level)[0] != verdict
                ]
                assert flip == {"levels": [feature.levels[level] for level in flipping]}
            elif flip["value"] is None:
                weight = next(c.weight for c in model.manifest.parameters.columns if c.feature == index)
                assert flip["reason"] == ("no finite value flips the verdict" if weight else "its weight is 0")
                for extreme in (-1.7e308, -1e200, 0.0, 1e200, 1.7e308):
                    other, z = moved(model, row, index, extreme)
                    assert other == verdict or not math.isfinite(z)
            else:
                value = flip["value"]
                here = feature.fill if math.isnan(row[index]) else row[index]
                assert moved(model, row, index, value)[0] != verdict
                if value == here:  # saying what was missing is enough
                    assert math.isnan(row[index])
                    assert feature.missing == "indicator"
                else:
                    assert moved(model, row, index, math.nextafter(value, here))[0] == verdict
                assert flip["outside"] == (not feature.minimum <= value <= feature.maximum)


@given(cases())
@settings(max_examples=60)
def test_one_row_is_explained_by_few_runs_of_the_model_however_many_features(case):
    """A bisection takes at most 64 runs, and searches all numeric features at once."""
    model, x, logit = case
    levels = sum(feature.kind == "categorical" for feature in model.manifest.features)
    runs = []
    counting = replace(model, runtime=lambda rows: runs.append(len(rows)) or model.runtime(rows))

    explain(counting, x[:1], logit[:1])

    assert len(runs) <= 66 + levels


@given(cases())
@settings(max_examples=60)
def test_contributions_add_up_to_the_logit(case):
    model, x, logit = case
    manifest = model.manifest
    for row, z, found in zip(x, logit, explain(model, x, logit), strict=True):
        parts = found["contributions"]
        assert list(parts) == [feature.name for feature in manifest.features]
        filled = [f.fill if math.isnan(v) else v for f, v in zip(manifest.features, row.tolist(), strict=True)]
        reach = sum(
            abs(c.weight / c.scale) * (abs(filled[c.feature]) + abs(c.center) + abs(c.mean) + 1)
            for c in manifest.parameters.columns
        )
        rounding = 1e-14 * (reach + abs(manifest.parameters.intercept)) + 1e-300
        assert abs(found["residual"]) <= rounding
        assert math.fsum([found["baseline"], *parts.values(), found["residual"]]) == pytest.approx(z, abs=rounding)
        for column in manifest.parameters.columns:
            feature = manifest.features[column.feature]
            if feature.kind == "numeric" and feature.missing != "indicator":
                _, at_mean = moved(model, row, column.feature, column.mean)
                assert parts[feature.name] == pytest.approx(
                    float(z) - float(at_mean), rel=1e-9, abs=rounding + 1e-14 * abs(z)
                )


@given(cases(hidden=True))
@settings(max_examples=30)
def test_a_hidden_layers_flips_flip_and_stay_in_range(case):
    model, x, logit = case
    for row, verdict, found in zip(x, model.verdict(logit), explain(model, x, logit), strict=True):
        assert found["baseline"] is found["contributions"] is found["residual"] is None
        assert found["reason"] == "a hidden layer's logit is not a sum over the features"
        for index, feature in enumerate(model.manifest.features):
            flip = found["flips"][feature.name]
            if feature.kind == "numeric" and flip["value"] is not None:
                assert moved(model, row, index, flip["value"])[0] != verdict
            elif feature.kind == "numeric":
                for value in np.linspace(feature.minimum, feature.maximum, STEPS):
                    assert moved(model, row, index, value)[0] == verdict


REAL = {
    "hours": [{"hours": 1}, {"hours": 2.5}, {"hours": 7}],
    "study_hours": [{"hours": 0.5}, {"hours": 5}],
    "admissions": [{"gre": 800, "gpa": 4.0, "rank": "1"}, {"gre": 400, "gpa": 2.5, "rank": "4"},
                   {"gre": 620, "gpa": 3.6, "rank": "2"}],
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_a_flip_sent_back_flips_the_real_models_answer(client, name):
    served = client(name)
    target = decode(served.get("/model").data).target.name
    answers = served.post("/explain", json=REAL[name]).json
    plain = served.post("/predict", json=REAL[name]).json

    sent = 0
    for row, answer, before in zip(REAL[name], answers, plain, strict=True):
        why = answer.pop("explanation")
        assert answer == before
        assert why["baseline"] + sum(why["contributions"].values()) == pytest.approx(answer["logit"], abs=1e-13)
        for feature, flip in why["flips"].items():
            for value in flip.get("levels", [flip.get("value")]):
                after = served.post("/predict", json={**row, feature: value}).json
                assert after[target] != answer[target]
                sent += 1
    assert sent >= len(REAL[name])


def test_says_what_lies_outside_the_training_range(client):
    """An applicant with 400 points and grade 2.5 would need more points than there are."""
    flips = client("admissions").post("/explain", json={"gre": 400, "gpa": 2.5, "rank": 4}).json["explanation"]["flips"]

    assert (flips["gre"]["outside"], flips["gpa"]["outside"], flips["rank"]) == (True, True, {"levels": []})
    inside = client("study_hours").post("/explain", json={"hours": 1}).json["explanation"]["flips"]["hours"]
    assert inside == {"value": pytest.approx(2.7101, abs=1e-3), "outside": False}


def test_predict_explains_and_cites_when_asked(client):
    served = client("hours")
    row = {"hours": 7}
    plain = served.post("/predict", json=row).json

    assert served.post("/predict?explain=true", json=row).json == served.post("/explain", json=row).json
    assert served.post("/predict?explain=false&evidence=false", json=row).json == plain
    cited = served.post("/explain?evidence=true", json=[row]).json[0]
    assert list(cited)[-2:] == ["explanation", "evidence"]
    assert served.post("/explain", json=[]).json == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (
            "?explian=true",
            [{"pointer": "?explian", "detail": f"unknown; there are {PARAMETERS}"}],
        ),
        ("?explain=yes", [{"pointer": "?explain", "detail": "expected true or false"}]),
        ("?explain", [{"pointer": "?explain", "detail": "expected true or false"}]),
        (
            "?interval=profile",
            [
                {
                    "pointer": "?interval",
                    "detail": "expected true or false; train.fit(...).intervals(rows) profiles the likelihood",
                }
            ],
        ),
        (
            "?%3Cb%3E=1",
            [{"pointer": "?", "detail": f"unknown; there are {PARAMETERS}"}],
        ),
    ],
)
def test_a_query_that_is_not_understood_is_refused(client, query, expected):
    response = client("hours").post(f"/predict{query}", json={"hours": 7})

    assert (response.status_code, response.content_type) == (400, "application/problem+json")
    assert response.json["errors"] == expected


def test_csv_can_not_be_explained(client):
    for path in ("/explain", "/predict?explain=true", "/predict?evidence=true"):
        response = client("hours").post(path, data="hours\n7\n", content_type="text/csv")
        assert response.status_code == 415
        assert "only application/json can carry" in response.json["detail"]


def test_rows_to_explain_are_limited(client):
    response = client("hours").post("/explain", json=[{"hours": 7}] * (MOST_EXPLAINED + 1))

    assert response.status_code == 413
    assert client("hours").post("/predict", json=[{"hours": 7}] * (MOST_EXPLAINED + 1)).status_code == 200


def test_evidence_is_the_bin_that_holds_the_probability():
    bins = tuple(Bin(k / 10, (k + 1) / 10, 20, k, k / 10 + 0.05, 0.1, 0.3) for k in (0, 2, 9))

    cited = evidence(bins, np.array([0.0, 0.1, 0.2, 0.25, 0.3, 0.95, 1.0]))

    assert [found and found["positives"] for found in cited] == [0, None, 2, 2, None, 9, 9]
    assert cited[2] == {k: v for k, v in msgspec.structs.asdict(bins[1]).items() if k != "probability"}
    assert evidence((), np.array([0.5])) == [None]
