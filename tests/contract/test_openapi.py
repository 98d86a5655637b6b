"""The description is the model's: its columns, its routes, and examples that run."""

import json
import re

import pytest
from flask import Response
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.http.errors import Overloaded
from serve.protocols.predict import QUERY
from serve.protocols.routes import Routes
from serve.server.flask_app import create_app
from serve.settings import Config
from tests.support.pages import REFERENCE
from tests.support.service import service

PEOPLE = {"/", "/answer", "/docs", "/report", "/page/{name}"}  # pages, not an API
ROUTES = {"vertex_predict": "/vertex", "vertex_health": "/healthy"}


@pytest.fixture
def served(models):
    return create_app(Config(models=models, model_name="admissions", **ROUTES))


def test_routes_description_and_documents_name_the_same(served):
    """Vertex AI's two are whatever it says; the documents write the V2 ones without a version."""
    document = served.test_client().get("/openapi.json").json
    routes = {
        (method.lower(), re.sub(r"<(\w+)>", r"{\1}", rule.rule))
        for rule in served.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    documented = {(method, path) for path, methods in document["paths"].items() for method in methods}
    named = set(re.findall(r"(?:`|`GET |`POST |localhost:8000)(/[a-z0-9_{}./]*)", REFERENCE["http-api"]))

    assert {(method, path) for method, path in routes if path not in PEOPLE} == documented
    assert {path.replace("/versions/{version}", "") for _, path in routes} - named == {
        "/page/{name}",
        "/answer",
        *ROUTES.values(),
    }
    assert named - {"/versions/{version}", "/v2/models/hours/infer"} <= {path for _, path in routes}


FAULTS = {
    503: b"",
    400: b"[",
    413: b"[" + b" " * 2000,
    422: b'{"gre": 1}',
    415: b"{}",
    404: b"{}",
    409: b"{}",
    406: b"{}",
}


def test_every_status_that_it_names_is_answered_in_its_shape(models):
    """Each answer has the shape of the description; /v2 and Vertex AI read any Content-Type."""
    config = Config(models=models, model_name="admissions", max_body_bytes=1000, **ROUTES)
    client = create_app(config).test_client()
    document = client.get("/openapi.json").json
    wrong = {"infer": b'{"inputs": []}', "invocations": b'{"instances": 1}', "vertex": b'{"instances": 1}'}
    seen = 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for status in {int(status) for status in operation["responses"]} - {200}:
                name = "admissions" if status != 404 else "nosuch"
                body = wrong.get(path.rsplit("/", 1)[1], FAULTS[422]) if status == 422 else FAULTS[status]
                kind = "application/json" if status != 415 else "text/plain"
                where = path.format(name=name, version=1)
                client.application.service.leaving = method == "get" and status == 503
                if method == "post" and status == 503:  # tests/integration/test_admission.py sees when
                    answer = Routes(config).refusal(where, Overloaded())
                    response = Response(answer.body, answer.status, answer.fields)
                else:
                    headers = {"Accept": "image/png"} if status == 406 else {}
                    response = client.open(where, method=method.upper(), data=body, content_type=kind, headers=headers)
                ((said, content),) = operation["responses"][str(status)]["content"].items()
                schemas, schema = document["components"]["schemas"], content["schema"]
                schema = schemas[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
                assert (response.status_code, response.content_type) == (status, said), path
                assert set(schema.get("required", ())) <= set(response.json)
                assert set(response.json) <= set(schema.get("properties", response.json))
                seen += 1
    assert seen == 50


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_it_names_every_parameter_of_a_query(served, path):
    paths = served.test_client().get("/openapi.json").json["paths"]

    assert [one["name"] for one in paths[path]["post"]["parameters"]] == list(QUERY)


def test_its_columns_are_the_models(served):
    row = served.test_client().get("/openapi.json").json["components"]["schemas"]["Row"]

    assert row["required"] == list(row["properties"]) == ["gre", "gpa", "rank"]
    assert row["properties"]["rank"] == {"enum": ["1", "2", "3", "4"]}
    assert row["properties"]["gre"]["examples"] == [220.0, 800.0]


def test_its_examples_are_answered_as_it_says(served):
    """Those of requests, and those of answers in each media type that has a schema."""
    client, asked, answered = served.test_client(), 0, 0
    for path, methods in client.get("/openapi.json").json["paths"].items():
        for method, operation in methods.items():
            about = {"path": path.format(name="admissions", version="1"), "method": method.upper()}
            takes = operation.get("requestBody", {}).get("content", {None: {"examples": {"none": {"value": ""}}}})
            bodies = {kind: [one["value"] for one in media["examples"].values()] for kind, media in takes.items()}
            gives = operation["responses"].get("200", {"content": {}})["content"]
            for kind, body in ((kind, body) for kind, some in bodies.items() for body in some if gives):
                assert client.open(**about, content_type=kind, data=_text(body)).status_code == 200, (path, body)
                asked += 1
            for kind, media in gives.items():
                sent = kind if kind in bodies else next(iter(bodies))
                response = client.open(
                    **about, content_type=sent, data=_text(bodies[sent][0]), headers={"Accept": kind}
                )
                assert response.content_type.split(";")[0] == kind.split(";")[0]
                if "example" not in media:
                    assert "stats" in path or media["schema"] in (
                        {"$ref": "#/components/schemas/Object"},
                        {"type": "string"},
                    ), path
                else:
                    assert (response.text if isinstance(media["example"], str) else response.json) == media["example"]
                    answered += 1
    assert (asked, answered) == (34, 24)


def _text(example):
    return example if isinstance(example, str) else json.dumps(example)


def test_its_examples_are_no_traffic_and_it_stays_the_same(served):
    client = served.test_client()
    description, stats = (client.get(path).text for path in ("/openapi.json", "/v2/models/stats"))

    assert client.get("/openapi.json").text == description
    assert client.get("/v2/models/stats").text == stats


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_rows_that_it_allows_are_answered(served, data):
    """No schema can express that a logit overflows, so schemathesis can't test such rows."""
    schema = served.test_client().get("/openapi.json").json["components"]["schemas"]["Row"]
    number = st.one_of(st.floats(-1e300, 1e300), st.integers(-(10**20), 10**20))
    row = {
        name: st.sampled_from(one["enum"]) if "enum" in one else number for name, one in schema["properties"].items()
    }

    rows = data.draw(st.lists(st.fixed_dictionaries(row), max_size=3))
    assert len(served.test_client().post("/predict", json=rows).json) == len(rows)
    assert len(served.test_client().post("/invocations", json={"instances": rows}).json["predictions"]) == len(rows)


def test_docs_show_every_path_and_load_nothing_from_elsewhere(served):
    client = served.test_client()
    page = client.get("/docs")

    assert all(path in page.text for path in client.get("/openapi.json").json["paths"])
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page.text)


def test_schemathesis_finds_nothing(served):
    from tests.support.schemathesis import findings  # it takes two seconds

    assert findings(served, examples=5) == []


@pytest.mark.heavy
@pytest.mark.parametrize("model", ["hours", "admissions", "awkward"])
def test_schemathesis_finds_nothing_in_a_live_service(models, awkward, tmp_path, model):
    from tests.support.schemathesis import run

    folder = awkward if model == "awkward" else models
    with service(folder, MODEL_NAME=model, WEB_CONCURRENCY="1", AIP_PREDICT_ROUTE="/vertex") as (address, _):
        run(address, tmp_path, "--max-examples", "100")
