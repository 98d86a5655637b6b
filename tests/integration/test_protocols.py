"""One list of rows through every protocol: the same bits from each, the same mistake refused by each in its shape."""

import csv
import io
import json
import urllib.request

import pytest

from passfail.errors import ConfigError
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.protocols import GOOD, predictions, table, tensors, v2
from tests.support.service import free_port, start, stop, wait

# What is wrong with the last of two rows, and what each says of it.
BAD = {
    "a level that is unknown": ({"gre": 1, "gpa": 2, "rank": "secret-9"}, "levels"),
    "a text for a number": ({"gre": "secret-9", "gpa": 2, "rank": "1"}, "number"),
    "a boolean for a number": ({"gre": True, "gpa": 2, "rank": "1"}, "number"),
    "null": ({"gre": None, "gpa": 2, "rank": "1"}, "null|missing|number|empty"),
    "a number too large": ({"gre": 10**400, "gpa": 2, "rank": "1"}, "number"),
}


def listed(rows):
    return [list(row.values()) for row in rows]


def cells(response):
    rows = csv.DictReader(io.StringIO(response.text))
    return [(float(row["logit"]), float(row["probability"]), row["label"]) for row in rows]


# Name -> (how rows are sent, how the answers are read).
PROTOCOLS = {
    "predict": (lambda ask, rows: ask("/predict", rows), predictions),
    "predict csv": (lambda ask, rows: ask("/predict", table(rows), "text/csv"), cells),
    "predict and why": (lambda ask, rows: ask("/explain", rows), predictions),
    "v2": (lambda ask, rows: ask("/v2/models/admissions/infer", {"inputs": tensors(rows)}), v2),
    "v2 of a version": (lambda ask, rows: ask("/v2/models/admissions/versions/1/infer", {"inputs": tensors(rows)}), v2),
    "mlflow split": (
        lambda ask, rows: ask(
            "/invocations", {"dataframe_split": {"columns": ["gre", "gpa", "rank"], "data": listed(rows)}}
        ),
        predictions,
    ),
    "mlflow records": (lambda ask, rows: ask("/invocations", {"dataframe_records": rows}), predictions),
    "mlflow instances": (lambda ask, rows: ask("/invocations", {"instances": rows}), predictions),
    "mlflow arrays": (lambda ask, rows: ask("/invocations", {"instances": listed(rows)}), predictions),
    "mlflow inputs": (
        lambda ask, rows: ask("/invocations", {"inputs": {name: [row[name] for row in rows] for name in rows[0]}}),
        predictions,
    ),
    "mlflow csv": (lambda ask, rows: ask("/invocations", table(rows), "text/csv"), predictions),
    "vertex": (lambda ask, rows: ask("/vertex", {"instances": rows}), predictions),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_rows_get_the_same_bits(ask, protocol):
    send, read = PROTOCOLS[protocol]

    assert read(send(ask, GOOD)) == predictions(ask("/predict", GOOD))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("mistake", BAD)
def test_the_same_mistake_is_refused_in_the_protocols_own_shape(ask, protocol, mistake):
    row, said = BAD[mistake]

    response = PROTOCOLS[protocol][0](ask, [GOOD[0], row])

    assert response.status_code in (400, 422)
    text = response.get_data(as_text=True)
    assert "secret" not in text
    if protocol.startswith("predict"):
        assert response.content_type == "application/problem+json"
        text = json.dumps(response.json["errors"])
    elif "mlflow" in protocol:
        assert set(response.json) == {"error_code", "message"}
    else:
        assert set(response.json) == {"error"}
        assert response.content_type == "application/json"
    assert any(word in text for word in said.split("|")), text


@pytest.mark.parametrize(
    ("path", "body", "content_type", "status"),
    [
        ("/invocations", {}, "application/json", 400),
        ("/invocations", {"instances": [], "inputs": []}, "application/json", 400),
        ("/invocations", {"instances": 5}, "application/json", 422),
        ("/invocations", {"inputs": {"gre": [1], "gpa": [1, 2], "rank": ["1"]}}, "application/json", 422),
        ("/invocations", b'{"inputs": {"gre": [1], "gpa": [1], "rank": ["1"], "gre": [2]}}', "application/json", 422),
        ("/invocations", {"dataframe_split": {"columns": ["gre"], "data": [[1]]}}, "application/json", 422),
        (
            "/invocations",
            {"dataframe_split": {"columns": ["gre", "gpa", "rank"], "data": [[1]]}},
            "application/json",
            422,
        ),
        ("/invocations", b'{"instances": [[1, 1, "1"]], "instances": [[2, 1, "1"]]}', "application/json", 400),
        ("/invocations", b'{"dataframe_split": {"columns": [], "columns": [], "data": []}}', "application/json", 400),
        ("/vertex", b'{"instances": ["\xff"], "instances": []}', "application/json", 400),
        ("/vertex", b'{"instances": [[1, 1, "1"]], "instances": [[2, 1, "1"]]}', "application/json", 400),
        ("/invocations", {"secret": 1}, "application/json", 400),
        ("/invocations", b"[", "application/json", 400),
        ("/invocations", b"{}", "text/plain", 415),
        ("/vertex", {"rows": []}, "application/json", 400),
        ("/vertex", b"\xff", "application/json", 400),
    ],
)
def test_a_faulty_table_is_refused(ask, path, body, content_type, status):
    response = ask(path, body, content_type)

    assert response.status_code == status
    assert "secret" not in response.get_data(as_text=True)
    assert list(response.json) == (["error"] if path == "/vertex" else ["error_code", "message"])


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("/v2/models/admissions/infer", {"error"}),
        ("/invocations", {"error_code", "message"}),
        ("/vertex", {"error"}),
    ],
)
def test_a_body_beyond_the_limit_is_refused_in_each_shape(models, path, keys):
    config = Config(models=models, model_name="admissions", max_body_bytes=100, max_rows=2, vertex_predict="/vertex")

    response = create_app(config).test_client().post(path, data=bytes(101), content_type="application/json")

    assert (response.status_code, set(response.json)) == (413, keys)


def test_vertex_starts_it_by_its_own_variables(models):
    port = free_port()
    where = "/v1/endpoints/17/deployedModels/42"
    asked = {"AIP_HTTP_PORT": str(port), "AIP_PREDICT_ROUTE": f"{where}:predict", "AIP_HEALTH_ROUTE": where}
    process = start(models, PORT="", MODEL_NAME="hours", WEB_CONCURRENCY="1", **asked)
    try:
        wait(f"http://127.0.0.1:{port}", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{where}") as answer:
            assert answer.status == 200
        body = b'{"instances": [{"hours": 7}], "parameters": {}}'
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{where}:predict", body) as answer:
            assert json.load(answer)["predictions"][0]["label"] == "pass"
    finally:
        stop(process)


@pytest.mark.parametrize("route", ["/ping", "/health/ready", "/v1/health"])
def test_vertex_may_ask_for_health_where_it_likes(models, route):
    client = create_app(Config(models=models, model_name="hours", vertex_health=route)).test_client()

    assert client.get(route).status_code == 200
    assert client.get("/health/ready").json["model"] == "hours"


@pytest.mark.parametrize("route", ["/predict", "no-slash", "/a<b>"])
def test_a_route_of_vertex_that_is_taken_or_none_stops_the_service(models, route):
    with pytest.raises(ConfigError, match="AIP_PREDICT_ROUTE"):
        create_app(Config(models=models, model_name="hours", vertex_predict=route))
