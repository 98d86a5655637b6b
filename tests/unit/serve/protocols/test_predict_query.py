"""POST /predict with ?errors=row and ?extra=keep, on each runtime."""

import csv
import io
import json

import pytest

from tests.support.predict import GOOD, post, problems


@pytest.mark.parametrize("accept", ["application/json", "text/csv", "application/jsonlines"])
@pytest.mark.parametrize("kind", ["application/json", "text/csv", "application/jsonlines"])
def test_rows_that_are_wrong_get_their_error_in_their_place(client, kind, accept):
    body = json.dumps([GOOD, {**GOOD, "gpa": "x"}, {**GOOD, "gpa": 1.7e308}, GOOD])
    if kind == "text/csv":
        body = "gre,gpa,rank\n800,4.0,1\n800,x,1\n800,1.7e308,1\n800,4.0,1\n"
    elif kind == "application/jsonlines":
        body = "\n".join(map(json.dumps, json.loads(body)))
    served = client("admissions")
    response = served.post("/predict?errors=row", data=body, content_type=kind, headers={"Accept": accept})
    plain = served.post("/predict", json=GOOD).json

    assert response.status_code == 200
    assert (response.headers["X-Rows-Answered"], response.headers["X-Rows-Refused"]) == ("2", "2")
    if accept == "text/csv":
        rows = list(csv.DictReader(io.StringIO(response.text)))
        assert [row["label"] for row in rows] == [plain["label"], "", "", plain["label"]]
    else:
        rows = response.json if accept == "application/json" else list(map(json.loads, response.text.splitlines()))
        assert [rows[0], rows[3]] == [plain, plain]
    assert [row.get("error") or "" for row in rows][::3] == ["", ""]
    assert rows[1]["error"].startswith("gpa: expected a number")
    assert rows[2]["error"] == "the logit overflows float64"


def test_a_line_that_is_no_json_does_not_refuse_the_other_lines(client):
    body = f"{json.dumps(GOOD)}\n{{oops\n[800, 4.0]\n[800, 4.0, 1]\n"
    response = client("admissions").post("/predict?errors=row", data=body, content_type="application/jsonlines")

    assert (response.headers["X-Rows-Answered"], response.headers["X-Rows-Refused"]) == ("2", "2")
    rows = list(map(json.loads, response.text.splitlines()))
    assert rows[0] == rows[3]
    assert list(rows[1]) == list(rows[2]) == ["error"]


def test_one_row_that_is_wrong_is_refused_as_ever(client):
    for query in ("", "?errors=row"):
        assert client("admissions").post(f"/predict{query}", json={**GOOD, "gpa": "x"}).status_code == 422


@pytest.mark.parametrize("kind", ["application/json", "application/jsonlines"])
def test_other_fields_come_back_as_they_were_sent_if_asked_for(client, kind):
    rows = [
        '{"id":9007199254740993,"gre":800,"gpa":4.0,"rank":1,"who":{"name":"\u00e9","tags":["a\\"}"]}}',
        '{"gre":800,"gpa":"x","rank":1,"price":1.10}',
        '{"gre":800,"gpa":4.0,"rank":1}',
        '{"id":1,"id":2,"gre":800,"gpa":4.0,"rank":1}',
    ]
    body = "\n".join(rows) if kind == "application/jsonlines" else f"[{','.join(rows)}]"
    served, plain = client("admissions"), post(client("admissions"), GOOD).json
    response = served.post("/predict?extra=keep&errors=row", data=body, content_type=kind)
    found = response.json if kind == "application/json" else list(map(json.loads, response.text.splitlines()))

    assert post(served, body, kind).status_code == 422
    assert found[0] == plain | {"extra": {"id": 9007199254740993, "who": {"name": "\u00e9", "tags": ['a"}']}}}
    assert '"extra":{"price":1.10}' in response.text
    assert found[1]["error"].startswith("gpa: expected a number")
    assert found[2] == plain | {"extra": {}}
    assert "unknown name" in found[3]["error"]


@pytest.mark.parametrize("body", ["", "5", "[5]", '[{"gre":800', '{"id":1}', '[["a"]]', "[]extra"])
def test_what_can_not_be_parted_is_refused_as_ever(client, body):
    served = client("admissions")
    kept = served.post("/predict?extra=keep", data=body, content_type="application/json")
    assert kept.status_code in (400, 422)
    assert kept.json["title"]


@pytest.mark.parametrize("query", ["", "&errors=row"])
def test_nan_beside_other_fields_is_malformed(client, query):
    body = '[{"gre":NaN,"gpa":3,"rank":1},{"gre":800,"gpa":4,"rank":1,"id":5}]'
    response = client("admissions").post(f"/predict?extra=keep{query}", data=body, content_type="application/json")

    assert problems(response, 400) == []
    assert response.json["detail"].endswith("send null for NaN and infinities")


def test_other_fields_of_one_row_come_back(client):
    answer = client("admissions").post("/predict?extra=keep", json={**GOOD, "id": "a7"}).json
    assert answer == post(client("admissions"), GOOD).json | {"extra": {"id": "a7"}}
